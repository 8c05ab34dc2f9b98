//! When a service must report, derived simply and apart from `domain`.

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::Span;

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

/// Recorded ticks that are further apart leave a gap, and what came so soon after one may have come before it.
pub(crate) const GAP_LIMIT: TimeDelta = TimeDelta::seconds(150);

/// Returns from when something is late that was due at `own`, was last heard of at `heard`, and could not be heard in gaps: at
/// the end of each it has `fresh` again, of which there is an hour in all.
pub(crate) fn postponed(own: DateTime<Utc>, heard: DateTime<Utc>, fresh: TimeDelta, gaps: &[Span]) -> DateTime<Utc> {
    let (mut late, mut left) = (own, TimeDelta::hours(1));
    for gap in gaps.iter().filter(|gap| heard <= gap.from + GAP_LIMIT) {
        let until = gap.to + fresh.min(left);
        if gap.from <= late && until > late {
            left -= until - late.max(gap.to);
            late = until;
        }
    }
    late
}

/// Returns the instants of a span at which something may have been heard, and that differ as to what gaps do: its ends, and
/// just after a gap began for sure.
pub(crate) fn instants(first: DateTime<Utc>, last: DateTime<Utc>, gaps: &[Span]) -> Vec<DateTime<Utc>> {
    let begun = gaps.iter().map(|gap| gap.from + GAP_LIMIT + TimeDelta::milliseconds(1));
    begun.filter(|at| first < *at && *at < last).chain([first, last]).collect()
}

/// Returns the first multiple of `period` at or after `at`, each later by `offset`.
pub(crate) fn next_multiple(at: DateTime<Utc>, period: TimeDelta, offset: TimeDelta) -> DateTime<Utc> {
    let past = (at - offset).timestamp_millis().rem_euclid(period.num_milliseconds());
    if past == 0 { at } else { at + period - TimeDelta::milliseconds(past) }
}
