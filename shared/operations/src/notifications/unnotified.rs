//! Reports alerts of which every receiver refused to be notified: to the default channel, or where that refused as well in
//! the log and in a metric. Once for each alert, decided with the last refusal.

use chrono::{DateTime, Utc};
use domain::{Alert, Notification, NotificationKind, NotificationOwner, Outcome, Receiver};
use store::{Commit, Writes};

use super::drain::is_pending;
use crate::outbox::Outbox;
use crate::retry::retry_on_conflict;
use crate::{Error, Medic};

impl Medic {
    /// Marks an alert of which every receiver refuses to be notified. Returns the notification of that for the default
    /// channel.
    pub(crate) fn report_unnotified(
        &self,
        alert: &mut Alert,
        refused: &[Outcome],
        at: DateTime<Utc>,
    ) -> Result<Option<Notification>, Error> {
        alert.is_unnotified = true;
        let channel = self.settings.slack_channel.clone().map(|channel| Receiver::Slack { channel });
        let channel = channel.filter(|channel| !refused.iter().any(|outcome| outcome.receiver == *channel));
        let Some(channel) = channel else {
            report_nobody(alert);
            return Ok(None);
        };
        self.notification_of(NotificationKind::Unnotified, alert, vec![Outcome::to(channel, None)], at)
    }

    /// Records that a notification failed for good at one receiver. Where that was the last one of its alert, the
    /// transaction that records it also says who hears of that.
    pub(super) async fn record_failure(
        &self,
        receiver: &Receiver,
        notification: &Notification,
        failed: &Outcome,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (owner, id) = (notification.owner(), notification.id);
        retry_on_conflict(id, || async move {
            // As it is now: others may have refused it meanwhile.
            let found = self.table.notifications_by_id(&[(owner, id)]).await?.remove(&id).transpose()?;
            let Some(found) = found.filter(|found| is_pending(found, receiver)) else { return Ok(Some(())) };
            let others = || found.outcomes.iter().filter(|outcome| outcome.receiver != *receiver);
            if let Some(pending) = others().find(|outcome| outcome.is_pending()) {
                let settled = self.table.settle_before(&found, failed, &pending.receiver).await?;
                return Ok((settled == Commit::Done).then_some(()));
            }
            let is_last = others().all(Outcome::is_failure);
            if is_last && let Some(alert) = self.unnotified_alert(&found).await? {
                return self.record_last_failure(&found, failed, alert, now).await;
            }
            if self.table.settle(&found, failed).await? {
                self.table.end_notification(&found).await?;
            }
            Ok(Some(()))
        })
        .await
    }

    /// Records that a notification failed at the last receiver of its alert. None after a conflict.
    async fn record_last_failure(
        &self,
        notification: &Notification,
        failed: &Outcome,
        mut alert: Alert,
        now: DateTime<Utc>,
    ) -> Result<Option<()>, Error> {
        let mut writes = Writes::new();
        writes.settle_last(&self.table, notification, failed)?;
        writes.mark_unnotified(&self.table, alert.id)?;
        let at = now.max(notification.at);
        let outbox = Outbox::of(self.report_unnotified(&mut alert, &notification.outcomes, at)?);
        outbox.add_to(&mut writes, &self.table)?;
        if self.table.commit(writes).await? == Commit::Conflict {
            return Ok(None);
        }
        self.hand_over(&outbox, now).await;
        Ok(Some(()))
    }

    /// Returns the alert of a notification, if nobody was notified of it and that was not reported.
    async fn unnotified_alert(&self, notification: &Notification) -> Result<Option<Alert>, Error> {
        let NotificationOwner::Alert(id) = notification.owner() else { return Ok(None) };
        let alert = self.table.alerts_by_id([id]).await?.pop().filter(|alert| !alert.is_unnotified);
        let Some(alert) = alert else { return Ok(None) };
        let was_notified = |one: &Notification| {
            one.alert().is_some_and(|(kind, _)| kind.raises_alert()) && one.outcomes.iter().any(Outcome::is_success)
        };
        let notifications = self.table.notifications(notification.owner()).await?;
        Ok(Some(alert).filter(|_| !notifications.iter().any(was_notified)))
    }
}

/// Reports that nobody can be notified of an alert, not even that nobody was. It may be reported twice, and is never left
/// out: it comes before what it reports is committed.
pub(super) fn report_nobody(alert: &Alert) {
    metrics::counter!("medic_alerts_unnotified_total").increment(1);
    tracing::error!(
        alert.id = %alert.id,
        service.id = %alert.service_id,
        reason = %alert.reason,
        "nobody was notified of an alert, and the default channel cannot be"
    );
}
