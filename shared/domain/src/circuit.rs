//! Circuits: how many executions may start within a period for a service, so that a repair that does not help is not tried
//! for ever, and for all of them, so that no flood of failures starts more than people can follow. Pure.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Invalid, ServiceId};

/// Whose starts a circuit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CircuitOf {
    Service(ServiceId),
    /// All services, and what is for none.
    All,
}

impl CircuitOf {
    pub const fn service(self) -> Option<ServiceId> {
        match self {
            Self::Service(id) => Some(id),
            Self::All => None,
        }
    }
}

impl fmt::Display for CircuitOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(id) => id.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for CircuitOf {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Service) }
    }
}

/// When executions started, however they were started, oldest first. Kept as one item, written as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circuit {
    pub starts: Vec<DateTime<Utc>>,
    /// Whether people were notified that the circuit is open; cleared when it closes.
    pub is_notified: bool,
}

/// Whether one more execution may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Start,
    /// The circuit is open: nothing starts automatically. `is_first` when nobody was notified yet.
    Refuse {
        is_first: bool,
    },
}

impl Circuit {
    pub const MAX: u32 = 5;
    pub const WINDOW: TimeDelta = TimeDelta::hours(1);

    pub fn is_open(&self, now: DateTime<Utc>, max: u32, window: TimeDelta) -> bool {
        self.recent(now, window).count() >= usize::try_from(max).unwrap_or(usize::MAX)
    }

    /// Counts one more start. A person starts one also while the circuit is open.
    #[must_use]
    pub fn admit(&self, is_by_person: bool, now: DateTime<Utc>, max: u32, window: TimeDelta) -> (Self, Admission) {
        let is_open = self.is_open(now, max, window);
        if is_open && !is_by_person {
            return (Self { is_notified: true, ..self.clone() }, Admission::Refuse { is_first: !self.is_notified });
        }
        let kept = usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(1);
        let recent: Vec<_> = self.recent(now, window).collect();
        let newest = recent.into_iter().rev().take(kept).rev();
        let starts = newest.chain([now]).collect();
        (Self { starts, is_notified: self.is_notified && is_open }, Admission::Start)
    }

    fn recent(&self, now: DateTime<Utc>, window: TimeDelta) -> impl Iterator<Item = DateTime<Utc>> {
        self.starts.iter().copied().filter(move |start| now - *start < window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(circuit: &mut Circuit, is_by_person: bool, minute: i64) -> Admission {
        let now = crate::from_millis(1_790_000_000_000) + TimeDelta::minutes(minute);
        let (next, admission) = circuit.admit(is_by_person, now, Circuit::MAX, Circuit::WINDOW);
        *circuit = next;
        admission
    }

    #[test]
    fn opens_at_the_sixth_start_in_an_hour_and_notifies_once() {
        let mut circuit = Circuit::default();
        for minute in 0..5 {
            assert_eq!(admit(&mut circuit, false, minute), Admission::Start);
        }
        assert_eq!(admit(&mut circuit, false, 5), Admission::Refuse { is_first: true });
        assert_eq!(admit(&mut circuit, false, 59), Admission::Refuse { is_first: false });
        // The first start is an hour old.
        assert_eq!(admit(&mut circuit, false, 60), Admission::Start);
        assert_eq!(admit(&mut circuit, false, 60), Admission::Refuse { is_first: true });
    }

    #[test]
    fn a_person_starts_one_all_the_same_and_it_counts() {
        let mut circuit = Circuit::default();
        for minute in 0..9 {
            assert_eq!(admit(&mut circuit, true, minute), Admission::Start);
        }
        assert_eq!(circuit.starts.len(), 5);
        assert_eq!(admit(&mut circuit, false, 63), Admission::Refuse { is_first: true });
        assert_eq!(admit(&mut circuit, true, 63), Admission::Start);
        assert_eq!(admit(&mut circuit, false, 64), Admission::Refuse { is_first: false });
        assert_eq!(admit(&mut circuit, false, 65), Admission::Start);
    }
}
