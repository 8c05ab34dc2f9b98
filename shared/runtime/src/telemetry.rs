//! Logs, and metrics as Prometheus reads them.

use std::io::IsTerminal as _;

use domain::{DeliveryStatus, RequestClass, Status};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use operations::AuthFailure;
use outbound::Delivery;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

use crate::descriptions::describe_metrics;

/// Crates of Medic, by the targets of what they log. What others log in detail holds what they send: keys and tokens.
const OURS: [&str; 13] = [
    "api",
    "domain",
    "ingest",
    "local",
    "medic_local",
    "notify",
    "operations",
    "outbound",
    "playbook",
    "runtime",
    "script",
    "store",
    "sweep",
];

/// Lets through what is ours, and of the rest nothing in detail.
fn without_secrets() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_targets(OURS.map(|target| (target, LevelFilter::TRACE)))
}

/// Logs to stderr what `filter` lets through.
pub fn init_logging(filter: Targets) {
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    if registry().with(filter).with(without_secrets()).with(lines).try_init().is_err() {
        tracing::debug!("logging was set up before");
    }
}

/// Logs to stderr what `filter` lets through, a JSON object a line.
#[cfg(feature = "lambda")]
pub(crate) fn init_json_logging(filter: Targets) {
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    if registry().with(filter).with(without_secrets()).with(lines).try_init().is_err() {
        tracing::debug!("logging was set up before");
    }
}

/// Records the process's metrics so that `/metrics` can show them. Once a process.
pub fn prometheus() -> Result<PrometheusHandle, BuildError> {
    let execution = [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
    let lag = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
    let cycle = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
    let named = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(named("medic_playbook_execution_duration_seconds"), &execution)?
        .set_buckets_for_metric(named("medic_detection_lag_seconds"), &lag)?
        .set_buckets_for_metric(named("medic_worker_cycle_duration_seconds"), &cycle)?
        .install_recorder()?;
    describe_metrics();
    // Known from the start, so that a rate over their first event is one.
    metrics::counter!("medic_alerts_resolved_total").increment(0);
    metrics::counter!("medic_worker_services_checked_total").increment(0);
    metrics::counter!("medic_worker_failures_total").increment(0);
    metrics::counter!("medic_notifications_failed_total").increment(0);
    for status in [DeliveryStatus::Success, DeliveryStatus::Retrying, DeliveryStatus::Failed] {
        metrics::counter!("medic_webhook_deliveries_total", "status" => status.as_str()).increment(0);
    }
    for status in Status::ALL {
        metrics::counter!("medic_heartbeats_total", "status" => status.as_str()).increment(0);
    }
    for failure in AuthFailure::ALL {
        metrics::counter!("medic_auth_failures_total", "reason" => failure.reason()).increment(0);
    }
    for class in RequestClass::ALL {
        metrics::counter!("medic_rate_limited_total", "class" => class.as_str()).increment(0);
    }
    for label in Delivery::LABELS {
        metrics::counter!("medic_slack_requests_total", "status" => label).increment(0);
        metrics::counter!("medic_pagerduty_requests_total", "status" => label).increment(0);
    }
    Ok(handle)
}
