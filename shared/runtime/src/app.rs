//! The state of every router and handler.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::PrometheusHandle;
use operations::Medic;

use crate::Clock;

/// Everything that a handler works with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub medic: Arc<Medic>,
    pub clock: Arc<dyn Clock>,
    /// What this process counted, where `/metrics` shows it; elsewhere metrics leave another way.
    pub prometheus: Option<PrometheusHandle>,
}

impl App {
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}
