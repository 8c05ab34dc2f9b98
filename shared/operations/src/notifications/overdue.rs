//! Hands over what nobody has sent: a notification whose message was lost or that is being retried, and a delivery whose
//! next attempt is due.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{DeliveryId, NotificationId, NotificationOwner, WebhookId};
use store::{HAND_OVER_AGAIN, Queue};

use crate::batch::Batch;
use crate::{Error, Medic};

impl Medic {
    /// Hands over a notification whose receivers have not all responded. Returns when it is next due.
    pub(crate) async fn hand_over_notification_again(
        &self,
        owner: NotificationOwner,
        id: NotificationId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some((notification, queue)) = self.table.notification(owner, id).await? else { return Ok(None) };
        if notification.is_settled() {
            self.table.end_notification(&notification).await?;
            return Ok(None);
        }
        let age = (now - notification.at).clamp(HAND_OVER_AGAIN, TimeDelta::minutes(10));
        let next = now + age;
        if queue == Queue::Later {
            self.table.queue_notification(&notification, now).await?;
        }
        self.table.postpone_notification(&notification, next).await?;
        batch.remember_notification(&notification);
        Ok(Some(next))
    }

    /// Puts a delivery whose next attempt is due into its lane. Returns when it is next due: until it is settled it comes
    /// back, should nobody have attempted it.
    pub(crate) async fn requeue_delivery(
        &self,
        webhook_id: WebhookId,
        id: DeliveryId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let delivery = self.table.delivery(webhook_id, id).await?;
        let Some(delivery) = delivery.filter(|delivery| delivery.status.is_open()) else { return Ok(None) };
        if let Some(at) = delivery.next_attempt_at.filter(|at| *at > now) {
            self.table.postpone_delivery(&delivery, at).await?;
            return Ok(Some(at));
        }
        let next = now + HAND_OVER_AGAIN;
        self.table.postpone_delivery(&delivery, next).await?;
        self.table.requeue_delivery(&delivery, now).await?;
        batch.remember_delivery(&delivery);
        Ok(Some(next))
    }
}
