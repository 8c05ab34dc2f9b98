//! Lanes: the ordered queue of each receiver. A lane has one sender at a time, whom its head names.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    AlertId, CircuitOf, DeliveryId, NotificationId, NotificationOwner, Pace, ServiceId, WindowId, from_millis,
    to_millis,
};
use serde::{Deserialize, Serialize};

use crate::item::{self, Diff, Item, corrupt, number, text};
use crate::keys::{Key, LANE_HEAD, Lane, SK};
use crate::requests::Request as _;
use crate::table::{Commit, IS_NEW, Writes};
use crate::{Error, Table};

/// What waits at one place of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneEntry {
    /// Its place: the id of what waits, which sorts by time.
    pub place: String,
    pub queued: Queued,
    /// Whether another receiver waits for its turn, should this one fail.
    pub others_wait: bool,
    /// When it was put here, if that was after what waits was committed: what left the lane may come back to its place.
    pub queued_at: Option<DateTime<Utc>>,
}

/// Who sends in a lane, and what its receiver was sent lately.
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
    /// Distinguishes the write that made it so from every other.
    pub stamp: String,
}

/// A sender's hold of a lane. It ends when the entry leaves the lane, so that no other write need end it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHold {
    /// The process that is sending.
    pub holder: String,
    /// The place of the entry that it will remove from the lane last.
    pub place: String,
    /// When that entry was put there, as the entry has it.
    pub queued_at: Option<DateTime<Utc>>,
}

impl LaneHold {
    /// Returns whether this is the entry that the hold ends with.
    pub fn is_by(&self, entry: &LaneEntry) -> bool {
        self.place == entry.place && self.queued_at == entry.queued_at
    }
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

#[derive(Debug, Default, Serialize, Deserialize)]
struct HeadItem {
    version: i64,
    #[serde(default)]
    stamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_by_queued_at: Option<i64>,
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
        let LaneHead { held_until, hold, attempts, pace, version, stamp } = head;
        let queued_at = hold.as_ref().and_then(|hold| hold.queued_at);
        let (holder, held_by) = hold.clone().map(|LaneHold { holder, place, queued_at: _ }| (holder, place)).unzip();
        let useful_until = held_until.iter().copied().chain(pace.map(|pace| pace.full_at)).max();
        Self {
            version: *version,
            stamp: stamp.clone(),
            held_until: held_until.map(to_millis),
            holder,
            held_by,
            held_by_queued_at: queued_at.map(to_millis),
            attempts: *attempts,
            last_at: pace.map(|pace| to_millis(pace.last_at)),
            full_at: pace.map(|pace| to_millis(pace.full_at)),
            expires_at: (useful_until.unwrap_or_default() + HEAD_EXPIRES_AFTER).timestamp(),
        }
    }

