//! The history of heartbeats: one item each, kept as long as configured, found by service in order of time.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use domain::{Entry, HeartbeatId, ServiceId, Status, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, corrupt, number, text};
use crate::keys::{EXPIRES_AT, Key, heartbeats_pk};
use crate::requests::Request as _;
use crate::table::Page;
use crate::{Error, Table};

/// The attribute that holds the body of a ping.
const BODY: &str = "body";
/// Heartbeats that are read at a time to count those of a period.
const REPORTS: usize = 100;
/// Items read at a time where most are left out.
const FILTERED_PAGE: usize = 1_000;

/// One heartbeat as it was received, or a note among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub id: HeartbeatId,
    pub service_id: ServiceId,
    pub at: DateTime<Utc>,
    pub status: Entry,
    pub run_id: Option<String>,
    /// After this it is no longer shown.
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HeartbeatItem {
    status: String,
    at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    /// In seconds, as DynamoDB's time to live wants it.
    expires_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExpiringItem {
    expires_at: i64,
}

impl Table {
    /// Keeps a heartbeat; the same one again changes nothing.
    pub async fn keep_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        let Heartbeat { id, service_id, at, status, run_id, expires_at } = heartbeat;
        let body = HeartbeatItem {
            status: status.as_str().to_owned(),
            at: to_millis(*at),
            run_id: run_id.clone(),
            expires_at: expires_at.timestamp(),
        };
        self.put(item::write(&Key::heartbeat(*service_id, *id), &body)?).await
    }

    /// Keeps the body of a ping, beside its heartbeat.
    pub async fn keep_ping_body(&self, heartbeat: &Heartbeat, body: Vec<u8>) -> Result<(), Error> {
        let Heartbeat { id, service_id, expires_at, .. } = heartbeat;
        let key = Key::ping_body(*service_id, *id);
        let mut item = item::write(&key, &ExpiringItem { expires_at: expires_at.timestamp() })?;
        item.insert(BODY.to_owned(), AttributeValue::B(Blob::new(body)));
        self.put(item).await
    }

    /// Reads the body of a ping. Consistent.
    pub async fn ping_body(
        &self,
        service: ServiceId,
        id: HeartbeatId,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let key = Key::ping_body(service, id);
        let Some(mut item) = self.get(&key, true).await? else {
            return Ok(None);
        };
        let body = item.remove(BODY).and_then(|body| body.as_b().ok().cloned()).map(Blob::into_inner);
        let ExpiringItem { expires_at } = item::read(item)?;
        if expires_at <= now.timestamp() {
            return Ok(None);
        }
        body.map(Some).ok_or_else(|| corrupt(Some(&key), "no body"))
    }

    /// Counts the heartbeats that came at `since` or later, of one status or of any that counts as alive, up to `max`.
    pub async fn count_reports(
        &self,
        service: ServiceId,
        status: Option<Status>,
        since: DateTime<Utc>,
        max: u32,
        now: DateTime<Utc>,
    ) -> Result<u32, Error> {
        let counts = |heartbeat: &Heartbeat| {
            heartbeat
                .status
                .reported()
                .is_some_and(|found| status.map_or_else(|| found.counts_as_alive(), |status| found == status))
        };
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.heartbeats(service, None, after, REPORTS, now).await?;
            for heartbeat in &page.items {
                if heartbeat.at < since || count == max {
                    return Ok(count);
                }
                count += u32::from(counts(heartbeat));
            }
            match page.next.map(|next| next.parse()).transpose() {
                Ok(Some(next)) => after = Some(next),
                Ok(None) | Err(_) => return Ok(count),
            }
        }
    }

    /// Returns when the first heartbeat that counts as alive came, from `since` to `until`.
    pub async fn first_report(
        &self,
        service: ServiceId,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let (mut first, mut after) = (None, None);
        loop {
            let page = self.heartbeats(service, None, after, REPORTS, now).await?;
            for heartbeat in &page.items {
                if heartbeat.at < since {
                    return Ok(first);
                }
                if heartbeat.at <= until && heartbeat.status.reported().is_some_and(Status::counts_as_alive) {
                    first = Some(heartbeat.at);
                }
            }
            match page.next.map(|next| next.parse()).transpose() {
                Ok(Some(next)) => after = Some(next),
                Ok(None) | Err(_) => return Ok(first),
            }
        }
    }

    /// Returns a service's heartbeats, newest first, those of one run if `run_id` is given.
    pub async fn heartbeats(
        &self,
        service: ServiceId,
        run_id: Option<&str>,
        after: Option<HeartbeatId>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page<Heartbeat>, Error> {
        let mut found: Vec<Heartbeat> = Vec::new();
        // Rows of idempotency keys begin with `key#` and sort after every UUID.
        let mut before = after.map_or_else(|| "g".to_owned(), |id| id.to_string());
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&self.name)
                .key_condition_expression("pk = :p AND sk < :s")
                .filter_expression(if run_id.is_some() { "#e > :now AND run_id = :run" } else { "#e > :now" })
                .expression_attribute_names("#e", EXPIRES_AT)
                .expression_attribute_values(":p", text(heartbeats_pk(service)))
                .expression_attribute_values(":s", text(before))
                .expression_attribute_values(":now", number(now.timestamp()))
                .scan_index_forward(false)
                .consistent_read(true)
                .limit(i32::try_from(if run_id.is_some() { FILTERED_PAGE } else { limit + 1 }).unwrap_or(i32::MAX));
            if let Some(run_id) = run_id {
                query = query.expression_attribute_values(":run", text(run_id));
            }
            let answer = query.send_boxed().await?;
            for item in answer.items.unwrap_or_default() {
                found.push(read(service, item)?);
            }
            let last = answer.last_evaluated_key.as_ref().and_then(Key::of);
            match last {
                Some(last) if found.len() <= limit => before = last.sk,
                _ => break,
            }
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().map(|heartbeat| heartbeat.id.to_string()) } else { None };
        Ok(Page { items: found, next })
    }
}

fn read(service_id: ServiceId, item: item::Item) -> Result<Heartbeat, Error> {
    let key = Key::of(&item);
    let HeartbeatItem { status, at, run_id, expires_at } = item::read(item)?;
    let invalid = |source: domain::Invalid| corrupt(key.as_ref(), source);
    Ok(Heartbeat {
        id: key.as_ref().map_or("", |key| key.sk.as_str()).parse().map_err(invalid)?,
        service_id,
        at: domain::from_millis(at),
        status: status.parse().map_err(invalid)?,
        run_id,
        expires_at: DateTime::from_timestamp(expires_at, 0).unwrap_or_default(),
    })
}
