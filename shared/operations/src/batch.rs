//! What the handling of many due rows shares: many services may fall silent in the same second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{AlertId, Notification, Receiver, ServiceId, TriggerId};
use store::{AlertContext, Key, Lane, ServiceSnapshot};

use crate::outbox::Outbox;
use crate::turns::RowTurns;

/// Rows that are handled together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The lanes whose senders are to be woken, in the order in which that became due.
    lanes: Mutex<Vec<String>>,
    starts: Mutex<Vec<(AlertId, TriggerId)>>,
    pub(crate) alert_ids: tokio::sync::Mutex<AlertIds>,
    read_ahead: Mutex<Option<ReadAhead>>,
}

/// What was read for many rows at once. Each is used once: whoever must look again reads the table.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// Each with the number of times that its row had been handled alone before it was read, as `RowTurns` counts.
    pub(crate) snapshots: HashMap<ServiceId, (ServiceSnapshot, u64)>,
    pub(crate) alert_contexts: HashMap<ServiceId, AlertContext>,
}

/// Ids that were taken and not used yet. Each time twice as many are taken as the time before: what is left over at the
/// end is a gap.
#[derive(Debug, Default)]
pub(crate) struct AlertIds {
    next: i64,
    left: i64,
    taken: i64,
}

impl AlertIds {
    const MAX: i64 = 64;

    /// Returns how many ids must be taken from the counter first: none while some are left.
    pub(crate) fn to_take(&self) -> Option<i64> {
        (self.left == 0).then(|| (self.taken * 2).clamp(1, Self::MAX))
    }

    /// Takes ids from `first` on.
    pub(crate) fn take(&mut self, first: AlertId, count: i64) {
        *self = Self { next: first.get(), left: count, taken: count };
    }

    /// Returns the next id.
    pub(crate) fn next(&mut self) -> AlertId {
        let id = self.next;
        self.next += 1;
        self.left -= 1;
        AlertId::new(id)
    }
}

impl Batch {
    /// Remembers whom to wake for what was committed.
    pub(crate) fn remember(&self, outbox: &Outbox) {
        outbox.notifications.iter().for_each(|notification| self.remember_notification(notification));
        let webhooks = outbox.deliveries.iter().map(|delivery| Receiver::Webhook { webhook_id: delivery.webhook_id });
        self.add_lanes(webhooks.map(|webhook| Lane::of(&webhook)));
        let start = outbox.start.as_ref().map(|start| (start.alert_id, start.trigger_id));
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.extend(start.into_iter().chain(outbox.closed_starts.iter().copied()));
    }

    /// Remembers to wake the senders of a notification that is committed.
    pub(crate) fn remember_notification(&self, notification: &Notification) {
        let pending = notification.outcomes.iter().filter(|outcome| outcome.is_pending());
        self.add_lanes(pending.map(|outcome| Lane::of(&outcome.receiver)));
    }

    fn add_lanes(&self, more: impl Iterator<Item = Lane>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in more.map(|lane| lane.to_string()) {
            if !lanes.contains(&lane) {
                lanes.push(lane);
            }
        }
    }

    /// Returns the lanes whose senders are to be woken, and forgets them.
    pub(crate) fn take_lanes(&self) -> Vec<String> {
        std::mem::take(&mut self.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the starts that somebody is to be woken for, and forgets them.
    pub(crate) fn take_starts(&self) -> Vec<(AlertId, TriggerId)> {
        std::mem::take(&mut self.starts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what was read for all of its rows.
    pub(crate) fn keep(&self, read: ReadAhead) {
        *self.read_ahead() = Some(read);
    }

    /// Returns a service's state as it was a moment ago, if that was read and nobody here handled its row since.
    pub(crate) fn take_snapshot(&self, id: ServiceId, turns: &RowTurns) -> Option<ServiceSnapshot> {
        let (snapshot, handled) = self.read_ahead().as_mut()?.snapshots.remove(&id)?;
        (turns.handled_alone(&Key::service(id)) == handled).then_some(snapshot)
    }

    /// Returns what was read for a service's alert, if it was, and forgets it.
    pub(crate) fn take_alert_context(&self, id: ServiceId) -> Option<AlertContext> {
        self.read_ahead().as_mut()?.alert_contexts.remove(&id)
    }

    /// Returns whether this is one row that a wake-up named.
    pub(crate) fn is_of_one(&self) -> bool {
        self.read_ahead().is_none()
    }

    fn read_ahead(&self) -> MutexGuard<'_, Option<ReadAhead>> {
        self.read_ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
