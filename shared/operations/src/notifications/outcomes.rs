//! Records what became of a notification at each receiver, and gives the next target its turn where one failed.

use chrono::{DateTime, Utc};
use domain::{Alert, Notification, NotificationKind, NotificationOwner, Outcome, Receiver, shorten};
use outbound::Wake;
use store::{Commit, Lane};

use super::drain::{ReceiverLane, is_pending};
use super::unnotified::report_nobody;
use crate::{Error, Medic};

/// How much is kept of what a receiver said.
const MAX_ERROR_CHARS: usize = 500;

impl Medic {
    /// Ends a notification at one receiver, accepted or with an error for good.
    pub(super) async fn end(
        &self,
        at: ReceiverLane<'_>,
        notification: &Notification,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if let Some(error) = &error {
            metrics::counter!("medic_notifications_failed_total").increment(1);
            tracing::error!(lane = %at.lane, owner = %notification.owner(), error, "a notification was not delivered");
            if let Some((NotificationKind::Unnotified, alert)) = notification.alert() {
                report_nobody(alert);
            }
        }
        let Some(outcome) = self.outcome_unless_passed_on(at.receiver, notification, error, now).await? else {
            return Ok(());
        };
        if outcome.is_failure() && notification.alert().is_some_and(|(kind, _)| kind.raises_alert()) {
            return self.record_failure(at.receiver, notification, &outcome, now).await;
        }
        Ok(self.table.settle(notification, &outcome).await?)
    }

    /// Ends a notification at one receiver that need not be sent there any more. Its receiver did not refuse it.
    pub(super) async fn end_superseded(
        &self,
        receiver: &Receiver,
        notification: &Notification,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        match self.outcome_unless_passed_on(receiver, notification, Some(reason.to_owned()), now).await? {
            Some(outcome) => Ok(self.table.settle(notification, &outcome).await?),
            None => Ok(()),
        }
    }

    /// Returns what became of a notification at one receiver. None where that is recorded: with an error, it was the next
    /// one's turn.
    async fn outcome_unless_passed_on(
        &self,
        receiver: &Receiver,
        notification: &Notification,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Option<Outcome>, Error> {
        let Some(pending) = notification.outcome(receiver) else { return Ok(None) };
        let error = error.map(|error| shorten(&error, MAX_ERROR_CHARS));
        let outcome = Outcome { at: Some(now), error, ..pending.to_same_receiver() };
        let next = if outcome.error.is_some() { notification.next_after(receiver) } else { None };
        let is_passed_on = match next {
            Some(next) => self.pass_on(notification, &outcome, next, now).await?,
            None => false,
        };
        Ok((!is_passed_on).then_some(outcome))
    }

    /// Gives the next target its turn. Returns whether it has it: of an alert that has closed it is not notified.
    async fn pass_on(
        &self,
        notification: &Notification,
        failed: &Outcome,
        next: &Outcome,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        if self.table.pass_on(notification, failed, next).await? == Commit::Conflict {
            let ids = [(notification.owner(), notification.id)];
            let found = self.table.notifications_by_id(&ids).await?.remove(&notification.id).transpose()?;
            if found.is_some_and(|found| is_pending(&found, &failed.receiver)) {
                return match notification.owner() {
                    NotificationOwner::Alert(id)
                        if !self.table.alerts_by_id([id]).await?.iter().any(Alert::may_still_notify) =>
                    {
                        Ok(false)
                    }
                    // Others kept writing to the notification or to the alert.
                    NotificationOwner::Alert(_)
                    | NotificationOwner::Window(_)
                    | NotificationOwner::Execution(_)
                    | NotificationOwner::Circuit(_) => Err(Error::contended(notification.id)),
                };
            }
        }
        self.wake(Wake::Lane { lane: Lane::of(&next.receiver).to_string() }, now).await;
        Ok(true)
    }
}
