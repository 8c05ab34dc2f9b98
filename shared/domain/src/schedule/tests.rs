use chrono::{TimeDelta, TimeZone as _};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::Period::{AfterHours, DuringHours};
use super::*;
use crate::parse_time;

type Days = BTreeMap<String, Vec<(String, String)>>;

/// Zones with whole-hour and half-hour changes of the clock, on both halves of the globe, and one without any.
const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Adelaide",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Africa/Casablanca",
    "UTC",
];

fn days(days: &[(&str, &[(&str, &str)])]) -> Days {
    let texts = |ranges: &[(&str, &str)]| ranges.iter().map(|(start, end)| ((*start).into(), (*end).into())).collect();
    days.iter().map(|(day, ranges)| ((*day).into(), texts(ranges))).collect()
}

fn schedule(zone: &str, days: &Days) -> Schedule {
    Schedule {
        id: ScheduleId::new(1),
        name: Schedule::parse_name("on call").unwrap(),
        zone: Zone::parse(zone).unwrap(),
        hours: Hours::parse(days).unwrap(),
        revision: Revision::beginning(DateTime::UNIX_EPOCH),
    }
}

/// The period at each of some instants.
fn periods<const N: usize>(schedule: &Schedule, times: [&str; N]) -> [Period; N] {
    times.map(|time| schedule.period(parse_time("at", time).unwrap()))
}

#[test]
fn the_end_is_exclusive() {
    let office = schedule("Europe/Berlin", &days(&[("monday", &[("09:00", "17:00")])]));
    let times = ["2026-06-01T08:59:59.999+02:00", "2026-06-01T09:00:00+02:00", "2026-06-01T16:59:59.999+02:00"];
    assert_eq!(periods(&office, times), [AfterHours, DuringHours, DuringHours]);
    assert_eq!(periods(&office, ["2026-06-01T17:00:00+02:00", "2026-06-02T12:00:00+02:00"]), [AfterHours, AfterHours]);
}

#[test]
fn a_night_shift_runs_past_midnight_and_past_the_end_of_the_week() {
    let night = schedule("Europe/Berlin", &days(&[("sunday", &[("22:00", "06:00")])]));
    let times = [
        "2026-06-07T21:59:00+02:00",
        "2026-06-07T22:00:00+02:00",
        "2026-06-08T05:59:00+02:00",
        "2026-06-08T06:00:00+02:00",
        // The morning of the Sunday itself belongs to no shift.
        "2026-06-07T05:00:00+02:00",
    ];
    assert_eq!(periods(&night, times), [AfterHours, DuringHours, DuringHours, AfterHours, AfterHours]);
}

#[test]
fn a_range_that_ends_when_it_starts_lasts_a_day() {
    let shift = schedule("UTC", &days(&[("monday", &[("09:00", "09:00")])]));
    let times = ["2026-06-01T08:59:00Z", "2026-06-01T09:00:00Z", "2026-06-02T08:59:00Z", "2026-06-02T09:00:00Z"];
    assert_eq!(periods(&shift, times), [AfterHours, DuringHours, DuringHours, AfterHours]);
    for whole_day in [("00:00", "24:00"), ("00:00", "00:00")] {
        let monday = schedule("UTC", &days(&[("monday", &[whole_day])]));
        let times = ["2026-05-31T23:59:59Z", "2026-06-01T00:00:00Z", "2026-06-01T23:59:59Z", "2026-06-02T00:00:00Z"];
        assert_eq!(periods(&monday, times), [AfterHours, DuringHours, DuringHours, AfterHours]);
    }
}

#[test]
fn the_hours_follow_the_wall_clock_through_both_changes() {
    let early = schedule("Europe/Berlin", &days(&[("sunday", &[("02:30", "03:30")])]));
    // On 29 March the clock jumps from 02:00 to 03:00, so half an hour of the range is left.
    let spring = ["2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:29:00Z", "2026-03-29T01:30:00Z"];
    assert_eq!(periods(&early, spring), [AfterHours, DuringHours, DuringHours, AfterHours]);
    // On 25 October 02:00 to 03:00 comes twice.
    let first_pass = ["2026-10-25T00:29:00Z", "2026-10-25T00:30:00Z", "2026-10-25T00:59:00Z"];
    assert_eq!(periods(&early, first_pass), [AfterHours, DuringHours, DuringHours]);
    let second_pass = ["2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:29:00Z", "2026-10-25T02:30:00Z"];
    assert_eq!(periods(&early, second_pass), [AfterHours, DuringHours, DuringHours, AfterHours]);
}

