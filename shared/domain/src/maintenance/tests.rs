use chrono::TimeZone as _;
use proptest::prelude::*;

use super::*;
use crate::parse_time;

fn at(text: &str) -> DateTime<Utc> {
    parse_time("at", &format!("{text}:00Z")).unwrap()
}

fn window(start: &str, end: &str, zone: &str, recurrence: Option<&str>) -> MaintenanceWindow {
    let recurrence = recurrence.map(|text| Recurrence::parse(text).unwrap());
    MaintenanceWindow {
        id: WindowId::new(1),
        name: MaintenanceWindow::parse_name("backups").unwrap(),
        times: MaintenanceTimes::parse(at(start), at(end), Zone::parse(zone).unwrap(), recurrence).unwrap(),
        service_ids: Vec::new(),
        is_announced: false,
        due_at: None,
        revision: Revision::beginning(DateTime::UNIX_EPOCH),
    }
}

/// The stretch at an instant, in UTC to the minute.
fn stretch(window: &MaintenanceWindow, time: &str) -> String {
    let text = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M").to_string();
    match window.occurrence_at(at(time)) {
        None => "none".to_owned(),
        Some(Occurrence { start, end: None }) => format!("{} for ever", text(start)),
        Some(Occurrence { start, end: Some(end) }) => format!("{} to {}", text(start), text(end)),
    }
}

#[test]
fn a_window_without_recurrence_is_on_once() {
    let once = window("2026-06-01T10:00", "2026-06-01T12:00", "UTC", None);
    assert_eq!(stretch(&once, "2026-06-01T09:59"), "none");
    assert_eq!(stretch(&once, "2026-06-01T10:00"), "2026-06-01T10:00 to 2026-06-01T12:00");
    assert_eq!(stretch(&once, "2026-06-01T11:59"), "2026-06-01T10:00 to 2026-06-01T12:00");
    assert_eq!(stretch(&once, "2026-06-01T12:00"), "none");
    let change = |time| once.next_change_after(at(time));
    assert_eq!(change("2026-06-01T09:00"), Some(at("2026-06-01T10:00")));
    assert_eq!(change("2026-06-01T10:00"), Some(at("2026-06-01T12:00")));
    assert_eq!(change("2026-06-01T12:00"), None);
}

#[test]
fn a_window_recurs_in_its_zone_but_not_before_its_start() {
    let nightly = window("2026-03-28T00:00", "2026-03-28T02:00", "Europe/Berlin", Some("0 3 * * *"));
    assert_eq!(stretch(&nightly, "2026-03-27T02:30"), "none");
    assert_eq!(stretch(&nightly, "2026-03-28T02:30"), "2026-03-28T02:00 to 2026-03-28T04:00");
    // Summer time begins: 03:00 is an hour earlier.
    assert_eq!(stretch(&nightly, "2026-03-29T01:00"), "2026-03-29T01:00 to 2026-03-29T03:00");
    assert_eq!(nightly.next_change_after(at("2026-03-01T00:00")), Some(at("2026-03-28T02:00")));
    assert_eq!(nightly.next_change_after(at("2026-03-28T02:00")), Some(at("2026-03-28T04:00")));
    assert_eq!(nightly.next_change_after(at("2026-03-28T04:00")), Some(at("2026-03-29T01:00")));
}

#[test]
fn the_start_is_no_occurrence_unless_the_recurrence_says_so() {
    let sundays = window("2026-06-01T10:00", "2026-06-01T11:00", "UTC", Some("0 10 * * SUN"));
    assert!(!sundays.is_on(at("2026-06-01T10:30")));
    assert!(sundays.is_on(at("2026-06-07T10:30")));
}

#[test]
fn a_length_is_elapsed_time() {
    // Four hours from 00:00 while the clock jumps from 02:00 to 03:00 end at 05:00 on the wall.
    let long = window("2026-03-01T00:00", "2026-03-01T04:00", "Europe/Berlin", Some("0 0 29 3 *"));
    assert_eq!(stretch(&long, "2026-03-29T00:00"), "2026-03-28T23:00 to 2026-03-29T03:00");
}

