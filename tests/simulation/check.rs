//! Compares what Medic did with the model, and looks at what is left.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::fate::{Seed, Weather};
use crate::jobs::{self, JobAlert};
use crate::model::{Alert, Owed, Rule, Service, Tolerance};
use crate::plan::Plan;
use crate::receivers::Taken;
use crate::repairs::{Cause, Decision, Execution, Outside, ShownStep, Ward};

/// All that Medic shows at the end, oldest first.
pub(crate) struct Shown {
    pub(crate) alerts: Vec<Value>,
    /// By the place of their service.
    pub(crate) runs: Vec<Vec<jobs::Shown>>,
    pub(crate) executions: Vec<Execution>,
    pub(crate) deliveries: Vec<Delivery>,
    /// By the place of their service.
    pub(crate) heartbeats: Vec<Vec<(DateTime<Utc>, String)>>,
}

/// A webhook's delivery as Medic shows it.
#[derive(Debug)]
pub(crate) struct Delivery {
    id: String,
    event: String,
    status: String,
    attempts: u64,
}

/// Attempts of a delivery, past which it is given up.
pub(crate) const MOST_DELIVERIES: u64 = 4;

impl Shown {
    /// Whether some event of this type was given up, because the webhook failed each time.
    fn gave_up_on(&self, event: &str) -> bool {
        self.deliveries.iter().any(|delivery| delivery.event == event && delivery.status == "failed")
    }
}

