//! How long to wait before something is tried again.

use chrono::TimeDelta;

/// A notification that its receiver did not accept for this long is given up.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(24);

const MAX: TimeDelta = TimeDelta::minutes(5);

/// Returns the wait after failure number `attempts` (from 1): 1 s, doubled each time, at most five minutes.
pub fn delay(attempts: u32) -> TimeDelta {
    let doublings = attempts.saturating_sub(1).min(16);
    TimeDelta::seconds(1 << doublings).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let seconds: Vec<_> = [1, 2, 3, 9, 10, 500].map(|n| delay(n).num_seconds()).into();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }
}
