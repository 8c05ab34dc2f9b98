//! Compares what Medic did with the model, and looks at what is left.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::executions::{Cause, Execution, ExecutionCheck, ExecutionEvents};
use crate::jobs::{JobAlert, ObservedRun};
use crate::model::{Alert, Service, Span, Tolerance};
use crate::mutes::Expectation;
use crate::notifications::{self, Audience, NotificationCheck, Webhook};
use crate::observed::{self, MAX_DELIVERY_ATTEMPTS, Observed, text};
use crate::plan::Plan;
use crate::rules::Rule;
use crate::seed::FaultLevel;

/// Checks a seed after its end.
pub(crate) struct Check<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) plan: &'a Plan,
    pub(crate) services: &'a [Service],
    pub(crate) observed: &'a Observed,
    pub(crate) events: &'a ExecutionEvents,
    /// By the place of their service.
    pub(crate) audiences: &'a [Audience],
    pub(crate) end: DateTime<Utc>,
}

/// Returns how late Medic may be: without messages a row waits for the tick; and where ticks die and rows are put off,
/// for some of them.
pub(crate) fn tolerance(fault_level: FaultLevel, plan: &Plan) -> Tolerance {
    let tolerance = match fault_level {
        FaultLevel::Calm => Tolerance { late: TimeDelta::seconds(2), early: TimeDelta::zero() },
        FaultLevel::Lossy => Tolerance { late: TimeDelta::seconds(62), early: TimeDelta::zero() },
        FaultLevel::Stormy => Tolerance { late: TimeDelta::minutes(5), early: TimeDelta::seconds(60) },
    };
    // Nothing happens in a stop, and after it a tick comes within a minute.
    let stopped: TimeDelta = plan.stops.iter().map(|stop| stop.to - stop.from + TimeDelta::minutes(1)).sum();
    Tolerance { late: tolerance.late + stopped, ..tolerance }
}

/// Returns how late playbooks may be: they go on by messages alone, which the tick sends again each minute until one
/// arrives.
fn playbook_tolerance(fault_level: FaultLevel, plan: &Plan) -> Tolerance {
    let tolerance = tolerance(fault_level, plan);
    match fault_level {
        FaultLevel::Calm => tolerance,
        FaultLevel::Lossy | FaultLevel::Stormy => {
            Tolerance { late: tolerance.late.max(TimeDelta::minutes(5)) + TimeDelta::minutes(5), ..tolerance }
        }
    }
}

