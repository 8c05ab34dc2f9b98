//! The whole of Medic under virtual time: a seed decides what happens and what goes wrong, and a simple model of the rules
//! says what should have come of it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should end where it stands"
)]

mod check;
mod cloud;
mod fate;
mod jobs;
mod model;
mod plan;
mod post;
mod receivers;
mod repairs;
mod run;
mod turns;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::Outcome;

/// Seeds that every run of the tests looks at.
const FIXED: u64 = 12;
/// A stormy seed that is run twice.
const REPLAYED: u64 = 3;
/// Failures past which no more are looked for.
const MOST_SHOWN: usize = 3;
/// Lines of a trace that are shown.
const TRACE: usize = 60;

/// Runs seeds, two at a time, until some have failed.
fn look_at(seeds: std::ops::Range<u64>) {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().unwrap().len() >= MOST_SHOWN {
                return;
            }
            let Outcome { wrong, trace, record } = run::run(seed);
            if !wrong.is_empty() {
                if let Some(file) = variable("SIMULATE_RECORD") {
                    std::fs::write(file, record.join("\n")).unwrap();
                }
                failed.lock().unwrap().push(report(seed, &wrong, &trace));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// What failed, how it is seen again, and the end of what led to it.
fn report(seed: u64, wrong: &[String], trace: &[String]) -> String {
    let last = &trace[trace.len().saturating_sub(TRACE)..];
    format!("seed {seed} (make simulate SEED={seed}):\n  {}\n{}", wrong.join("\n  "), last.join("\n"))
}

#[expect(clippy::disallowed_methods, reason = "`make simulate` says which seeds, and where to write what happens")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

#[test]
fn a_seed_replays_exactly() {
    let (once, again) = (run::run(REPLAYED).record, run::run(REPLAYED).record);
    if let Some(place) = once.iter().zip(&again).position(|(one, other)| one != other) {
        let before = once[place.saturating_sub(10)..place].join("\n");
        panic!("they part at line {place}:\n{before}\nonce:  {}\nagain: {}", once[place], again[place]);
    }
    assert_eq!(once.len(), again.len());
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    let number = |name| variable(name).and_then(|text| text.parse::<u64>().ok());
    let first = number("SIMULATE_FIRST").unwrap_or(1);
    look_at(first..first + number("SIMULATE_SEEDS").unwrap_or(FIXED));
}
