//! What the handling of many due rows shares: many services may fall silent in the same second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{AlertId, Delivery, Notification, Receiver, ServiceId, TriggerId};
use store::{AlertContext, Key, Lane, Queue, ServiceSnapshot};

use crate::outbox::Outbox;
use crate::turns::RowTurns;

/// Rows that are handled together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The lanes whose senders are to be woken, in the order in which that became due.
    lanes: Mutex<Vec<String>>,
    starts: Mutex<Vec<(AlertId, TriggerId)>>,
    /// Alerts that have closed, whose starts are to learn of it.
    closed: Mutex<Vec<AlertId>>,
    /// What was committed without its places in lanes.
    unqueued: Mutex<Vec<Unqueued>>,
    pub(crate) alert_ids: tokio::sync::Mutex<AlertIds>,
    read_ahead: Mutex<Option<ReadAhead>>,
}

/// What was committed without its places in lanes, and is to be put there.
#[derive(Debug)]
pub(crate) enum Unqueued {
    Notification(Box<Notification>),
    Delivery(Box<Delivery>),
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
        outbox.deliveries.iter().for_each(|delivery| self.remember_delivery(delivery));
        let start = outbox.start.as_ref().map(|start| (start.alert_id, start.trigger_id));
        locked(&self.starts).extend(start);
        locked(&self.closed).extend(outbox.closed);
        if outbox.queue() == Queue::Later {
            let notifications = outbox.notifications.iter().cloned().map(Box::new).map(Unqueued::Notification);
            let deliveries = outbox.deliveries.iter().cloned().map(Box::new).map(Unqueued::Delivery);
            locked(&self.unqueued).extend(notifications.chain(deliveries));
        }
    }

    /// Remembers to wake the senders of a notification that is committed.
    pub(crate) fn remember_notification(&self, notification: &Notification) {
        let pending = notification.outcomes.iter().filter(|outcome| outcome.is_pending());
        self.add_lanes(pending.map(|outcome| Lane::of(&outcome.receiver)));
    }

    /// Remembers to wake the sender of a delivery that is in its lane.
    pub(crate) fn remember_delivery(&self, delivery: &Delivery) {
        let receiver = Receiver::Webhook { webhook_id: delivery.webhook_id };
        self.add_lanes(std::iter::once(Lane::of(&receiver)));
    }

    fn add_lanes(&self, more: impl Iterator<Item = Lane>) {
        let mut lanes = locked(&self.lanes);
        for lane in more.map(|lane| lane.to_string()) {
            if !lanes.contains(&lane) {
                lanes.push(lane);
            }
        }
    }

    /// Returns the lanes whose senders are to be woken, and forgets them.
    pub(crate) fn take_lanes(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.lanes))
    }

    /// Returns the starts that somebody is to be woken for, and forgets them.
    pub(crate) fn take_starts(&self) -> Vec<(AlertId, TriggerId)> {
        std::mem::take(&mut locked(&self.starts))
    }

    /// Returns the alerts that have closed, and forgets them.
    pub(crate) fn take_closed(&self) -> Vec<AlertId> {
        std::mem::take(&mut locked(&self.closed))
    }

    /// Returns what is to be put into lanes, and forgets it.
    pub(crate) fn take_unqueued(&self) -> Vec<Unqueued> {
        std::mem::take(&mut locked(&self.unqueued))
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
        locked(&self.read_ahead)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
