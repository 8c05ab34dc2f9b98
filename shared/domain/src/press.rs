//! Presses of an approval request's buttons in Slack: decisions from the moment at which Medic received them.

use chrono::{DateTime, Utc};

use crate::{Decided, Event, ExecutionId, PressId, SlackMessage, SlackUser};

/// Somebody pressed a button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Press {
    pub id: PressId,
    pub execution_id: ExecutionId,
    /// The digest of the plan that they saw.
    pub digest: String,
    /// Whether they approved it; else they rejected it.
    pub approves: bool,
    pub user: SlackUser,
    /// The message with the button.
    pub message: Option<SlackMessage>,
}

impl Press {
    /// Returns when Medic received it. It counts as made then, however late it is handled.
    pub fn at(&self) -> DateTime<Utc> {
        self.id.time()
    }

    /// Returns what it makes happen to its execution.
    pub fn event(&self) -> Event {
        let decided = Decided { by: Some(self.user.actor()), reason: None, at: self.at() };
        if self.approves { Event::Approved(decided) } else { Event::Rejected(decided) }
    }
}