#[test]
fn occurrences_that_overlap_or_touch_make_one_stretch() {
    let touching = window("2026-06-01T00:00", "2026-06-01T00:15", "UTC", Some("*/15 8-9 * * *"));
    assert_eq!(stretch(&touching, "2026-06-01T08:50"), "2026-06-01T08:00 to 2026-06-01T10:00");
    // Each minute of the five weekdays.
    let workdays = window("2026-01-01T00:00", "2026-01-01T00:01", "Europe/Berlin", Some("* * * * 1-5"));
    assert_eq!(stretch(&workdays, "2026-03-26T12:00"), "2026-03-22T23:00 to 2026-03-27T23:00");
    // Whole days, but for the hour that is left over when the clock is put back.
    let days = window("2026-01-01T00:00", "2026-01-02T00:00", "Europe/Berlin", Some("0 0 * * *"));
    assert_eq!(stretch(&days, "2026-06-01T12:00"), "2026-01-01T23:00 to 2026-10-25T22:00");
    assert_eq!(stretch(&days, "2026-10-25T22:30"), "none");
}

#[test]
fn a_stretch_of_fixed_times_pauses_while_the_clock_repeats_an_hour() {
    let quarters = window("2026-01-01T00:00", "2026-01-01T00:15", "Europe/Berlin", Some("0,15,30,45 0-5 * * *"));
    assert_eq!(stretch(&quarters, "2026-10-24T22:30"), "2026-10-24T22:00 to 2026-10-25T01:00");
    assert_eq!(stretch(&quarters, "2026-10-25T01:30"), "none");
    assert_eq!(stretch(&quarters, "2026-10-25T02:30"), "2026-10-25T02:00 to 2026-10-25T05:00");
}

#[test]
fn a_window_that_never_pauses_has_no_end() {
    for (start, end, recurrence) in [
        ("2026-01-01T00:00", "2026-01-01T00:02", "* * * * *"),
        ("2026-01-01T00:00", "2026-01-02T01:00", "0 0 * * *"),
        ("2026-01-01T00:00", "2026-12-31T00:00", "0 0 1 * *"),
    ] {
        let endless = window(start, end, "Europe/Berlin", Some(recurrence));
        let noon = at("2031-06-01T12:00");
        let Occurrence { start, end } = endless.occurrence_at(noon).unwrap();
        assert_eq!(start, endless.next_change_after(at("2025-01-01T00:00")).unwrap());
        assert_eq!(end, None, "{recurrence}");
        assert_eq!(endless.next_change_after(noon), None);
    }
}

#[test]
fn a_window_is_for_its_services_or_for_all() {
    let mut window = window("2026-06-01T10:00", "2026-06-01T12:00", "UTC", None);
    assert!(window.covers(ServiceId::new(1)));
    window.service_ids = vec![ServiceId::new(2), ServiceId::new(3)];
    assert!(window.covers(ServiceId::new(3)) && !window.covers(ServiceId::new(1)));
}

#[test]
fn a_window_ends_after_its_start_and_recurs_for_at_most_a_year() {
    let parse = |start: &str, end: &str, recurrence: Option<&str>| {
        let recurrence = recurrence.map(|text| Recurrence::parse(text).unwrap());
        MaintenanceTimes::parse(at(start), at(end), Zone::UTC, recurrence).map(drop).map_err(|invalid| invalid.field)
    };
    let field = Err("end_time".to_owned());
    assert_eq!(parse("2026-06-01T10:00", "2026-06-01T10:00", None), field);
    assert_eq!(parse("2026-06-01T10:00", "2026-06-01T09:00", None), field);
    assert_eq!(parse("2026-01-01T00:00", "2027-01-02T00:00", Some("0 0 1 1 *")), Ok(()));
    assert_eq!(parse("2026-01-01T00:00", "2027-01-02T00:01", Some("0 0 1 1 *")), field);
    assert_eq!(parse("2026-01-01T00:00", "2036-01-01T00:00", None), Ok(()));
}

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"];

const RECURRENCES: [&str; 11] = [
    "* * * * *",
    "*/15 * * * *",
    "0 */2 * * *",
    "30 2 * * *",
    "0,50 1-3 * * *",
    "0 22 * * 1-5",
    "15 4 1,15 * 1",
    "* 8-17 * * *",
    // A fixed time: when the clock is put back, nothing occurs for an hour and a quarter.
    "0,15,30,45 0-5,20-23 * * *",
    "0 0 1 * *",
    "0 0 29 2 *",
];

