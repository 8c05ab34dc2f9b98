//! The wake-up port of the local system: the same messages and schedules as on AWS, on the stand-in. The runner also
//! gets the exact time, so that here an alert is sent within tenths of a second.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use emulators::Queues;
use outbound::{Route, Wake, WakeError, Wakes};

use crate::Time;
use crate::runner::{Agenda, Queue};

#[derive(Debug)]
pub(crate) struct LocalWakes {
    pub(crate) queues: Queues,
    pub(crate) agenda: Arc<Agenda>,
    pub(crate) time: Arc<dyn Time>,
}

#[async_trait]
impl Wakes for LocalWakes {
    async fn wake(&self, wake: Wake, at: DateTime<Utc>) -> Result<(), WakeError> {
        let now = self.time.now();
        let queue = match &wake {
            Wake::Row { .. } | Wake::Shard { .. } => Queue::Sweep,
            Wake::Lane { .. } => Queue::Notify,
            Wake::Execution { .. } | Wake::Start { .. } | Wake::Press { .. } => Queue::Playbook,
        };
        let body = serde_json::to_string(&wake).map_err(|error| WakeError(Box::new(error)))?;
        let sent = match Route::of(at, now) {
            // SQS would round its delay up to whole seconds.
            Route::Message { delay_seconds: _ } => self.queues.send(queue.name(), &body, delay(at, now), now),
            Route::Schedule => self.queues.schedule(&body, at, queue.name(), &body),
        };
        sent.map_err(|error| WakeError(Box::new(error)))?;
        match wake {
            Wake::Row { .. } | Wake::Shard { .. } => self.agenda.sweep_by(at.max(now)),
            Wake::Lane { .. } | Wake::Execution { .. } | Wake::Start { .. } | Wake::Press { .. } => {
                self.agenda.changed();
            }
        }
        Ok(())
    }

    fn arrival(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at
    }
}

/// Returns the time from the millisecond of `now` to the one in which `at` has come.
fn delay(at: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    let has_come = at + TimeDelta::nanoseconds(999_999);
    TimeDelta::milliseconds((has_come.timestamp_millis() - now.timestamp_millis()).max(0))
}
