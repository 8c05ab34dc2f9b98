//! Compares the notifications that receivers accepted with those that they had to get.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::executions::Execution;
use crate::jobs::JobAlert;
use crate::model::{Alert, Service, Span, Tolerance};
use crate::mutes::{Expectation, ExpectedNotifications};
use crate::observed::Observed;
use crate::plan::Hours;
use crate::planned_services::REFUSED_CHANNEL;
use crate::receivers::Received;
use crate::seed::{FaultLevel, Seed};

/// Checks the notifications about one service.
#[derive(Clone, Copy)]
pub(crate) struct NotificationCheck<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) observed: &'a Observed,
    pub(crate) service: &'a Service,
    /// By which targets of the service are notified, if it has any.
    pub(crate) hours: Option<&'a Hours>,
    /// Who is notified of it.
    pub(crate) audience: &'a Audience,
    pub(crate) end: DateTime<Utc>,
    pub(crate) tolerance: Tolerance,
}

/// Who is notified of a service, beside PagerDuty and targets that are for one period alone.
#[derive(Debug, Clone)]
pub(crate) struct Audience {
    pub(crate) channels: Vec<String>,
    pub(crate) webhooks: Vec<Webhook>,
}

/// A webhook, by its id and the name of its receiver.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) id: i64,
    pub(crate) receiver: String,
}

/// The channel of services without a team, in which Medic also reports whom nobody was notified of.
pub(crate) const GENERAL_CHANNEL: &str = "C0ALERTS";

impl Audience {
    /// Returns whether all whom Medic would notify refuse that for good, but for webhooks.
    fn refuses(&self) -> bool {
        self.channels == [REFUSED_CHANNEL]
    }
}

/// What a message to Slack says of one thing, and of many at once.
struct SlackLine {
    one: String,
    many: &'static str,
}

const MANY_DOWN: &str = " services are down";
const MANY_RECOVERED: &str = " services have recovered";
const MANY_EXCEEDED: &str = " jobs took too long";
const MANY_UNNOTIFIED: &str = " alerts of which nobody was notified";

