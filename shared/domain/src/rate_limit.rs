//! How many requests a minute are let in: a sliding window of 60 s, made of two buckets. Pure.

use chrono::{DateTime, Utc};

use crate::to_millis;

/// The classes of requests: each has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestClass {
    Heartbeats,
    /// Everything else that requires a key.
    Management,
    /// Starts of playbooks with a key.
    Executions,
    /// Starts of playbooks with a trigger's secret, by the caller's address.
    Triggers,
}

impl RequestClass {
    pub const ALL: [Self; 4] = [Self::Heartbeats, Self::Management, Self::Executions, Self::Triggers];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeats => "heartbeats",
            Self::Management => "management",
            Self::Executions => "executions",
            Self::Triggers => "triggers",
        }
    }
}

const MINUTE_MS: u64 = 60_000;

/// The requests that were let in during a minute and during the one before it. The older bucket counts by what is left
/// of it in the last 60 s, as if its requests had been spread evenly.
///
/// From a quiet start exactly the limit is let in, and over time no more than the limit a minute. Since they need not
/// have been spread evenly, some 60 s can see more: up to twice the limit less one, when a whole limit comes at the end
/// of a minute and the next follows as fast as it is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateWindow {
    /// The minute of `current`, counted from the Unix epoch.
    pub minute: i64,
    pub older: u32,
    pub current: u32,
}

/// The ruling on one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    pub limit: u32,
    /// How many more are let in after this one, at this instant.
    pub remaining: u32,
    /// Seconds since the Unix epoch, for `X-RateLimit-Reset`. With none remaining, when one more is let in if no
    /// request comes meanwhile; otherwise the end of the minute, from when on this minute's requests count less and less.
    pub reset_at: i64,
    /// None when it is let in. Otherwise the whole seconds, at least 1, after which it would be, if no request
    /// comes meanwhile.
    pub retry_after: Option<u32>,
}

impl Ruling {
    pub fn is_let_in(&self) -> bool {
        self.retry_after.is_none()
    }
}

impl RateWindow {
    /// Creates the window of a quiet time, in which no request came.
    pub fn quiet(now: DateTime<Utc>) -> Self {
        Self { minute: Self::minute_of(now), older: 0, current: 0 }
    }

    /// Returns the minute of an instant, counted from the Unix epoch: which bucket it falls into.
    pub fn minute_of(now: DateTime<Utc>) -> i64 {
        now.timestamp().div_euclid(60)
    }

