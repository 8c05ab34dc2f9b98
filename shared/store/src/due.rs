//! The due index: the rows whose timer is running. It only nominates; a consistent read of the row decides.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{from_millis, retry_delay, to_millis};

use crate::item::{DUE_FAILURES, Item, number, text};
use crate::keys::{DUE_AT, DUE_INDEX, DUE_SHARD, Key};
use crate::requests::Request as _;
use crate::table::commit_of;
use crate::{Commit, Error, Table};

/// How long whoever is woken for a committed row has to do what it is due for, before the sweep wakes them again. Longer
/// than a sender's lease of 25 s: it has ended its work by then, or lost it.
pub const HAND_OVER_AGAIN: TimeDelta = TimeDelta::seconds(30);

/// A row that comes due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRow {
    pub key: Key,
    pub due_at: DateTime<Utc>,
}

/// Rows that come due, earliest first.
#[derive(Debug)]
pub struct DuePage {
    pub rows: Vec<DueRow>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Cursor>,
}

/// Where a page of due rows ended.
#[derive(Debug)]
pub struct Cursor(Item);

impl Table {
    /// Returns the rows of one shard that are due by `until`, from where a page ended: at most `limit`, and without it as many
    /// as one query reads, which is some ten thousand.
    pub async fn due(
        &self,
        shard: u8,
        until: DateTime<Utc>,
        after: Option<Cursor>,
        limit: Option<i32>,
    ) -> Result<DuePage, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(DUE_INDEX)
            .key_condition_expression("#shard = :shard AND #at <= :at")
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#at", DUE_AT)
            .expression_attribute_values(":shard", text(shard.to_string()))
            .expression_attribute_values(":at", number(to_millis(until)))
            .set_exclusive_start_key(after.map(|Cursor(key)| key))
            .set_limit(limit);
        let answer = query.send_boxed().await?;
        let row = |item: &Item| {
            let due_at = item.get(DUE_AT)?.as_n().ok()?.parse().ok()?;
            Some(DueRow { key: Key::of(item)?, due_at: from_millis(due_at) })
        };
        let rows = answer.items.unwrap_or_default().iter().filter_map(row).collect();
        Ok(DuePage { rows, next: answer.last_evaluated_key.map(Cursor) })
    }

    /// Lets a row that was handed over come due again at `at`, if it still is to.
    pub(crate) async fn hand_over_later(&self, key: &Key, at: DateTime<Utc>) -> Result<Commit, Error> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .update_expression("SET due_at = :at REMOVE due_failures")
            .condition_expression("attribute_exists(due_at)")
            .expression_attribute_values(":at", number(to_millis(at)))
            .send_boxed()
            .await;
        commit_of(sent)
    }

    /// Postpones a row that could not be handled, longer each time, so that it does not fill the first page for ever.
    /// Returns when it will be due.
    pub async fn postpone(&self, key: &Key, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let failures = self.get(key, true).await?.and_then(|item| item.get(DUE_FAILURES)?.as_n().ok()?.parse().ok());
        let failures = failures.unwrap_or(0_u32).saturating_add(1);
        let later = now + retry_delay(failures);
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .update_expression("SET due_at = :later, due_failures = :failures")
            .condition_expression("due_at <= :now")
            .expression_attribute_values(":later", number(to_millis(later)))
            .expression_attribute_values(":failures", number(failures))
            .expression_attribute_values(":now", number(to_millis(now)))
            .send_boxed()
            .await;
        match sent {
            Err(error)
                if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(later)
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(later),
        }
    }
}
