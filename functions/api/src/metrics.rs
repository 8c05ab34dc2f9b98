//! `/metrics`: what this process counted, and the gauges that outlive it.

use axum::extract::State;
use axum::http::{HeaderName, header};
use metrics_exporter_prometheus::PrometheusHandle;
use runtime::{ApiError, App, Envelope, Gauge, gauges};

/// Returns metrics in the Prometheus text format, version 0.0.4.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses(
        (
            status = 200,
            description = "Metrics",
            body = String,
            content_type = "text/plain",
            example = "# HELP medic_alerts_active Alerts that are open.\n# TYPE medic_alerts_active gauge\nmedic_alerts_active 1\n"
        ),
        (status = 503, description = "Storage is out of reach", body = Envelope<String>),
    )
)]
pub(crate) async fn metrics(State(app): State<App>) -> Result<([(HeaderName, &'static str); 1], String), ApiError> {
    let mut stats = app.medic.table.stats().await?;
    if app.prometheus.is_some() {
        // In one process what is open can be counted as it is now.
        stats = app.medic.table.recount(stats, app.now()).await?;
    }
    let mut text = app.prometheus.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    for Gauge { name, help, value } in gauges(&stats) {
        text.extend([
            format!("# HELP {name} {help}\n"),
            format!("# TYPE {name} gauge\n"),
            format!("{name} {value}\n\n"),
        ]);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
