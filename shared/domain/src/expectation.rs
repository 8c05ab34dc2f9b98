//! When a service must report: within an interval, or at the times of a cron expression. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Invalid, Recurrence, Zone, parse_interval};

/// When heartbeats must come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// As many as the threshold asks for, in each such span.
    Interval(TimeDelta),
    /// One for each expected time.
    Timetable(Timetable),
}

impl Expectation {
    /// Reads `alert_interval`, or else `schedule_cron` and `timezone`: one or the other must be given.
    pub fn parse(
        alert_interval: Option<f64>,
        schedule_cron: Option<&str>,
        timezone: Option<&str>,
    ) -> Result<Self, Invalid> {
        match (alert_interval, schedule_cron) {
            (Some(minutes), None) if timezone.is_none() => Ok(Self::Interval(parse_interval(minutes)?)),
            (Some(_), None) => Err(Invalid::new("timezone", "goes with schedule_cron")),
            (None, Some(cron)) => Ok(Self::Timetable(Timetable::parse(cron, timezone)?)),
            (Some(_), Some(_)) => Err(Invalid::new("schedule_cron", "goes instead of alert_interval, not beside it")),
            (None, None) => Err(Invalid::new("alert_interval", "or schedule_cron must be given")),
        }
    }

    /// Returns the expectation after an edit that gives some of the fields.
    pub fn edited(
        &self,
        alert_interval: Option<f64>,
        schedule_cron: Option<&str>,
        timezone: Option<&str>,
    ) -> Result<Self, Invalid> {
        match (self, alert_interval, schedule_cron, timezone) {
            (_, None, None, None) => Ok(self.clone()),
            (Self::Timetable(old), None, cron, timezone) => Self::parse(
                None,
                Some(cron.unwrap_or(old.cron.as_str())),
                Some(timezone.unwrap_or_else(|| old.zone.as_str())),
            ),
            (Self::Interval(_), None, None, Some(_)) => Err(Invalid::new("timezone", "goes with schedule_cron")),
            (Self::Interval(_) | Self::Timetable(_), interval, cron, timezone) => Self::parse(interval, cron, timezone),
        }
    }

    pub fn timetable(&self) -> Option<&Timetable> {
        match self {
            Self::Timetable(timetable) => Some(timetable),
            Self::Interval(_) => None,
        }
    }

    pub fn interval(&self) -> Option<TimeDelta> {
        match self {
            Self::Interval(interval) => Some(*interval),
            Self::Timetable(_) => None,
        }
    }

    /// Returns how far apart heartbeats are expected around `at`.
    pub(crate) fn interval_around(&self, at: DateTime<Utc>) -> TimeDelta {
        match self {
            Self::Interval(interval) => *interval,
            Self::Timetable(timetable) => timetable.interval_around(at),
        }
    }

    /// Returns when an alert that opened, or was last counted, at `now` is next counted.
    pub(crate) fn next_reminder(&self, grace: TimeDelta, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Interval(interval) => now + *interval,
            Self::Timetable(timetable) => timetable.next_deadline(grace, now),
        }
    }

    /// Returns how many reminders are due from the one at `first` until `now`, and when the next is.
    pub(crate) fn reminders(&self, grace: TimeDelta, first: DateTime<Utc>, now: DateTime<Utc>) -> (u32, DateTime<Utc>) {
        match self {
            Self::Interval(interval) => {
                let passed = (now - first).num_milliseconds() / interval.num_milliseconds().max(1);
                let count = u32::try_from(passed).unwrap_or(u32::MAX / 2) + 1;
                (count, first + *interval * i32::try_from(count).unwrap_or(i32::MAX))
            }
            Self::Timetable(timetable) => {
                let passed = timetable.times(first - grace).take_while(|time| *time + grace <= now);
                let count = u32::try_from(passed.take(MAX_COUNTED).count()).unwrap_or(u32::MAX);
                (count.max(1), timetable.next_deadline(grace, now))
            }
        }
    }
}

/// More reminders than these are counted as these: two months of minutes.
const MAX_COUNTED: usize = 90_000;

/// The times at which a service must report: a cron expression, read by a zone's wall clock.
///
/// A time that the clock jumps over is expected at the jump. One that it shows twice is expected once for a fixed hour,
/// and each time where the minutes or hours are wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    pub cron: Recurrence,
    pub zone: Zone,
}

impl Timetable {
    /// Reads `schedule_cron` and `timezone`, which is UTC unless given.
    pub fn parse(schedule_cron: &str, timezone: Option<&str>) -> Result<Self, Invalid> {
        let cron = Recurrence::parse(schedule_cron)
            .map_err(|Invalid { field: _, problem }| Invalid::new("schedule_cron", problem))?;
        Ok(Self { cron, zone: timezone.map_or(Ok(Zone::UTC), Zone::parse)? })
    }

