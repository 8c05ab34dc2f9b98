//! When a service must report, derived simply and apart from `domain`.

use chrono::{DateTime, TimeDelta, Utc};

/// When heartbeats must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    Interval(TimeDelta),
    /// One for each multiple of `period` since 1970, each later by `offset`.
    Schedule {
        period: TimeDelta,
        offset: TimeDelta,
    },
}

/// When a service must report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) timing: Timing,
    pub(crate) grace: TimeDelta,
    pub(crate) threshold: usize,
}

impl Rule {
    pub(crate) fn period(&self) -> TimeDelta {
        match self.timing {
            Timing::Interval(period) | Timing::Schedule { period, .. } => period,
        }
    }

    pub(crate) fn is_schedule(&self) -> bool {
        matches!(self.timing, Timing::Schedule { .. })
    }

    /// From when a service is late that counts from `since`, and whose oldest heartbeat of those that are required came at
    /// `heartbeat`.
    pub(crate) fn late(&self, since: DateTime<Utc>, heartbeat: Option<DateTime<Utc>>) -> DateTime<Utc> {
        match (self.timing, heartbeat) {
            (Timing::Interval(interval), heartbeat) => heartbeat.unwrap_or(since) + interval + self.grace,
            // A heartbeat is for the deadline that comes next, and the one after that is missed.
            (Timing::Schedule { period, offset }, Some(heartbeat)) => {
                next_multiple(heartbeat, period, offset + self.grace) + period
            }
            (Timing::Schedule { period, offset }, None) => {
                next_multiple(since + TimeDelta::milliseconds(1), period, offset) + self.grace
            }
        }
    }

    /// Returns how often an alert is counted that lasts from `min` to `max`: at least, and at most.
    pub(crate) fn counts(&self, min: TimeDelta, max: TimeDelta) -> (i64, i64) {
        let whole = |lasted: TimeDelta| lasted.num_milliseconds().max(0) / self.period().num_milliseconds() + 1;
        (whole(min), whole(max) + i64::from(self.is_schedule()))
    }
}

/// Returns the first multiple of `period` at or after `at`, each later by `offset`.
pub(crate) fn next_multiple(at: DateTime<Utc>, period: TimeDelta, offset: TimeDelta) -> DateTime<Utc> {
    let past = (at - offset).timestamp_millis().rem_euclid(period.num_milliseconds());
    if past == 0 { at } else { at + period - TimeDelta::milliseconds(past) }
}
