//! What Medic shows at the end, read from its API.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::executions::{Decision, Execution, ObservedStep};
use crate::jobs::{self, JobAlert};
use crate::model::Alert;

/// All that Medic shows at the end, oldest first.
pub(crate) struct Observed {
    pub(crate) alerts: Vec<Value>,
    /// By the place of their service.
    pub(crate) runs: Vec<Vec<jobs::ObservedRun>>,
    pub(crate) executions: Vec<Execution>,
    pub(crate) deliveries: Vec<Delivery>,
    /// By the place of their service.
    pub(crate) heartbeats: Vec<Vec<(DateTime<Utc>, String)>>,
}

/// A webhook's delivery as Medic shows it.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) webhook: i64,
    pub(crate) event: String,
    pub(crate) status: String,
    pub(crate) attempts: u64,
}

/// Attempts of a delivery, past which it is given up.
pub(crate) const MAX_DELIVERY_ATTEMPTS: u64 = 4;

impl Observed {
    /// Returns whether some event of this type was given up, because the webhook failed each time.
    pub(crate) fn gave_up_on(&self, event: &str, webhook: i64) -> bool {
        let is_this = |delivery: &&Delivery| delivery.event == event && delivery.webhook == webhook;
        self.deliveries.iter().filter(is_this).any(|delivery| delivery.status == "failed")
    }
}

pub(crate) fn time(of: &Value, name: &str) -> Option<DateTime<Utc>> {
    of[name].as_str().map(|text| text.parse().unwrap())
}

pub(crate) fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn alert(alert: &Value) -> Alert {
    Alert {
        id: alert["alert_id"].as_i64().unwrap(),
        opened: time(alert, "created_date").unwrap(),
        closed: time(alert, "closed_date"),
        cycle: alert["alert_cycle"].as_i64().unwrap(),
        is_reported: text(alert, "reason").starts_with("it reported "),
        names_gap: text(alert, "reason").contains("Medic could not hear "),
        is_resolved: !alert["resolved_by"].is_null(),
    }
}

pub(crate) fn job_alert(alert: &Value) -> JobAlert {
    let Alert { id, opened, closed, names_gap, is_resolved, .. } = self::alert(alert);
    let is_stale = text(alert, "alert_name").starts_with("Medic - Stale job detected for ");
    JobAlert { id, run: text(alert, "run_id"), is_stale, opened, closed, names_gap, is_resolved }
}

pub(crate) fn run(run: &Value) -> jobs::ObservedRun {
    jobs::ObservedRun {
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
        webhook: delivery["webhook_id"].as_i64().unwrap(),
        event: text(delivery, "event_type"),
        status: text(delivery, "status"),
        attempts: delivery["attempts"].as_u64().unwrap(),
    }
}

pub(crate) fn heartbeat(heartbeat: &Value) -> (DateTime<Utc>, String) {
    (time(heartbeat, "time").unwrap(), text(heartbeat, "status"))
}

pub(crate) fn execution(execution: &Value, audited: &[Value]) -> Execution {
    let step = |step: &Value| ObservedStep {
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
