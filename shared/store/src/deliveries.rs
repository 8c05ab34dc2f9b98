//! Deliveries: the outbox of webhooks, and the record of their responses. Written with their transition, due until they
//! are settled, and kept for 30 days.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Delivery, DeliveryId, Receiver, ServiceId, WebhookId, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::due::HAND_OVER_AGAIN;
use crate::item::{self, Diff, Item, corrupt, number};
use crate::keys::{Collection, Key, Lane, RowKind};
use crate::requests::Request as _;
use crate::table::{Commit, IS_NEW, Page, Queue, Writes};
use crate::{Error, Table};

const KEPT: TimeDelta = TimeDelta::days(30);

#[derive(Debug, Serialize, Deserialize)]
struct DeliveryItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    event_type: String,
    data: String,
    status: String,
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_body: Option<String>,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<i64>,
    expires_at: i64,
    list_pk: String,
    list_sk: String,
}

/// Returns the lane of a webhook.
fn lane(webhook_id: WebhookId) -> Lane {
    Lane::of(&Receiver::Webhook { webhook_id })
}

fn delivery_item(delivery: &Delivery, due_at: Option<DateTime<Utc>>) -> Result<Item, Error> {
    let Delivery {
        id,
        webhook_id,
        service_id,
        event_type,
        data,
        status,
        attempts,
        response_status,
        response_body,
        created_at,
        next_attempt_at,
    } = delivery;
    let key = Key::delivery(*webhook_id, *id);
    let body = DeliveryItem {
        service_id: service_id.map(ServiceId::get),
        event_type: event_type.clone(),
        data: data.clone(),
        status: status.as_str().to_owned(),
        attempts: *attempts,
        response_status: *response_status,
        response_body: response_body.clone(),
        created_at: to_millis(*created_at),
        next_attempt_at: next_attempt_at.map(to_millis),
        expires_at: (*created_at + KEPT).timestamp(),
        list_pk: Collection::Deliveries.pk(),
        list_sk: id.to_string(),
    };
    let mut item = item::write(&key, &body)?;
    item::set_due(&mut item, &key, due_at.map(to_millis));
    Ok(item)
}

fn read(item: Item) -> Result<Delivery, Error> {
    let key = Key::of(&item);
    let Some(RowKind::Delivery(webhook_id, id)) = key.as_ref().and_then(Key::row_kind) else {
        return Err(corrupt(key.as_ref(), "not a delivery's key"));
    };
    let DeliveryItem {
        service_id,
        event_type,
        data,
        status,
        attempts,
        response_status,
        response_body,
        created_at,
        next_attempt_at,
        expires_at: _,
        list_pk: _,
        list_sk: _,
    } = item::read(item)?;
    Ok(Delivery {
        id,
        webhook_id,
        service_id: service_id.map(ServiceId::new),
        event_type,
        data,
        status: status.parse().map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?,
        attempts,
        response_status,
        response_body,
        created_at: from_millis(created_at),
        next_attempt_at: next_attempt_at.map(from_millis),
    })
}

impl Writes {
    /// Adds a delivery, and its place in its webhook's lane unless that is to follow the commit.
    pub fn add_delivery(&mut self, table: &Table, delivery: &Delivery, queue: Queue) -> Result<(), Error> {
        let item = delivery_item(delivery, Some(delivery.created_at + HAND_OVER_AGAIN))?;
        self.table_put(table, item, Some(IS_NEW))?;
        match queue {
            Queue::WithIt => self.queue_delivery(table, &lane(delivery.webhook_id), delivery.id, None),
            Queue::Later => Ok(()),
        }
    }
}

impl Table {
    /// Finds a delivery. Consistent.
    pub async fn delivery(&self, webhook: WebhookId, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        self.get(&Key::delivery(webhook, id), true).await?.map(read).transpose()
    }

