//! What a service reports, and how much of it the rules remember.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::{HeartbeatId, Invalid, from_millis};

/// What a heartbeat reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Up,
    Down,
    Started,
    Completed,
    Failed,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::Started, Self::Completed, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Started => "STARTED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    /// Returns whether it counts towards a service's threshold.
    pub const fn counts_as_alive(self) -> bool {
        match self {
            Self::Up | Self::Started | Self::Completed => true,
            Self::Down | Self::Failed => false,
        }
    }

    /// Returns whether it closes an alert, as the last of enough heartbeats.
    pub const fn is_recovery(self) -> bool {
        match self {
            Self::Up | Self::Completed => true,
            Self::Started | Self::Down | Self::Failed => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| Invalid::new("status", "must be one of UP, DOWN, STARTED, COMPLETED, FAILED"))
    }
}

/// What a service's history holds at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A heartbeat.
    Reported(Status),
    /// A note, which changes nothing.
    Log,
}

impl Entry {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported(status) => status.as_str(),
            Self::Log => "LOG",
        }
    }

    /// Returns the status that was reported; a note reports none.
    pub const fn reported(self) -> Option<Status> {
        match self {
            Self::Reported(status) => Some(status),
            Self::Log => None,
        }
    }
}

impl FromStr for Entry {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == Self::Log.as_str() { Ok(Self::Log) } else { text.parse().map(Self::Reported) }
    }
}

/// A heartbeat's place in time in 61 bits: its milliseconds, then 20 of its id's bits that distinguish what came in
/// one millisecond. Zero stands for "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(i64);

impl Stamp {
    pub const NONE: Self = Self(0);

    pub fn of(id: HeartbeatId) -> Self {
        let bits = id.uuid().as_u128();
        // RFC 9562: 48 bits of milliseconds, 4 of version, 12 random, 2 of variant, 62 random.
        let millis = (bits >> 80) & 0xffff_ffff_ffff;
        let random = ((bits >> 64) & 0xfff) << 8 | ((bits >> 54) & 0xff);
        Self(i64::try_from(millis << 20 | random).unwrap_or(i64::MAX))
    }

    pub const fn from_raw(raw: i64) -> Self {
        Self(raw)
    }

    pub const fn raw(self) -> i64 {
        self.0
    }

    pub fn time(self) -> Option<DateTime<Utc>> {
        (self != Self::NONE).then(|| from_millis(self.0 >> 20))
    }
}

/// What a threshold needs to know of recent heartbeats: as many stamps as the threshold, newest first, and the last
/// explicit failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentHeartbeats {
    /// Stamps of the newest heartbeats that count as alive.
    pub stamps: Vec<Stamp>,
    /// The newest `DOWN` or `FAILED`; it voids the heartbeats before it.
    pub failed: Stamp,
    /// The status of the newest heartbeat of any kind.
    pub last_status: Option<Status>,
}

impl RecentHeartbeats {
    /// Creates a memory of no heartbeat yet, with room for `threshold` of them.
    pub fn empty(threshold: u32) -> Self {
        Self { stamps: vec![Stamp::NONE; threshold as usize], failed: Stamp::NONE, last_status: None }
    }

    /// Returns the newest heartbeat of any kind.
    pub fn newest(&self) -> Stamp {
        self.stamps.first().copied().unwrap_or_default().max(self.failed)
    }

    /// Adds a heartbeat, which may be older than others and may be one already counted. Returns whether it was new.
    pub fn record(&mut self, stamp: Stamp, status: Status) -> bool {
        let is_newest = stamp > self.newest();
        let counted = if status.counts_as_alive() { self.insert(stamp) } else { stamp > self.failed };
        if counted && !status.counts_as_alive() {
            self.failed = stamp;
        }
        if is_newest {
            self.last_status = Some(status);
        }
        counted
    }

    fn insert(&mut self, stamp: Stamp) -> bool {
        let place = self.stamps.partition_point(|known| *known > stamp);
        if place >= self.stamps.len() || self.stamps[place] == stamp {
            return false;
        }
        self.stamps.insert(place, stamp);
        self.stamps.pop();
        true
    }

    /// Returns the time of the oldest of the last `threshold` heartbeats that nothing voided, if so many came.
    pub fn nth_newest(&self) -> Option<DateTime<Utc>> {
        self.stamps.last().filter(|stamp| **stamp > self.failed).and_then(|stamp| stamp.time())
    }

    /// Makes room for another threshold. Heartbeats that were not kept are unknown, so a higher one starts counting again.
    pub fn resize(&mut self, threshold: u32) {
        self.stamps.resize(threshold as usize, Stamp::NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(n: i64) -> Stamp {
        Stamp(n << 20)
    }

    #[test]
    fn a_stamp_keeps_the_ids_order_and_time() {
        let at = from_millis(1_790_000_000_123);
        let (low, high) = (HeartbeatId::at(at, [0; 10]), HeartbeatId::at(at, [0xff; 10]));
        assert!(Stamp::of(low) < Stamp::of(high));
        assert_eq!(Stamp::of(high).time(), Some(at));
        assert!(Stamp::of(high) < Stamp::of(HeartbeatId::at(from_millis(1_790_000_000_124), [0; 10])));
    }

    #[test]
    fn heartbeats_are_kept_in_order_and_counted_once() {
        let mut recent = RecentHeartbeats::empty(2);
        assert!(recent.record(stamp(5), Status::Up));
        assert!(recent.record(stamp(3), Status::Up));
        assert!(!recent.record(stamp(5), Status::Up));
        assert!(!recent.record(stamp(1), Status::Up));
        assert_eq!(recent.stamps, [stamp(5), stamp(3)]);
    }

    #[test]
    fn a_failure_voids_what_came_before_it() {
        let mut recent = RecentHeartbeats::empty(1);
        recent.record(stamp(5), Status::Up);
        assert!(recent.nth_newest().is_some());
        recent.record(stamp(6), Status::Failed);
        assert_eq!(recent.nth_newest(), None);
        recent.record(stamp(7), Status::Up);
        assert!(recent.nth_newest().is_some());
        assert_eq!(recent.last_status, Some(Status::Up));
    }
}
