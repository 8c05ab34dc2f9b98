//! A schedule's hours: what is accepted is shown as it was given.

#![no_main]

use std::collections::BTreeMap;

use domain::Hours;
use libfuzzer_sys::fuzz_target;

const DAYS: [&str; 8] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "Monday"];

fuzz_target!(|input: Vec<(u8, String, String)>| {
    let mut week = BTreeMap::<String, Vec<(String, String)>>::new();
    for (day, start, end) in input {
        week.entry(DAYS[usize::from(day) % DAYS.len()].to_owned()).or_default().push((start, end));
    }
    let Ok(hours) = Hours::parse(&week) else { return };
    let shown: BTreeMap<_, _> = hours.days().map(|(day, ranges)| (day.to_owned(), ranges)).collect();
    assert_eq!(shown, week);
    assert_eq!(Hours::parse(&shown).as_ref(), Ok(&hours));
});
