//! A look at a service's open runs, since what decides on them has changed: its maximum, its mute, or whether it is
//! monitored. There may be thousands, so it is made in parts. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::Stamp;

/// A look that is due, or under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsLook {
    /// When it, or its next part, is due.
    pub at: DateTime<Utc>,
    /// The list of open runs lags behind, so there are two looks.
    pub last: bool,
    /// The place of the newest run that is still to be looked at; none at the beginning.
    pub from: Option<Stamp>,
}

/// How long the list of open runs may lag behind.
const SECOND_LOOK: TimeDelta = TimeDelta::seconds(10);
/// Parts follow each other at once, and whoever was asked for one before the last was made makes none.
const NEXT_PART: TimeDelta = TimeDelta::milliseconds(1);

impl RunsLook {
    /// Returns the first look, which begins now.
    pub const fn beginning(now: DateTime<Utc>) -> Self {
        Self { at: now, last: false, from: None }
    }

    /// Returns what follows a part that is made now: the next part, from `rest` on, or another look where `is_monitored`.
    pub(crate) fn after_part(self, rest: Option<Stamp>, is_monitored: bool, now: DateTime<Utc>) -> Option<Self> {
        if rest.is_some() {
            return Some(Self { at: now + NEXT_PART, from: rest, ..self });
        }
        (!self.last && is_monitored).then_some(Self { at: now + SECOND_LOOK, last: true, from: None })
    }
}
