//! Drains a lane, whatever its receiver is.

use chrono::{DateTime, Utc};
use domain::Receiver;
use outbound::Wake;
use store::Lane;

use super::drain::{Drained, ReceiverLane};
use crate::{Error, Medic, Now};

impl Medic {
    /// Sends what comes next in a lane.
    pub async fn drain(&self, lane: &Lane, now: Now<'_>) -> Result<Drained, Error> {
        let Some(receiver) = lane.receiver() else {
            return Err(Error::NotFound(format!("No receiver has the lane {lane}")));
        };
        let at = ReceiverLane { lane, receiver: &receiver };
        match receiver {
            Receiver::Webhook { webhook_id } => self.drain_webhook(at, webhook_id, now).await,
            Receiver::Slack { .. } | Receiver::PagerDuty { .. } | Receiver::Target { .. } => {
                self.drain_notifications(at, now).await
            }
        }
    }

    /// Leaves the rest of a lane to another message.
    pub async fn drain_later(&self, lane: &Lane, now: DateTime<Utc>) {
        self.wake(Wake::Lane { lane: lane.to_string() }, now).await;
    }
}
