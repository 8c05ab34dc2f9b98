//! Compares what Medic did with the model, and looks at what is left.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::fate::Weather;
use crate::jobs::JobAlert;
use crate::model::{Alert, Service, Tolerance};
use crate::plan::Plan;
use crate::repairs::{Cause, Execution, Outside, Ward};
use crate::rules::Rule;
use crate::shown::{self, MAX_DELIVERIES, Shown, text};
use crate::told::{self, Told};

/// How late Medic may be in a weather: without messages a row waits for the tick; and where ticks die and rows are put off,
/// for some of them.
fn tolerance(weather: Weather) -> Tolerance {
    match weather {
        Weather::Calm => Tolerance { late: TimeDelta::seconds(2), early: TimeDelta::zero() },
        Weather::Lossy => Tolerance { late: TimeDelta::seconds(62), early: TimeDelta::zero() },
        Weather::Stormy => Tolerance { late: TimeDelta::minutes(5), early: TimeDelta::seconds(60) },
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
        let of_jobs: Vec<_> = own().filter(|alert| !alert["run_id"].is_null()).map(shown::alert_of_job).collect();
        let own: Vec<_> = own().filter(|alert| alert["run_id"].is_null()).map(shown::alert).collect();
        wrong.extend(service.judge(&own, end, tolerance));
        let told = Told { cloud, shown, service, end, tolerance };
        wrong.extend(told.of_alerts(&own));
        if let Some(jobs) = &service.jobs {
            let problems = jobs.judge((runs, &of_jobs), &service.maintenance, end, tolerance);
            wrong.extend(problems.into_iter().map(|problem| format!("{}: {problem}", service.name)));
            wrong.extend(of_jobs.iter().flat_map(|alert| told.of_job(alert)));
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
        wrong.extend(executions.iter().filter(is_told).flat_map(|execution| told.of_execution(execution)));
        all_causes.extend(causes);
    }
    let alerts: BTreeSet<i64> = all_causes.iter().map(|cause| cause.alert).collect();
    wrong.extend(strays((cloud, shown), &alerts, outside));
    wrong.extend(told::webhooks(&cloud.receivers.taken("webhook")));
    wrong.extend(cloud.post.left());
    wrong.extend(cloud.due_rows().into_iter().map(|(at, row)| format!("{row} is still due at {at}")));
    wrong
}

/// What belongs to nothing that Medic shows.
fn strays((cloud, shown): (&Cloud, &Shown), alerts: &BTreeSet<i64>, outside: &Outside) -> Vec<String> {
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
            "failed" => cloud.is_stormy() && delivery.attempts == MAX_DELIVERIES,
            _ => false,
        };
        if !is_settled {
            wrong.push(format!("a delivery is not what the webhook took: {delivery:?}"));
        }
    }
    wrong
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
