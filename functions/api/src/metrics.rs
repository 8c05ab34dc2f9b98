//! `/metrics`: what this process counted, and the gauges that outlive it.

use axum::extract::State;
use axum::http::{HeaderName, header};
use metrics_exporter_prometheus::PrometheusHandle;
use runtime::{ApiError, App};

/// Metrics in the Prometheus text format, version 0.0.4.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")),
    security(())
)]
pub(crate) async fn metrics(State(app): State<App>) -> Result<([(HeaderName, &'static str); 1], String), ApiError> {
    let mut stats = app.medic.table.stats().await?;
    if app.prometheus.is_some() {
        // In one process the open alerts can be counted as they are now.
        stats.alerts_active = app.medic.table.count_open_alerts().await?;
    }
    let gauges = [
        ("medic_registered_services", stats.registered_services),
        ("medic_active_services", stats.active_services),
        ("medic_alerts_active", stats.alerts_active),
        ("medic_stale_jobs_current", stats.stale_jobs_current),
        ("medic_playbook_executions_pending_approval", stats.executions_pending_approval),
        ("medic_circuit_breaker_open", stats.circuits_open),
    ];
    let mut text = app.prometheus.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    for (name, value) in gauges {
        text.extend(["# TYPE ", name, " gauge\n", name, " ", &value.to_string(), "\n"]);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
