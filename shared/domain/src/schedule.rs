//! A schedule: which hours of the week a team works, by the wall clock of its zone.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _, Utc};

use crate::zone::LocalTime;
use crate::{Invalid, Label, Revision, ScheduleId, Zone};

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// Whether an instant lies in a schedule's hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    DuringHours,
    AfterHours,
}

impl Period {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DuringHours => "during_hours",
            Self::AfterHours => "after_hours",
        }
    }
}

/// A named week of hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub id: ScheduleId,
    pub name: Label,
    pub zone: Zone,
    pub hours: Hours,
    pub revision: Revision,
}

impl Schedule {
    pub const MAX_NAME_CHARS: usize = 128;

    pub fn parse_name(text: impl Into<String>) -> Result<Label, Invalid> {
        Label::parse("name", text, Self::MAX_NAME_CHARS)
    }

    /// Returns the period by the weekday and time that the zone's wall clock shows, however the clock got there.
    pub fn period(&self, at: DateTime<Utc>) -> Period {
        if self.hours.hold(self.zone.reading(at)) { Period::DuringHours } else { Period::AfterHours }
    }

    /// Returns when the period that holds at `at` ends; none if it never does.
    pub fn period_end(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A week, and another: a change of the clock may take the only hours out of the first.
        const HORIZON_DAYS: i64 = 15;
        let period = self.period(at);
        let today = self.zone.reading(at).date();
        let days = (-1..=HORIZON_DAYS).filter_map(|day| today.checked_add_signed(TimeDelta::days(day)));
        let shown =
            days.flat_map(|day| self.hours.bounds(day)).flat_map(|reading| match self.zone.local_time(reading) {
                LocalTime::Single(at) | LocalTime::Skipped(at) => [at, at],
                LocalTime::Ambiguous(first, second) => [first, second],
            });
        let mut bounds: Vec<_> = shown.chain(self.zone.changes(at, at + TimeDelta::days(HORIZON_DAYS))).collect();
        bounds.sort_unstable();
        bounds.into_iter().find(|bound| *bound > at && self.period(*bound) != period)
    }
}

/// Ranges of the wall clock for each weekday.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hours {
    /// From Monday on; none for a day that was not given.
    days: [Option<Vec<Range>>; 7],
}

/// From `start` until before `end`, in minutes of the day; past midnight when `end` is not after `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u16,
    end: u16,
}

impl Hours {
    pub const MAX_RANGES_A_DAY: usize = 24;

    /// Reads `(start, end)` texts of each weekday, `monday` to `sunday`; a day that is not given has no hours.
    pub fn parse(days: &BTreeMap<String, Vec<(String, String)>>) -> Result<Self, Invalid> {
        let mut hours = Self::default();
        for (name, ranges) in days {
            let slot = DAYS.iter().position(|day| day == name).and_then(|day| hours.days.get_mut(day));
            let Some(slot) = slot else {
                return Err(Invalid::new(format!("hours.{name}"), "is not a day; days are monday to sunday"));
            };
            if ranges.len() > Self::MAX_RANGES_A_DAY {
                return Err(Invalid::new(format!("hours.{name}"), "must have at most 24 ranges"));
            }
            let parsed: Result<_, _> = ranges
                .iter()
                .enumerate()
                .map(|(index, (start, end))| Range::parse(&format!("hours.{name}[{index}]"), start, end))
                .collect();
            *slot = Some(parsed?);
        }
        Ok(hours)
    }

    /// Returns the days that were given, from Monday on, with their `(start, end)` texts as they were given.
    pub fn days(&self) -> impl Iterator<Item = (&'static str, Vec<(String, String)>)> + '_ {
        DAYS.into_iter().zip(&self.days).filter_map(|(name, ranges)| {
            let texts = ranges.as_ref()?.iter().map(|range| (format_minute(range.start), format_minute(range.end)));
            Some((name, texts.collect()))
        })
    }

    fn hold(&self, reading: NaiveDateTime) -> bool {
        let minute = reading.hour() * 60 + reading.minute();
        let weekday = reading.weekday();
        self.of(weekday).iter().any(|range| range.holds_on_its_day(minute))
            || self.of(weekday.pred()).iter().any(|range| range.holds_on_the_next_day(minute))
    }

    /// Returns what the wall clock shows when the ranges of a day begin and end.
    fn bounds(&self, day: NaiveDate) -> impl Iterator<Item = NaiveDateTime> + '_ {
        let minute = move |minute: u16| day.and_time(NaiveTime::MIN) + TimeDelta::minutes(minute.into());
        self.of(day.weekday()).iter().flat_map(move |range| {
            let end = if range.runs_past_midnight() { range.end + MINUTES_OF_A_DAY } else { range.end };
            [minute(range.start), minute(end)]
        })
    }

    fn of(&self, weekday: chrono::Weekday) -> &[Range] {
        let day = self.days.get(weekday.num_days_from_monday() as usize);
        day.and_then(Option::as_deref).unwrap_or_default()
    }
}

impl Range {
    fn parse(field: &str, start: &str, end: &str) -> Result<Self, Invalid> {
        let start = parse_minute(start).filter(|minute| *minute < MINUTES_OF_A_DAY).ok_or_else(|| {
            Invalid::new(format!("{field}.start"), "must be a time from 00:00 to 23:59, such as 09:00")
        })?;
        let end = parse_minute(end)
            .ok_or_else(|| Invalid::new(format!("{field}.end"), "must be a time from 00:00 to 24:00, such as 17:00"))?;
        Ok(Self { start, end })
    }

    fn runs_past_midnight(self) -> bool {
        self.end <= self.start
    }

    fn holds_on_its_day(self, minute: u32) -> bool {
        minute >= self.start.into() && (self.runs_past_midnight() || minute < self.end.into())
    }

    fn holds_on_the_next_day(self, minute: u32) -> bool {
        self.runs_past_midnight() && minute < self.end.into()
    }
}

/// Reads `HH:MM` up to 24:00 as minutes of the day.
fn parse_minute(text: &str) -> Option<u16> {
    let [h1, h2, b':', m1, m2] = *text.as_bytes() else { return None };
    let digits = [h1, h2, m1, m2];
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let [h1, h2, m1, m2] = digits.map(|digit| u16::from(digit - b'0'));
    let (hour, minute) = (h1 * 10 + h2, m1 * 10 + m2);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_OF_A_DAY).then_some(total)
}

fn format_minute(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests;