    /// Finds a delivery by its id alone. The list that has it lags behind the table by moments.
    pub async fn find_delivery(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Option<Delivery>, Error> {
        let place = id.to_string();
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(crate::keys::LIST_INDEX)
            .key_condition_expression("#p = :p AND #s = :s")
            .expression_attribute_names("#p", crate::keys::LIST_PK)
            .expression_attribute_names("#s", crate::keys::LIST_SK)
            .expression_attribute_values(":p", item::text(Collection::Deliveries.pk()))
            .expression_attribute_values(":s", item::text(place))
            .send_boxed()
            .await?;
        let Some(key) = answer.items.unwrap_or_default().first().and_then(Key::of) else { return Ok(None) };
        let found = self.get(&key, true).await?.filter(|item| !item::is_expired(item, now));
        found.map(read).transpose()
    }

    /// Returns deliveries, newest first: of one webhook, or of all.
    pub async fn deliveries(
        &self,
        webhook: Option<WebhookId>,
        after: Option<DeliveryId>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page<Delivery>, Error> {
        let after = after.map(|id| id.to_string());
        let (items, next) = if let Some(webhook) = webhook {
            let (items, more) = self.newest(crate::keys::deliveries_pk(webhook), after, limit).await?;
            let next = if more { items.last().and_then(Key::of).map(|key| key.sk) } else { None };
            (items, next)
        } else {
            let page = self.list(&Collection::Deliveries, after.as_deref(), limit).await?;
            (self.get_many(page.items).await?, page.next)
        };
        let items = items.into_iter().filter(|item| !item::is_expired(item, now)).map(read);
        let mut items = items.collect::<Result<Vec<_>, _>>()?;
        items.sort_unstable_by_key(|delivery| std::cmp::Reverse(delivery.id));
        Ok(Page { items, next })
    }

    /// Puts a delivery into its webhook's lane, if it is not there.
    pub async fn requeue_delivery(&self, delivery: &Delivery, now: DateTime<Utc>) -> Result<(), Error> {
        self.queue_if_absent(&lane(delivery.webhook_id), delivery.id, now).await
    }

    /// Saves a delivery after an attempt, if it is as it was read. It is due at its next attempt, which brings it back into
    /// its lane.
    pub async fn record_attempt(&self, old: &Delivery, new: &Delivery) -> Result<Commit, Error> {
        let mut writes = Writes::new();
        self.delivery_change(&mut writes, old, new, new.next_attempt_at)?;
        self.single_update(writes).await
    }

    /// Orders a delivery again, if it is as it was read.
    pub async fn redeliver(
        &self,
        old: &Delivery,
        new: &Delivery,
        mut writes: Writes,
        now: DateTime<Utc>,
    ) -> Result<Commit, Error> {
        self.delivery_change(&mut writes, old, new, Some(now + HAND_OVER_AGAIN))?;
        writes.queue_delivery(self, &lane(new.webhook_id), new.id, Some(now))?;
        self.commit(writes).await
    }

    fn delivery_change(
        &self,
        writes: &mut Writes,
        old: &Delivery,
        new: &Delivery,
        due_at: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let (before, after) = (delivery_item(old, Some(DateTime::<Utc>::MIN_UTC))?, delivery_item(new, due_at)?);
        let Some(mut diff) = Diff::between(&before, &after) else { return Ok(()) };
        diff.names.insert("#status".to_owned(), "status".to_owned());
        let values = [(":old_status", item::text(old.status.as_str())), (":old_attempts", number(old.attempts))];
        let condition = "#status = :old_status AND attempts = :old_attempts";
        writes.table_update(self, &Key::delivery(new.webhook_id, new.id), diff, condition, values)
    }

    /// Lets a delivery come due again at `at`.
    pub async fn postpone_delivery(&self, delivery: &Delivery, at: DateTime<Utc>) -> Result<(), Error> {
        // On a conflict it was settled meanwhile.
        let _postponed: Commit = self.hand_over_later(&Key::delivery(delivery.webhook_id, delivery.id), at).await?;
        Ok(())
    }
}
