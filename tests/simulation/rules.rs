//! When a service must report, read simply and apart from `domain`.

use chrono::{DateTime, TimeDelta, Utc};

/// When heartbeats must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Every {
    Interval(TimeDelta),
    /// One for each multiple of `of` since 1970, and so long after it.
    Time {
        of: TimeDelta,
        after: TimeDelta,
    },
}

/// When a service must report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) every: Every,
    pub(crate) grace: TimeDelta,
    pub(crate) threshold: usize,
}

impl Rule {
    pub(crate) fn period(&self) -> TimeDelta {
        match self.every {
            Every::Interval(period) | Every::Time { of: period, .. } => period,
        }
    }

    pub(crate) fn is_timetable(&self) -> bool {
        matches!(self.every, Every::Time { .. })
    }

    /// From when it is late that counts from `since`, and whose oldest heartbeat of those that are asked for came at `beat`.
    pub(crate) fn late(&self, since: DateTime<Utc>, beat: Option<DateTime<Utc>>) -> DateTime<Utc> {
        match (self.every, beat) {
            (Every::Interval(interval), beat) => beat.unwrap_or(since) + interval + self.grace,
            // A heartbeat is for the deadline that comes next, and the one after that is missed.
            (Every::Time { of, after }, Some(beat)) => next_multiple(beat, of, after + self.grace) + of,
            (Every::Time { of, after }, None) => {
                next_multiple(since + TimeDelta::milliseconds(1), of, after) + self.grace
            }
        }
    }

    /// How often an alert is counted that lasts for so long: at least, and at most.
    pub(crate) fn counts(&self, least: TimeDelta, most: TimeDelta) -> (i64, i64) {
        let whole = |lasted: TimeDelta| lasted.num_milliseconds().max(0) / self.period().num_milliseconds() + 1;
        (whole(least), whole(most) + i64::from(self.is_timetable()))
    }
}

/// The first multiple at or after `at`.
pub(crate) fn next_multiple(at: DateTime<Utc>, of: TimeDelta, after: TimeDelta) -> DateTime<Utc> {
    let past = (at - after).timestamp_millis().rem_euclid(of.num_milliseconds());
    if past == 0 { at } else { at + of - TimeDelta::milliseconds(past) }
}
