//! Deliveries of events to webhooks: created with what they report, listed, and sent once more.

use chrono::{DateTime, Utc};
use domain::{
    Alert, AuditAction, AuditDetails, AuditedChange, AuditedThing, AuditedValue, Delivery, DeliveryId, DeliveryStatus,
    NotificationKind, Receiver, ServiceId, ThingKind, Webhook, WebhookId,
};
use outbound::Wake;
use store::{Commit, Lane, Page, Writes};

use super::payload::event_data;
use crate::retry::retry_on_conflict;
use crate::{Actor, Error, Medic};

/// Pages that a list with a filter reads before it returns what it has.
const MAX_PAGES: usize = 10;

/// An event of which webhooks are notified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEvent<'a> {
    pub(crate) event_type: &'a str,
    /// In JSON.
    pub(crate) data: &'a str,
    pub(crate) service_id: Option<ServiceId>,
}

impl Medic {
    /// Returns the deliveries to webhooks of a notification of an alert.
    pub(crate) fn deliveries_of(
        &self,
        kind: NotificationKind,
        alert: &Alert,
        webhooks: &[Webhook],
        now: DateTime<Utc>,
    ) -> Result<Vec<Delivery>, Error> {
        let Some(event_type) = kind.event_type(alert).filter(|_| !webhooks.is_empty()) else { return Ok(Vec::new()) };
        let data = event_data(alert).to_string();
        self.new_deliveries(webhooks, NewEvent { event_type, data: &data, service_id: Some(alert.service_id) }, now)
    }

    /// Returns an event's deliveries, one to each webhook.
    pub(crate) fn new_deliveries(
        &self,
        webhooks: &[Webhook],
        event: NewEvent<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Delivery>, Error> {
        let NewEvent { event_type, data, service_id } = event;
        let new = |webhook: &Webhook| {
            Ok(Delivery {
                id: DeliveryId::at(now, self.random()?),
                webhook_id: webhook.id,
                service_id,
                event_type: event_type.to_owned(),
                data: data.to_owned(),
                status: DeliveryStatus::Pending,
                attempts: 0,
                response_status: None,
                response_body: None,
                created_at: now,
                next_attempt_at: Some(now),
            })
        };
        webhooks.iter().map(new).collect()
    }

    pub(super) async fn wake_webhook(&self, webhook_id: WebhookId, at: DateTime<Utc>) {
        let lane = Lane::of(&Receiver::Webhook { webhook_id }).to_string();
        self.wake(Wake::Lane { lane }, at).await;
    }

    pub async fn delivery(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Delivery, Error> {
        let found = self.table.find_delivery(id, now).await?;
        found.ok_or_else(|| Error::NotFound(format!("There is no webhook delivery {id}")))
    }

    /// Returns deliveries, newest first. With a status, a page may be short though more follows: its cursor leads on.
    pub async fn deliveries(
        &self,
        webhook: Option<WebhookId>,
        status: Option<DeliveryStatus>,
        mut after: Option<DeliveryId>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page<Delivery>, Error> {
        let mut found = Page { items: Vec::new(), next: None };
        for _ in 0..MAX_PAGES {
            let page = self.table.deliveries(webhook, after, limit, now).await?;
            found.next = page.next;
            for delivery in page.items {
                if status.is_none_or(|status| delivery.status == status) {
                    if found.items.len() == limit {
                        found.next = found.items.last().map(|last: &Delivery| last.id.to_string());
                        return Ok(found);
                    }
                    found.items.push(delivery);
                }
            }
            match &found.next {
                Some(next) if found.items.len() < limit => after = next.parse().ok(),
                Some(_) | None => break,
            }
        }
        Ok(found)
    }

    /// Sends a delivery once more, under the same id. One that is under way is left alone.
    pub async fn redeliver(&self, id: DeliveryId, actor: &Actor) -> Result<Delivery, Error> {
        let now = actor.at;
        retry_on_conflict(format!("delivery {id}"), || async move {
            let old = self.delivery(id, now).await?;
            if old.status.is_open() {
                return Err(Error::Conflict(format!("The webhook delivery {id} is still in progress")));
            }
            let new = Delivery {
                status: DeliveryStatus::Pending,
                attempts: 0,
                response_status: None,
                response_body: None,
                next_attempt_at: Some(now),
                ..old.clone()
            };
            let writes = self.audit_of_redelivery(&new, actor)?;
            if self.table.redeliver(&old, &new, writes, now).await? == Commit::Conflict {
                return Ok(None);
            }
            self.wake_webhook(new.webhook_id, now).await;
            Ok(Some(new))
        })
        .await
    }

    /// Returns writes that hold the entry for a delivery that somebody sends once more.
    fn audit_of_redelivery(&self, delivery: &Delivery, actor: &Actor) -> Result<Writes, Error> {
        let which = AuditedChange {
            field: "delivery_id".to_owned(),
            old: AuditedValue::Null,
            new: AuditedValue::text(delivery.id),
        };
        let details = AuditDetails {
            thing: Some(AuditedThing { kind: ThingKind::Webhook, id: delivery.webhook_id.get(), name: None }),
            changes: vec![which],
            ..AuditDetails::default()
        };
        let mut writes = Writes::new();
        self.add_audit_entry(&mut writes, AuditAction::Redelivered, actor, delivery.service_id, details)?;
        Ok(writes)
    }
}
