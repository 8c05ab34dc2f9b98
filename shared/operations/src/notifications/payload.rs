//! What events say of an alert to webhooks and to targets with an address of their own.

use domain::{Alert, format_time};
use serde_json::{Value, json};

/// Returns the data of an alert's event.
pub(super) fn event_data(alert: &Alert) -> Value {
    let service = &alert.service;
    let mut data = json!({
        "alert_id": alert.id.get(),
        "alert_name": alert.name(),
        "alert_cycle": alert.cycle,
        "active": alert.is_open(),
        "reason": alert.reason,
        "external_reference_id": alert.dedup_key(),
        "created_date": format_time(alert.created_at),
        "closed_date": alert.closed_at.map(format_time),
        "service_id": alert.service_id.get(),
        "heartbeat_name": service.heartbeat_name,
        "service_name": service.service_name,
        "team": service.team,
        "priority": service.priority.as_str(),
        "runbook": service.runbook,
    });
    if let Some(job) = alert.job() {
        data["run_id"] = job.run_id.as_str().into();
    }
    if let Some(by) = alert.resolved_by() {
        data["resolved_by"] = by.into();
    }
    if let Some(why) = alert.resolution() {
        data["resolution"] = why.into();
    }
    data
}
