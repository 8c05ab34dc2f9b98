//! Which notifications mutes hold back, derived simply and apart from `domain`.

use chrono::{DateTime, Utc};

use crate::model::{Alert, ChangeKind, Service, Span, Tolerance};

/// Whether receivers must, may or must not be notified of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    Required,
    Allowed,
    Forbidden,
}

/// What receivers are to be notified of about one alert.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpectedNotifications {
    pub(crate) opening: Expectation,
    pub(crate) recovery: Expectation,
    /// The recovery is that somebody closed it by hand.
    pub(crate) is_resolved: bool,
}

/// A mute, as exactly as the responses and Medic's delay tell.
struct Mute {
    /// When the service may have been muted.
    possible: Span,
    /// When it was muted for sure.
    certain: Span,
}

impl Service {
    /// The mutes of the service. A recovery ends a mute.
    fn mutes(&self, alerts: &[Alert], tolerance: Tolerance) -> Vec<Mute> {
        let is_mute = |kind: &ChangeKind| matches!(kind, ChangeKind::Mute(_) | ChangeKind::Unmute);
        let changes: Vec<_> = self.changes.iter().filter(|change| is_mute(&change.kind)).collect();
        let mut mutes = Vec::new();
        for (place, change) in changes.iter().enumerate() {
            let ChangeKind::Mute(until) = change.kind else { continue };
            let next = changes.get(place + 1);
            let closings = || alerts.iter().filter_map(|alert| alert.closed);
            let may_end = closings().find(|closed| *closed >= change.first - tolerance.early);
            let recovered = closings().find(|closed| {
                *closed > change.last + tolerance.early && !self.may_be_switched_off(*closed, tolerance)
            });
            let certain_end = [Some(until), next.map(|next| next.first), may_end].into_iter().flatten().min();
            let possible_end = [Some(until), next.map(|next| next.last), recovered].into_iter().flatten().min();
            mutes.push(Mute {
                possible: Span { from: change.first, to: possible_end.unwrap_or(until) + tolerance.late },
                certain: Span { from: change.last, to: certain_end.unwrap_or(until) },
            });
        }
        mutes
    }

    /// Returns whether the service may be muted at some instant of a span, its end included.
    pub(crate) fn may_be_muted(&self, alerts: &[Alert], span: Span, tolerance: Tolerance) -> bool {
        let mutes = self.mutes(alerts, tolerance);
        mutes.iter().any(|mute| mute.possible.from <= span.to && span.from < mute.possible.to)
    }

    /// What receivers are to be notified of about an alert.
    pub(crate) fn expected_notifications(
        &self,
        alert: &Alert,
        alerts: &[Alert],
        end: DateTime<Utc>,
        tolerance: Tolerance,
    ) -> ExpectedNotifications {
        let mutes = self.mutes(alerts, tolerance);
        let closed = alert.closed.unwrap_or(end);
        let may_be_muted =
            |from, to| mutes.iter().any(|mute: &Mute| mute.possible.from <= to && from < mute.possible.to);
        let is_sent_later = mutes.iter().any(|mute| {
            let unmuted = mute.possible.to;
            let is_open = alert.opened <= unmuted && unmuted + tolerance.late < closed;
            is_open && !may_be_muted(unmuted, unmuted + tolerance.late)
        });
        let is_covered = |mute: &Mute| mute.certain.from <= alert.opened - tolerance.early && mute.certain.to >= closed;
        let opening = if is_sent_later || !may_be_muted(alert.opened - tolerance.early, alert.opened + tolerance.early)
        {
            Expectation::Required
        } else if mutes.iter().any(is_covered) {
            Expectation::Forbidden
        } else {
            Expectation::Allowed
        };
        let recovery = if alert.is_resolved {
            opening
        } else if !self.has_recovered(alert, closed, tolerance) {
            Expectation::Forbidden
        } else if opening == Expectation::Required && self.may_be_switched_off(closed, tolerance) {
            Expectation::Allowed
        } else {
            opening
        };
        ExpectedNotifications { opening, recovery, is_resolved: alert.is_resolved }
    }
}
