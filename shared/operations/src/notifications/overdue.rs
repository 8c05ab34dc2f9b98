//! Hands over again what nobody has sent in time: a notification or a delivery whose message was lost, or that is being
//! retried.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{DeliveryId, NotificationId, NotificationOwner, WebhookId};
use store::HAND_OVER_AGAIN;

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
        let Some(notification) = self.table.notification(owner, id).await? else { return Ok(None) };
        if notification.is_settled() {
            self.table.end_notification(&notification).await?;
            return Ok(None);
        }
        let age = (now - notification.at).clamp(HAND_OVER_AGAIN, TimeDelta::minutes(10));
        let next = now + age;
        self.table.postpone_notification(&notification, next).await?;
        batch.remember_notification(&notification);
        Ok(Some(next))
    }

    /// Hands over a delivery that is not settled. Returns when it is next due.
    pub(crate) async fn hand_over_delivery_again(
        &self,
        webhook_id: WebhookId,
        id: DeliveryId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(delivery) = self.table.delivery(webhook_id, id).await? else { return Ok(None) };
        if !delivery.status.is_open() {
            return Ok(None);
        }
        let next = now + HAND_OVER_AGAIN;
        self.table.postpone_delivery(&delivery, next).await?;
        self.table.requeue_delivery(&delivery).await?;
        self.wake_webhook(webhook_id, now).await;
        Ok(Some(next))
    }
}
