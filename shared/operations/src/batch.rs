//! What the handling of many due rows shares: many services may fall silent in the same second.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use domain::{Alert, AlertId, Decision, Delivery, Notification, Receiver, ServiceId, Transition, TriggerId};
use outbound::Wake;
use store::{DueRow, Key, Lane, Outline, RowKind, ServiceSnapshot, Start};

use crate::{Error, Medic};

/// Rows that are handled together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the order in which they were owed.
    lanes: Mutex<Vec<String>>,
    starts: Mutex<Vec<(AlertId, TriggerId)>>,
    alert_ids: tokio::sync::Mutex<AlertIds>,
    read_ahead: Mutex<Option<ReadAhead>>,
}

/// What was read for many rows at once. Each is used once: whoever must look again looks at the table.
#[derive(Debug, Default)]
struct ReadAhead {
    /// With how often their rows had been handled by themselves.
    snapshots: HashMap<ServiceId, (ServiceSnapshot, u64)>,
    outlines: HashMap<ServiceId, Outline>,
}

/// Ids that were taken and not used yet. Each time twice as many are taken as the time before: what is left over at the
/// end is a gap.
#[derive(Debug, Default)]
struct AlertIds {
    next: i64,
    left: i64,
    taken: i64,
}

impl AlertIds {
    const MAX: i64 = 64;
}

impl Batch {
    /// Remembers to wake the senders of a notification that was committed.
    pub(crate) fn hand_over(&self, notification: Option<&Notification>) {
        let outcomes = notification
            .into_iter()
            .flat_map(|notification| &notification.outcomes)
            .filter(|outcome| outcome.is_owed());
        self.owe(outcomes.map(|outcome| Lane::of(&outcome.receiver)));
    }

    /// Remembers to wake the senders of deliveries that were committed.
    pub(crate) fn hand_over_deliveries(&self, deliveries: &[Delivery]) {
        self.owe(deliveries.iter().map(|delivery| Lane::of(&Receiver::Webhook { webhook_id: delivery.webhook_id })));
    }

    fn owe(&self, lanes: impl Iterator<Item = Lane>) {
        let mut owed = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.map(|lane| lane.to_string()) {
            if !owed.contains(&lane) {
                owed.push(lane);
            }
        }
    }

    /// Remembers to wake whoever starts playbooks.
    pub(crate) fn start(&self, start: Option<&Start>) {
        self.owe_starts(start.map(|start| (start.alert_id, start.trigger_id)));
    }

    /// Remembers to wake them for what an alert started that closed.
    pub(crate) fn closed(&self, alert: Option<&Alert>) {
        self.owe_starts(alert.into_iter().flat_map(|alert| alert.triggered.iter().map(|trigger| (alert.id, *trigger))));
    }

