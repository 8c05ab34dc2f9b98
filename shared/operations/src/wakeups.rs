//! Sends wake-ups: messages that make something happen sooner than its timer would.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Run, RunId, ServiceId, to_millis};
use futures::stream::{self, StreamExt as _};
use outbound::Wake;
use store::{DueRow, Key};

use crate::Medic;
use crate::error::error_chain;
use crate::time_budget::TimeBudget;

/// A sweep sends wake-ups for what comes due within this: two ticks and a half, so that one may be missed.
pub(crate) const LOOK_AHEAD: TimeDelta = TimeDelta::seconds(150);
/// The due index shows a row after this, and mostly within a tenth of a second.
const SHOWN_AFTER: TimeDelta = TimeDelta::seconds(5);
/// Wake-ups that are being sent at once.
const AT_ONCE: usize = 16;

impl Medic {
    /// Sends a wake-up. A failure is logged and no more: the timer row falls due all the same.
    pub(crate) async fn wake(&self, wake: Wake, at: DateTime<Utc>) {
        let _is_sent: bool = self.try_to_wake(wake, at).await;
    }

    /// Sends a wake-up. Returns whether that succeeded.
    async fn try_to_wake(&self, wake: Wake, at: DateTime<Utc>) -> bool {
        let sent = self.wakes.wake(wake, at).await.inspect_err(|error| {
            tracing::warn!(error = %error_chain(error), "a wake-up was not sent; the timer will fire instead");
        });
        sent.is_ok()
    }

    /// Wakes the sweep for a row.
    pub(crate) async fn wake_row(&self, key: Key, at: DateTime<Utc>) {
        let Key { pk, sk } = key;
        self.wake(Wake::Row { pk, sk }, at).await;
    }

    /// Wakes the sweep for a service's row.
    pub(crate) async fn wake_service(&self, id: ServiceId, at: DateTime<Utc>) {
        self.wake_row(Key::service(id), at).await;
    }

    /// Wakes the sweep for a run whose time comes before the next tick could see it.
    pub(crate) async fn wake_pending_run(&self, run: &Run, now: DateTime<Utc>) {
        if let Some(due_at) = run.due_at.filter(|due_at| *due_at - now <= LOOK_AHEAD) {
            self.wake_row(Key::run(run.service_id, &run.id), due_at.max(now)).await;
        }
    }

    /// Sends one wake-up for each second in which rows of a shard come due. What there is no time for is left to the next
    /// tick.
    pub(crate) async fn schedule_wakeups(&self, shard: u8, rows: &[DueRow], time: TimeBudget<'_>) {
        let mut seconds: BTreeMap<i64, DateTime<Utc>> = BTreeMap::new();
        for row in rows {
            let earliest = seconds.entry(row.due_at.timestamp()).or_insert(row.due_at);
            *earliest = row.due_at.min(*earliest);
        }
        let schedule = |due_at| async move {
            if !time.is_over() {
                self.schedule_shard_wakeup(shard, due_at, time.now()).await;
            }
        };
        let wakes: Vec<_> = seconds.into_values().map(schedule).collect();
        stream::iter(wakes).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Sends a wake-up for a shard in which a row comes due, unless one is on its way.
    async fn schedule_shard_wakeup(&self, shard: u8, due_at: DateTime<Utc>, now: DateTime<Utc>) {
        let at = self.wakes.arrival(due_at);
        let wake = self.try_to_wake(Wake::Shard { shard, until_ms: to_millis(at) }, at);
        self.sent_shard_wakeups.send_once(shard, at, now, wake).await;
    }

    /// Sends a wake-up for a lane that is busy until then, unless one is on its way.
    pub(crate) async fn schedule_lane_wakeup(&self, lane: String, until: DateTime<Utc>, now: DateTime<Utc>) {
        let wake = self.try_to_wake(Wake::Lane { lane: lane.clone() }, until);
        self.sent_lane_wakeups.send_once(lane, until, now, wake).await;
    }

    /// Sends a wake-up for a row, if it comes due before the next tick could see it.
    pub(crate) async fn schedule_row_wakeup(&self, key: Key, due_at: DateTime<Utc>, now: DateTime<Utc>) {
        if due_at - now <= LOOK_AHEAD {
            self.schedule_shard_wakeup(key.shard(), due_at, now).await;
        }
    }

    /// Sends a wake-up for the timer of a row that was just written, if the next tick would be late for it: by its key
    /// where the index may not show it by then.
    pub(crate) async fn schedule_written_wakeup(&self, key: Key, due_at: DateTime<Utc>, now: DateTime<Utc>) {
        if due_at - now <= SHOWN_AFTER {
            self.wake_row(key, due_at).await;
        } else {
            self.schedule_row_wakeup(key, due_at, now).await;
        }
    }

    /// Sends a wake-up for a service's timer, likewise.
    pub(crate) async fn schedule_service_wakeup(&self, id: ServiceId, due_at: DateTime<Utc>, now: DateTime<Utc>) {
        self.schedule_written_wakeup(Key::service(id), due_at, now).await;
    }

    /// Sends a wake-up for a run's timer, if the next tick would be late for it.
    pub(crate) async fn schedule_run_wakeup(
        &self,
        service: ServiceId,
        id: &RunId,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        self.schedule_row_wakeup(Key::run(service, id), due_at, now).await;
    }
}