    /// Returns the expected times from `from` on, that instant included.
    pub fn times(&self, from: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        self.cron.occurrences(self.zone, from)
    }

    fn next(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        // The calendar ends too late to matter.
        self.cron.next_after(self.zone, at).unwrap_or(at + TimeDelta::days(366))
    }

    /// Returns the time between the expected times before and after `at`.
    fn interval_around(&self, at: DateTime<Utc>) -> TimeDelta {
        let next = self.next(at);
        match self.cron.last_at_or_before(self.zone, at) {
            Some(last) => next - last,
            None => self.next(next) - next,
        }
    }

    /// Returns the first deadline after `at`: an expected time and its grace.
    pub(crate) fn next_deadline(&self, grace: TimeDelta, at: DateTime<Utc>) -> DateTime<Utc> {
        self.next(at - grace) + grace
    }

    /// Returns the instant from which a service is late whose last heartbeat came at `heartbeat`, if nothing else comes.
    ///
    /// A heartbeat within the grace of an expected time is for that one, and any other for the next: so each expected time
    /// gets what came since the deadline before it.
    pub(crate) fn overdue_after(&self, heartbeat: DateTime<Utc>, grace: TimeDelta) -> DateTime<Utc> {
        let next = self.next(heartbeat);
        let is_late_one =
            self.cron.last_at_or_before(self.zone, heartbeat).is_some_and(|expected| heartbeat <= expected + grace);
        let missed = if is_late_one { next } else { self.next(next) };
        missed + grace
    }

    /// Returns the instant from which a service is late that counts from `from`, and sends nothing.
    pub(crate) fn overdue_from(&self, from: DateTime<Utc>, grace: TimeDelta) -> DateTime<Utc> {
        self.next(from) + grace
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{format_time, from_millis, parse_time};

    fn at(text: &str) -> DateTime<Utc> {
        parse_time("at", text).unwrap()
    }

    fn timetable(cron: &str, zone: &str) -> Timetable {
        Timetable::parse(cron, Some(zone)).unwrap()
    }

    #[test]
    fn one_or_the_other_is_given_and_a_refusal_names_the_field() {
        let field = |interval, cron, zone| Expectation::parse(interval, cron, zone).unwrap_err().field;
        assert_eq!(field(None, None, None), "alert_interval");
        assert_eq!(field(Some(1.0), Some("0 2 * * *"), None), "schedule_cron");
        assert_eq!(field(Some(1.0), None, Some("UTC")), "timezone");
        assert_eq!(field(None, None, Some("UTC")), "alert_interval");
        assert_eq!(field(Some(0.0), None, None), "alert_interval");
        for bad in ["", "@daily", "0 2 * *", "0 2 * * * *", "60 * * * *", "0 0 30 2 *", "0 2 L * *"] {
            assert_eq!(field(None, Some(bad), None), "schedule_cron", "{bad}");
        }
        for bad in ["", "EST", "Europe/Atlantis", "+01:00"] {
            assert_eq!(field(None, Some("0 2 * * *"), Some(bad)), "timezone", "{bad}");
        }
    }

    #[test]
    fn an_edit_keeps_what_it_does_not_give() {
        let old = Expectation::Timetable(timetable("0 2 * * *", "Europe/Berlin"));
        assert_eq!(old.edited(None, None, None).unwrap(), old);
        let zone = old.edited(None, None, Some("UTC")).unwrap();
        assert_eq!(zone, Expectation::Timetable(timetable("0 2 * * *", "UTC")));
        let cron = old.edited(None, Some("0 3 * * *"), None).unwrap();
        assert_eq!(cron, Expectation::Timetable(timetable("0 3 * * *", "Europe/Berlin")));
        let interval = old.edited(Some(5.0), None, None).unwrap();
        assert_eq!(interval, Expectation::Interval(TimeDelta::minutes(5)));
        assert_eq!(interval.edited(None, None, Some("UTC")).unwrap_err().field, "timezone");
        assert_eq!(interval.edited(None, Some("0 2 * * *"), None).unwrap().timetable().unwrap().zone, Zone::UTC);
        assert_eq!(interval.edited(Some(1.0), Some("0 2 * * *"), None).unwrap_err().field, "schedule_cron");
    }

    #[test]
    fn a_heartbeat_is_for_the_time_that_it_follows_or_else_for_the_next() {
        let daily = timetable("0 2 * * *", "UTC");
        let grace = TimeDelta::hours(1);
        let overdue = |heartbeat| format_time(daily.overdue_after(at(heartbeat), grace));
        // On time, late but in time, and early: each is missed the day after.
        for heartbeat in ["2026-01-05T02:00:00", "2026-01-05T03:00:00", "2026-01-05T01:59:00", "2026-01-04T03:00:01"] {
            assert_eq!(overdue(heartbeat), "2026-01-06T03:00:00.000Z", "{heartbeat}");
        }
        assert_eq!(overdue("2026-01-05T03:00:00.001"), "2026-01-07T03:00:00.000Z");
        let silent = |from| format_time(daily.overdue_from(at(from), grace));
        assert_eq!(silent("2026-01-05T01:00:00"), "2026-01-05T03:00:00.000Z");
        assert_eq!(silent("2026-01-05T02:00:00"), "2026-01-06T03:00:00.000Z");
    }

    #[test]
    fn the_interval_of_a_timetable_is_that_of_its_times_around_an_instant() {
        let minutes = |cron, zone, around| timetable(cron, zone).interval_around(at(around)).num_minutes();
        assert_eq!(minutes("0 2 * * *", "UTC", "2026-01-05T02:00:00"), 24 * 60);
        assert_eq!(minutes("0 9 * * 1-5", "UTC", "2026-01-03T12:00:00"), 72 * 60);
        assert_eq!(minutes("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00"), 24 * 60 - 30);
    }

    #[test]
    fn a_grace_that_reaches_past_the_next_time_still_leaves_each_its_grace() {
        let hourly = timetable("0 * * * *", "UTC");
        let overdue = hourly.overdue_after(at("2026-01-05T10:30:00"), TimeDelta::hours(2));
        assert_eq!(format_time(overdue), "2026-01-05T13:00:00.000Z");
    }

    #[test]
    fn a_time_that_the_clock_jumps_over_is_expected_at_the_jump() {
        let times = |cron, from, count| -> Vec<String> {
            timetable(cron, "Europe/Berlin").times(at(from)).take(count).map(format_time).collect()
        };
        assert_eq!(
            times("30 2 * * *", "2026-03-28T00:00:00", 3),
            ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
        );
        // Twice on the clock: once for a fixed hour, each time for a wildcard.
        assert_eq!(
            times("30 2 * * *", "2026-10-24T22:00:00", 2),
            ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]
        );
        assert_eq!(
            times("30 * * * *", "2026-10-25T00:00:00", 3),
            ["2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z", "2026-10-25T02:30:00.000Z"]
        );
    }

