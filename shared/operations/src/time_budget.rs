//! How long some work may take.

use chrono::{DateTime, TimeDelta, Utc};

/// Reads the time anew, since what is done takes a while.
pub type Now<'a> = &'a (dyn Fn() -> DateTime<Utc> + Sync);

/// The time that a piece of work has: past it nothing new is begun.
#[derive(Clone, Copy)]
pub(crate) struct TimeBudget<'a> {
    now: Now<'a>,
    ends: DateTime<Utc>,
}

impl<'a> TimeBudget<'a> {
    /// Begins work that may take this long.
    pub(crate) fn begin(max: TimeDelta, now: Now<'a>) -> Self {
        Self { now, ends: now() + max }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.now() >= self.ends
    }
}
