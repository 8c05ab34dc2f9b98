//! Alerts that people close by hand, derived simply and apart from `domain`.

use chrono::{DateTime, TimeDelta, Utc};

use crate::jobs::JobAlert;
use crate::model::{Alert, Service};

/// Somebody's request to close an alert, which was acknowledged: it closed at some instant between the first attempt and
/// the time by which Medic acts on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolution {
    pub(crate) alert: i64,
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    /// An earlier attempt got no response, and the alert was closed when the last one did.
    pub(crate) is_unsure: bool,
}

impl Service {
    /// Learns when alerts closed by hand: the service counts from then. Returns what was not closed though somebody closed
    /// it, and what is shown as closed by somebody though nobody did.
    pub(crate) fn learn_resolutions(
        &mut self,
        alerts: &[Alert],
        of_runs: &[JobAlert],
        early: TimeDelta,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let of_service = alerts.iter().map(|alert| (alert.id, alert.closed, alert.is_resolved));
        let of_runs = of_runs.iter().map(|alert| (alert.id, alert.closed, alert.is_resolved));
        for (id, closed, is_resolved) in of_service.clone().chain(of_runs) {
            let is_by = |resolution: &&Resolution| {
                let span = resolution.first - early..=resolution.last + early;
                resolution.alert == id && closed.is_some_and(|closed| span.contains(&closed))
            };
            if is_resolved && !self.resolutions.iter().any(|resolution| is_by(&resolution)) {
                wrong.push(format!("{}: nobody closed alert {id} by hand", self.name));
            }
            let own = self.resolutions.iter().filter(|resolution| resolution.alert == id && !resolution.is_unsure);
            let left = own.filter(|resolution| closed.is_none_or(|closed| closed > resolution.last + early));
            wrong.extend(left.map(|resolution| format!("{}: alert {id} did not close: {resolution:?}", self.name)));
        }
        self.resolved =
            of_service.filter(|(_, _, is_resolved)| *is_resolved).filter_map(|(_, closed, _)| closed).collect();
        wrong
    }
}