    /// Returns the buckets as they are at `now`: a minute that is over becomes the older one, then is gone. A clock
    /// that lags behind the buckets' minute is taken to be at its beginning.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Self {
        let minute = Self::minute_of(now);
        match minute.saturating_sub(self.minute) {
            i64::MIN..=0 => self,
            1 => Self { minute, older: self.current, current: 0 },
            2.. => Self { minute, older: 0, current: 0 },
        }
    }

    /// Judges one request, which is counted when it is let in. A limit of 0 lets nothing in, whatever the wait says.
    pub fn rule(self, limit: u32, now: DateTime<Utc>) -> (Self, Ruling) {
        let before = self.at(now);
        if before.room(limit, now) == 0 {
            let wait = before.millis_to_room(limit, now).div_ceil(1_000).max(1);
            let ruling = Ruling {
                limit,
                remaining: 0,
                reset_at: before.second_after(wait * 1_000, now),
                retry_after: Some(u32::try_from(wait).unwrap_or(u32::MAX)),
            };
            return (before, ruling);
        }
        let after = Self { current: before.current + 1, ..before };
        let remaining = after.room(limit, now);
        let wait = match remaining {
            0 => after.millis_to_room(limit, now),
            1.. => MINUTE_MS - after.elapsed_ms(now),
        };
        (after, Ruling { limit, remaining, reset_at: after.second_after(wait, now), retry_after: None })
    }

    /// Returns how many requests the buckets' minute may hold by `now`. It grows as the older bucket fades.
    pub fn capacity(self, limit: u32, now: DateTime<Utc>) -> u32 {
        // In requests times milliseconds, so that nothing is rounded before the end.
        let older = u64::from(self.older) * (MINUTE_MS - self.elapsed_ms(now));
        let capacity = (u64::from(limit) * MINUTE_MS).saturating_sub(older) / MINUTE_MS;
        u32::try_from(capacity).unwrap_or(u32::MAX)
    }

    /// Returns how many requests are let in at `now`.
    fn room(self, limit: u32, now: DateTime<Utc>) -> u32 {
        self.capacity(limit, now).saturating_sub(self.current)
    }

    /// Returns after how many milliseconds one request is let in, if none comes meanwhile: in this minute as the older
    /// bucket fades, or else in the next, as this minute's does.
    fn millis_to_room(self, limit: u32, now: DateTime<Utc>) -> u64 {
        let elapsed = self.elapsed_ms(now);
        let (fading, begins_in, room_without) = match limit.checked_sub(self.current) {
            Some(room @ 1..) => (self.older, 0, room),
            Some(0) | None => (self.current, MINUTE_MS - elapsed, limit),
        };
        // How many milliseconds of the fading bucket may be left at most while one request more fits in.
        let may_be_left = u64::from(room_without.saturating_sub(1)) * MINUTE_MS / u64::from(fading.max(1));
        let faded_at = MINUTE_MS.saturating_sub(may_be_left);
        if begins_in == 0 { faded_at.saturating_sub(elapsed) } else { begins_in + faded_at }
    }

    /// Returns the milliseconds of the current minute that are over.
    fn elapsed_ms(self, now: DateTime<Utc>) -> u64 {
        u64::try_from(self.now_ms(now) - self.minute * 60_000).unwrap_or_default().min(MINUTE_MS)
    }

    /// Returns `now`, but not before the buckets' minute.
    fn now_ms(self, now: DateTime<Utc>) -> i64 {
        to_millis(now).max(self.minute * 60_000)
    }

    /// Returns the first whole second since the Unix epoch that is at least `wait_ms` after `now`.
    fn second_after(self, wait_ms: u64, now: DateTime<Utc>) -> i64 {
        let then = self.now_ms(now).saturating_add_unsigned(wait_ms);
        -(-then).div_euclid(1_000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::from_millis;

    /// The beginning of a minute.
    const BEGIN: i64 = 1_790_000_040_000;

    fn at(ms: i64) -> DateTime<Utc> {
        from_millis(BEGIN + ms)
    }

    #[test]
    fn from_a_quiet_start_exactly_the_limit_is_let_in() {
        let mut window = RateWindow::quiet(at(10_000));
        for remaining in (0..5).rev() {
            let (next, ruling) = window.rule(5, at(10_000));
            assert!(ruling.is_let_in());
            assert_eq!((ruling.limit, ruling.remaining), (5, remaining));
            window = next;
        }
        let (unchanged, refused) = window.rule(5, at(10_000));
        assert_eq!(unchanged, window);
        // A fifth of the next minute has to pass until one of the five has faded.
        assert_eq!(refused, Ruling { limit: 5, remaining: 0, reset_at: BEGIN / 1_000 + 72, retry_after: Some(62) });
    }

    #[test]
    fn capacity_comes_back_as_the_older_minute_fades() {
        let full = RateWindow { minute: RateWindow::minute_of(at(0)), older: 0, current: 100 };
        let room = |ms| full.at(at(ms)).room(100, at(ms));
        assert_eq!([59_999, 60_000, 60_599, 60_600, 90_000, 119_400, 120_000].map(room), [0, 0, 0, 1, 50, 99, 100]);
    }

    #[test]
    fn two_minutes_after_the_last_request_it_is_quiet_again() {
        let (window, _) = RateWindow::quiet(at(0)).rule(1, at(0));
        let (_, refused) = window.rule(1, at(1_500));
        assert_eq!(refused.retry_after, Some(119));
        assert!(window.rule(1, at(120_000)).1.is_let_in());
        assert_eq!(window.at(at(120_000)), RateWindow::quiet(at(120_000)));
    }

    #[test]
    fn a_clock_that_lags_changes_nothing() {
        let window = RateWindow { minute: RateWindow::minute_of(at(0)), older: 3, current: 2 };
        assert_eq!(window.at(at(-90_000)), window);
        assert_eq!(window.rule(10, at(-90_000)), window.rule(10, at(0)));
    }

    #[test]
    fn the_bound_is_reached_by_two_bursts() {
        let mut window = RateWindow::quiet(at(0));
        let mut let_in = 0;
        // A whole limit at the very end of a minute, and then whatever is let in.
        let asks = std::iter::repeat_n(59_999, 10).chain(60_000..119_999);
        for ms in asks {
            let (next, ruling) = window.rule(10, at(ms));
            window = next;
            let_in += u32::from(ruling.is_let_in());
        }
        assert_eq!(let_in, 2 * 10 - 1);
    }

    proptest! {
        /// Whenever requests come: no minute lets in more than the limit, and no 60 s twice as many.
        #[test]
        fn no_minute_lets_in_too_many(limit in 1_u32..30, waits in prop::collection::vec(0_i64..4_000, 1..400)) {
            let mut window = RateWindow::quiet(at(0));
            let (mut now, mut let_in) = (0, Vec::new());
            for wait in waits {
                now += wait;
                let (next, ruling) = window.rule(limit, at(now));
                window = next;
                if ruling.is_let_in() { let_in.push(now) }
            }
            for first in &let_in {
                let within = |from: i64| let_in.iter().filter(|ms| (from..from + 60_000).contains(*ms)).count();
                prop_assert!(within(first / 60_000 * 60_000) <= limit as usize);
                prop_assert!(within(*first) < 2 * limit as usize);
            }
        }

        /// A refused request is let in after `retry_after` seconds and not one second earlier; the same for `reset_at`
        /// when nothing remains.
        #[test]
        fn the_wait_is_truthful(limit in 1_u32..200, older in 0_u32..250, current in 0_u32..250, ms in 0_i64..60_000) {
            let window = RateWindow { minute: RateWindow::minute_of(at(0)), older, current };
            let is_let_in = |ms: i64| window.rule(limit, at(ms)).1.is_let_in();
            let (after, ruling) = window.rule(limit, at(ms));
            if let Some(seconds) = ruling.retry_after {
                let wait = i64::from(seconds) * 1_000;
                prop_assert!(wait >= 1_000 && is_let_in(ms + wait));
                prop_assert!(!is_let_in(ms + wait - 1_000));
                prop_assert!(is_let_in(ruling.reset_at * 1_000 - BEGIN));
            } else if ruling.remaining == 0 {
                let reset = ruling.reset_at * 1_000 - BEGIN;
                prop_assert!(reset > ms && after.rule(limit, at(reset)).1.is_let_in());
                prop_assert!(reset - 1_000 <= ms || !after.rule(limit, at(reset - 1_000)).1.is_let_in());
            } else {
                prop_assert!(after.rule(limit, at(ms)).1.is_let_in());
                prop_assert_eq!(ruling.reset_at, BEGIN / 1_000 + 60);
            }
        }

        /// Whoever counts in a shared place on the condition that it holds fewer than `capacity`, and has read an older
        /// count there, lets in what `rule` lets in.
        #[test]
        fn fewer_than_the_capacity_is_what_is_let_in(
            limit in 0_u32..200, older in 0_u32..250, current in 0_u32..250, ms in 0_i64..60_000,
        ) {
            let window = RateWindow { minute: RateWindow::minute_of(at(0)), older, current };
            prop_assert_eq!(current < window.capacity(limit, at(ms)), window.rule(limit, at(ms)).1.is_let_in());
        }

        /// As long as no request comes, there is never less room than before.
        #[test]
        fn room_only_grows(limit in 1_u32..200, older in 0_u32..250, current in 0_u32..250, ms in 0_i64..180_000) {
            let window = RateWindow { minute: RateWindow::minute_of(at(0)), older, current };
            let room = |ms: i64| window.at(at(ms)).room(limit, at(ms));
            prop_assert!(room(ms) <= room(ms + 1));
        }
    }
}
