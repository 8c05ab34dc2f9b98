//! A cron expression of five fields, and the instants at which it occurs in a zone.
//!
//! The expression is matched against what the wall clock shows, and each reading that matches is then placed in time.
//! crates.io's parsers were measured and left out: `croner` 4 takes weekday names as minutes and empty list entries,
//! loses `0 2,14 * * *` on the day the clock jumps over two, and searches 100 ms for 30 February.

mod field;

use std::fmt;
use std::iter;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _, Utc};

use self::field::{DAY, Field, HOUR, MINUTE, MONTH, WEEKDAY};
use crate::Invalid;
use crate::zone::{LocalTime, Zone};

/// Days in each month of a leap year.
const MAX_MONTHS: [(u32, u32); 12] =
    [(1, 31), (2, 29), (3, 31), (4, 30), (5, 31), (6, 30), (7, 31), (8, 31), (9, 30), (10, 31), (11, 30), (12, 31)];

/// Days and months looked at for the next day that matches. 29 February may be eight years off, as in 2096: eight
/// times 11 months and 29 days.
const MAX_DAYS_SEARCHED: usize = 400;

/// Readings looked at for one that happens: no clock jumped, or was put back, by more than a day.
const MAX_READINGS_SEARCHED: usize = 2 * 24 * 60;

/// When something recurs: a cron expression with the meaning that Vixie cron and croniter give it.
///
/// - Sunday is 0 or 7; names of months and weekdays work in their own fields, in any case.
/// - With neither day field `*`, a day matches when either does. `*/2` is not `*`.
/// - A reading that the clock jumps over occurs once, at the jump, unless the expression occurs at every hour anyway.
/// - A reading that the clock shows twice occurs the first time alone, but each time when the minutes or hours begin
///   with `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recurrence {
    text: String,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

impl Recurrence {
    pub const MAX_CHARS: usize = 256;

