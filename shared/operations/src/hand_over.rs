//! Hands over what was committed: does what was too much for one transaction, and wakes whoever sends or starts it. What is
//! not done here falls due.

use chrono::{DateTime, Utc};
use domain::{AlertId, TriggerId};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use outbound::Wake;

use crate::batch::{Batch, Unqueued};
use crate::error::error_chain;
use crate::outbox::Outbox;
use crate::{Error, Medic};

/// What is put into lanes, starts that are closed, and wake-ups that are sent, at once.
const AT_ONCE: usize = 8;

impl Medic {
    /// Wakes whoever sends or starts what was committed.
    pub(crate) async fn hand_over(&self, outbox: &Outbox, now: DateTime<Utc>) {
        let batch = Batch::default();
        batch.remember(outbox);
        self.wake_lanes(&batch, now).await;
    }

    /// Wakes the senders of what was committed so far, each lane's once, and whoever starts the playbooks of alerts.
    pub(crate) async fn wake_lanes(&self, batch: &Batch, now: DateTime<Utc>) {
        self.queue_later(batch.take_unqueued(), now).await;
        let lanes = batch.take_lanes().into_iter().map(|lane| Wake::Lane { lane });
        let starts = batch.take_starts().into_iter();
        let starts = starts.map(|(alert, trigger)| Wake::Start { alert_id: alert.get(), trigger_id: trigger.get() });
        let wakes: Vec<_> = lanes.chain(starts).map(|wake| self.wake(wake, now)).collect();
        stream::iter(wakes).buffer_unordered(AT_ONCE).collect::<()>().await;
        // Last, so that no notification waits for it.
        let closed: Vec<_> = batch.take_closed().into_iter().map(|alert| self.close_starts_of(alert, now)).collect();
        stream::iter(closed).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn close_starts_of(&self, alert: AlertId, now: DateTime<Utc>) {
        if let Err(error) = self.close_starts(alert, now).await {
            tracing::warn!(alert.id = %alert, error = %error_chain(&error), "the starts of an alert were not closed");
        }
    }

    /// Puts what was too much for one transaction into its lanes. What is not put there comes back when its row falls due.
    pub(crate) async fn queue_later(&self, unqueued: Vec<Unqueued>, now: DateTime<Utc>) {
        let queued: Vec<_> = unqueued.iter().map(|one| self.queue_one(one, now)).collect();
        stream::iter(queued).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn queue_one(&self, unqueued: &Unqueued, now: DateTime<Utc>) {
        let queued = match unqueued {
            Unqueued::Notification(notification) => self.table.queue_notification(notification, now).await,
            Unqueued::Delivery(delivery) => self.table.requeue_delivery(delivery, now).await,
        };
        if let Err(error) = queued {
            tracing::warn!(error = %error_chain(&error), "what was committed was not queued");
        }
    }

    /// Lets what an alert started learn that the alert has closed. There may be any number of starts, which need not fit
    /// into one transaction: each is marked by itself, and the alert is due until all are.
    pub(crate) async fn close_starts(&self, id: AlertId, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(alert) = self.table.alert(id).await?.filter(|alert| !alert.is_open()) else { return Ok(None) };
        let closed: Vec<_> = alert.triggered.iter().map(|trigger| self.close_start(id, *trigger, now)).collect();
        stream::iter(closed).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.table.end_alert(id).await?;
        Ok(None)
    }

    async fn close_start(&self, alert: AlertId, trigger: TriggerId, now: DateTime<Utc>) -> Result<(), Error> {
        self.table.close_start(alert, trigger, now).await?;
        self.wake(Wake::Start { alert_id: alert.get(), trigger_id: trigger.get() }, now).await;
        Ok(())
    }
}