    fn into_head(self) -> LaneHead {
        let Self {
            version,
            stamp,
            held_until,
            holder,
            held_by,
            held_by_queued_at,
            attempts,
            last_at,
            full_at,
            expires_at: _,
        } = self;
        let queued_at = held_by_queued_at.map(from_millis);
        let hold = holder.zip(held_by).map(|(holder, place)| LaneHold { holder, place, queued_at });
        let pace = last_at.zip(full_at);
        let pace = pace.map(|(last, full)| Pace { last_at: from_millis(last), full_at: from_millis(full) });
        LaneHead { held_until: held_until.map(from_millis), hold, attempts, pace, version, stamp }
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
    /// Of a notification of a service's circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    /// Of one of the circuit of all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all_services: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    others_wait: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queued_at: Option<i64>,
}

impl LaneItem {
    fn of(owner: Option<NotificationOwner>) -> Self {
        match owner {
            Some(NotificationOwner::Alert(id)) => Self { alert_id: Some(id.get()), ..Self::default() },
            Some(NotificationOwner::Window(id)) => Self { window_id: Some(id.get()), ..Self::default() },
            Some(NotificationOwner::Execution(id)) => Self { execution_id: Some(id.to_string()), ..Self::default() },
            Some(NotificationOwner::Circuit(CircuitOf::Service(id))) => {
                Self { service_id: Some(id.get()), ..Self::default() }
            }
            Some(NotificationOwner::Circuit(CircuitOf::All)) => Self { all_services: true, ..Self::default() },
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
    pub(crate) fn queue_delivery(
        &mut self,
        table: &Table,
        lane: &Lane,
        id: DeliveryId,
        queued_at: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let entry = LaneItem { queued_at: queued_at.map(to_millis), ..LaneItem::of(None) };
        self.table_put(table, item::write(&Key::delivery_entry(lane, id), &entry)?, None)
    }
}

impl Table {
    /// Returns the first entries of a lane, oldest first. Consistent.
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

    /// Returns whether the entry that a hold ends with is in its lane. Consistent.
    pub async fn is_held_by_entry(&self, lane: &Lane, hold: &LaneHold) -> Result<bool, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND sk = :s")
            .expression_attribute_values(":p", text(lane.to_string()))
            .expression_attribute_values(":s", text(&hold.place))
            .consistent_read(true)
            .send_boxed()
            .await?;
        let entry = answer.items.unwrap_or_default().pop().map(read).transpose()?;
        Ok(entry.is_some_and(|entry| hold.is_by(&entry)))
    }

    /// Updates a lane's head, if it is as it was read. Returns the head as it is then, or none if somebody else was first.
    /// A conflict with this very write, whose response was lost, is none: the stamp says whose it is.
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
            Commit::Conflict => {
                let found = self.read_lane(lane, 1).await?.head;
                (found.stamp == new.stamp).then_some(new)
            }
        })
    }

    /// Removes an entry from its lane: it was sent, or given up.
    pub async fn leave_lane(&self, lane: &Lane, entry: &LaneEntry) -> Result<(), Error> {
        self.delete_item(&entry.key(lane)).await
    }

    /// Removes entries from their lane.
    pub async fn leave_lane_all(&self, lane: &Lane, entries: &[&LaneEntry]) -> Result<(), Error> {
        self.delete_many(entries.iter().map(|entry| entry.key(lane)).collect()).await
    }

    /// Puts a notification into the lane of a receiver, if it is not there.
    pub(crate) async fn join_lane_if_absent(
        &self,
        lane: &Lane,
        owner: NotificationOwner,
        id: NotificationId,
        others_wait: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let entry = LaneItem { others_wait, queued_at: Some(to_millis(now)), ..LaneItem::of(Some(owner)) };
        self.put_if_absent(item::write(&Key::lane_entry(lane, id), &entry)?).await
    }

    /// Puts a delivery into its webhook's lane, if it is not there.
    pub(crate) async fn queue_if_absent(&self, lane: &Lane, id: DeliveryId, now: DateTime<Utc>) -> Result<(), Error> {
        let entry = LaneItem { queued_at: Some(to_millis(now)), ..LaneItem::of(None) };
        self.put_if_absent(item::write(&Key::delivery_entry(lane, id), &entry)?).await
    }

    async fn put_if_absent(&self, item: Item) -> Result<(), Error> {
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
    let LaneItem { alert_id, window_id, execution_id, service_id, all_services, others_wait, queued_at } =
        item::read(item)?;
    let place = key.as_ref().map_or("", |key| key.sk.as_str());
    let execution_id = execution_id.map(|id| id.parse()).transpose();
    let execution_id = execution_id.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?;
    let owner = None
        .or_else(|| alert_id.map(|id| NotificationOwner::Alert(AlertId::new(id))))
        .or_else(|| window_id.map(|id| NotificationOwner::Window(WindowId::new(id))))
        .or_else(|| execution_id.map(NotificationOwner::Execution))
        .or_else(|| service_id.map(|id| NotificationOwner::Circuit(CircuitOf::Service(ServiceId::new(id)))))
        .or_else(|| all_services.then_some(NotificationOwner::Circuit(CircuitOf::All)));
    let queued = match owner {
        Some(owner) => place.parse().map(|id| Queued::Notification(owner, id)),
        None => place.parse().map(Queued::Delivery),
    };
    Ok(LaneEntry {
        place: place.to_owned(),
        queued: queued.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?,
        others_wait,
        queued_at: queued_at.map(from_millis),
    })
}