impl NotificationCheck<'_> {
    /// Returns what is wrong with the events about an execution that the webhook accepted.
    pub(crate) fn execution_problems(&self, execution: &Execution) -> Vec<String> {
        let has_started = execution.audited.iter().any(|entry| entry == "execution_started");
        let mut wrong = Vec::new();
        for webhook in &self.audience.webhooks {
            for (event, is_expected) in [("playbook.started", has_started), ("playbook.finished", true)] {
                let problem =
                    self.event_problem(webhook, event, "execution_id", &execution.id.as_str().into(), is_expected);
                wrong.extend(problem);
            }
        }
        wrong
    }

    /// Returns a problem if a webhook did not accept an event under one id, as expected, or accepted one that is not.
    fn event_problem(
        &self,
        webhook: &Webhook,
        event: &str,
        name: &str,
        of: &Value,
        is_expected: bool,
    ) -> Option<String> {
        let Webhook { id, receiver } = webhook;
        let ids = ids(&self.cloud.receivers.received(receiver), event, name, of);
        let is_right = ids.len() == usize::from(is_expected) || ids.is_empty() && self.observed.gave_up_on(event, *id);
        (!is_right).then(|| format!("{receiver} accepted {event} of {name} {of} under the ids {ids:?}"))
    }

    /// Returns what is wrong with the notifications about an alert of a run.
    pub(crate) fn job_problems(&self, alert: &JobAlert) -> Vec<String> {
        let Self { service, end, tolerance, .. } = *self;
        let mut wrong = self.pagerduty_job_problems(alert);
        // Nobody is notified of the recovery of a service that is switched off.
        let has_recovered = alert.is_stale && alert.closed.is_some_and(|closed| closed < end - tolerance.early);
        let (event, one) = if alert.is_stale {
            ("job.stale", format!("Stale job detected for {}: run {} has", service.name, alert.run))
        } else {
            ("job.exceeded", format!("Job exceeded max duration for {}: run {} took", service.name, alert.run))
        };
        let opened = SlackLine { one, many: MANY_EXCEEDED };
        let recovery = if alert.is_resolved {
            format!("{}: the alert of run {} was resolved by", service.name, alert.run)
        } else {
            format!("{} has recovered: run {} ", service.name, alert.run)
        };
        let recovery = SlackLine { one: recovery, many: MANY_RECOVERED };
        for webhook in &self.audience.webhooks {
            for (event, is_expected) in [(event, true), ("alert.resolved", has_recovered)] {
                wrong.extend(self.event_problem(webhook, event, "alert_id", &alert.id.into(), is_expected));
            }
        }
        for channel in &self.audience.channels {
            let lines = lines(self.cloud, channel);
            for (line, is_expected) in [(&opened, true), (&recovery, has_recovered)] {
                let count = count(&lines, &line.one);
                let is_grouped = count == 0 && is_expected && grouped(&lines, line.many) > 0;
                if (count > 0) != is_expected && !is_grouped || self.is_calm() && count > 1 {
                    wrong.push(format!("{channel} was notified {count} times that {}", line.one));
                }
            }
        }
        wrong
    }

    fn pagerduty_job_problems(&self, alert: &JobAlert) -> Vec<String> {
        let mut wrong = Vec::new();
        let key = format!("medic-{}-{}", alert.id, self.service.name);
        let received = self.pagerduty(&key);
        let actions = actions(&received);
        let mut once = actions.clone();
        once.dedup();
        if received.first().is_some_and(|first| first.at > notified_by(&self.cloud.seed, alert.opened)) {
            wrong.push(format!("PagerDuty was notified late of run {}, opened at {}", alert.run, alert.opened));
        }
        let expected: &[&str] = if alert.is_stale { &["trigger", "resolve"] } else { &[] };
        if once != expected || self.is_calm() && actions != expected {
            wrong.push(format!("PagerDuty accepted {actions:?} of run {}", alert.run));
        }
        wrong
    }

    /// Returns what is wrong with the notifications about the service's alerts.
    pub(crate) fn alert_problems(&self, alerts: &[Alert]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut all_expected = Vec::new();
        for alert in alerts {
            let expected = self.service.expected_notifications(alert, alerts, self.end, self.tolerance);
            if !self.audience.refuses() {
                wrong.extend(self.pagerduty_problems(alert, expected.opening));
            }
            wrong.extend(self.reminder_problems(alert));
            let problems = self.audience.webhooks.iter().flat_map(|one| self.webhook_problems(one, alert, expected));
            wrong.extend(problems);
            wrong.extend(self.period_problems(alert, alerts, expected.opening));
            all_expected.push(expected);
        }
        wrong.extend(self.unnotified_problem(&all_expected));
        if !self.audience.refuses() {
            let problems = self.audience.channels.iter().map(|channel| self.slack_problems(channel, &all_expected));
            wrong.extend(problems.flatten());
        }
        wrong
    }

    fn pagerduty_problems(&self, alert: &Alert, opening: Expectation) -> Vec<String> {
        let mut wrong = Vec::new();
        let received = self.pagerduty(&format!("medic-{}-{}", alert.id, self.service.name));
        let actions = actions(&received);
        let is_in_order = actions.first() == Some(&"trigger") && actions.last() == Some(&"resolve");
        let is_right = match opening {
            Expectation::Required => is_in_order,
            Expectation::Allowed => is_in_order || actions.is_empty(),
            Expectation::Forbidden => actions.is_empty(),
        };
        if !is_right || actions.windows(2).any(|pair| pair == ["resolve", "trigger"]) {
            wrong.push(format!("PagerDuty accepted {actions:?} of alert {}, {opening:?}", alert.id));
        }
        let by = notified_by(&self.cloud.seed, alert.opened);
        if self.service.changes.is_empty() && received.first().is_some_and(|first| first.at > by) {
            wrong.push(format!("PagerDuty was notified late of alert {}, opened at {}", alert.id, alert.opened));
        }
        if self.is_exact() && actions.len() > 2 {
            wrong.push(format!("PagerDuty was notified twice of alert {}: {actions:?}", alert.id));
        }
        wrong
    }

    /// Returns what is wrong with the notifications of targets that are for one period alone: each is notified once if its
    /// period came while the alert was open.
    fn period_problems(&self, alert: &Alert, alerts: &[Alert], opening: Expectation) -> Vec<String> {
        let Some(hours) = self.hours else { return Vec::new() };
        let Tolerance { late, early } = self.tolerance;
        let closed = alert.closed.unwrap_or(self.end);
        // While maintenance holds it is looked at again every 45 s.
        let patience = late + TimeDelta::minutes(1);
        let mut wrong = Vec::new();
        for (receiver, is_during) in [("during_hours", true), ("after_hours", false)] {
            let begins = hours.changes(alert.opened, closed).into_iter().chain([alert.opened]);
            let is_calm_at = |at: &DateTime<Utc>| {
                let span = Span { from: *at - early, to: *at + patience };
                let changes = hours.changes(*at, span.to);
                hours.hold(*at) == is_during
                    && changes.is_empty()
                    && span.to < closed
                    && !self.service.may_be_held(span.from, span.to)
                    && !self.service.may_be_muted(alerts, span, self.tolerance)
            };
            let is_required = opening == Expectation::Required && begins.into_iter().any(|at| is_calm_at(&at));
            let (from, to) = (alert.opened - early, closed + early);
            let may_come = hours.hold(from) == is_during || !hours.changes(from, to).is_empty();
            let received = self.cloud.receivers.received(receiver);
            let id: Value = alert.id.into();
            let is_this = |one: &&Received| one.body["type"] == "alert.opened" && one.body["data"]["alert_id"] == id;
            let count = received.iter().filter(is_this).count();
            let max = if !may_come || opening == Expectation::Forbidden {
                0
            } else if self.is_exact() {
                1
            } else {
                usize::MAX
            };
            if !(usize::from(is_required)..=max).contains(&count) {
                wrong.push(format!("{receiver} accepted {count} times that alert {} is open, {opening:?}", alert.id));
            }
        }
        wrong
    }

    fn reminder_problems(&self, alert: &Alert) -> Vec<String> {
        let counted = usize::try_from(alert.cycle - 1).unwrap();
        // In maintenance nobody is reminded.
        let is_held = self.service.may_be_held(alert.opened, alert.closed.unwrap_or(self.end));
        let is_each_sent = self.is_calm() && self.service.changes.is_empty() && !is_held;
        let reminders = |webhook: &Webhook| {
            let received = self.cloud.receivers.received(&webhook.receiver);
            let reminders = ids(&received, "alert.reminder", "alert_id", &alert.id.into()).len();
            let is_wrong = reminders > counted || is_each_sent && reminders < counted;
            let receiver = &webhook.receiver;
            is_wrong.then(|| format!("{receiver} accepted {reminders} reminders of alert {}, of {counted}", alert.id))
        };
        self.audience.webhooks.iter().filter_map(reminders).collect()
    }

    fn webhook_problems(&self, webhook: &Webhook, alert: &Alert, expected: ExpectedNotifications) -> Vec<String> {
        let mut wrong = Vec::new();
        let received = self.cloud.receivers.received(&webhook.receiver);
        let (id, receiver) = (alert.id.into(), &webhook.receiver);
        for (event, expected) in [("alert.opened", expected.opening), ("alert.resolved", expected.recovery)] {
            let is_this = |request: &&Received| request.body["type"] == event && request.body["data"]["alert_id"] == id;
            let count = received.iter().filter(is_this).count();
            if self.is_exact() && count > 1 {
                wrong.push(format!("{receiver} accepted {event} of alert {} {count} times", alert.id));
            }
            let ids = ids(&received, event, "alert_id", &id);
            let (min, max) = range([expected].into_iter());
            let min = if self.observed.gave_up_on(event, webhook.id) { 0 } else { min };
            if !(min..=max).contains(&ids.len()) {
                wrong.push(format!("{receiver} accepted {event} of alert {} under the ids {ids:?}", alert.id));
            }
        }
        wrong
    }

    fn slack_problems(&self, channel: &str, expected: &[ExpectedNotifications]) -> Vec<String> {
        let mut wrong = Vec::new();
        let lines = lines(self.cloud, channel);
        let name = &self.service.name;
        let line = |what: &str, many| SlackLine { one: format!("{name} {what} "), many };
        let recoveries = |is_resolved: bool| {
            let expected = expected.iter().filter(move |expected| expected.is_resolved == is_resolved);
            range(expected.map(|expected| expected.recovery))
        };
        for (line, (min, max)) in [
            (line("is down:", MANY_DOWN), range(expected.iter().map(|expected| expected.opening))),
            (line("has recovered after", MANY_RECOVERED), recoveries(false)),
            (line("was resolved by", MANY_RECOVERED), recoveries(true)),
        ] {
            let count = count(&lines, &line.one);
            if count + grouped(&lines, line.many) < min || count > max && (self.is_exact() || max == 0) {
                wrong.push(format!("{channel} was notified {count} times that {}, expected {min} to {max}", line.one));
            }
        }
        wrong
    }

    /// Returns a problem if it was reported that nobody was notified of an alert though somebody was, or was not.
    fn unnotified_problem(&self, expected: &[ExpectedNotifications]) -> Option<String> {
        let one = format!("every receiver refused it: Heartbeat failure for {}: ", self.service.name);
        let lines = lines(self.cloud, GENERAL_CHANNEL);
        let count = count(&lines, &one);
        let (min, max) = range(expected.iter().map(|expected| expected.opening));
        let (min, max) = if self.audience.refuses() { (min, max) } else { (0, 0) };
        let is_wrong = count + grouped(&lines, MANY_UNNOTIFIED) < min || count > max && (self.is_exact() || max == 0);
        is_wrong.then(|| format!("it was reported {count} times that nobody was notified, expected {min} to {max}"))
    }

    fn is_calm(&self) -> bool {
        self.cloud.seed.fault_level == FaultLevel::Calm
    }

    /// Returns whether nothing is sent twice: no handler dies, and no response is lost.
    fn is_exact(&self) -> bool {
        !self.cloud.is_stormy()
    }

    /// Returns what PagerDuty accepted under a dedup key.
    fn pagerduty(&self, dedup_key: &str) -> Vec<Received> {
        let received = self.cloud.receivers.received("pagerduty");
        received.into_iter().filter(|request| request.body["dedup_key"] == dedup_key).collect()
    }
}

