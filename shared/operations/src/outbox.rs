//! What a change brings about beside its own rows: notifications, deliveries to webhooks, and the playbook that an alert
//! starts. It is committed in the change's transaction, and handed over to its senders after it.

use chrono::{DateTime, Utc};
use domain::{Alert, AlertId, Delivery, Notification, TriggerId};
use store::{Start, Table, Writes};

use crate::Error;

/// What is sent and started because of one change.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) notifications: Vec<Notification>,
    pub(crate) deliveries: Vec<Delivery>,
    /// The playbook that an alert starts.
    pub(crate) start: Option<Start>,
    /// The starts of an alert that closes.
    pub(crate) closed_starts: Vec<(AlertId, TriggerId)>,
}

impl Outbox {
    /// Returns an outbox that holds a notification, if there is one.
    pub(crate) fn of(notification: Option<Notification>) -> Self {
        Self { notifications: notification.into_iter().collect(), ..Self::default() }
    }

    /// Closes what an alert started.
    pub(crate) fn close_starts(&mut self, alert: &Alert) {
        self.closed_starts.extend(alert.triggered.iter().map(|trigger| (alert.id, *trigger)));
    }

    /// Adds all of it to the transaction that brings it about.
    pub(crate) fn add_to(&self, writes: &mut Writes, table: &Table, now: DateTime<Utc>) -> Result<(), Error> {
        for (alert, trigger) in &self.closed_starts {
            writes.close_start(table, *alert, *trigger, now)?;
        }
        if let Some(start) = &self.start {
            writes.add_start(table, start)?;
        }
        for notification in &self.notifications {
            writes.add_notification(table, notification)?;
        }
        for delivery in &self.deliveries {
            writes.add_delivery(table, delivery)?;
        }
        Ok(())
    }
}
