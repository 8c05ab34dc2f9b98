//! Cron expressions: whatever is accepted occurs, later each time, and only from the instant that was asked for.

#![no_main]

use chrono::DateTime;
use domain::{Recurrence, Zone};
use libfuzzer_sys::fuzz_target;

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"];

fuzz_target!(|input: (u32, u8, &str)| {
    let (seconds, zone, text) = input;
    let Ok(recurrence) = Recurrence::parse(text) else { return };
    assert_eq!(recurrence.as_str(), text);
    let zone = Zone::parse(ZONES[usize::from(zone) % ZONES.len()]).expect("it is known");
    let from = DateTime::from_timestamp(i64::from(seconds), 0).expect("it is in the calendar");
    let times: Vec<_> = recurrence.occurrences(zone, from).take(4).collect();
    assert_eq!(times.len(), 4, "{text} does not occur");
    assert!(times[0] >= from && times.is_sorted_by(|a, b| a < b), "{text}: {times:?}");
    for time in &times {
        assert_eq!(recurrence.last_at_or_before(zone, *time), Some(*time), "{text}");
    }
});
