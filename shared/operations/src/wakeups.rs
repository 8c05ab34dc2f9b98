//! Sends wake-ups: messages that make something happen sooner than its timer would.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Run, RunId, ServiceId, to_millis};
use outbound::Wake;
use store::{DueRow, Key};

use crate::Medic;
use crate::batch::Batch;
use crate::error::error_chain;
use crate::outbox::Outbox;

/// A sweep sends wake-ups for what comes due within this: two ticks and a half, so that one may be missed.
pub(crate) const LOOK_AHEAD: TimeDelta = TimeDelta::seconds(150);
/// The due index shows a row after this, and mostly within a tenth of a second.
const SHOWN_AFTER: TimeDelta = TimeDelta::seconds(5);

impl Medic {
    /// Sends a wake-up. A failure is logged and no more: the timer row falls due all the same.
    pub(crate) async fn wake(&self, wake: Wake, at: DateTime<Utc>) {
        if let Err(error) = self.wakes.wake(wake, at).await {
            tracing::warn!(error = %error_chain(&error), "a wake-up was not sent; the timer will fire instead");
        }
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

    /// Sends one wake-up for each second in which rows of a shard come due.
    pub(crate) async fn schedule_wakeups(&self, shard: u8, rows: &[DueRow], now: DateTime<Utc>) {
        let mut seconds: BTreeMap<i64, DateTime<Utc>> = BTreeMap::new();
        for row in rows {
            let earliest = seconds.entry(row.due_at.timestamp()).or_insert(row.due_at);
            *earliest = row.due_at.min(*earliest);
        }
        for at in seconds.into_values() {
            let at = self.wakes.arrival(at);
            if self.sent_shard_wakeups.add(&shard, at, now) {
                self.wake(Wake::Shard { shard, until_ms: to_millis(at) }, at).await;
            }
        }
    }

    /// Sends a wake-up for a row, if it comes due before the next tick could see it.
    pub(crate) async fn schedule_row_wakeup(&self, key: Key, due_at: DateTime<Utc>, now: DateTime<Utc>) {
        if due_at - now <= LOOK_AHEAD {
            let row = DueRow { key, due_at };
            self.schedule_wakeups(row.shard(), &[row], now).await;
        }
    }

    /// Sends a wake-up for a service's timer, if the next tick would be late for it: by its key where the index may not
    /// show it by then.
    pub(crate) async fn schedule_service_wakeup(&self, id: ServiceId, due_at: DateTime<Utc>, now: DateTime<Utc>) {
        if due_at - now <= SHOWN_AFTER {
            self.wake_service(id, due_at).await;
        } else {
            self.schedule_row_wakeup(Key::service(id), due_at, now).await;
        }
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

    /// Wakes the senders of what was committed so far, each lane's once, and whoever starts the playbooks of alerts.
    pub(crate) async fn wake_lanes(&self, batch: &Batch, now: DateTime<Utc>) {
        for lane in batch.take_lanes() {
            self.wake(Wake::Lane { lane }, now).await;
        }
        for (alert, trigger) in batch.take_starts() {
            self.wake(Wake::Start { alert_id: alert.get(), trigger_id: trigger.get() }, now).await;
        }
    }

    /// Wakes whoever sends or starts what was committed.
    pub(crate) async fn hand_over(&self, outbox: &Outbox, now: DateTime<Utc>) {
        let batch = Batch::default();
        batch.remember(outbox);
        self.wake_lanes(&batch, now).await;
    }
}
