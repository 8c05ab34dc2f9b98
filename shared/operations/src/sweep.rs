//! The sweep: handles whatever is due, and schedules wake-ups for what soon will be. It takes no input but the time.

use std::panic::AssertUnwindSafe;

use chrono::{DateTime, Utc};
use domain::{ServiceId, to_millis};
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use outbound::Wake;
use store::{DueRow, Key, RowKind, SHARDS, Stats};

use crate::batch::Batch;
use crate::error::error_chain;
use crate::wakeups::LOOK_AHEAD;
use crate::{Error, Medic};

/// Rows read at a time from one shard.
const PAGE: i32 = 100;
/// Rows after which the senders of what they brought about are woken.
const HANDED_OVER: usize = 16;
/// Pages of due rows handled in one go; the rest waits for the wake-up that this sends.
const MAX_PAGES: usize = 20;

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    pub handled: usize,
    pub failed: usize,
    /// When the next row comes due, if that is within the look-ahead.
    pub next_due: Option<DateTime<Utc>>,
}

impl Swept {
    /// Sums up what the parts of a sweep found.
    pub fn of<E>(parts: impl IntoIterator<Item = Result<Self, E>>) -> Result<Self, E> {
        parts.into_iter().try_fold(Self::default(), |all, one| Ok(all.and(one?)))
    }

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
            .map(|shard| self.sweep_part(shard, now))
            .buffer_unordered(usize::from(SHARDS))
            .collect()
            .await;
        Swept::of(shards)
    }

    /// Handles all that is due at `now` in one shard: a part of a sweep.
    pub async fn sweep_part(&self, shard: u8, now: DateTime<Utc>) -> Result<Swept, Error> {
        self.sweep_until(shard, now + LOOK_AHEAD, now).await
    }

    /// Handles what is due in one shard, for a wake-up that is for what comes due by `until`. The tick that sent it has
    /// scheduled wake-ups for what comes later: were wake-ups to look ahead too, each instance would send each of them
    /// again.
    pub async fn sweep_shard(&self, shard: u8, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<Swept, Error> {
        self.sweep_until(shard, until.max(now), now).await
    }

    /// Handles what is due in one shard, and schedules wake-ups for what comes due by `horizon`.
    async fn sweep_until(&self, shard: u8, horizon: DateTime<Utc>, now: DateTime<Utc>) -> Result<Swept, Error> {
        let Some(turn) = self.shard_turns.get(usize::from(shard)) else {
            return Err(Error::NotFound(format!("There is no shard {shard}")));
        };
        // A tick and a wake-up come at once: whoever is second sees what the first left.
        let _turn = turn.lock().await;
        let mut swept = Swept::default();
        for _ in 0..MAX_PAGES {
            let page = self.table.due(shard, horizon, PAGE).await?;
            let (due, soon): (Vec<_>, Vec<_>) = page.rows.into_iter().partition(|row| row.due_at <= now);
            swept = swept.and(self.handle_together(due, now).await?);
            let Some(first) = soon.first() else {
                if page.next.is_some() {
                    continue;
                }
                return Ok(swept);
            };
            swept.next_due = swept.next_due.into_iter().chain([first.due_at]).min();
            self.schedule_wakeups(shard, &soon, now).await;
            let mut rest = page.next;
            while let Some(after) = rest {
                let page = self.table.due_after(shard, after, horizon).await?;
                self.schedule_wakeups(shard, &page.rows, now).await;
                rest = page.next;
            }
            return Ok(swept);
        }
        self.wake(Wake::Shard { shard, until_ms: to_millis(now) }, now).await;
        Ok(swept)
    }

    /// Handles rows that are due, which share what they read and whom they wake.
    async fn handle_together(&self, due: Vec<DueRow>, now: DateTime<Utc>) -> Result<Swept, Error> {
        let batch = &Batch::default();
        self.read_ahead(due.iter().filter_map(service_of).collect(), batch, now).await?;
        let rows: Vec<_> = due.into_iter().map(|row| self.handle(row.key, batch, now)).collect();
        let mut handled = stream::iter(rows).buffer_unordered(8).chunks(HANDED_OVER);
        let mut swept = Swept::default();
        while let Some(some) = handled.next().await {
            swept = some.into_iter().fold(swept, Swept::and);
            self.wake_lanes(batch, now).await;
        }
        Ok(swept)
    }

    /// Handles one row that a wake-up names, whether it is due or not.
    pub async fn handle_row(&self, key: Key, now: DateTime<Utc>) -> Swept {
        let batch = Batch::default();
        let swept = self.handle(key, &batch, now).await;
        self.wake_lanes(&batch, now).await;
        swept
    }

    async fn handle(&self, key: Key, batch: &Batch, now: DateTime<Utc>) -> Swept {
        let _turn = self.row_turns.of(&key).lock().await;
        // One row that makes its handler panic is postponed like one that fails.
        let handled = AssertUnwindSafe(self.handle_kind(&key, batch, now)).catch_unwind().await;
        let handled = handled.unwrap_or_else(|_| Err(Error::Panicked));
        if batch.is_of_one() {
            self.row_turns.count_alone(&key);
        }
        let (failed, next_due) = match handled {
            Ok(next_due) => (0, next_due),
            Err(error) => {
                tracing::error!(row = %key, error = %error_chain(&error), "a due row was not handled");
                metrics::counter!("medic_worker_failures_total").increment(1);
                let later = self.table.postpone(&key, now).await.inspect_err(|error| {
                    tracing::error!(row = %key, error = %error_chain(error), "a due row was not postponed");
                });
                (1, later.ok())
            }
        };
        let next_due = next_due.filter(|at| *at - now <= LOOK_AHEAD);
        if let Some(due_at) = next_due {
            self.schedule_row_wakeup(key, due_at, now).await;
        }
        Swept { handled: 1 - failed, failed, next_due }
    }

    async fn handle_kind(&self, key: &Key, batch: &Batch, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        match key.row_kind() {
            Some(RowKind::Service(id)) => self.judge_service(id, batch, now).await,
            Some(RowKind::Run(service, id)) => self.judge_run(service, &id, batch, now).await,
            Some(RowKind::Notification(owner, id)) => self.hand_over_notification_again(owner, id, batch, now).await,
            Some(RowKind::Window(id)) => self.judge_window(id, now).await,
            Some(RowKind::Delivery(webhook, id)) => self.hand_over_delivery_again(webhook, id, now).await,
            Some(RowKind::Execution(id)) => self.hand_over_execution_again(id, now).await,
            Some(RowKind::Press(execution, id)) => self.hand_over_press_again(execution, id, now).await,
            Some(RowKind::Start(alert, trigger)) => self.hand_over_start_again(alert, trigger, now).await,
            None => Err(Error::NotFound(format!("No handler knows the row {key}"))),
        }
    }

    /// Counts anew what is open in the table, and returns all that is counted there.
    pub async fn refresh_stats(&self, now: DateTime<Utc>) -> Result<Stats, Error> {
        let kept = self.table.stats().await?;
        let counted = self.table.recount(kept, now).await?;
        if counted != kept {
            self.table.save_recount(&counted).await?;
        }
        Ok(counted)
    }
}

fn service_of(row: &DueRow) -> Option<ServiceId> {
    match row.key.row_kind() {
        Some(RowKind::Service(id)) => Some(id),
        Some(
            RowKind::Run(..)
            | RowKind::Notification(..)
            | RowKind::Window(_)
            | RowKind::Delivery(..)
            | RowKind::Execution(_)
            | RowKind::Press(..)
            | RowKind::Start(..),
        )
        | None => None,
    }
}
