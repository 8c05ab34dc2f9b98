//! Lanes: what each receiver is owed, in order. Whoever holds an entry is the lane's only sender.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use chrono::{DateTime, Utc};
use domain::{AlertId, DeliveryId, NoticeId, NoticeOwner, ServiceId, WindowId, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, Item, corrupt, number, text};
use crate::keys::{Key, Lane};
use crate::table::{Commit, IS_NEW, Writes, refused};
use crate::{Error, Table};

/// What one receiver is owed, at its place in the receiver's lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneEntry {
    /// Its place: the id of what is owed, which sorts by time.
    pub place: String,
    pub owed: Owed,
    /// Whether another receiver waits for its turn, should this one fail.
    pub others_wait: bool,
    /// Sends that failed.
    pub attempts: u32,
    /// Until then it is somebody's to send, or waits to be tried again.
    pub held_until: Option<DateTime<Utc>>,
    /// The process that is sending; none while it waits.
    pub holder: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    Notice(NoticeOwner, NoticeId),
    Delivery(DeliveryId),
}

impl LaneEntry {
    /// Whether somebody is sending it, and so nothing else in its lane. An entry that only waits is nobody's.
    pub fn is_leased(&self, now: DateTime<Utc>, dead: impl Fn(&str) -> bool) -> bool {
        self.holder.is_some() && self.is_held(now, dead)
    }

    /// Whether nobody else may send now. `dead` tells a holder that is known to be gone.
    pub fn is_held(&self, now: DateTime<Utc>, dead: impl Fn(&str) -> bool) -> bool {
        self.held_until.is_some_and(|until| until > now) && !self.holder.as_deref().is_some_and(dead)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LaneItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alert_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    execution_id: Option<String>,
    /// Of a circuit's notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    others_wait: bool,
    #[serde(default, skip_serializing_if = "item::is_zero")]
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
}

impl LaneItem {
    fn of(owner: Option<NoticeOwner>) -> Self {
        match owner {
            Some(NoticeOwner::Alert(id)) => Self { alert_id: Some(id.get()), ..Self::default() },
            Some(NoticeOwner::Window(id)) => Self { window_id: Some(id.get()), ..Self::default() },
            Some(NoticeOwner::Execution(id)) => Self { execution_id: Some(id.to_string()), ..Self::default() },
            Some(NoticeOwner::Circuit(id)) => Self { service_id: Some(id.get()), ..Self::default() },
            None => Self::default(),
        }
    }
}

impl Writes {
    pub(crate) fn join_lane(
        &mut self,
        table: &Table,
        lane: &Lane,
        owner: NoticeOwner,
        id: NoticeId,
        others_wait: bool,
    ) -> Result<(), Error> {
        let entry = LaneItem { others_wait, ..LaneItem::of(Some(owner)) };
        self.table_put(table, item::write(&Key::lane_entry(lane, id), &entry)?, Some(IS_NEW))
    }

    /// Puts a delivery into its webhook's lane, in place of what an earlier order of it left there.
    pub(crate) fn queue_delivery(&mut self, table: &Table, lane: &Lane, id: DeliveryId) -> Result<(), Error> {
        self.table_put(table, item::write(&Key::delivery_entry(lane, id), &LaneItem::of(None))?, None)
    }
}

impl Table {
    /// The first entries of a lane, oldest first. Consistent.
    pub async fn lane(&self, lane: &Lane, limit: i32) -> Result<Vec<LaneEntry>, Error> {
        Ok(self.lane_and_more(lane, limit).await?.0)
    }

    /// The first entries of a lane, and whether there may be more.
    pub async fn lane_and_more(&self, lane: &Lane, limit: i32) -> Result<(Vec<LaneEntry>, bool), Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p")
            .expression_attribute_values(":p", text(lane.to_string()))
            .consistent_read(true)
            .limit(limit)
            .send()
            .await?;
        let more = answer.last_evaluated_key.is_some();
        let entries = answer.items.unwrap_or_default().into_iter().map(read).collect::<Result<_, _>>()?;
        Ok((entries, more))
    }

