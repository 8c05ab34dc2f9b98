//! The one wake-up port: a message to Medic itself, now or later. The fast path to what a timer row would do anyway, so
//! one that is lost, doubled or late does no harm.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a wake-up asks to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "wake", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wake {
    /// One timer row, by its key, because the index may not show a new row yet. For `sweep`.
    Row { pk: String, sk: String },
    /// Whatever comes due in one shard of the index by an instant, in milliseconds since 1970. For `sweep`.
    Shard { shard: u8, until_ms: i64 },
    /// The lane of one receiver, in which notifications are pending. For `notify`.
    Lane { lane: String },
    /// An execution that has something to do. For `playbook`.
    Execution { execution_id: String },
    /// A press of a button in Slack that is to be settled. For `playbook`.
    Press { execution_id: String, press_id: String },
    /// A playbook that an alert starts, or whose alert has closed. For `playbook`.
    Start { alert_id: i64, trigger_id: i64 },
}

/// A wake-up that could not be sent; the timer row does its work later.
#[derive(Debug, thiserror::Error)]
#[error("a wake-up could not be sent")]
pub struct WakeError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

#[async_trait]
pub trait Wakes: Debug + Send + Sync {
    /// Delivers `wake` at `at`, or soon after; at once if `at` has passed.
    async fn wake(&self, wake: Wake, at: DateTime<Utc>) -> Result<(), WakeError>;

    /// Returns when to wake a shard in which a row comes due at `at`: where messages are no more exact than a second,
    /// one serves all the rows of that second.
    fn arrival(&self, at: DateTime<Utc>) -> DateTime<Utc>;
}

/// How a wake-up travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// By a message with this delay, in whole seconds.
    Message { delay_seconds: u32 },
    /// By a one-time schedule: it is further off than a message can wait.
    Schedule,
}

impl Route {
    /// The longest delay that SQS accepts.
    const MAX_SECONDS: u32 = 900;

    /// Returns the route of a wake-up that is for `at`; never early, and less than a second late.
    pub fn of(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        let millis = (at - now).num_milliseconds().max(0);
        match u32::try_from((millis + 999) / 1_000) {
            Ok(delay_seconds) if delay_seconds <= Self::MAX_SECONDS => Self::Message { delay_seconds },
            Ok(_) | Err(_) => Self::Schedule,
        }
    }
}