    /// Reads `minute hour day-of-month month day-of-week`. Nicknames, seconds, years and the extensions `L`, `W`, `#`
    /// and `?` are refused, as is an expression that never occurs. As in croniter, `5/20` runs to the end of its field
    /// and `22-4` past it; what croniter and Vixie cron read differently, such as `5-5`, is refused.
    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        let invalid = |problem: &str| Err(Invalid::new("recurrence", problem));
        if text.chars().count() > Self::MAX_CHARS {
            return invalid("must be at most 256 characters long");
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return invalid("must be a cron expression of five fields: minute, hour, day of month, month, day of week");
        };
        let (minutes, hours) = (MINUTE.parse(minute)?, HOUR.parse(hour)?);
        let (days, months, weekdays) = (DAY.parse(day)?, MONTH.parse(month)?, WEEKDAY.parse(weekday)?);
        let first_day = days.at_or_after(1).unwrap_or_default();
        let fits = |(month, length)| months.has(month) && first_day <= length;
        if weekdays.is_star && !MAX_MONTHS.into_iter().any(fits) {
            return invalid("never occurs: none of its months has such a day");
        }
        Ok(Self { text, minutes, hours, days, months, weekdays })
    }

    /// Returns the expression as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the occurrences from `from` on, one at `from` itself included, each later than the one before. Endless
    /// but for the end of the calendar; every step takes microseconds.
    pub fn occurrences(&self, zone: Zone, from: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        iter::successors(self.at_or_after(zone, from), move |last| self.next_after(zone, *last))
    }

    /// Returns the first occurrence later than `at`. None only at the end of the calendar.
    pub fn next_after(&self, zone: Zone, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.at_or_after(zone, at + TimeDelta::nanoseconds(1))
    }

    /// Returns the first occurrence at `at` or later. None only at the end of the calendar.
    pub fn at_or_after(&self, zone: Zone, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let reading = zone.reading(at);
        // When the clock jumps at this very instant, what it jumps over occurs now.
        let jump = zone.offset(at) - zone.offset(at - TimeDelta::nanoseconds(1));
        let first = self
            .readings_from(reading - jump.max(TimeDelta::zero()))
            .take(MAX_READINGS_SEARCHED)
            .find_map(|reading| self.instants(zone, reading).into_iter().flatten().find(|instant| *instant >= at));
        // When the clock will be put back over this reading, earlier ones come once more.
        let repeated = other_pass(zone, at).filter(|other| *other > at && self.repeats()).and_then(|other| {
            self.readings_from(reading - (other - at))
                .take_while(|earlier| *earlier < reading)
                .find_map(|earlier| second_pass(zone, earlier))
        });
        [first, repeated].into_iter().flatten().min()
    }

    /// Returns the last occurrence at `at` or earlier. None only at the beginning of the calendar.
    pub fn last_at_or_before(&self, zone: Zone, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let reading = zone.reading(at);
        let last = self.readings_back_from(reading).take(MAX_READINGS_SEARCHED).find_map(|reading| {
            self.instants(zone, reading).into_iter().flatten().filter(|instant| *instant <= at).max()
        });
        // When the clock was put back over this reading, later ones have come before.
        let passed = other_pass(zone, at).filter(|other| *other < at).and_then(|other| {
            self.readings_back_from(reading + (at - other))
                .take_while(|later| *later > reading)
                .find_map(|later| first_pass(zone, later))
        });
        [last, passed].into_iter().flatten().max()
    }

    /// Returns the first occurrence on the day that the wall clock shows at `at`. None when the day does not match, or the
    /// clock changes over the reading.
    pub(crate) fn first_of_day(&self, zone: Zone, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.once_on(zone, zone.reading(at).date(), self.first_minute()?)
    }

    /// Returns the last occurrence on the day that the wall clock shows at `at`, as `first_of_day`.
    pub(crate) fn last_of_day(&self, zone: Zone, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.once_on(zone, zone.reading(at).date(), self.last_minute()?)
    }

    fn once_on(&self, zone: Zone, day: NaiveDate, minute: u32) -> Option<DateTime<Utc>> {
        let reading = self.matches_day(day).then_some(day.and_time(time_of(minute)?))?;
        match zone.local_time(reading) {
            LocalTime::Single(at) => Some(at),
            LocalTime::Ambiguous(..) | LocalTime::Skipped(_) => None,
        }
    }

    /// Returns the longest time from one occurrence to the next within a day, by the wall clock.
    pub(crate) fn longest_pause_in_a_day(&self) -> TimeDelta {
        let minutes = iter::successors(self.first_minute(), |minute| self.minute_from(minute + 1));
        let pauses = minutes.clone().skip(1).zip(minutes).map(|(later, earlier)| later - earlier);
        TimeDelta::minutes(pauses.max().unwrap_or_default().into())
    }

    /// Returns the instants, earliest first, at which a reading that matches makes an occurrence.
    fn instants(&self, zone: Zone, reading: NaiveDateTime) -> [Option<DateTime<Utc>>; 2] {
        match zone.local_time(reading) {
            LocalTime::Single(at) => [Some(at), None],
            LocalTime::Ambiguous(first, second) => [Some(first), self.repeats().then_some(second)],
            LocalTime::Skipped(jump) => [(!self.hours.holds_all_of(&HOUR)).then_some(jump), None],
        }
    }

    /// Returns whether it occurs each time when the clock shows a reading twice.
    fn repeats(&self) -> bool {
        self.minutes.begins_with_star || self.hours.begins_with_star
    }

    /// Returns the readings that match, from `from` on.
    fn readings_from(&self, from: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> + '_ {
        let first = whole_minute(from).and_then(|minute| {
            if minute < from { minute.checked_add_signed(TimeDelta::minutes(1)) } else { Some(minute) }
        });
        iter::successors(first.and_then(|first| self.reading_from(first)), |last| {
            self.reading_from(last.checked_add_signed(TimeDelta::minutes(1))?)
        })
    }

    /// Returns the readings that match, from `from` back.
    fn readings_back_from(&self, from: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> + '_ {
        iter::successors(whole_minute(from).and_then(|last| self.reading_back_from(last)), |next| {
            self.reading_back_from(next.checked_sub_signed(TimeDelta::minutes(1))?)
        })
    }

    fn reading_from(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let today = self.matches_day(from.date()).then(|| self.minute_from(minute_of(from))).flatten();
        if let Some(minute) = today {
            return Some(from.date().and_time(time_of(minute)?));
        }
        let day = self.search_day(from.date().succ_opt()?, NaiveDate::succ_opt, |day| {
            day.with_day(1)?.checked_add_months(chrono::Months::new(1))
        })?;
        Some(day.and_time(time_of(self.first_minute()?)?))
    }

    fn reading_back_from(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let today = self.matches_day(from.date()).then(|| self.minute_back_from(minute_of(from))).flatten();
        if let Some(minute) = today {
            return Some(from.date().and_time(time_of(minute)?));
        }
        let day = self.search_day(from.date().pred_opt()?, NaiveDate::pred_opt, |day| day.with_day(1)?.pred_opt())?;
        Some(day.and_time(time_of(self.last_minute()?)?))
    }

    /// Returns the nearest day that matches, `from` included: by single days in a month that matches, else by months.
    fn search_day(
        &self,
        from: NaiveDate,
        by_day: impl Fn(&NaiveDate) -> Option<NaiveDate>,
        by_month: impl Fn(&NaiveDate) -> Option<NaiveDate>,
    ) -> Option<NaiveDate> {
        iter::successors(Some(from), |day| if self.months.has(day.month()) { by_day(day) } else { by_month(day) })
            .take(MAX_DAYS_SEARCHED)
            .find(|day| self.matches_day(*day))
    }

    fn matches_day(&self, day: NaiveDate) -> bool {
        let by_date = self.days.has(day.day());
        let by_weekday = self.weekdays.has(day.weekday().num_days_from_sunday());
        let matches = match (self.days.is_star, self.weekdays.is_star) {
            (true, true) => true,
            (false, true) => by_date,
            (true, false) => by_weekday,
            (false, false) => by_date || by_weekday,
        };
        matches && self.months.has(day.month())
    }

    fn first_minute(&self) -> Option<u32> {
        self.minute_from(0)
    }

    fn last_minute(&self) -> Option<u32> {
        self.minute_back_from(24 * 60 - 1)
    }

    /// Returns the first minute of a day that matches, from `minute` on.
    fn minute_from(&self, minute: u32) -> Option<u32> {
        let hour = minute / 60;
        let in_hour = self.hours.has(hour).then(|| self.minutes.at_or_after(minute % 60)).flatten();
        match in_hour {
            Some(minute) => Some(hour * 60 + minute),
            None => Some(self.hours.at_or_after(hour + 1)? * 60 + self.minutes.at_or_after(0)?),
        }
    }

    /// Returns the last minute of a day that matches, from `minute` back.
    fn minute_back_from(&self, minute: u32) -> Option<u32> {
        let hour = minute / 60;
        let in_hour = self.hours.has(hour).then(|| self.minutes.at_or_before(minute % 60)).flatten();
        match in_hour {
            Some(minute) => Some(hour * 60 + minute),
            None => Some(self.hours.at_or_before(hour.checked_sub(1)?)? * 60 + self.minutes.at_or_before(59)?),
        }
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the other instant at which the clock shows what it shows at `at`.
fn other_pass(zone: Zone, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match zone.local_time(zone.reading(at)) {
        LocalTime::Ambiguous(first, second) => Some(if first == at { second } else { first }),
        LocalTime::Single(_) | LocalTime::Skipped(_) => None,
    }
}

fn first_pass(zone: Zone, reading: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.local_time(reading) {
        LocalTime::Ambiguous(first, _) => Some(first),
        LocalTime::Single(_) | LocalTime::Skipped(_) => None,
    }
}

fn second_pass(zone: Zone, reading: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.local_time(reading) {
        LocalTime::Ambiguous(_, second) => Some(second),
        LocalTime::Single(_) | LocalTime::Skipped(_) => None,
    }
}

fn whole_minute(reading: NaiveDateTime) -> Option<NaiveDateTime> {
    reading.with_second(0)?.with_nanosecond(0)
}

fn minute_of(reading: NaiveDateTime) -> u32 {
    reading.hour() * 60 + reading.minute()
}

fn time_of(minute: u32) -> Option<NaiveTime> {
    NaiveTime::from_hms_opt(minute / 60, minute % 60, 0)
}

#[cfg(test)]
mod tests;