fn actions(received: &[Received]) -> Vec<&str> {
    received.iter().map(|request| request.body["event_action"].as_str().unwrap()).collect()
}

/// By when PagerDuty must have accepted what opened then: each message that is lost costs a minute or two, and in storms
/// PagerDuty fails too.
fn notified_by(seed: &Seed, opened: DateTime<Utc>) -> DateTime<Utc> {
    match seed.fault_level {
        FaultLevel::Calm => opened + TimeDelta::seconds(1),
        FaultLevel::Lossy => opened + TimeDelta::minutes(15),
        FaultLevel::Stormy => {
            let outage = seed.outage.filter(|outage| outage.receiver == "pagerduty").map(|outage| outage.span.to);
            outage.unwrap_or(opened).max(opened) + TimeDelta::minutes(30)
        }
    }
}

/// Returns the ids under which the webhook accepted events of a type about something.
fn ids(received: &[Received], event: &str, name: &str, of: &Value) -> BTreeSet<String> {
    let is_this = |request: &&Received| request.body["type"] == event && request.body["data"][name] == *of;
    received.iter().filter(is_this).map(|request| request.id.clone()).collect()
}

/// Returns how often these words are in what Slack accepted.
fn count(lines: &[String], words: &str) -> usize {
    lines.iter().map(|text| text.matches(words).count()).sum()
}

