//! The sweep: handles whatever is due, and aims a wake-up at whatever soon will be. It takes no input but the time.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{AlertId, NoticeId};
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use outbound::Wake;
use store::{DueRow, Key, RowKind, SHARDS};

use crate::error::error_chain;
use crate::{Error, Medic};

/// A sweep sends wake-ups for what comes due within this: two ticks and a half, so that one may be missed.
pub(crate) const LOOK_AHEAD: TimeDelta = TimeDelta::seconds(150);
/// The gauges are saved as often, if anything has changed.
const GAUGES_EVERY_SECONDS: i64 = 60;
/// Rows read at a time from one shard.
const PAGE: usize = 100;
/// Pages of due rows handled in one go; the rest waits for the wake-up that this sends.
const MOST_PAGES: usize = 20;

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    pub handled: usize,
    pub failed: usize,
    /// When the next row comes due, if that is within the look-ahead.
    pub next_due: Option<DateTime<Utc>>,
}

impl Swept {
    fn and(self, other: Self) -> Self {
        Self {
            handled: self.handled + other.handled,
            failed: self.failed + other.failed,
            next_due: self.next_due.into_iter().chain(other.next_due).min(),
        }
    }
}

impl Medic {
    /// Handles all that is due at `now`. With nothing due it costs one query a shard, however much exists.
    pub async fn sweep(&self, now: DateTime<Utc>) -> Result<Swept, Error> {
        // One shard's failure ends no other in the middle of its work.
        let shards: Vec<Result<Swept, Error>> = stream::iter(0..SHARDS)
            .map(|shard| self.sweep_shard(shard, now))
            .buffer_unordered(usize::from(SHARDS))
            .collect()
            .await;
        self.save_gauges(now).await;
        shards.into_iter().try_fold(Swept::default(), |all, one| Ok(all.and(one?)))
    }

    /// Handles what is due in one shard.
    pub async fn sweep_shard(&self, shard: u8, now: DateTime<Utc>) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        for _ in 0..MOST_PAGES {
            let limit = i32::try_from(PAGE).unwrap_or(i32::MAX);
            let rows = self.table.due(shard, now + LOOK_AHEAD, limit).await?;
            let is_last = rows.len() < PAGE;
            let (due, soon): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.due_at <= now);
            let handled: Swept = stream::iter(due)
                .map(|row| self.handle(row.key, now))
                .buffer_unordered(8)
                .fold(Swept::default(), |all, one| async move { all.and(one) })
                .await;
            swept = swept.and(handled);
            if is_last || !soon.is_empty() {
                self.aim_at(shard, &soon, now).await;
                swept.next_due = swept.next_due.into_iter().chain(soon.iter().map(|row| row.due_at)).min();
                return Ok(swept);
            }
        }
        self.wake(Wake::Shard { shard }, now).await;
        Ok(swept)
    }

    /// Handles one row that a wake-up names, whether it is due or not.
    pub async fn handle_row(&self, key: Key, now: DateTime<Utc>) -> Swept {
        self.handle(key, now).await
    }

    async fn handle(&self, key: Key, now: DateTime<Utc>) -> Swept {
        // One row that makes its handler panic is put off like one that fails.
        let handled = AssertUnwindSafe(self.handle_kind(&key, now)).catch_unwind().await;
        let handled = handled.unwrap_or_else(|_| Err(Error::Panicked));
        let next_due = match handled {
            Ok(next_due) => {
                let soon = next_due.filter(|at| *at - now <= LOOK_AHEAD);
                if let Some(due_at) = soon {
                    let row = DueRow { key, due_at };
                    self.aim_at(row.shard(), &[row], now).await;
                }
                return Swept { handled: 1, failed: 0, next_due: soon };
            }
            Err(error) => {
                tracing::error!(row = %key, error = %error_chain(&error), "a due row was not handled");
                match self.table.put_off(&key, now).await {
                    Ok(later) => later,
                    Err(error) => {
                        tracing::error!(row = %key, error = %error_chain(&error), "a due row was not put off");
                        return Swept { handled: 0, failed: 1, next_due: None };
                    }
                }
            }
        };
        let row = DueRow { key, due_at: next_due };
        self.aim_at(row.shard(), std::slice::from_ref(&row), now).await;
        Swept { handled: 0, failed: 1, next_due: Some(next_due) }
    }

    async fn handle_kind(&self, key: &Key, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        match key.row_kind() {
            Some(RowKind::Service(id)) => self.judge(id, now).await,
            Some(RowKind::Notice(alert, id)) => self.hand_over_again(alert, id, now).await,
            None => Err(Error::NotFound(format!("No handler knows the row {key}"))),
        }
    }

    /// A notice whose receivers have not all answered: its hand-over was lost, or they are being retried.
    async fn hand_over_again(
        &self,
        alert: AlertId,
        id: NoticeId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(mut notice) = self.table.notice(alert, id).await? else {
            return Ok(None);
        };
        if notice.is_settled() {
            self.table.end_notice(&notice).await?;
            return Ok(None);
        }
        notice.outcomes.retain(|outcome| outcome.at.is_none());
        let age = (now - notice.at).clamp(TimeDelta::seconds(30), TimeDelta::minutes(10));
        let next = now + age;
        self.table.postpone_notice(&notice, next).await?;
        self.hand_over(Some(&notice), now).await;
        Ok(Some(next))
    }

    /// Sends one wake-up for each second in which rows of a shard come due.
    async fn aim_at(&self, shard: u8, rows: &[DueRow], now: DateTime<Utc>) {
        let mut seconds: BTreeMap<i64, DateTime<Utc>> = BTreeMap::new();
        for row in rows {
            let earliest = seconds.entry(row.due_at.timestamp()).or_insert(row.due_at);
            *earliest = row.due_at.min(*earliest);
        }
        for at in seconds.into_values() {
            if self.shards_aimed_at.is_new(&shard, at, now) {
                self.wake(Wake::Shard { shard }, at).await;
            }
        }
    }

    /// Notes that the gauges have changed.
    pub(crate) fn transitions_made(&self) {
        self.gauges_changed.store(true, Ordering::Relaxed);
    }

    async fn save_gauges(&self, now: DateTime<Utc>) {
        let is_time = now.timestamp() - self.gauges_saved_at.load(Ordering::Relaxed) >= GAUGES_EVERY_SECONDS;
        if is_time && self.gauges_changed.swap(false, Ordering::Relaxed) {
            self.gauges_saved_at.store(now.timestamp(), Ordering::Relaxed);
            let saved = match self.table.count_open_alerts().await {
                Ok(open) => self.table.save_open_alerts(open).await,
                Err(error) => Err(error),
            };
            if let Err(error) = saved {
                self.transitions_made();
                tracing::warn!(error = %error_chain(&error), "the gauges were not saved; the next sweep does it");
            }
        }
    }
}
