//! What a change brings about beside its own rows: notifications, deliveries to webhooks, and the playbook that an alert
//! starts. It is committed in the change's transaction, and handed over to its senders after it.

use domain::{Alert, AlertId, Delivery, Notification};
use store::{Queue, Start, Table, Writes};

use crate::Error;

/// What is sent and started because of one change.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) notifications: Vec<Notification>,
    pub(crate) deliveries: Vec<Delivery>,
    /// The playbook that an alert starts.
    pub(crate) start: Option<Start>,
    /// An alert that closes, whose starts must learn of it.
    pub(crate) closed: Option<AlertId>,
}

/// How many writes there may be beside an outbox in its transaction: an execution's state, step, plan and lists, its circuit,
/// its start and its audit entries are the most.
const OTHERS: usize = 16;

impl Outbox {
    /// Returns an outbox that holds a notification, if there is one.
    pub(crate) fn of(notification: Option<Notification>) -> Self {
        Self { notifications: notification.into_iter().collect(), ..Self::default() }
    }

    /// Closes what an alert started, after the commit: there may be any number.
    pub(crate) fn close_starts(&mut self, alert: &Alert) {
        self.closed = Some(alert.id).filter(|_| alert.has_starts());
    }

    /// Returns when what it sends gets its places in lanes: with it, unless these are too many for one transaction.
    pub(crate) fn queue(&self) -> Queue {
        let pending = self.notifications.iter().flat_map(|one| &one.outcomes).filter(|outcome| outcome.is_pending());
        let places = pending.count() + self.deliveries.len();
        let rows = self.notifications.len() + self.deliveries.len() + usize::from(self.start.is_some());
        if rows + places + OTHERS <= Writes::MAX { Queue::WithIt } else { Queue::Later }
    }

    /// Adds all of it to the transaction that brings it about.
    pub(crate) fn add_to(&self, writes: &mut Writes, table: &Table) -> Result<(), Error> {
        let queue = self.queue();
        if let Some(start) = &self.start {
            writes.add_start(table, start)?;
        }
        for notification in &self.notifications {
            writes.add_notification(table, notification, queue)?;
        }
        for delivery in &self.deliveries {
            writes.add_delivery(table, delivery, queue)?;
        }
        Ok(())
    }
}
