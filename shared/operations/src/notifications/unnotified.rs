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
            let heard = if others().all(Outcome::is_failure) { self.heard_of(&found).await? } else { Heard::Yes };
            match heard {
                Heard::Nobody(alert) => self.record_last_failure(&found, failed, *alert, now).await,
                Heard::NotYet(other, receiver) => {
                    let mut writes = Writes::new();
                    writes.settle_last(&self.table, &found, failed)?;
                    // Should it fail at this moment, then one of the two sees the other.
                    writes.check_pending(&self.table, &other, &receiver)?;
                    Ok((self.table.commit(writes).await? == Commit::Done).then_some(()))
                }
                Heard::Yes => Ok(Some(self.table.settle(&found, failed).await?)),
            }
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

    /// Returns who heard of the alert of a notification that nobody accepted.
    async fn heard_of(&self, refused: &Notification) -> Result<Heard, Error> {
        let NotificationOwner::Alert(id) = refused.owner() else { return Ok(Heard::Yes) };
        let alert = self.table.alerts_by_id([id]).await?.pop().filter(|alert| !alert.is_unnotified);
        let Some(alert) = alert else { return Ok(Heard::Yes) };
        let mut notifications = self.table.notifications(refused.owner()).await?;
        notifications.retain(|one| one.id != refused.id && one.alert().is_some_and(|(kind, _)| kind.raises_alert()));
        let outcomes = || notifications.iter().flat_map(|one| one.outcomes.iter().map(move |outcome| (one, outcome)));
        if outcomes().any(|(_, outcome)| outcome.is_success()) {
            return Ok(Heard::Yes);
        }
        let pending = outcomes().find(|(_, outcome)| outcome.is_pending());
        Ok(match pending {
            Some((one, outcome)) => Heard::NotYet(Box::new(one.clone()), outcome.receiver.clone()),
            None => Heard::Nobody(Box::new(alert)),
        })
    }
}

/// Who heard of an alert.
enum Heard {
    /// Somebody did, or that nobody did is reported already.
    Yes,
    /// Another notification of it is still to be sent.
    NotYet(Box<Notification>, Receiver),
    Nobody(Box<Alert>),
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