    proptest! {
        /// With a grace shorter than any pause, a service is late at the first deadline that has no heartbeat since the
        /// deadline before it: read naively, by walking over all deadlines.
        #[test]
        fn overdue_is_the_first_deadline_without_a_heartbeat_since_the_one_before(
            cron in prop::sample::select(vec!["0 * * * *", "*/20 * * * *", "30 2 * * *", "0 2,14 * * *", "0 9 * * 1-5"]),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
            grace in 0_i64..1_200,
            heartbeat in 1_773_000_000_000_i64..1_800_000_000_000,
        ) {
            let (timetable, grace) = (timetable(cron, zone), TimeDelta::seconds(grace));
            let heartbeat = from_millis(heartbeat);
            let mut covered = false;
            let begin = heartbeat - TimeDelta::days(8);
            let mut before = begin;
            let naive = timetable.times(begin).map(|time| time + grace).find(|deadline| {
                let has_heartbeat = before < heartbeat && heartbeat <= *deadline;
                before = *deadline;
                let was_covered = covered;
                covered |= has_heartbeat;
                was_covered && !has_heartbeat
            });
            prop_assert_eq!(Some(timetable.overdue_after(heartbeat, grace)), naive);
        }

        /// However late it is looked at, the reminders counted are the deadlines that passed.
        #[test]
        fn reminders_are_the_deadlines_that_passed(
            cron in prop::sample::select(vec!["*/15 * * * *", "30 2 * * *", "0 9 * * 1-5"]),
            grace in 0_i64..100_000,
            opened in 1_773_000_000_000_i64..1_780_000_000_000,
            looks in prop::collection::vec(1_i64..2_000_000, 1..6),
        ) {
            let timetable = timetable(cron, "Europe/Berlin");
            let grace = TimeDelta::seconds(grace);
            let opened = from_millis(opened);
            let expectation = Expectation::Timetable(timetable.clone());
            let (mut next, mut now, mut counted) = (expectation.next_reminder(grace, opened), opened, 0);
            for wait in looks {
                now += TimeDelta::seconds(wait);
                if now >= next {
                    let (count, then) = expectation.reminders(grace, next, now);
                    counted += count as usize;
                    prop_assert!(then > now);
                    next = then;
                }
            }
            let passed = timetable.times(opened - grace).map(|time| time + grace);
            prop_assert_eq!(counted, passed.skip_while(|at| *at <= opened).take_while(|at| *at <= now).count());
        }
    }
}
