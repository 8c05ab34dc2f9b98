//! What mutes keep from people, read simply and apart from `domain`.

use chrono::{DateTime, Utc};

use crate::model::{Alert, Service, Span, Tolerance, What};

/// What must or may have been told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owed {
    Must,
    May,
    Never,
}

impl Service {
    /// When it may have been muted, and when it was for sure. A recovery ends a mute.
    fn mutes(&self, alerts: &[Alert], tolerance: Tolerance) -> Vec<(Span, Span)> {
        let mutes = self.changes.iter().filter(|change| matches!(change.what, What::Mute(_) | What::Unmute));
        let mutes: Vec<_> = mutes.collect();
        let mut spans = Vec::new();
        for (place, change) in mutes.iter().enumerate() {
            let What::Mute(until) = change.what else { continue };
            let next = mutes.get(place + 1);
            let closings = || alerts.iter().filter_map(|alert| alert.closed);
            let may_end = closings().find(|closed| *closed >= change.first - tolerance.early);
            let recovered = closings().find(|closed| {
                *closed > change.last + tolerance.early && !self.may_be_switched_off(*closed, tolerance)
            });
            let sure = [Some(until), next.map(|next| next.first), may_end].into_iter().flatten().min();
            let may = [Some(until), next.map(|next| next.last), recovered].into_iter().flatten().min();
            spans.push((
                Span { from: change.first, to: may.unwrap_or(until) + tolerance.late },
                Span { from: change.last, to: sure.unwrap_or(until) },
            ));
        }
        spans
    }

    pub(crate) fn may_be_muted(
        &self,
        alerts: &[Alert],
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        tolerance: Tolerance,
    ) -> bool {
        self.mutes(alerts, tolerance).iter().any(|(may, _)| may.from <= to && from < may.to)
    }

    /// Whether people must have been told of an alert; and whether of its recovery.
    pub(crate) fn owed(
        &self,
        alert: &Alert,
        alerts: &[Alert],
        end: DateTime<Utc>,
        tolerance: Tolerance,
    ) -> (Owed, Owed) {
        let mutes = self.mutes(alerts, tolerance);
        let closed = alert.closed.unwrap_or(end);
        let may_be_muted = |from, to| mutes.iter().any(|(may, _)| may.from <= to && from < may.to);
        let is_told_later = mutes.iter().any(|(may, _)| {
            alert.opened <= may.to && may.to + tolerance.late < closed && !may_be_muted(may.to, may.to + tolerance.late)
        });
        let told = if !may_be_muted(alert.opened - tolerance.early, alert.opened + tolerance.early) || is_told_later {
            Owed::Must
        } else if mutes.iter().any(|(_, sure)| sure.from <= alert.opened - tolerance.early && sure.to >= closed) {
            Owed::Never
        } else {
            Owed::May
        };
        let recovery = if !self.has_recovered(alert, closed, tolerance) {
            Owed::Never
        } else if told == Owed::Must && self.may_be_switched_off(closed, tolerance) {
            Owed::May
        } else {
            told
        };
        (told, recovery)
    }
}