#[test]
fn the_end_of_the_year_and_the_leap_day_are_days_like_any() {
    let thursdays = schedule("UTC", &days(&[("thursday", &[("20:00", "04:00")])]));
    // 31 December 2026 is a Thursday.
    let new_year = ["2026-12-31T19:59:00Z", "2026-12-31T23:59:59Z", "2027-01-01T03:59:59Z", "2027-01-01T04:00:00Z"];
    assert_eq!(periods(&thursdays, new_year), [AfterHours, DuringHours, DuringHours, AfterHours]);
    // 29 February 2024 is one too.
    let leap_day = ["2024-02-28T23:00:00Z", "2024-02-29T20:00:00Z", "2024-03-01T03:59:59Z", "2024-03-01T04:00:00Z"];
    assert_eq!(periods(&thursdays, leap_day), [AfterHours, DuringHours, DuringHours, AfterHours]);
}

#[test]
fn a_bad_range_is_named_with_its_day_and_place() {
    let message = |given: &[(&str, &[(&str, &str)])]| Hours::parse(&days(given)).unwrap_err().to_string();
    assert_eq!(message(&[("funday", &[])]), "hours.funday is not a day; days are monday to sunday");
    assert_eq!(message(&[("Monday", &[])]), "hours.Monday is not a day; days are monday to sunday");
    assert_eq!(
        message(&[("monday", &[("9:00", "17:00")])]),
        "hours.monday[0].start must be a time from 00:00 to 23:59, such as 09:00"
    );
    assert_eq!(
        message(&[("friday", &[("09:00", "17:00"), ("18:00", "24:01")])]),
        "hours.friday[1].end must be a time from 00:00 to 24:00, such as 17:00"
    );
    for bad in ["24:00", "23:60", "-1:00", "0900", "09:00:00", "", "०९:००"] {
        assert_eq!(Hours::parse(&days(&[("monday", &[(bad, "17:00")])])).unwrap_err().field, "hours.monday[0].start");
    }
    assert_eq!(message(&[("sunday", &[("09:00", "10:00"); 25])]), "hours.sunday must have at most 24 ranges");
}

#[test]
fn a_period_ends_when_the_next_one_begins() {
    let ends =
        |schedule: &Schedule, at: &str| schedule.period_end(parse_time("at", at).unwrap()).map(crate::format_time);
    let office = schedule("Europe/Berlin", &days(&[("friday", &[("09:00", "17:00")])]));
    assert_eq!(ends(&office, "2026-03-20T08:00:00Z"), Some("2026-03-20T16:00:00.000Z".to_owned()));
    // The clock is put forward meanwhile.
    assert_eq!(ends(&office, "2026-03-27T16:00:00Z"), Some("2026-04-03T07:00:00.000Z".to_owned()));
    for never in [days(&[]), DAYS.iter().map(|day| ((*day).into(), vec![("00:00".into(), "24:00".into())])).collect()] {
        assert_eq!(ends(&schedule("Europe/Berlin", &never), "2026-03-27T16:00:00Z"), None);
    }
    // On 29 March the only hour of the week does not come.
    let early = schedule("Europe/Berlin", &days(&[("sunday", &[("02:00", "03:00")])]));
    assert_eq!(ends(&early, "2026-03-28T12:00:00Z"), Some("2026-04-05T00:00:00.000Z".to_owned()));
    // On 25 October it comes twice, and the clock is put back at the end of the first.
    let late = schedule("Europe/Berlin", &days(&[("sunday", &[("02:30", "03:00")])]));
    let mut at = "2026-10-24T12:00:00.000Z".to_owned();
    let next = std::iter::from_fn(|| {
        at = ends(&late, &at)?;
        Some(at.clone())
    });
    assert_eq!(
        next.take(5).collect::<Vec<_>>(),
        [
            "2026-10-25T00:30:00.000Z",
            "2026-10-25T01:00:00.000Z",
            "2026-10-25T01:30:00.000Z",
            "2026-10-25T02:00:00.000Z",
            "2026-11-01T01:30:00.000Z",
        ]
    );
}

