//! The sweep: handles whatever is due, and schedules wake-ups for what soon will be. It takes no input but the time.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{ServiceId, to_millis};
use futures::channel::mpsc;
use futures::stream::{self, StreamExt as _};
use futures::{FutureExt as _, future};
use outbound::Wake;
use store::{DueRow, Key, RowKind, SHARDS, Stats};

use crate::batch::Batch;
use crate::error::error_chain;
use crate::time_budget::TimeBudget;
use crate::wakeups::LOOK_AHEAD;
use crate::{Error, Medic, Now};

/// Due rows that are read at a time from one shard.
const PAGE: i32 = 100;
/// Due rows of one shard that are handled at once.
const AT_ONCE: usize = 8;
/// A row may take some seconds when the table is slow: none is begun after this time, so that the function ends within its
/// 30 s.
const MAX_TIME: TimeDelta = TimeDelta::seconds(20);

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
    /// Handles all that is due. With nothing due it costs one query a shard, however much exists.
    pub async fn sweep(&self, now: Now<'_>) -> Result<Swept, Error> {
        // One shard's failure ends no other in the middle of its work.
        let shards: Vec<Result<Swept, Error>> = stream::iter(0..SHARDS)
            .map(|shard| self.sweep_part(shard, now))
            .buffer_unordered(usize::from(SHARDS))
            .collect()
            .await;
        Swept::of(shards)
    }

    /// Handles all that is due in one shard: a part of a sweep.
    pub async fn sweep_part(&self, shard: u8, now: Now<'_>) -> Result<Swept, Error> {
        self.sweep_until(shard, now() + LOOK_AHEAD, now).await
    }

    /// Handles what is due in one shard, for a wake-up that is for what comes due by `until`. The tick that sent it has
    /// scheduled wake-ups for what comes later: were wake-ups to look ahead too, each instance would send each of them
    /// again.
    pub async fn sweep_shard(&self, shard: u8, until: DateTime<Utc>, now: Now<'_>) -> Result<Swept, Error> {
        self.sent_shard_wakeups.arrived(shard, until);
        self.sweep_until(shard, until.max(now()), now).await
    }

    /// Handles what is due in one shard, and schedules wake-ups for what comes due by `horizon`. What there is no time for
    /// is left to a wake-up that this sends.
    async fn sweep_until(&self, shard: u8, horizon: DateTime<Utc>, now: Now<'_>) -> Result<Swept, Error> {
        let Some(turn) = self.shard_turns.get(usize::from(shard)) else {
            return Err(Error::NotFound(format!("There is no shard {shard}")));
        };
        let time = TimeBudget::begin(MAX_TIME, now);
        // A tick and a wake-up come at once: whoever is second sees what the first left.
        let _turn = turn.lock().await;
        let (mut swept, mut after, mut limit) = (Swept::default(), None, Some(PAGE));
        while !time.is_over() {
            let page = self.table.due(shard, horizon, after, limit).await?;
            let now = time.now();
            let (due, soon): (Vec<_>, Vec<_>) = page.rows.into_iter().partition(|row| row.due_at <= now);
            swept = swept.and(self.handle_together(due, now, time).await?);
            if let Some(first) = soon.first() {
                swept.next_due = swept.next_due.into_iter().chain([first.due_at]).min();
                self.schedule_wakeups(shard, &soon, time).await;
                // What follows is only looked at.
                limit = None;
            }
            if page.next.is_none() && !time.is_over() {
                return Ok(swept);
            }
            after = page.next;
        }
        self.wake(Wake::Shard { shard, until_ms: to_millis(horizon) }, time.now()).await;
        Ok(swept)
    }

    /// Handles rows that are due, which share what they read and whom they wake. Those that were not begun when the time is
    /// up stay due.
    async fn handle_together(
        &self,
        mut due: Vec<DueRow>,
        now: DateTime<Utc>,
        time: TimeBudget<'_>,
    ) -> Result<Swept, Error> {
        // The index may show a row that was moved at its old place and at its new one.
        let mut keys = HashSet::new();
        due.retain(|row| keys.insert(row.key.clone()));
        let batch = &Batch::default();
        self.read_ahead(due.iter().filter_map(service_of).collect(), batch, now).await?;
        let (has_ended, ended) = mpsc::unbounded();
        let has_ended = &has_ended;
        let rows: Vec<_> = due
            .into_iter()
            .map(|row| async move {
                if time.is_over() {
                    return Swept::default();
                }
                let swept = self.handle(row.key, batch, now).await;
                // Somebody listens until all have ended.
                drop(has_ended.unbounded_send(()));
                swept
            })
            .collect();
        let handling = async {
            let rows = stream::iter(rows).buffer_unordered(AT_ONCE);
            let swept = rows.fold(Swept::default(), |all, one| future::ready(all.and(one))).await;
            has_ended.close_channel();
            swept
        };
        // Whoever sends what a row brought about waits for no other row. What ends while they are being woken is handed over
        // together: thousands of rows may have one lane.
        let waking = async {
            let mut ended = ended.ready_chunks(usize::try_from(PAGE).unwrap_or(1));
            while ended.next().await.is_some() {
                self.wake_lanes(batch, now).await;
            }
        };
        let (swept, ()) = future::join(handling, waking).await;
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
            Some(RowKind::Delivery(webhook, id)) => self.requeue_delivery(webhook, id, batch, now).await,
            Some(RowKind::Execution(id)) => self.hand_over_execution_again(id, now).await,
            Some(RowKind::Press(execution, id)) => self.hand_over_press_again(execution, id, now).await,
            Some(RowKind::Start(alert, trigger)) => self.hand_over_start_again(alert, trigger, now).await,
            Some(RowKind::Alert(alert)) => self.close_starts(alert, now).await,
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
    let Some(RowKind::Service(id)) = row.key.row_kind() else { return None };
    Some(id)
}