impl Check<'_> {
    /// Returns all that is wrong.
    pub(crate) fn problems(&self) -> Vec<String> {
        let cloud = self.cloud;
        let mut wrong = Vec::new();
        let mut causes = Vec::new();
        for place in 0..self.services.len() {
            wrong.extend(self.service_problems(place, &mut causes));
        }
        let alerts: BTreeSet<i64> = causes.iter().map(|cause| cause.alert).collect();
        wrong.extend(self.unknown_in_api(&alerts));
        wrong.extend(self.unknown_notifications());
        wrong.extend(self.unknown_calls());
        wrong.extend(self.delivery_problems());
        for webhook in self.webhooks() {
            wrong.extend(notifications::reused_webhook_ids(&cloud.receivers.received(&webhook.receiver)));
        }
        wrong.extend(cloud.queues.left());
        wrong.extend(cloud.due_rows().into_iter().map(|(at, row)| format!("{row} is still due at {at}")));
        wrong
    }

    /// Returns all webhooks. Those of one service alone are the first one's.
    fn webhooks(&self) -> &[Webhook] {
        &self.audiences[0].webhooks
    }

    /// Returns what is wrong with one service, and adds its alerts to `all_causes`.
    fn service_problems(&self, place: usize, all_causes: &mut Vec<Cause>) -> Vec<String> {
        let Self { cloud, observed, events, end, .. } = *self;
        let service = &self.services[place];
        let tolerance = tolerance(cloud.seed.fault_level, self.plan);
        let mut wrong = Vec::new();
        if !service.is_deleted() {
            wrong.extend(service.heartbeat_problems(&observed.heartbeats[place]));
        }
        let own = || observed.alerts.iter().filter(|alert| alert["heartbeat_name"] == service.name);
        let job_alerts: Vec<_> = own().filter(|alert| !alert["run_id"].is_null()).map(observed::job_alert).collect();
        let alerts: Vec<_> = own().filter(|alert| alert["run_id"].is_null()).map(observed::alert).collect();
        wrong.extend(service.alert_problems(&alerts, end, tolerance));
        let hours = self.plan.hours.as_ref().filter(|_| place == 0);
        let audience = &self.audiences[place];
        let notifications = NotificationCheck { cloud, observed, service, hours, audience, end, tolerance };
        wrong.extend(notifications.alert_problems(&alerts));
        if let Some(jobs) = &service.jobs {
            let problems = jobs.run_problems(&observed.runs[place], &job_alerts, &service.watch(end, tolerance));
            wrong.extend(problems.into_iter().map(|problem| format!("{}: {problem}", service.name)));
            wrong.extend(job_alerts.iter().flat_map(|alert| notifications.job_problems(alert)));
        }
        let causes = causes(service, &alerts, &job_alerts, &observed.runs[place], end);
        let is_own = |execution: &&Execution| causes.iter().any(|cause| cause.alert == execution.alert);
        let executions: Vec<_> = observed.executions.iter().filter(is_own).collect();
        let check = ExecutionCheck {
            name: &service.name,
            heartbeats: &service.heartbeats,
            maintenance: &service.maintenance,
            playbooks: &self.plan.playbooks,
            events,
            max_starts: self.plan.max_starts(),
            is_stormy: cloud.is_stormy(),
            tolerance: playbook_tolerance(cloud.seed.fault_level, self.plan),
            end,
        };
        wrong.extend(check.problems(&causes, &executions));
        // While a service is muted, only approval requests are sent.
        let is_notified = |execution: &&&Execution| {
            let completed = execution.completed.unwrap_or(end);
            let span = Span { from: execution.started - tolerance.early, to: completed + tolerance.late };
            !service.may_be_muted(&alerts, span, tolerance)
        };
        let notified = executions.iter().filter(is_notified);
        wrong.extend(notified.flat_map(|execution| notifications.execution_problems(execution)));
        all_causes.extend(causes);
        wrong
    }

    /// Returns the alerts and executions that belong to nothing that happened.
    fn unknown_in_api(&self, alerts: &BTreeSet<i64>) -> Vec<String> {
        let Observed { alerts: observed, executions, .. } = self.observed;
        let unknown_alerts = observed.iter().filter(|alert| !alerts.contains(&alert["alert_id"].as_i64().unwrap()));
        let unknown_executions = executions.iter().filter(|execution| !alerts.contains(&execution.alert));
        let problems = unknown_alerts.map(|alert| format!("an alert of nothing: {alert}"));
        problems.chain(unknown_executions.map(|one| format!("execution {} is of no alert", one.id))).collect()
    }

    /// Returns the notifications that belong to nothing that Medic shows.
    fn unknown_notifications(&self) -> Vec<String> {
        let Observed { alerts, executions, .. } = self.observed;
        let mut wrong = Vec::new();
        let received = self.webhooks().iter().flat_map(|webhook| self.cloud.receivers.received(&webhook.receiver));
        for request in received {
            let data = &request.body["data"];
            let is_known = if data["execution_id"].is_string() {
                executions.iter().any(|execution| data["execution_id"] == execution.id.as_str())
            } else {
                alerts.iter().any(|alert| alert["alert_id"] == data["alert_id"])
            };
            if !is_known {
                wrong.push(format!("{} accepted an event of nothing: {}", request.receiver, request.body));
            }
        }
        let key = |alert: &Value| format!("medic-{}-{}", alert["alert_id"], text(alert, "heartbeat_name"));
        let keys: BTreeSet<String> = alerts.iter().map(key).collect();
        // An escalation goes by the name of its service, or of its playbook where that is deleted.
        let is_escalation =
            |key: &str| executions.iter().any(|execution| key.starts_with(&format!("medic-{}-", execution.id)));
        for request in self.cloud.receivers.received("pagerduty") {
            if !request.body["dedup_key"].as_str().is_some_and(|key| keys.contains(key) || is_escalation(key)) {
                wrong.push(format!("PagerDuty accepted an event of nothing: {}", request.body));
            }
        }
        wrong
    }

    /// Returns the calls and scripts that belong to no step.
    fn unknown_calls(&self) -> Vec<String> {
        let steps = |execution: &Execution| {
            (0..execution.steps.len()).map(|step| format!("{}-{step}", execution.id)).collect::<Vec<_>>()
        };
        let steps: BTreeSet<String> = self.observed.executions.iter().flat_map(steps).collect();
        let calls = self.events.calls.iter().filter(|call| !steps.contains(&call.key));
        let attempts = self.events.attempts.iter();
        let attempts = attempts.filter(|one| !steps.contains(&format!("{}-{}", one.execution, one.step)));
        let problems = calls.map(|call| format!("a call of nothing: {call:?}"));
        problems.chain(attempts.map(|one| format!("a script of nothing: {one:?}"))).collect()
    }

    fn delivery_problems(&self) -> Vec<String> {
        let mut unsettled = Vec::new();
        for Webhook { id, receiver } in self.webhooks() {
            let received = self.cloud.receivers.received(receiver);
            let is_unsettled = |delivery: &&observed::Delivery| match delivery.status.as_str() {
                "success" => !received.iter().any(|request| request.id == delivery.id),
                "failed" => !self.cloud.is_stormy() || delivery.attempts != MAX_DELIVERY_ATTEMPTS,
                _ => true,
            };
            let own = self.observed.deliveries.iter().filter(|delivery| delivery.webhook == *id);
            unsettled.extend(own.filter(is_unsettled));
        }
        let problem = |delivery| format!("a delivery is not what the webhook accepted: {delivery:?}");
        unsettled.into_iter().map(problem).collect()
    }
}

/// Returns the alerts that may start playbooks.
fn causes(
    service: &Service,
    alerts: &[Alert],
    job_alerts: &[JobAlert],
    runs: &[ObservedRun],
    end: DateTime<Utc>,
) -> Vec<Cause> {
    let of_service = alerts.iter().map(|alert| Cause {
        alert: alert.id,
        opened: alert.opened,
        closed: alert.closed,
        failures: alert.cycle,
        counted_again: service.counted_again(alert.opened, end),
        interval: service.rules(alert.opened, end).iter().map(Rule::period).min().unwrap_or_default(),
        is_steady: service.changes.is_empty(),
        starts: service.starts_playbooks(alert),
    });
    let of_runs = job_alerts.iter().map(|alert| Cause {
        alert: alert.id,
        opened: alert.opened,
        closed: alert.closed.filter(|_| alert.is_stale),
        failures: 1,
        counted_again: alert.opened,
        interval: TimeDelta::zero(),
        is_steady: true,
        starts: match &service.jobs {
            Some(jobs) => jobs.starts_playbooks(alert, runs, &service.gaps),
            None => Expectation::Required,
        },
    });
    of_service.chain(of_runs).collect()
}
