//! Says which notifications need not be sent any more, because something later superseded them.

use domain::{Alert, Notification, NotificationKind, Outcome, PlaybookEvent, Receiver};

use crate::{Error, Medic};

impl Medic {
    /// Returns why a notification need not be sent any more, or never: what it says has passed, or its receiver was not
    /// notified of the alert that it ends.
    pub(super) async fn superseded_reason(
        &self,
        notification: &Notification,
        alerts: &[Alert],
        receiver: &Receiver,
    ) -> Result<Option<&'static str>, Error> {
        let Some((kind, then)) = notification.alert() else {
            return self.decided_reason(notification, receiver).await;
        };
        if kind.can_be_superseded() {
            let superseded = Some("superseded by a later notification");
            let Some(alert) = alerts.iter().find(|alert| alert.id == then.id) else { return Ok(superseded) };
            let is_reminder = kind == NotificationKind::Reminder;
            let is_newer = is_reminder && (alert.cycle > then.cycle || alert.acknowledged_at.is_some());
            if !alert.is_open() || is_newer {
                return Ok(superseded);
            }
        }
        if !kind.raises_alert() && !self.was_notified(then.id, receiver).await? {
            return Ok(Some("not sent: this receiver was not notified of the alert"));
        }
        Ok(None)
    }

    /// Returns why an approval request, or the decision about it, need not be sent to a receiver any more.
    async fn decided_reason(
        &self,
        notification: &Notification,
        receiver: &Receiver,
    ) -> Result<Option<&'static str>, Error> {
        if !notification.stands_alone() {
            return Ok(None);
        }
        if !is_approval_request(notification) {
            let request = self.approval_request_before(notification).await?;
            let was_asked = request.is_some_and(|request| request.outcome(receiver).is_some_and(Outcome::is_success));
            return Ok((!was_asked).then_some("not sent: this receiver was not asked for approval"));
        }
        let notifications = self.table.notifications(notification.owner()).await?;
        let is_decision = |other: &Notification| other.stands_alone() && !is_approval_request(other);
        Ok(notifications.iter().any(is_decision).then_some("superseded by the decision"))
    }

    /// Returns the approval request that a decision belongs to.
    pub(super) async fn approval_request_before(&self, decision: &Notification) -> Result<Option<Notification>, Error> {
        Ok(self.table.notifications(decision.owner()).await?.into_iter().rfind(is_approval_request))
    }
}

pub(super) fn is_approval_request(notification: &Notification) -> bool {
    notification.playbook().is_some_and(|playbook| matches!(playbook.event, PlaybookEvent::ApprovalRequested(_)))
}
