//! What receivers took, against what they were owed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::fate::{Seed, Weather};
use crate::jobs::JobAlert;
use crate::model::{Alert, Service, Tolerance};
use crate::mutes::Owed;
use crate::receivers::Taken;
use crate::repairs::Execution;
use crate::shown::Shown;

/// What was told of a service.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) shown: &'a Shown,
    pub(crate) service: &'a Service,
    pub(crate) end: DateTime<Utc>,
    pub(crate) tolerance: Tolerance,
}

impl Told<'_> {
    /// Whether the webhook took what it was owed of an execution.
    pub(crate) fn of_execution(&self, execution: &Execution) -> Vec<String> {
        let Self { cloud, shown, .. } = self;
        let taken = cloud.receivers.taken("webhook");
        let has_started = execution.audited.iter().any(|entry| entry == "execution_started");
        let mut wrong = Vec::new();
        for (event, is_owed) in [("playbook.started", has_started), ("playbook.finished", true)] {
            let ids = ids(&taken, event, "execution_id", &execution.id.as_str().into());
            if ids.len() != usize::from(is_owed) && !(ids.is_empty() && shown.gave_up_on(event)) {
                wrong.push(format!("the webhook took {event} of execution {} under the ids {ids:?}", execution.id));
            }
        }
        wrong
    }

    /// Whether each receiver took what it was owed of a run.
    pub(crate) fn of_job(&self, alert: &JobAlert) -> Vec<String> {
        let Self { cloud, shown, service, end, tolerance } = *self;
        let mut wrong = Vec::new();
        let is_calm = cloud.seed.weather == Weather::Calm;
        let key = format!("medic-{}-{}", service.name, alert.run);
        let told = cloud.receivers.taken("pagerduty");
        let told: Vec<_> = told.iter().filter(|taken| taken.body["dedup_key"] == key.as_str()).collect();
        let actions: Vec<_> = told.iter().map(|taken| taken.body["event_action"].as_str().unwrap()).collect();
        let mut once = actions.clone();
        once.dedup();
        if told.first().is_some_and(|first| first.at > told_by(&cloud.seed, alert.opened)) {
            wrong.push(format!("PagerDuty was told late of run {}, which opened at {}", alert.run, alert.opened));
        }
        let owed: &[&str] = if alert.is_stale { &["trigger", "resolve"] } else { &[] };
        if once != owed || is_calm && actions != owed {
            wrong.push(format!("PagerDuty took {actions:?} of run {}", alert.run));
        }
        // Of a service that is switched off nobody hears.
        let has_recovered = alert.is_stale && alert.closed.is_some_and(|closed| closed < end - tolerance.early);
        let (event, line) = if alert.is_stale {
            ("job.stale", format!("Stale job detected for {}: run {} has", service.name, alert.run))
        } else {
            ("job.exceeded", format!("Job exceeded max duration for {}: run {} took", service.name, alert.run))
        };
        let recovery = format!("{} has recovered: run {} ended", service.name, alert.run);
        let (webhook, lines) = (cloud.receivers.taken("webhook"), lines(cloud));
        for (event, line, is_owed) in [(event, line, true), ("alert.resolved", recovery, has_recovered)] {
            let ids = ids(&webhook, event, "alert_id", &alert.id.into());
            if ids.len() != usize::from(is_owed) && !(ids.is_empty() && shown.gave_up_on(event)) {
                wrong.push(format!("the webhook took {event} of alert {} under the ids {ids:?}", alert.id));
            }
            let told = lines.iter().map(|text| text.matches(&line).count()).sum::<usize>();
            let is_summed =
                told == 0 && is_owed && summed(&lines, if event == "alert.resolved" { RECOVERED } else { LONG }) > 0;
            if (told > 0) != is_owed && !is_summed || is_calm && told > 1 {
                wrong.push(format!("Slack heard {told} times that {line}"));
            }
        }
        wrong
    }

    /// Whether each receiver took what it was owed of the service's alerts.
    pub(crate) fn of_alerts(&self, alerts: &[Alert]) -> Vec<String> {
        let Self { cloud, shown, service, end, tolerance } = *self;
        let mut wrong = Vec::new();
        // Where nobody dies or hears wrong, nothing is said twice.
        let is_exact = !cloud.is_stormy();
        let pagerduty = cloud.receivers.taken("pagerduty");
        let webhook = cloud.receivers.taken("webhook");
        let owed: Vec<_> = alerts.iter().map(|alert| service.owed(alert, alerts, end, tolerance)).collect();
        for (alert, (told, recovery)) in alerts.iter().zip(&owed) {
            let key = format!("medic-{}-{}", service.name, alert.id);
            let taken: Vec<_> = pagerduty.iter().filter(|taken| taken.body["dedup_key"] == key.as_str()).collect();
            let actions: Vec<_> = taken.iter().map(|taken| taken.body["event_action"].as_str().unwrap()).collect();
            let is_in_order = actions.first() == Some(&"trigger") && actions.last() == Some(&"resolve");
            let is_right = match told {
                Owed::Must => is_in_order,
                Owed::May => is_in_order || actions.is_empty(),
                Owed::Never => actions.is_empty(),
            };
            if !is_right || actions.windows(2).any(|pair| pair == ["resolve", "trigger"]) {
                wrong.push(format!("PagerDuty took {actions:?} of alert {}, {told:?}", alert.id));
            }
            let by = told_by(&cloud.seed, alert.opened);
            if service.changes.is_empty() && taken.first().is_some_and(|first| first.at > by) {
                wrong.push(format!("PagerDuty was told late of alert {}, which opened at {}", alert.id, alert.opened));
            }
            if is_exact && actions.len() > 2 {
                wrong.push(format!("PagerDuty was told twice of alert {}: {actions:?}", alert.id));
            }
            let reminders = ids(&webhook, "alert.reminder", "alert_id", &alert.id.into()).len();
            let counted = usize::try_from(alert.cycle - 1).unwrap();
            // In maintenance nobody is reminded.
            let is_held = service.may_be_held(alert.opened, alert.closed.unwrap_or(end));
            let is_each_told = cloud.seed.weather == Weather::Calm && service.changes.is_empty() && !is_held;
            if reminders > counted || is_each_told && reminders < counted {
                wrong.push(format!("the webhook took {reminders} reminders of alert {}, of {counted}", alert.id));
            }
            for (event, owed) in [("alert.opened", told), ("alert.resolved", recovery)] {
                let id = alert.id.into();
                let of_this = |taken: &&Taken| taken.body["type"] == event && taken.body["data"]["alert_id"] == id;
                let taken = webhook.iter().filter(of_this).count();
                if is_exact && taken > 1 {
                    wrong.push(format!("the webhook took {event} of alert {} {taken} times", alert.id));
                }
                let ids = ids(&webhook, event, "alert_id", &id);
                let (least, most) = range([*owed].iter());
                let least = if shown.gave_up_on(event) { 0 } else { least };
                if !(least..=most).contains(&ids.len()) {
                    wrong.push(format!("the webhook took {event} of alert {} under the ids {ids:?}", alert.id));
                }
            }
        }
        let lines = lines(cloud);
        let (down, recovered) = (range(owed.iter().map(|owed| &owed.0)), range(owed.iter().map(|owed| &owed.1)));
        for (what, many, (least, most)) in [("is down: ", DOWN, down), ("has recovered after ", RECOVERED, recovered)] {
            let what = format!("{} {what}", service.name);
            let told = lines.iter().map(|text| text.matches(&what).count()).sum::<usize>();
            if told + summed(&lines, many) < least || told > most && (is_exact || most == 0) {
                wrong.push(format!("Slack heard {told} times that {what}, and was owed {least} to {most}"));
            }
        }
        wrong
    }
}

