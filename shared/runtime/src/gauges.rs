//! The gauges: how many of each thing there are.

use store::Stats;

use crate::descriptions::GAUGES;

/// A gauge, as `/metrics` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    pub name: &'static str,
    pub help: &'static str,
    pub value: i64,
}

/// Returns each gauge with its value.
pub fn gauges(stats: &Stats) -> [Gauge; 6] {
    let Stats {
        registered_services,
        active_services,
        alerts_active,
        stale_jobs_current,
        executions_pending_approval,
        circuits_open,
    } = *stats;
    let values = [
        registered_services,
        active_services,
        alerts_active,
        stale_jobs_current,
        executions_pending_approval,
        circuits_open,
    ];
    std::array::from_fn(|n| Gauge { name: GAUGES[n].0, help: GAUGES[n].1, value: values[n] })
}

/// Sets the gauges in whatever records this process's metrics.
pub fn record_gauges(stats: &Stats) {
    for Gauge { name, value, .. } in gauges(stats) {
        #[expect(clippy::cast_precision_loss, reason = "counts of things that people created")]
        metrics::gauge!(name).set(value as f64);
    }
}
