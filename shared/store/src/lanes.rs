//! Lanes: what each receiver is owed, in order. Whoever holds an entry is the lane's only sender.

use chrono::{DateTime, Utc};
use domain::{AlertId, Notice, NoticeId, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, Item, corrupt, number, text};
use crate::keys::{Key, Lane};
use crate::table::{Commit, IS_NEW, Writes, refused};
use crate::{Error, Table};

/// One notice in one receiver's lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneEntry {
    pub notice_id: NoticeId,
    pub alert_id: AlertId,
    /// Sends that failed.
    pub attempts: u32,
    /// Until then it is somebody's to send, or waits to be tried again.
    pub held_until: Option<DateTime<Utc>>,
    /// The process that is sending; none while it waits.
    pub holder: Option<String>,
}

impl LaneEntry {
    /// Whether nobody else may send now. `dead` tells a holder that is known to be gone.
    pub fn is_held(&self, now: DateTime<Utc>, dead: impl Fn(&str) -> bool) -> bool {
        self.held_until.is_some_and(|until| until > now) && !self.holder.as_deref().is_some_and(dead)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct LaneItem {
    alert_id: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Writes {
    pub(crate) fn join_lane(&mut self, table: &Table, lane: &Lane, notice: &Notice) -> Result<(), Error> {
        let body = LaneItem { alert_id: notice.alert.id.get(), attempts: 0, held_until: None, holder: None };
        self.table_put(table, item::write(&Key::lane_entry(lane, notice.id), &body)?, Some(IS_NEW))
    }
}

impl Table {
    /// The first entries of a lane, oldest first. Consistent.
    pub async fn lane(&self, lane: &Lane, limit: i32) -> Result<Vec<LaneEntry>, Error> {
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
        answer.items.unwrap_or_default().into_iter().map(read).collect()
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
            .set_key(Some(Key::lane_entry(lane, entry.notice_id).attributes()))
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
            .set_key(Some(Key::lane_entry(lane, entry.notice_id).attributes()))
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
    pub async fn leave_lane(&self, lane: &Lane, notice: NoticeId) -> Result<(), Error> {
        self.delete(&Key::lane_entry(lane, notice)).await
    }
}

fn read(item: Item) -> Result<LaneEntry, Error> {
    let key = Key::of(&item);
    let LaneItem { alert_id, attempts, held_until, holder } = item::read(item)?;
    let notice_id = key.as_ref().map_or("", |key| key.sk.as_str()).parse();
    Ok(LaneEntry {
        notice_id: notice_id.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?,
        alert_id: AlertId::new(alert_id),
        attempts,
        held_until: held_until.map(from_millis),
        holder,
    })
}