/// When PagerDuty must have taken what opened then: each message that is lost costs a minute or two, and in storms
/// PagerDuty fails too.
fn told_by(seed: &Seed, opened: DateTime<Utc>) -> DateTime<Utc> {
    match seed.weather {
        Weather::Calm => opened + TimeDelta::seconds(1),
        Weather::Lossy => opened + TimeDelta::minutes(15),
        Weather::Stormy => {
            let outage = seed.outage.filter(|outage| outage.receiver == "pagerduty").map(|outage| outage.span.to);
            outage.unwrap_or(opened).max(opened) + TimeDelta::minutes(30)
        }
    }
}

/// The ids under which the webhook took events of a type about something.
fn ids(taken: &[Taken], event: &str, name: &str, of: &Value) -> BTreeSet<String> {
    let of_this = |taken: &&Taken| taken.body["type"] == event && taken.body["data"][name] == *of;
    taken.iter().filter(of_this).map(|taken| taken.id.clone()).collect()
}

/// How Slack hears of many things at once.
const DOWN: &str = " services are down";
const RECOVERED: &str = " services have recovered";
const LONG: &str = " jobs took too long";

/// Of how many things Slack heard at once in such words.
fn summed(lines: &[String], what: &str) -> usize {
    let count = |line: &str| line.split_once(what)?.0.rsplit(' ').next()?.parse::<usize>().ok();
    lines.iter().flat_map(|text| text.lines()).filter_map(count).sum()
}

/// What Slack was told.
fn lines(cloud: &Cloud) -> Vec<String> {
    let taken = cloud.receivers.taken("slack");
    taken.iter().filter_map(|taken| taken.body["text"].as_str().map(str::to_owned)).collect()
}

/// How many of these there must be, and how many there may be.
fn range<'a>(owed: impl Iterator<Item = &'a Owed> + Clone) -> (usize, usize) {
    (owed.clone().filter(|owed| **owed == Owed::Must).count(), owed.filter(|owed| **owed != Owed::Never).count())
}

/// Whether each id stands for one event.
pub(crate) fn webhooks(taken: &[Taken]) -> Vec<String> {
    let mut bodies: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for taken in taken {
        bodies.entry(taken.id.as_str()).or_default().insert(taken.body["data"].to_string());
    }
    let twice = bodies.into_iter().filter(|(_, bodies)| bodies.len() > 1);
    twice.map(|(id, bodies)| format!("the webhook took {id} for {bodies:?}")).collect()
}