    /// Takes the lane for `holder` by an entry, until `until`, if it stands as it was read.
    pub async fn hold(
        &self,
        lane: &Lane,
        entry: &LaneEntry,
        holder: &str,
        until: DateTime<Utc>,
    ) -> Result<Commit, Error> {
        let mut request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(entry.key(lane).attributes()))
            .update_expression("SET held_until = :until, holder = :holder")
            .expression_attribute_values(":until", number(to_millis(until)))
            .expression_attribute_values(":holder", text(holder));
        request = match entry.held_until {
            Some(seen) => request
                .condition_expression("held_until = :seen")
                .expression_attribute_values(":seen", number(to_millis(seen))),
            None => request.condition_expression("attribute_exists(pk) AND attribute_not_exists(held_until)"),
        };
        refused(request.send().await)
    }

    /// Lets the lane's holder, known by its `lease`, put it off until `until` after `attempts` failures: by the entry that
    /// it holds, or by one that nobody does.
    pub async fn back_off(
        &self,
        lane: &Lane,
        entry: &LaneEntry,
        lease: DateTime<Utc>,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        attempts: u32,
    ) -> Result<Commit, Error> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(entry.key(lane).attributes()))
            .update_expression("SET held_until = :until, attempts = :attempts REMOVE holder")
            .condition_expression(
                "attribute_exists(pk) AND (held_until = :lease OR attribute_not_exists(held_until) OR held_until <= :now)",
            )
            .expression_attribute_values(":until", number(to_millis(until)))
            .expression_attribute_values(":attempts", number(attempts))
            .expression_attribute_values(":lease", number(to_millis(lease)))
            .expression_attribute_values(":now", number(to_millis(now)))
            .send()
            .await;
        refused(sent)
    }

    /// Takes an entry out of its lane: it was sent, or given up.
    pub async fn leave_lane(&self, lane: &Lane, entry: &LaneEntry) -> Result<(), Error> {
        self.delete(&entry.key(lane)).await
    }

    /// Takes entries out of their lane.
    pub async fn leave_lane_all(&self, lane: &Lane, entries: &[&LaneEntry]) -> Result<(), Error> {
        self.delete_many(entries.iter().map(|entry| entry.key(lane)).collect()).await
    }

    /// Takes an entry out of its lane if it is still held by this `lease`: it may have been queued anew.
    pub async fn leave_lane_leased(&self, lane: &Lane, entry: &LaneEntry, lease: DateTime<Utc>) -> Result<(), Error> {
        let sent = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(entry.key(lane).attributes()))
            .condition_expression("held_until = :lease")
            .expression_attribute_values(":lease", number(to_millis(lease)))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }

    /// Puts a delivery into its webhook's lane, if it is not there.
    pub async fn queue_delivery_again(&self, lane: &Lane, id: DeliveryId) -> Result<(), Error> {
        let item = item::write(&Key::delivery_entry(lane, id), &LaneItem::of(None))?;
        let sent = self.client.put_item().table_name(&self.name).set_item(Some(item)).condition_expression(IS_NEW);
        match sent.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }
}

impl LaneEntry {
    fn key(&self, lane: &Lane) -> Key {
        match self.owed {
            Owed::Notice(_, id) => Key::lane_entry(lane, id),
            Owed::Delivery(id) => Key::delivery_entry(lane, id),
        }
    }
}

fn read(item: Item) -> Result<LaneEntry, Error> {
    let key = Key::of(&item);
    let LaneItem { alert_id, window_id, execution_id, service_id, others_wait, attempts, held_until, holder } =
        item::read(item)?;
    let place = key.as_ref().map_or("", |key| key.sk.as_str());
    let execution_id = execution_id.map(|id| id.parse()).transpose();
    let execution_id = execution_id.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?;
    let owner = None
        .or_else(|| alert_id.map(|id| NoticeOwner::Alert(AlertId::new(id))))
        .or_else(|| window_id.map(|id| NoticeOwner::Window(WindowId::new(id))))
        .or_else(|| execution_id.map(NoticeOwner::Execution))
        .or_else(|| service_id.map(|id| NoticeOwner::Circuit(ServiceId::new(id))));
    let owed = match owner {
        Some(owner) => place.parse().map(|id| Owed::Notice(owner, id)),
        None => place.parse().map(Owed::Delivery),
    };
    Ok(LaneEntry {
        place: place.to_owned(),
        owed: owed.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?,
        others_wait,
        attempts,
        held_until: held_until.map(from_millis),
        holder,
    })
}
