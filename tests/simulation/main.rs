//! The whole of Medic under virtual time: a seed decides what happens and what goes wrong, and a simple model of the rules
//! says what should have come of it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should end where it stands"
)]

mod actions;
mod check;
mod cloud;
mod dice;
mod executions;
mod executor;
mod jobs;
mod model;
mod mutes;
mod notifications;
mod observed;
mod plan;
mod planned_services;
mod playbooks;
mod queues;
mod receivers;
mod resolutions;
mod rules;
mod run;
mod seed;
mod slack;

use std::cell::RefCell;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use run::{Outcome, Trace};

/// A fifth of a seed's time was spent on allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that every run of the tests runs.
const FIXED: u64 = 12;
/// A stormy seed that is run twice.
const REPLAYED: u64 = 3;
/// Failed seeds past which no more are run.
const MAX_SHOWN: usize = 3;
/// Lines of a trace that are shown.
const TRACE: usize = 60;

/// Runs seeds, two at a time, until some have failed.
fn run_seeds(seeds: std::ops::Range<u64>) {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().unwrap().len() >= MAX_SHOWN {
                return;
            }
            let Outcome { wrong, trace, record } = outcome(seed);
            if let Some(file) = variable("SIMULATE_RECORD") {
                std::fs::write(file, record.join("\n")).unwrap();
            }
            if !wrong.is_empty() {
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

thread_local! {
    /// All panics, also those in handlers, whose batches go on.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs a seed, and adds what panicked meanwhile to what is wrong.
fn outcome(seed: u64) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            before(panic);
        }));
    });
    let ran = panic::catch_unwind(|| run::run(seed));
    let mut outcome =
        ran.unwrap_or_else(|_| Outcome { wrong: Vec::new(), trace: Trace::default(), record: Vec::new() });
    outcome.wrong.extend(PANICS.take());
    outcome
}

/// Describes a failure: what is wrong, how to run the seed again, the alerts and executions at the end, and what led to the
/// first instant that is named.
fn report(seed: u64, wrong: &[String], trace: &Trace) -> String {
    let instants = wrong.iter().filter_map(|problem| problem.find("2026-").and_then(|at| problem.get(at + 8..at + 19)));
    let first = instants.map(|at| at.replace('T', " ")).min();
    let led = first.map_or(trace.happened.len(), |first| {
        trace.happened.partition_point(|line| line.get(..first.len()).is_none_or(|at| at <= first.as_str()))
    });
    let (until, observed) = ((led + 5).min(trace.happened.len()), trace.observed.join("\n"));
    let happened = trace.happened[until.saturating_sub(TRACE)..until].join("\n");
    format!("seed {seed} (make simulate SEED={seed}):\n  {}\n{observed}\n{happened}", wrong.join("\n  "))
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
        panic!("they differ from line {place}:\n{before}\nonce:  {}\nagain: {}", once[place], again[place]);
    }
    assert_eq!(once.len(), again.len());
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    let number = |name| variable(name).and_then(|text| text.parse::<u64>().ok());
    let first = number("SIMULATE_FIRST").unwrap_or(1);
    run_seeds(first..first + number("SIMULATE_SEEDS").unwrap_or(FIXED));
}

// Seeds past the fixed ones that found a rule broken on purpose (`mutations`), by that rule.

#[test]
fn a_condition_is_checked_before_its_timeout() {
    run_seeds(28..29);
}

#[test]
fn a_run_is_what_its_signals_say_in_whatever_order_they_come() {
    run_seeds(15..16);
}

// And seeds that found a fault in Medic.

#[test]
fn a_signal_that_comes_again_is_no_heartbeat_though_its_run_is_not_everywhere_yet() {
    run_seeds(206..207);
}