    fn owe_starts(&self, starts: impl IntoIterator<Item = (AlertId, TriggerId)>) {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).extend(starts);
    }

    fn take_starts(&self) -> Vec<(AlertId, TriggerId)> {
        std::mem::take(&mut self.starts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A service's state as it was a moment ago, if that was read and nobody here handled its row since.
    pub(crate) fn take_snapshot(&self, id: ServiceId, turns: &RowTurns) -> Option<ServiceSnapshot> {
        let (snapshot, handled) = self.read_ahead().as_mut()?.snapshots.remove(&id)?;
        (turns.handled_alone(&Key::service(id)) == handled).then_some(snapshot)
    }

    /// What was read of a service for its alert.
    pub(crate) fn take_outline(&self, id: ServiceId) -> Option<Outline> {
        self.read_ahead().as_mut()?.outlines.remove(&id)
    }

    /// Whether this is one row that somebody named.
    pub(crate) fn is_of_one(&self) -> bool {
        self.read_ahead().is_none()
    }

    fn read_ahead(&self) -> MutexGuard<'_, Option<ReadAhead>> {
        self.read_ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_lanes(&self) -> Vec<String> {
        std::mem::take(&mut self.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Medic {
    /// Reads together what the handling of these rows will ask for.
    pub(crate) async fn read_ahead(&self, rows: &[DueRow], batch: &Batch, now: DateTime<Utc>) -> Result<(), Error> {
        let of_service = |row: &DueRow| match row.key.row_kind() {
            Some(RowKind::Service(id)) => Some(id),
            Some(
                RowKind::Run(..)
                | RowKind::Notification(..)
                | RowKind::Window(_)
                | RowKind::Delivery(..)
                | RowKind::Execution(_)
                | RowKind::Start(..),
            )
            | None => None,
        };
        let ids: Vec<_> = rows.iter().filter_map(of_service).collect();
        let handled: Vec<_> = ids.iter().map(|id| self.row_turns.handled_alone(&Key::service(*id))).collect();
        let mut snapshots = self.table.service_snapshots(&ids).await?;
        let opens = |seen: &&ServiceSnapshot| matches!(seen.service.judge(now), Decision::Act(Transition::Open(_)));
        let opening = ids.iter().filter_map(|id| snapshots.get(id)).filter(opens).map(|seen| seen.service.id);
        let opening: Vec<_> = opening.collect();
        let outlines = self.table.outlines_by_id(&opening).await?;
        let handled = ids.into_iter().zip(handled);
        let snapshots = handled.filter_map(|(id, handled)| Some((id, (snapshots.remove(&id)?, handled)))).collect();
        *batch.read_ahead() = Some(ReadAhead { snapshots, outlines });
        Ok(())
    }

    /// Wakes the senders of what was committed so far, each lane's once, and whoever starts the playbooks that it owes.
    pub(crate) async fn wake_lanes(&self, batch: &Batch, now: DateTime<Utc>) {
        for lane in batch.take_lanes() {
            self.wake(Wake::Lane { lane }, now).await;
        }
        for (alert, trigger) in batch.take_starts() {
            self.wake(Wake::Start { alert_id: alert.get(), trigger_id: trigger.get() }, now).await;
        }
    }

    /// An id for an alert.
    pub(crate) async fn next_alert_id(&self, batch: &Batch) -> Result<AlertId, Error> {
        let mut ids = batch.alert_ids.lock().await;
        if ids.left == 0 {
            let count = (ids.taken * 2).clamp(1, AlertIds::MAX);
            let first = self.table.next_alert_ids(count).await?.get();
            *ids = AlertIds { next: first, left: count, taken: count };
        }
        let id = ids.next;
        ids.next += 1;
        ids.left -= 1;
        Ok(AlertId::new(id))
    }
}

/// The turns of rows: a tick and a wake-up may come to a row at once, and whoever is second sees what the first left. Rows
/// share turns by the hash of their keys.
#[derive(Debug)]
pub(crate) struct RowTurns(Vec<(tokio::sync::Mutex<()>, AtomicU64)>);

impl RowTurns {
    const MANY: usize = 256;

    pub(crate) fn of(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        &self.at(key).0
    }

    /// How often rows that share a turn with this one were handled by themselves, and not with others of a sweep.
    pub(crate) fn handled_alone(&self, key: &Key) -> u64 {
        self.at(key).1.load(Ordering::Relaxed)
    }

    /// A row was handled by itself. For whoever has its turn.
    pub(crate) fn count_alone(&self, key: &Key) {
        self.at(key).1.fetch_add(1, Ordering::Relaxed);
    }

    fn at(&self, key: &Key) -> &(tokio::sync::Mutex<()>, AtomicU64) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let place = hasher.finish() as usize % Self::MANY;
        #[expect(clippy::indexing_slicing, reason = "there are as many")]
        &self.0[place]
    }
}

impl Default for RowTurns {
    fn default() -> Self {
        Self(std::iter::repeat_with(Default::default).take(Self::MANY).collect())
    }
}
