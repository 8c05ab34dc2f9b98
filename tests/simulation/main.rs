//! The whole of Medic under virtual time: a seed decides what happens and what goes wrong, and a simple model of the rules
//! says what should have come of it.

mod check;
mod cloud;
mod fate;
mod model;
mod plan;
mod receivers;
mod run;

use run::Outcome;

/// Seeds that every run of the tests looks at.
const FIXED: u64 = 24;

fn look_at(seeds: impl Iterator<Item = u64>) {
    let mut failed = Vec::new();
    for seed in seeds {
        let Outcome { wrong, trace } = run::run(seed);
        if wrong.is_empty() {
            continue;
        }
        let shown: Vec<_> = trace.iter().rev().take(60).rev().map(String::as_str).collect();
        let wrong = wrong.join("\n  ");
        failed.push(format!("seed {seed}: make simulate SEED={seed}\n  {wrong}\n--- its trace:\n{}", shown.join("\n")));
        if failed.len() == 3 {
            break;
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    #[expect(clippy::disallowed_methods, reason = "`make simulate` says how many seeds, and which is the first")]
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SIMULATE_FIRST").unwrap_or(1);
    look_at(first..first + number("SIMULATE_SEEDS").unwrap_or(FIXED));
}
