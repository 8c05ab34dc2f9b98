//! Lanes: the ordered queue of each receiver. A lane has one sender at a time: of notifications whoever its head names, of
//! a webhook's deliveries whoever holds an entry.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    AlertId, DeliveryId, NotificationId, NotificationOwner, Pace, ServiceId, WindowId, from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

use crate::item::{self, Diff, Item, corrupt, number, text};
use crate::keys::{Key, LANE_HEAD, Lane, SK};
use crate::requests::Request as _;
use crate::table::{Commit, IS_NEW, Writes, commit_of};
use crate::{Error, Table};

/// What waits at one place of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneEntry {
    /// Its place: the id of what waits, which sorts by time.
    pub place: String,
    pub queued: Queued,
    /// Whether another receiver waits for its turn, should this one fail.
    pub others_wait: bool,
    /// Attempts of a delivery that failed.
    pub attempts: u32,
    /// Until then somebody is sending a delivery, or it waits to be tried again.
    pub held_until: Option<DateTime<Utc>>,
    /// The process that is sending it; none while it waits.
    pub holder: Option<String>,
}

/// Who sends in a lane of notifications, and what its receiver was sent lately.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneHead {
    /// Until then somebody holds the lane, or it waits to be tried again.
    pub held_until: Option<DateTime<Utc>>,
    /// Who holds it; nobody while it waits.
    pub hold: Option<LaneHold>,
    /// Sends in a row that failed.
    pub attempts: u32,
    pub pace: Option<Pace>,
    /// Moves with each change, by `Table::set_lane_head` alone.
    pub version: i64,
}

/// A sender's hold of a lane. It ends when the entry leaves the lane, so that no other write need end it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHold {
    /// The process that is sending.
    pub holder: String,
    /// The place of the entry that it will remove from the lane last.
    pub place: String,
}

/// The beginning of a lane.
#[derive(Debug, Clone)]
pub struct LanePage {
    pub head: LaneHead,
    /// Oldest first.
    pub entries: Vec<LaneEntry>,
    /// Whether these are all.
    pub is_whole: bool,
}

/// What an entry of a lane stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    Notification(NotificationOwner, NotificationId),
    Delivery(DeliveryId),
}

impl LaneEntry {
    /// Returns whether somebody is sending it, and so nothing else in its lane. Nobody holds an entry that only waits.
    pub fn is_leased(&self, now: DateTime<Utc>, dead: impl Fn(&str) -> bool) -> bool {
        self.holder.is_some() && self.is_held(now, dead)
    }