/// How late Medic may be in a weather: without messages a row waits for the tick; and where ticks die and rows are put off,
/// for some of them.
fn tolerance(weather: Weather) -> Tolerance {
    match weather {
        Weather::Calm => Tolerance { late: TimeDelta::seconds(2), early: TimeDelta::zero() },
        Weather::Lossy => Tolerance { late: TimeDelta::seconds(62), early: TimeDelta::zero() },
        Weather::Stormy => Tolerance { late: TimeDelta::minutes(5), early: TimeDelta::seconds(60) },
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

/// What playbooks do comes by messages alone, which the tick sends again each minute until one arrives.
fn tolerance_of_playbooks(weather: Weather) -> Tolerance {
    match weather {
        Weather::Calm => tolerance(weather),
        Weather::Lossy | Weather::Stormy => Tolerance { late: TimeDelta::minutes(10), ..tolerance(weather) },
    }
}

pub(crate) fn check(
    cloud: &Cloud,
    (plan, services): (&Plan, &[Service]),
    shown: &Shown,
    outside: &Outside,
    end: DateTime<Utc>,
) -> Vec<String> {
    let tolerance = tolerance(cloud.seed.weather);
    let mut wrong = Vec::new();
    let is_of = |alert: &i64, causes: &[Cause]| causes.iter().any(|cause| cause.alert == *alert);
    let mut all_causes = Vec::new();
    for ((service, runs), heartbeats) in services.iter().zip(&shown.runs).zip(&shown.heartbeats) {
        if !service.is_deleted() {
            wrong.extend(service.misheard(heartbeats));
        }
        let own = || shown.alerts.iter().filter(|alert| alert["heartbeat_name"] == service.name);
        let of_jobs: Vec<_> = own().filter(|alert| !alert["run_id"].is_null()).map(read_of_job).collect();
        let own: Vec<_> = own().filter(|alert| alert["run_id"].is_null()).map(read).collect();
        wrong.extend(service.judge(&own, end, tolerance));
        wrong.extend(notices((cloud, shown), service, &own, end, tolerance));
        if let Some(jobs) = &service.jobs {
            let problems = jobs.judge((runs, &of_jobs), &service.maintenance, end, tolerance);
            wrong.extend(problems.into_iter().map(|problem| format!("{}: {problem}", service.name)));
            wrong.extend(
                of_jobs.iter().flat_map(|alert| notices_of_job((cloud, shown), service, alert, end, tolerance)),
            );
        }
        let causes = causes(service, &own, &of_jobs, end);
        let executions: Vec<_> = shown.executions.iter().filter(|one| is_of(&one.alert, &causes)).collect();
        let ward = Ward {
            name: &service.name,
            beats: &service.beats,
            maintenance: &service.maintenance,
            outside,
            is_stormy: cloud.is_stormy(),
            tolerance: tolerance_of_playbooks(cloud.seed.weather),
            end,
        };
        wrong.extend(ward.judge(&plan.playbooks, &causes, &executions));
        // While a service is muted, only questions are told.
        let is_told = |execution: &&&Execution| {
            let (begun, ended) =
                (execution.started - tolerance.early, execution.completed.unwrap_or(end) + tolerance.late);
            !service.may_be_muted(&own, (begun, ended), tolerance)
        };
        wrong.extend(executions.iter().filter(is_told).flat_map(|execution| events_of(cloud, shown, execution)));
        all_causes.extend(causes);
    }
    let alerts: BTreeSet<i64> = all_causes.iter().map(|cause| cause.alert).collect();
    wrong.extend(strays((cloud, shown), services, &alerts, outside));
    wrong.extend(webhooks(&cloud.receivers.taken("webhook")));
    wrong.extend(cloud.post.left());
    wrong.extend(cloud.due_rows().into_iter().map(|(at, row)| format!("{row} is still due at {at}")));
    wrong
}

/// What belongs to nothing that Medic shows.
fn strays(
    (cloud, shown): (&Cloud, &Shown),
    services: &[Service],
    alerts: &BTreeSet<i64>,
    outside: &Outside,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for alert in shown.alerts.iter().filter(|alert| !alerts.contains(&alert["alert_id"].as_i64().unwrap())) {
        wrong.push(format!("an alert of nothing: {alert}"));
    }
    for execution in shown.executions.iter().filter(|one| !alerts.contains(&one.alert)) {
        wrong.push(format!("execution {} is of no alert", execution.id));
    }
    let of = |name: &str, value: &Value| shown.alerts.iter().any(|alert| alert[name] == *value);
    for taken in cloud.receivers.taken("webhook") {
        let data = &taken.body["data"];
        let is_known = if data["execution_id"].is_string() {
            shown.executions.iter().any(|execution| data["execution_id"] == execution.id.as_str())
        } else {
            of("alert_id", &data["alert_id"])
        };
        if !is_known {
            wrong.push(format!("the webhook took what is of nothing: {}", taken.body));
        }
    }
    let keys = shown.alerts.iter().map(|alert| {
        let of = alert["run_id"].as_str().map_or_else(|| alert["alert_id"].to_string(), str::to_owned);
        format!("medic-{}-{of}", text(alert, "heartbeat_name"))
    });
    let keys: BTreeSet<String> = keys.collect();
    // An escalation goes by the name of its service, or of its playbook where that is deleted.
    let is_escalation = |key: &str| shown.executions.iter().any(|execution| key.ends_with(&execution.id));
    for taken in cloud.receivers.taken("pagerduty") {
        if !taken.body["dedup_key"].as_str().is_some_and(|key| keys.contains(key) || is_escalation(key)) {
            wrong.push(format!("PagerDuty took what is of nothing: {}", taken.body));
        }
    }
    let steps = |execution: &Execution| {
        (0..execution.steps.len()).map(|step| format!("{}-{step}", execution.id)).collect::<Vec<_>>()
    };
    let steps: BTreeSet<String> = shown.executions.iter().flat_map(steps).collect();
    for call in outside.calls.iter().filter(|call| !steps.contains(&call.key)) {
        wrong.push(format!("a call of nothing: {call:?}"));
    }
    for one in outside.tries.iter().filter(|one| !steps.contains(&format!("{}-{}", one.execution, one.step))) {
        wrong.push(format!("a script of nothing: {one:?}"));
    }
    for delivery in &shown.deliveries {
        let is_settled = match delivery.status.as_str() {
            "success" => cloud.receivers.taken("webhook").iter().any(|taken| taken.id == delivery.id),
            "failed" => cloud.is_stormy() && delivery.attempts == MOST_DELIVERIES,
            _ => false,
        };
        if !is_settled {
            wrong.push(format!("a delivery is not what the webhook took: {delivery:?}"));
        }
    }
    wrong
}

fn time(of: &Value, name: &str) -> Option<DateTime<Utc>> {
    of[name].as_str().map(|text| text.parse().unwrap())
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

fn read(alert: &Value) -> Alert {
    Alert {
        id: alert["alert_id"].as_i64().unwrap(),
        opened: time(alert, "created_date").unwrap(),
        closed: time(alert, "closed_date"),
        cycle: alert["alert_cycle"].as_i64().unwrap(),
        is_said: text(alert, "reason").starts_with("it reported "),
    }
}

fn read_of_job(alert: &Value) -> JobAlert {
    let Alert { id, opened, closed, .. } = read(alert);
    let is_stale = text(alert, "alert_name").starts_with("Medic - Stale job detected for ");
    JobAlert { id, run: text(alert, "run_id"), is_stale, opened, closed }
}

pub(crate) fn run(run: &Value) -> jobs::Shown {
    jobs::Shown {
        run: text(run, "run_id"),
        status: text(run, "status"),
        started: time(run, "started_at"),
        ended: time(run, "completed_at"),
        duration_ms: run["duration_ms"].as_i64(),
    }
}

pub(crate) fn delivery(delivery: &Value) -> Delivery {
    Delivery {
        id: text(delivery, "delivery_id"),
        event: text(delivery, "event_type"),
        status: text(delivery, "status"),
        attempts: delivery["attempts"].as_u64().unwrap(),
    }
}

pub(crate) fn heartbeat(heartbeat: &Value) -> (DateTime<Utc>, String) {
    (time(heartbeat, "time").unwrap(), text(heartbeat, "status"))
}

pub(crate) fn execution(execution: &Value, audited: &[Value]) -> Execution {
    let step = |step: &Value| ShownStep {
        status: text(step, "status"),
        output: text(step, "output"),
        error: text(step, "error_message"),
        started: time(step, "started_at"),
        completed: time(step, "completed_at"),
    };
    let entry = |entry: &Value| {
        format!("{} {}", text(entry, "action_type"), text(&entry["details"], "step_name")).trim_end().to_owned()
    };
    let decision = Some(&execution["decision"]).filter(|decision| !decision.is_null());
    let place = text(execution, "playbook_name").trim_start_matches("playbook-").parse();
    Execution {
        id: text(execution, "execution_id"),
        playbook: place.unwrap(),
        alert: execution["alert_id"].as_i64().unwrap(),
        status: text(execution, "status"),
        started: time(execution, "started_at").unwrap(),
        completed: time(execution, "completed_at"),
        decision: decision
            .map(|decision| Decision { is_by_person: !decision["actor"].is_null(), at: time(decision, "at").unwrap() }),
        verification: execution["verification"].as_str().map(str::to_owned),
        steps: execution["steps"].as_array().unwrap().iter().map(step).collect(),
        audited: audited.iter().map(entry).collect(),
    }
}

/// What may start playbooks.
fn causes(service: &Service, alerts: &[Alert], of_jobs: &[JobAlert], end: DateTime<Utc>) -> Vec<Cause> {
    let of_service = alerts.iter().map(|alert| Cause {
        alert: alert.id,
        opened: alert.opened,
        closed: alert.closed,
        failures: alert.cycle,
        counted_again: service.counted_again(alert.opened, end),
        interval: service.rules(alert.opened, end).iter().map(Rule::period).min().unwrap_or_default(),
        is_steady: service.changes.is_empty(),
    });
    let of_runs = of_jobs.iter().map(|alert| Cause {
        alert: alert.id,
        opened: alert.opened,
        closed: alert.closed.filter(|_| alert.is_stale),
        failures: 1,
        counted_again: alert.opened,
        interval: TimeDelta::zero(),
        is_steady: true,
    });
    of_service.chain(of_runs).collect()
}

/// The ids under which the webhook took events of a type about something.
fn ids(taken: &[Taken], event: &str, name: &str, of: &Value) -> BTreeSet<String> {
    let of_this = |taken: &&Taken| taken.body["type"] == event && taken.body["data"][name] == *of;
    taken.iter().filter(of_this).map(|taken| taken.id.clone()).collect()
}

/// Whether the webhook took what it was owed of an execution.
fn events_of(cloud: &Cloud, shown: &Shown, execution: &Execution) -> Vec<String> {
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
fn notices_of_job(
    (cloud, shown): (&Cloud, &Shown),
    service: &Service,
    alert: &JobAlert,
    end: DateTime<Utc>,
    tolerance: Tolerance,
) -> Vec<String> {
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

/// Whether each receiver took what it was owed.
fn notices(
    (cloud, shown): (&Cloud, &Shown),
    service: &Service,
    alerts: &[Alert],
    end: DateTime<Utc>,
    tolerance: Tolerance,
) -> Vec<String> {
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

/// How many of these there must be, and how many there may be.
fn range<'a>(owed: impl Iterator<Item = &'a Owed> + Clone) -> (usize, usize) {
    (owed.clone().filter(|owed| **owed == Owed::Must).count(), owed.filter(|owed| **owed != Owed::Never).count())
}

/// Whether each id stands for one event.
fn webhooks(taken: &[Taken]) -> Vec<String> {
    let mut bodies: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for taken in taken {
        bodies.entry(taken.id.as_str()).or_default().insert(taken.body["data"].to_string());
    }
    let twice = bodies.into_iter().filter(|(_, bodies)| bodies.len() > 1);
    twice.map(|(id, bodies)| format!("the webhook took {id} for {bodies:?}")).collect()
}