/// Lengths that are near to the pauses of those recurrences.
const LENGTHS_MINUTES: [i64; 12] = [1, 2, 10, 15, 50, 60, 119, 120, 1_440, 1_500, 10_080, 44_640];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Compared with all occurrences, listed one by one, on a span around a random instant.
    #[test]
    fn stretches_are_made_of_listed_occurrences(
        zone in prop::sample::select(ZONES.to_vec()),
        recurrence in prop::sample::select(RECURRENCES.to_vec()),
        minutes in prop::sample::select(LENGTHS_MINUTES.to_vec()),
        start in 0_i64..30 * 1_440,
        probes in prop::collection::vec(-1_440_i64..45 * 1_440, 20),
        year in prop::sample::select(vec![2018, 2024, 2026]),
        month in prop::sample::select(vec![2, 3, 9, 10]),
    ) {
        let base = Utc.with_ymd_and_hms(year, month, 1, 0, 0, 0).unwrap();
        let start = base + TimeDelta::minutes(start);
        let length = TimeDelta::minutes(minutes);
        let (zone, recurrence) = (Zone::parse(zone).unwrap(), Recurrence::parse(recurrence).unwrap());
        let times = MaintenanceTimes::parse(start, start + length, zone, Some(recurrence.clone())).unwrap();
        // As far as the list goes; what lies beyond is not compared.
        let horizon = base + TimeDelta::days(80);
        let listed: Vec<_> = recurrence.occurrences(zone, start).take_while(|at| *at < horizon).collect();
        let mut stretches: Vec<(DateTime<Utc>, DateTime<Utc>)> = Vec::new();
        for occurrence in listed {
            match stretches.last_mut() {
                Some((_, end)) if occurrence <= *end => *end = occurrence + length,
                Some(_) | None => stretches.push((occurrence, occurrence + length)),
            }
        }
        for probe in probes {
            let at = base + TimeDelta::minutes(probe);
            let expected = stretches.iter().find(|(begin, end)| (*begin..*end).contains(&at)).copied();
            let found = times.occurrence_at(at);
            prop_assert_eq!(times.are_on(at), expected.is_some(), "{} {} {} at {}", recurrence, zone, length, at);
            prop_assert_eq!(found.map(|found| found.start), expected.map(|(begin, _)| begin), "{}", at);
            if let Some((_, end)) = expected && end < horizon {
                prop_assert_eq!(found.and_then(|found| found.end), Some(end), "{}", at);
                prop_assert!(!times.are_on(end) && times.are_on(end - TimeDelta::nanoseconds(1)));
            }
            let change = match expected {
                Some((_, end)) => Some(end),
                None => stretches.iter().map(|(begin, _)| *begin).find(|begin| *begin > at),
            };
            if let Some(change) = change && change < horizon {
                prop_assert_eq!(times.next_change_after(at), Some(change), "{}", at);
            }
        }
    }
}

#[test]
fn of_several_windows_the_one_whose_maintenance_ends_last_keeps_alerts_back() {
    let short = window("2026-06-01T10:00", "2026-06-01T12:00", "UTC", None);
    let long =
        MaintenanceWindow { id: WindowId::new(2), ..window("2026-06-01T11:00", "2026-06-01T13:00", "UTC", None) };
    let others = MaintenanceWindow {
        id: WindowId::new(3),
        service_ids: vec![ServiceId::new(9)],
        ..window("2026-06-01T09:00", "2026-06-01T14:00", "UTC", None)
    };
    let windows = [short, long, others];
    let found =
        |service, time| in_maintenance(&windows, ServiceId::new(service), at(time)).map(|(window, _)| window.id.get());
    assert_eq!(found(1, "2026-06-01T09:00"), None);
    assert_eq!(found(1, "2026-06-01T10:00"), Some(1));
    assert_eq!(found(1, "2026-06-01T11:00"), Some(2));
    assert_eq!(found(9, "2026-06-01T11:00"), Some(3));
    assert_eq!(found(1, "2026-06-01T13:00"), None);
}

#[test]
fn a_window_is_for_each_service_once_and_for_a_thousand_at_most() {
    let ids = |ids: &[i64]| ids.iter().copied().map(ServiceId::new).collect::<Vec<_>>();
    assert_eq!(MaintenanceWindow::parse_service_ids(ids(&[3, 1, 3])), Ok(ids(&[1, 3])));
    let thousand: Vec<_> = (1..=1_000).collect();
    assert!(MaintenanceWindow::parse_service_ids(ids(&thousand)).is_ok());
    let more: Vec<_> = (1..=1_001).collect();
    assert_eq!(MaintenanceWindow::parse_service_ids(ids(&more)).unwrap_err().field, "service_ids");
}