    /// Returns whether nobody else may send now. `dead` says whether a holder is known to be gone.
    fn is_held(&self, now: DateTime<Utc>, dead: impl Fn(&str) -> bool) -> bool {
        self.held_until.is_some_and(|until| until > now) && !self.holder.as_deref().is_some_and(dead)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct HeadItem {
    version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_by: Option<String>,
    #[serde(default, skip_serializing_if = "item::is_zero")]
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    full_at: Option<i64>,
    expires_at: i64,
}

/// A head that nobody changed for this long is of no use any more.
const HEAD_EXPIRES_AFTER: TimeDelta = TimeDelta::days(1);

impl HeadItem {
    fn of(head: &LaneHead) -> Self {
        let LaneHead { held_until, hold, attempts, pace, version } = head;
        let (holder, held_by) = hold.clone().map(|LaneHold { holder, place }| (holder, place)).unzip();
        let useful_until = held_until.iter().copied().chain(pace.map(|pace| pace.full_at)).max();
        Self {
            version: *version,
            held_until: held_until.map(to_millis),
            holder,
            held_by,
            attempts: *attempts,
            last_at: pace.map(|pace| to_millis(pace.last_at)),
            full_at: pace.map(|pace| to_millis(pace.full_at)),
            expires_at: (useful_until.unwrap_or_default() + HEAD_EXPIRES_AFTER).timestamp(),
        }
    }

    fn into_head(self) -> LaneHead {
        let Self { version, held_until, holder, held_by, attempts, last_at, full_at, expires_at: _ } = self;
        let hold = holder.zip(held_by).map(|(holder, place)| LaneHold { holder, place });
        let pace = last_at.zip(full_at);
        let pace = pace.map(|(last, full)| Pace { last_at: from_millis(last), full_at: from_millis(full) });
        LaneHead { held_until: held_until.map(from_millis), hold, attempts, pace, version }
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
    /// Of a circuit's notification.
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
    fn of(owner: Option<NotificationOwner>) -> Self {
        match owner {
            Some(NotificationOwner::Alert(id)) => Self { alert_id: Some(id.get()), ..Self::default() },
            Some(NotificationOwner::Window(id)) => Self { window_id: Some(id.get()), ..Self::default() },
            Some(NotificationOwner::Execution(id)) => Self { execution_id: Some(id.to_string()), ..Self::default() },
            Some(NotificationOwner::Circuit(id)) => Self { service_id: Some(id.get()), ..Self::default() },
            None => Self::default(),
        }
    }
}

impl Writes {
    /// Puts a notification into the lane of a receiver.
    pub(crate) fn join_lane(
        &mut self,
        table: &Table,
        lane: &Lane,
        owner: NotificationOwner,
        id: NotificationId,
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
    /// Returns the first entries of a webhook's lane, oldest first. Consistent.
    pub async fn lane(&self, lane: &Lane, limit: i32) -> Result<Vec<LaneEntry>, Error> {
        Ok(self.read_lane(lane, limit).await?.entries)
    }

    /// Reads the head of a lane and its first entries, `limit` in all. Consistent, but for what changes meanwhile: whoever
    /// then changes the head gets a conflict.
    pub async fn read_lane(&self, lane: &Lane, limit: i32) -> Result<LanePage, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p")
            .expression_attribute_values(":p", text(lane.to_string()))
            .consistent_read(true)
            .limit(limit)
            .send_boxed()
            .await?;
        let mut items = answer.items.unwrap_or_default();
        let is_head = |item: &Item| item.get(SK).and_then(|sk| sk.as_s().ok()).is_some_and(|sk| sk == LANE_HEAD);
        let head = if items.first().is_some_and(is_head) { Some(items.remove(0)) } else { None };
        Ok(LanePage {
            head: head.map(item::read::<HeadItem>).transpose()?.map(HeadItem::into_head).unwrap_or_default(),
            entries: items.into_iter().map(read).collect::<Result<_, _>>()?,
            is_whole: answer.last_evaluated_key.is_none(),
        })
    }

    /// Returns whether an entry is in a lane. Consistent.
    pub async fn is_in_lane(&self, lane: &Lane, place: &str) -> Result<bool, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND sk = :s")
            .expression_attribute_values(":p", text(lane.to_string()))
            .expression_attribute_values(":s", text(place))
            .consistent_read(true)
            .send_boxed()
            .await?;
        Ok(answer.count > 0)
    }

    /// Updates a lane's head, if it is as it was read. Returns the head as it is then, or none if somebody else was first.
    pub async fn set_lane_head(&self, lane: &Lane, old: &LaneHead, new: LaneHead) -> Result<Option<LaneHead>, Error> {
        let new = LaneHead { version: old.version + 1, ..new };
        let key = Key::lane_head(lane);
        let of = |head: &LaneHead| item::write(&key, &HeadItem::of(head));
        let old_item = if old.version == 0 { key.attributes() } else { of(old)? };
        let Some(diff) = Diff::between(&old_item, &of(&new)?) else { return Ok(Some(new)) };
        let (condition, values) =
            if old.version == 0 { (IS_NEW, None) } else { ("version = :old", Some((":old", number(old.version)))) };
        let mut writes = Writes::new();
        writes.table_update(self, &key, diff, condition, values)?;
        Ok(match self.single_update(writes).await? {
            Commit::Done => Some(new),
            Commit::Conflict => None,
        })
    }

    /// Leases a webhook's lane to `holder` by an entry, until `until`, if the entry is as it was read.
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
            Some(old) => request
                .condition_expression("held_until = :old")
                .expression_attribute_values(":old", number(to_millis(old))),
            None => request.condition_expression("attribute_exists(pk) AND attribute_not_exists(held_until)"),
        };
        commit_of(request.send_boxed().await)
    }

    /// Postpones a delivery until `until` after `attempts` failures, on behalf of its holder, who is known by the `lease`.
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
            .send_boxed()
            .await;
        commit_of(sent)
    }

    /// Removes an entry from its lane: it was sent, or given up.
    pub async fn leave_lane(&self, lane: &Lane, entry: &LaneEntry) -> Result<(), Error> {
        self.delete_item(&entry.key(lane)).await
    }

    /// Removes entries from their lane.
    pub async fn leave_lane_all(&self, lane: &Lane, entries: &[&LaneEntry]) -> Result<(), Error> {
        self.delete_many(entries.iter().map(|entry| entry.key(lane)).collect()).await
    }

    /// Removes an entry from its lane if it is still held by this `lease`: it may have been queued again.
    pub async fn leave_lane_leased(&self, lane: &Lane, entry: &LaneEntry, lease: DateTime<Utc>) -> Result<(), Error> {
        let sent = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(entry.key(lane).attributes()))
            .condition_expression("held_until = :lease")
            .expression_attribute_values(":lease", number(to_millis(lease)))
            .send_boxed()
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
    pub async fn queue_if_absent(&self, lane: &Lane, id: DeliveryId) -> Result<(), Error> {
        let item = item::write(&Key::delivery_entry(lane, id), &LaneItem::of(None))?;
        let sent = self.client.put_item().table_name(&self.name).set_item(Some(item)).condition_expression(IS_NEW);
        match sent.send_boxed().await {
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
        match self.queued {
            Queued::Notification(_, id) => Key::lane_entry(lane, id),
            Queued::Delivery(id) => Key::delivery_entry(lane, id),
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
        .or_else(|| alert_id.map(|id| NotificationOwner::Alert(AlertId::new(id))))
        .or_else(|| window_id.map(|id| NotificationOwner::Window(WindowId::new(id))))
        .or_else(|| execution_id.map(NotificationOwner::Execution))
        .or_else(|| service_id.map(|id| NotificationOwner::Circuit(ServiceId::new(id))));
    let queued = match owner {
        Some(owner) => place.parse().map(|id| Queued::Notification(owner, id)),
        None => place.parse().map(Queued::Delivery),
    };
    Ok(LaneEntry {
        place: place.to_owned(),
        queued: queued.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?,
        others_wait,
        attempts,
        held_until: held_until.map(from_millis),
        holder,
    })
}
