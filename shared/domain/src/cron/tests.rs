use std::collections::HashSet;

use chrono::TimeZone as _;
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::parse_time;

fn at(text: &str) -> DateTime<Utc> {
    parse_time("at", &format!("{text}:00Z")).unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn cron(text: &str) -> Recurrence {
    Recurrence::parse(text).unwrap()
}

/// The next `N` occurrences from an instant on, in UTC to the minute.
fn next<const N: usize>(text: &str, zone_name: &str, from: &str) -> [String; N] {
    let recurrence = cron(text);
    let mut occurrences = recurrence.occurrences(zone(zone_name), at(from));
    [(); N].map(|()| occurrences.next().unwrap().format("%Y-%m-%dT%H:%M").to_string())
}

/// What croniter 6.2.4 returns: an expression, a zone, an instant, and the next three occurrences after it.
const CRONITER: &[(&str, &str, &str, [&str; 3])] = &[
    ("*/15 * * * *", "UTC", "2026-01-01T00:07", ["2026-01-01T00:15", "2026-01-01T00:30", "2026-01-01T00:45"]),
    ("0 9 * * 1-5", "UTC", "2026-01-02T09:00", ["2026-01-05T09:00", "2026-01-06T09:00", "2026-01-07T09:00"]),
    ("30 4 1,15 * 5", "UTC", "2026-01-01T00:00", ["2026-01-01T04:30", "2026-01-02T04:30", "2026-01-09T04:30"]),
    ("0 0 * * 7", "UTC", "2026-01-01T00:00", ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"]),
    ("0 0 * * 5-7", "UTC", "2026-01-01T00:00", ["2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00"]),
    ("0 12 * * Sat-Mon", "UTC", "2026-01-01T00:00", ["2026-01-03T12:00", "2026-01-04T12:00", "2026-01-05T12:00"]),
    ("0 22-1 * * *", "UTC", "2026-01-01T00:00", ["2026-01-01T01:00", "2026-01-01T22:00", "2026-01-01T23:00"]),
    ("15 3 * JAN,jul MON", "UTC", "2026-01-20T00:00", ["2026-01-26T03:15", "2026-07-06T03:15", "2026-07-13T03:15"]),
    ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
    ("0 0 29 2 *", "UTC", "2096-03-01T00:00", ["2104-02-29T00:00", "2108-02-29T00:00", "2112-02-29T00:00"]),
    ("0 0 31 * *", "UTC", "2026-01-31T00:00", ["2026-03-31T00:00", "2026-05-31T00:00", "2026-07-31T00:00"]),
    ("5/20 0-23/8 * * *", "UTC", "2026-01-01T00:00", ["2026-01-01T00:05", "2026-01-01T00:25", "2026-01-01T00:45"]),
    ("0 6 */10 * *", "UTC", "2026-01-25T00:00", ["2026-01-31T06:00", "2026-02-01T06:00", "2026-02-11T06:00"]),
    ("0 6 */10 * MON", "UTC", "2026-01-25T00:00", ["2026-01-26T06:00", "2026-01-31T06:00", "2026-02-01T06:00"]),
    ("59 23 31 12 *", "UTC", "2025-12-31T23:59", ["2026-12-31T23:59", "2027-12-31T23:59", "2028-12-31T23:59"]),
    ("10-20/5,50 8 * 11-12 *", "UTC", "2026-01-01T00:00", ["2026-11-01T08:10", "2026-11-01T08:15", "2026-11-01T08:20"]),
    ("45 5 * * *", "Asia/Kathmandu", "2026-05-05T00:00", ["2026-05-06T00:00", "2026-05-07T00:00", "2026-05-08T00:00"]),
    ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30", "2026-03-31T00:30"]),
    ("0 1-3 * * *", "Europe/Berlin", "2026-03-29T00:00", ["2026-03-29T01:00", "2026-03-29T23:00", "2026-03-30T00:00"]),
    ("30 * * * *", "Europe/Berlin", "2026-03-29T00:00", ["2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T02:30"]),
    ("*/15 2 * * *", "Europe/Berlin", "2026-03-28T02:00", ["2026-03-29T01:00", "2026-03-30T00:00", "2026-03-30T00:15"]),
    ("30 * * * *", "Europe/Berlin", "2026-10-25T00:00", ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]),
    ("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:10", ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"]),
    (
        "30 2 * * *",
        "America/New_York",
        "2026-03-08T00:00",
        ["2026-03-08T07:00", "2026-03-09T06:30", "2026-03-10T06:30"],
    ),
    (
        "0 */2 * * *",
        "America/New_York",
        "2026-11-01T04:30",
        ["2026-11-01T07:00", "2026-11-01T09:00", "2026-11-01T11:00"],
    ),
    (
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T12:00",
        ["2026-10-03T15:30", "2026-10-04T15:15", "2026-10-05T15:15"],
    ),
    (
        "30 0 * * *",
        "America/Sao_Paulo",
        "2018-11-03T12:00",
        ["2018-11-04T03:00", "2018-11-05T02:30", "2018-11-06T02:30"],
    ),
    ("0 3 * * 0", "Pacific/Auckland", "2026-04-01T00:00", ["2026-04-04T15:00", "2026-04-11T15:00", "2026-04-18T15:00"]),
    (
        "0 2 * * *",
        "Africa/Casablanca",
        "2026-03-21T12:00",
        ["2026-03-22T02:00", "2026-03-23T01:00", "2026-03-24T01:00"],
    ),
];

#[test]
fn occurrences_are_those_of_croniter() {
    for (text, zone_name, from, expected) in CRONITER {
        let after = (at(from) + TimeDelta::minutes(1)).format("%Y-%m-%dT%H:%M").to_string();
        assert_eq!(next::<3>(text, zone_name, &after), *expected, "{text} {zone_name} {from}");
    }
}

#[test]
fn a_reading_shown_twice_occurs_once_for_a_fixed_time_and_twice_for_a_wildcard() {
    let october = "2026-10-24T22:00";
    assert_eq!(next("30 2 * * *", "Europe/Berlin", october), ["2026-10-25T00:30", "2026-10-26T01:30"]);
    assert_eq!(next("0 2,14 * * *", "Europe/Berlin", october), ["2026-10-25T00:00", "2026-10-25T13:00"]);
    assert_eq!(next("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:30"), ["2026-10-25T00:30", "2026-10-25T01:00"]);
    assert_eq!(next("0 */2 * * *", "Europe/Berlin", "2026-10-24T23:00"), ["2026-10-25T00:00", "2026-10-25T01:00"]);
    // Half an hour is put back: 01:30 to 02:00 comes twice.
    assert_eq!(
        next("*/20 * * * *", "Australia/Lord_Howe", "2026-04-04T14:30"),
        ["2026-04-04T14:40", "2026-04-04T15:10", "2026-04-04T15:30"]
    );
}

#[test]
fn a_reading_jumped_over_occurs_once_at_the_jump() {
    let march = "2026-03-29T00:00";
    assert_eq!(next("0,15,45 2 * * *", "Europe/Berlin", march), ["2026-03-29T01:00", "2026-03-30T00:00"]);
    assert_eq!(next("0 2,3 * * *", "Europe/Berlin", march), ["2026-03-29T01:00", "2026-03-30T00:00"]);
    // The jump itself counts, and nothing remains of it a nanosecond later.
    let (daily, berlin, jump) = (cron("30 2 * * *"), zone("Europe/Berlin"), at("2026-03-29T01:00"));
    assert_eq!(daily.at_or_after(berlin, jump), Some(jump));
    assert_eq!(daily.next_after(berlin, jump), Some(at("2026-03-30T00:30")));
    assert_eq!(daily.last_at_or_before(berlin, jump), Some(jump));
    assert_eq!(daily.last_at_or_before(berlin, jump - TimeDelta::nanoseconds(1)), Some(at("2026-03-28T01:30")));
    // Samoa left out 30 December 2011.
    assert_eq!(next("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00"), ["2011-12-30T10:00", "2012-12-29T22:00"]);
}

#[test]
fn a_day_field_with_a_star_leaves_the_choice_to_the_other() {
    // Thursday 1 January 2026.
    assert_eq!(next("0 0 * * 1", "UTC", "2026-01-01T00:00"), ["2026-01-05T00:00", "2026-01-12T00:00"]);
    assert_eq!(next("0 0 10 * *", "UTC", "2026-01-01T00:00"), ["2026-01-10T00:00", "2026-02-10T00:00"]);
    assert_eq!(next("0 0 6 * 1", "UTC", "2026-01-01T00:00"), ["2026-01-05T00:00", "2026-01-06T00:00"]);
    // A day that the month lacks does no harm where a weekday may do instead.
    assert_eq!(next("0 0 30 2 1", "UTC", "2026-01-01T00:00"), ["2026-02-02T00:00", "2026-02-09T00:00"]);
}

#[test]
fn what_has_no_clear_meaning_is_refused() {
    let long = format!("{} 0 * * *", vec!["0"; 200].join(","));
    let refused = [
        ["", "   ", "* * * *", "0 * * * * *", "0 0 1 1 * 2026 *", "@daily", long.as_str()],
        ["60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "* * * 0 *"],
        ["0 0 L * *", "0 0 15W * *", "0 0 * * 1#2", "0 0 ? * 1", "0 0 * * 5L", "mon * * * *", "0 0 jan * *"],
        [
            "0 0 30 2 *",
            "0 0 31 4,6,9,11 *",
            "0 0 30-31 feb *",
            "*/0 * * * *",
            "5-5 * * * *",
            "-1 * * * *",
            "1- * * * *",
        ],
        [", * * * *", "1,,2 * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "+1 * * * *", "0 0 * * monday", "* * * * h"],
        ["59/2 * * * *", "0 22-4/2 * * *", "1.5 * * * *", "*-5 * * * *", "0 0 * * 7-0", "/5 * * * *", "5/ * * * *"],
    ];
    for text in refused.into_iter().flatten() {
        let error = Recurrence::parse(text).map(|ok| ok.to_string()).unwrap_err();
        assert_eq!(error.field, "recurrence", "{text}");
    }
    let message = |text: &str| Recurrence::parse(text).unwrap_err().to_string();
    assert_eq!(message("0 25 * * *"), "recurrence has as its hour 25, but it goes from 0 to 23");
    assert_eq!(message("0 0 15W * *"), "recurrence has as its day of the month '15W', which is no such value");
}

#[test]
fn the_text_is_given_back_as_it_was_given() {
    assert_eq!(cron("0  9 * * Mon-FRI ").as_str(), "0  9 * * Mon-FRI ");
}

/// A zone and the day before its clock changes.
const CHANGES: &[(&str, (i32, u32, u32))] = &[
    ("Europe/Berlin", (2026, 3, 28)),
    ("Europe/Berlin", (2026, 10, 24)),
    ("America/New_York", (2026, 3, 7)),
    ("America/New_York", (2026, 10, 31)),
    ("Australia/Lord_Howe", (2026, 4, 4)),
    ("Australia/Lord_Howe", (2026, 10, 3)),
    ("Africa/Casablanca", (2026, 2, 14)),
    ("Africa/Casablanca", (2026, 3, 21)),
    // At midnight, forwards and back into the day before.
    ("America/Sao_Paulo", (2018, 11, 3)),
    ("America/Sao_Paulo", (2019, 2, 16)),
    ("America/Havana", (2026, 10, 31)),
    ("Pacific/Apia", (2011, 12, 29)),
    ("Asia/Kathmandu", (2026, 1, 1)),
];

/// A minute or hour field, with the values that it stands for.
fn field(values: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    prop_oneof![
        Just(("*".to_owned(), (0..values).collect())),
        (2..values).prop_map(move |step| (format!("*/{step}"), (0..values).step_by(step as usize).collect())),
        // Mostly early hours, where clocks change.
        prop::collection::vec(0..values.min(4), 1..3).prop_map(|list| (join(&list), list)),
        prop::collection::vec(0..values, 1..4).prop_map(|list| (join(&list), list)),
    ]
}

fn join(values: &[u32]) -> String {
    values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The occurrences from `begin` until before `end`, found by looking at the clock each minute.
fn watch_the_clock(
    tz: Tz,
    (minute_text, minutes): &(String, Vec<u32>),
    (hour_text, hours): &(String, Vec<u32>),
    begin: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let matches = |reading: &NaiveDateTime| minutes.contains(&reading.minute()) && hours.contains(&reading.hour());
    let is_wildcard = minute_text.starts_with('*') || hour_text.starts_with('*');
    let every_hour = (0..24).all(|hour| hours.contains(&hour));
    let minute = TimeDelta::minutes(1);
    let (mut occurrences, mut shown) = (Vec::new(), HashSet::new());
    let mut now = begin - TimeDelta::days(2);
    let mut expected = tz.from_utc_datetime(&now.naive_utc()).naive_local();
    while now < end {
        let reading = tz.from_utc_datetime(&now.naive_utc()).naive_local();
        let mut occurs = matches(&reading) && (shown.insert(reading) || is_wildcard);
        while expected < reading {
            occurs |= matches(&expected) && !every_hour;
            expected += minute;
        }
        expected = reading + minute;
        if occurs && now >= begin {
            occurrences.push(now);
        }
        now += minute;
    }
    occurrences
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Forwards and backwards, from any instant, around every kind of change.
    #[test]
    fn occurrences_are_those_of_somebody_who_watches_the_clock(
        (zone_name, (year, month, day)) in prop::sample::select(CHANGES.to_vec()),
        minutes in field(60),
        hours in field(24),
        probes in prop::collection::vec(0_i64..3 * 86_400_000, 40),
    ) {
        let begin = Utc.with_ymd_and_hms(year, month, day, 0, 0, 0).unwrap();
        let end = begin + TimeDelta::days(3);
        let expected = watch_the_clock(zone_name.parse().unwrap(), &minutes, &hours, begin, end);
        let (recurrence, zone) = (cron(&format!("{} {} * * *", minutes.0, hours.0)), zone(zone_name));
        let found: Vec<_> = recurrence.occurrences(zone, begin).take_while(|at| *at < end).collect();
        prop_assert_eq!(&found, &expected, "{} in {}", recurrence, zone);
        let probes = probes.into_iter().map(|ms| begin + TimeDelta::milliseconds(ms)).chain(expected.clone());
        for at in probes.take(200) {
            let last = expected.iter().rfind(|occurrence| **occurrence <= at);
            let next = expected.iter().find(|occurrence| **occurrence > at);
            if let Some(last) = last {
                prop_assert_eq!(recurrence.last_at_or_before(zone, at), Some(*last), "{} in {} at {}", recurrence, zone, at);
            }
            if let Some(next) = next {
                prop_assert_eq!(recurrence.next_after(zone, at), Some(*next), "{} in {} at {}", recurrence, zone, at);
            }
        }
    }
}
