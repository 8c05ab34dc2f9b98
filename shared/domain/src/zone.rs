//! A time zone, and what its wall clocks show.

use std::fmt;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset as _, SubsecRound as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

use crate::{Invalid, from_millis, to_millis};

/// A zone of the IANA database: `UTC`, or a name with a `/` such as `Europe/Berlin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

/// When a wall clock shows a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalTime {
    Single(DateTime<Utc>),
    /// The clock was put back over it.
    Ambiguous(DateTime<Utc>, DateTime<Utc>),
    /// Never: the clock jumped over it at this instant.
    Skipped(DateTime<Utc>),
}

impl Zone {
    pub const UTC: Self = Self(Tz::UTC);

    /// Abbreviations and offsets are refused: `EST` is one offset all year in the database, which is seldom what is
    /// meant, and `CST` is three zones.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new("timezone", "must not be empty"));
        }
        if text != "UTC" && !text.contains('/') {
            return Err(Invalid::new(
                "timezone",
                "must be UTC or a full IANA name with a '/', such as Europe/Berlin; abbreviations and offsets are not \
                 accepted",
            ));
        }
        text.parse().map(Self).map_err(|_| {
            Invalid::new("timezone", "is not a known time zone; it must be UTC or an IANA name, such as Europe/Berlin")
        })
    }

    /// Returns the name that it was parsed from.
    pub fn as_str(self) -> &'static str {
        self.0.name()
    }

    /// Returns what the zone's wall clock shows at `at`.
    pub(crate) fn reading(self, at: DateTime<Utc>) -> NaiveDateTime {
        at.naive_utc() + self.offset(at)
    }

    /// Returns how far the wall clock is ahead of UTC at `at`.
    pub(crate) fn offset(self, at: DateTime<Utc>) -> TimeDelta {
        let offset = self.0.offset_from_utc_datetime(&at.naive_utc()).fix();
        TimeDelta::seconds(offset.local_minus_utc().into())
    }

    /// Returns when the wall clock shows `reading`.
    pub(crate) fn local_time(self, reading: NaiveDateTime) -> LocalTime {
        match self.0.from_local_datetime(&reading) {
            MappedLocalTime::Single(at) => LocalTime::Single(at.to_utc()),
            MappedLocalTime::Ambiguous(first, second) => LocalTime::Ambiguous(first.to_utc(), second.to_utc()),
            MappedLocalTime::None => LocalTime::Skipped(self.jump_over(reading)),
        }
    }

    /// Returns when the wall clock is put forward or back after `from` and until `to`.
    pub(crate) fn changes(self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        // Shorter than the time between two changes ever was.
        const STEP: TimeDelta = TimeDelta::hours(6);
        let mut changes = Vec::new();
        let mut begin = from;
        while begin < to {
            let (mut before, mut after) = (begin, begin + STEP);
            begin = after;
            if self.offset(before) == self.offset(after) {
                continue;
            }
            while after - before > TimeDelta::seconds(1) {
                let middle = from_millis(to_millis(before).midpoint(to_millis(after)));
                if self.offset(middle) == self.offset(after) { after = middle } else { before = middle }
            }
            changes.push(after.trunc_subsecs(0));
        }
        changes.retain(|at| *at > from && *at <= to);
        changes
    }

    /// Returns the instant at which the wall clock jumps over a reading that it never shows.
    fn jump_over(self, skipped: NaiveDateTime) -> DateTime<Utc> {
        // Further than any clock has been from UTC; between the two it passes the reading once.
        const MAX_SECONDS_AHEAD: i64 = 16 * 3600;
        let base = skipped.and_utc();
        let (mut before, mut after) = (-MAX_SECONDS_AHEAD, MAX_SECONDS_AHEAD);
        while after - before > 1 {
            let middle = before.midpoint(after);
            if self.reading(base + TimeDelta::seconds(middle)) > skipped {
                after = middle;
            } else {
                before = middle;
            }
        }
        base + TimeDelta::seconds(after)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format_time, parse_time};

    #[test]
    fn a_zone_is_utc_or_a_full_name() {
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Asia/Kathmandu"] {
            assert_eq!(Zone::parse(name).unwrap().to_string(), name);
        }
        for bad in ["", "EST", "CET", "GMT", "utc", "Z", "+01:00", "UTC+1", "EST5EDT", "Berlin", "Europe/Atlantis", "/"]
        {
            assert_eq!(Zone::parse(bad).unwrap_err().field, "timezone", "{bad}");
        }
    }

    #[test]
    fn a_reading_is_shown_once_twice_or_jumped_over() {
        let shown = |zone: &str, reading: &str| {
            let reading = parse_time("reading", reading).unwrap().naive_utc();
            match Zone::parse(zone).unwrap().local_time(reading) {
                LocalTime::Single(at) => format!("once {}", format_time(at)),
                LocalTime::Ambiguous(first, second) => format!("twice {} {}", format_time(first), format_time(second)),
                LocalTime::Skipped(at) => format!("skipped {}", format_time(at)),
            }
        };
        assert_eq!(shown("Europe/Berlin", "2026-07-01T12:00:00"), "once 2026-07-01T10:00:00.000Z");
        assert_eq!(
            shown("Europe/Berlin", "2026-10-25T02:30:00"),
            "twice 2026-10-25T00:30:00.000Z 2026-10-25T01:30:00.000Z"
        );
        assert_eq!(shown("Europe/Berlin", "2026-03-29T02:00:00"), "skipped 2026-03-29T01:00:00.000Z");
        assert_eq!(shown("Europe/Berlin", "2026-03-29T02:59:59"), "skipped 2026-03-29T01:00:00.000Z");
        assert_eq!(shown("Australia/Lord_Howe", "2026-10-04T02:15:00"), "skipped 2026-10-03T15:30:00.000Z");
        // Samoa left out a whole day.
        assert_eq!(shown("Pacific/Apia", "2011-12-30T12:00:00"), "skipped 2011-12-30T10:00:00.000Z");
    }
}
