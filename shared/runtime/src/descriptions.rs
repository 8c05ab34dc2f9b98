//! What each metric says, with its unit: the `# HELP` lines of `/metrics`.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Describes every metric to whatever records this process's.
pub(crate) fn describe_metrics() {
    for (name, help) in COUNTERS {
        describe_counter!(name, Unit::Count, help);
    }
    for (name, help) in SECONDS {
        describe_histogram!(name, Unit::Seconds, help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(name, Unit::Count, help);
    }
}

const COUNTERS: [(&str, &str); 16] = [
    ("medic_heartbeats_total", "Heartbeats and job signals that were recorded, by status."),
    ("medic_alerts_total", "Alerts that opened, by the service's priority and team."),
    ("medic_alerts_resolved_total", "Alerts that closed."),
    ("medic_alerts_unnotified_total", "Alerts of which nobody could be notified, not even the default channel."),
    ("medic_duration_alerts_total", "Alerts about the duration of a job's run, by type: exceeded or stale."),
    ("medic_worker_services_checked_total", "Services whose deadline was checked."),
    ("medic_worker_failures_total", "Due rows whose handling failed."),
    ("medic_gaps_total", "Spans in which Medic could not hear."),
    ("medic_notifications_failed_total", "Notifications that were given up."),
    ("medic_slack_requests_total", "Requests to Slack, by outcome."),
    ("medic_pagerduty_requests_total", "Requests to PagerDuty, by outcome."),
    ("medic_webhook_deliveries_total", "Attempts to deliver to webhooks, by outcome."),
    ("medic_auth_failures_total", "Requests that failed authentication, by reason."),
    ("medic_rate_limited_total", "Requests over their limit, by class."),
    ("medic_playbook_executions_total", "Playbook executions that ended, by playbook and status."),
    (
        "medic_circuit_breaker_trips_total",
        "Times that a circuit breaker opened, by service; all for that of all services.",
    ),
];

const SECONDS: [(&str, &str); 3] = [
    ("medic_playbook_execution_duration_seconds", "From the start of a playbook execution to its end, in seconds."),
    ("medic_worker_cycle_duration_seconds", "How long a sweep took, in seconds."),
    ("medic_detection_lag_seconds", "From a service's deadline to the opening of its alert, in seconds."),
];

/// The gauges, in the order in which [`crate::gauges()`] returns them.
pub(crate) const GAUGES: [(&str, &str); 6] = [
    ("medic_registered_services", "Services that are registered."),
    ("medic_active_services", "Services that are active."),
    ("medic_alerts_active", "Alerts that are open."),
    ("medic_stale_jobs_current", "Runs of jobs that are reported as stale and have not ended."),
    ("medic_playbook_executions_pending_approval", "Playbook executions that await approval."),
    ("medic_circuit_breaker_open", "Circuit breakers that are open: of services, and of all."),
];