/// Of how many things Slack was notified at once in such words.
fn grouped(lines: &[String], many: &str) -> usize {
    let count = |line: &str| line.split_once(many)?.0.rsplit(' ').next()?.parse::<usize>().ok();
    lines.iter().flat_map(|text| text.lines()).filter_map(count).sum()
}

/// Returns the texts that Slack accepted for a channel.
fn lines(cloud: &Cloud, channel: &str) -> Vec<String> {
    let received = cloud.receivers.received("slack");
    let received = received.iter().filter(|request| request.body["channel"] == channel);
    received.filter_map(|request| request.body["text"].as_str().map(str::to_owned)).collect()
}

/// Returns how many of these there must be, and how many there may be.
fn range(expected: impl Iterator<Item = Expectation> + Clone) -> (usize, usize) {
    let min = expected.clone().filter(|expected| *expected == Expectation::Required).count();
    (min, expected.filter(|expected| *expected != Expectation::Forbidden).count())
}

/// Returns the `webhook-id`s under which the webhook accepted more than one event.
pub(crate) fn reused_webhook_ids(received: &[Received]) -> Vec<String> {
    let mut bodies: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for request in received {
        bodies.entry(request.id.as_str()).or_default().insert(request.body["data"].to_string());
    }
    let reused = bodies.into_iter().filter(|(_, bodies)| bodies.len() > 1);
    reused.map(|(id, bodies)| format!("the webhook accepted {id} for {bodies:?}")).collect()
}
