//! The gauges: what exists, by the names that metrics have for it.

use store::Stats;

/// Each gauge's name and value.
pub fn gauges(stats: &Stats) -> [(&'static str, i64); 6] {
    let Stats {
        registered_services,
        active_services,
        alerts_active,
        stale_jobs_current,
        executions_pending_approval,
        circuits_open,
    } = *stats;
    [
        ("medic_registered_services", registered_services),
        ("medic_active_services", active_services),
        ("medic_alerts_active", alerts_active),
        ("medic_stale_jobs_current", stale_jobs_current),
        ("medic_playbook_executions_pending_approval", executions_pending_approval),
        ("medic_circuit_breaker_open", circuits_open),
    ]
}

/// Tells the gauges to whatever records this process's metrics.
pub fn record_gauges(stats: &Stats) {
    for (name, value) in gauges(stats) {
        #[expect(clippy::cast_precision_loss, reason = "counts of things that people made")]
        metrics::gauge!(name).set(value as f64);
    }
}