/// The hours as a set of the week's 10,080 minutes, filled one by one.
fn minutes_of_the_week(days: &Days) -> Vec<bool> {
    let week = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let mut minutes = vec![false; 7 * 1440];
    for (day, ranges) in days {
        let midnight = 1440 * week.iter().position(|name| name == day).unwrap();
        for (start, end) in ranges {
            let minute = |text: &str| {
                let (hour, minute) = text.split_once(':').unwrap();
                hour.parse::<usize>().unwrap() * 60 + minute.parse::<usize>().unwrap()
            };
            let (start, end) = (minute(start), minute(end));
            let length = if end > start { end - start } else { end + 1440 - start };
            for passed in 0..length {
                minutes[(midnight + start + passed) % (7 * 1440)] = true;
            }
        }
    }
    minutes
}

/// Compares a schedule with the set of minutes, at each minute of 2026.
fn agrees_all_year(zone: &str, days: &Days) -> Result<(), TestCaseError> {
    let (schedule, minutes, tz) = (schedule(zone, days), minutes_of_the_week(days), zone.parse::<Tz>().unwrap());
    let mut at = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
    while at.year() == 2026 {
        let local = at.with_timezone(&tz);
        let minute = local.weekday().num_days_from_monday() * 1440 + local.hour() * 60 + local.minute();
        let expected = if minutes[minute as usize] { DuringHours } else { AfterHours };
        prop_assert_eq!(schedule.period(at), expected, "{} {}", zone, local);
        at += TimeDelta::minutes(1);
    }
    Ok(())
}

#[test]
fn a_busy_week_agrees_with_its_minutes_all_year_in_every_zone() {
    let busy = days(&[
        ("monday", &[("00:00", "01:15"), ("09:00", "17:30"), ("22:45", "02:30")]),
        ("wednesday", &[("12:00", "12:00")]),
        ("saturday", &[("23:59", "00:01"), ("02:00", "03:00")]),
        ("sunday", &[("01:30", "02:15"), ("22:00", "06:00")]),
    ]);
    for zone in ZONES {
        agrees_all_year(zone, &busy).unwrap();
    }
}

fn any_days() -> impl Strategy<Value = Days> {
    let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let range = (0_u16..1440, 0_u16..=1440).prop_map(move |(start, end)| (text(start), text(end)));
    prop::collection::btree_map(
        prop::sample::select(DAYS.to_vec()).prop_map(String::from),
        prop::collection::vec(range, 0..4),
        0..8,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn any_week_agrees_with_its_minutes_all_year(zone in prop::sample::select(ZONES.to_vec()), days in any_days()) {
        agrees_all_year(zone, &days)?;
    }
}

proptest! {
    /// The end of a period is the first minute in which another holds, looked for minute by minute.
    #[test]
    fn a_period_lasts_until_the_first_minute_of_the_other(
        zone in prop::sample::select(ZONES.to_vec()),
        days in any_days(),
        minute in 29_454_000_i64..29_979_600,
    ) {
        let schedule = schedule(zone, &days);
        let at = DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let minutes = (1..=14 * 1440).map(|passed| at + TimeDelta::minutes(passed));
        let first = minutes.into_iter().find(|later| schedule.period(*later) != schedule.period(at));
        prop_assert_eq!(schedule.period_end(at).filter(|end| *end <= at + TimeDelta::days(14)), first);
    }

    #[test]
    fn hours_are_given_back_as_they_were_given(days in any_days()) {
        let hours = Hours::parse(&days).unwrap();
        let back: Days = hours.days().map(|(day, ranges)| (day.to_owned(), ranges)).collect();
        prop_assert_eq!(back, days);
    }
}
