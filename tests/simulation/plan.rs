//! The world of a seed: services and what they will do, and windows of maintenance.

use chrono::{DateTime, TimeDelta, Utc};

/// A sequence of numbers that a seed gives (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let span = u64::try_from(high - low + 1).unwrap();
        low + i64::try_from((z ^ (z >> 31)) % span).unwrap()
    }

    fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.between(0, i64::try_from(choices.len()).unwrap() - 1)).unwrap()]
    }
}

/// A service that will be.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) interval_minutes: i64,
    pub(crate) grace_seconds: i64,
    pub(crate) threshold: i64,
    pub(crate) begins: DateTime<Utc>,
    /// What it says when, and at the end nothing but that it is well.
    pub(crate) says: Vec<(DateTime<Utc>, &'static str)>,
}

/// What happens in a seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) services: Vec<Planned>,
    pub(crate) windows: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// No fault happens past this.
    pub(crate) quiet_from: DateTime<Utc>,
    /// All has recovered by now.
    pub(crate) end: DateTime<Utc>,
}

impl Plan {
    pub(crate) fn of(seed: u64, begin: DateTime<Utc>) -> Self {
        let mut dice = Dice::new(seed);
        let quiet_from = begin + TimeDelta::minutes(dice.between(60, 180));
        let end = quiet_from + TimeDelta::minutes(14);
        let services = (0..dice.between(1, 2)).map(|_| Planned::of(&mut dice, begin, quiet_from, end)).collect();
        let mut windows = Vec::new();
        if dice.chance(40) {
            let from = begin + TimeDelta::minutes(dice.between(10, 60));
            windows.push((from, from + TimeDelta::minutes(dice.between(5, 40))));
        }
        Self { services, windows, quiet_from, end }
    }
}

impl Planned {
    fn of(dice: &mut Dice, begin: DateTime<Utc>, quiet_from: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        let interval_minutes = dice.of(&[3, 10, 20]);
        let threshold = if interval_minutes == 3 { 1 } else { dice.of(&[1, 1, 2, 3]) };
        let grace_seconds = dice.of(&[0, 0, 30, 300]);
        let begins = begin + TimeDelta::seconds(dice.between(1, 120));
        let (interval, step) = (interval_minutes * 60_000, interval_minutes * 60_000 / threshold);
        let mut says = Vec::new();
        let mut at = begins;
        while at < quiet_from {
            for _ in 0..dice.between(2, 6) {
                at += TimeDelta::milliseconds(dice.between(step * 3 / 10, step * 9 / 10));
                says.push((at, dice.of(&["UP", "UP", "UP", "COMPLETED", "STARTED"])));
            }
            if dice.chance(30) {
                at += TimeDelta::milliseconds(dice.between(1_000, step));
                says.push((at, dice.of(&["FAILED", "DOWN"])));
                let pause = dice.of(&[1_000, 20_000, step, interval * 2]);
                at += TimeDelta::milliseconds(dice.between(1, pause));
                says.push((at, "UP"));
            } else {
                let longest = dice.of(&[interval / 2, interval * 2, interval * 5]);
                at += TimeDelta::milliseconds(interval + grace_seconds * 1_000 + dice.between(0, longest));
                says.push((at, "UP"));
            }
        }
        says.retain(|(at, _)| *at < quiet_from);
        let mut at = quiet_from + TimeDelta::seconds(dice.between(1, 60));
        while at < end {
            says.push((at, "UP"));
            at += TimeDelta::minutes(2);
        }
        Self { interval_minutes, grace_seconds, threshold, begins, says }
    }
}
