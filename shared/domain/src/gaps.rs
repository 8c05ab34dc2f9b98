//! Gaps: spans in which Medic could not hear, as a row proves them; and how far they postpone a deadline. Pure.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::format_time;

/// A span in which Medic could not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// When it last proved that it heard.
    pub from: DateTime<Utc>,
    /// By when it could no longer hear, since it would have proved it: what came before may have been heard before the gap.
    pub begun: DateTime<Utc>,
    /// When it heard again.
    pub to: DateTime<Utc>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {}", format_time(self.from), format_time(self.to))
    }
}

/// The proof of when Medic heard, which it renews as long as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// When it was last renewed.
    pub at: DateTime<Utc>,
    /// The gaps that ended in the last hours, in their order.
    pub gaps: Vec<Gap>,
}

impl Pulse {
    /// How long a gap is kept after its end: longer than it postpones anything.
    const KEPT: TimeDelta = TimeDelta::hours(3);
    /// Gaps that are kept at most: the newest. What is forgotten postpones nothing.
    const MAX_GAPS: usize = 96;

    /// Creates the pulse of a Medic that never heard before.
    pub const fn beginning(now: DateTime<Utc>) -> Self {
        Self { at: now, gaps: Vec::new() }
    }

    /// Returns whether it proves that there was no gap between its last renewal and `now`.
    pub fn proves(&self, now: DateTime<Utc>, limit: TimeDelta) -> bool {
        now - self.at <= limit
    }

    /// Returns the pulse renewed at `now`: what it does not prove is a gap.
    #[must_use]
    pub fn renewed(&self, now: DateTime<Utc>, limit: TimeDelta) -> Self {
        let mut gaps = self.gaps.clone();
        if !self.proves(now, limit) {
            gaps.push(Gap { from: self.at, begun: self.at + limit, to: now });
        }
        gaps.retain(|gap| gap.to > now - Self::KEPT);
        gaps.drain(..gaps.len().saturating_sub(Self::MAX_GAPS));
        Self { at: self.at.max(now), gaps }
    }
}

/// When something falls due that did not come, and what postponed that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When it was due by its own rule.
    pub own: DateTime<Utc>,
    /// When it is due after all.
    pub at: DateTime<Utc>,
    /// The gap that postponed it, the last of several.
    pub gap: Option<Gap>,
    /// Whether Medic could not hear when it was due by its own rule.
    pub is_in_gap: bool,
    /// By how much it may still be postponed.
    left: TimeDelta,
}

impl Deadline {
    /// How much of the time in which Medic hears a deadline may be postponed by, in all.
    const MAX_POSTPONED: TimeDelta = TimeDelta::hours(1);

    /// Creates a deadline that nothing postponed yet.
    pub const fn at(own: DateTime<Utc>) -> Self {
        Self { own, at: own, gap: None, is_in_gap: false, left: Self::MAX_POSTPONED }
    }

    /// Returns the deadline as these gaps postpone it, in their order, of what Medic last heard at `heard`. `fresh` is how
    /// long it may take from an instant until Medic hears of it again.
    #[must_use]
    pub fn after(mut self, gaps: &[Gap], heard: DateTime<Utc>, fresh: impl Fn(DateTime<Utc>) -> TimeDelta) -> Self {
        // A gap that began after the deadline hides nothing: it had passed.
        for gap in gaps.iter().filter(|gap| heard <= gap.begun) {
            if gap.from > self.at {
                break;
            }
            self.is_in_gap |= gap.from <= self.own && self.own <= gap.to;
            if self.start_afresh(gap.to, fresh(gap.to)) {
                self.gap = Some(*gap);
            }
        }
        self
    }

    /// Postpones the deadline because nothing could be heard before `from`. Returns whether that moved it. What it moves past
    /// `from` is taken from the hour that all gaps have together.
    fn start_afresh(&mut self, from: DateTime<Utc>, fresh: TimeDelta) -> bool {
        let at = from + fresh.min(self.left);
        if at <= self.at {
            return false;
        }
        self.left -= at - self.at.max(from);
        self.at = at;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::from_millis;

    fn at(second: i64) -> DateTime<Utc> {
        from_millis(1_790_000_000_000 + second * 1_000)
    }

    fn gap(from: i64, to: i64) -> Gap {
        Gap { from: at(from), begun: at(from), to: at(to) }
    }

    fn after(gaps: &[Gap], heard: i64, own: i64, fresh: i64) -> Deadline {
        Deadline::at(at(own)).after(gaps, at(heard), |_| TimeDelta::seconds(fresh))
    }

    #[test]
    fn what_is_not_proven_is_a_gap_and_old_ones_are_forgotten() {
        let limit = TimeDelta::seconds(30);
        let pulse = Pulse::beginning(at(0)).renewed(at(10), limit).renewed(at(40), limit);
        assert_eq!(pulse, Pulse::beginning(at(40)));
        let pulse = pulse.renewed(at(71), limit);
        let begun = |gap: Gap| Gap { begun: gap.from + limit, ..gap };
        assert_eq!(pulse, Pulse { at: at(71), gaps: vec![begun(gap(40, 71))] });
        // A clock that is behind proves nothing new.
        assert_eq!(pulse.renewed(at(60), limit), pulse);
        assert_eq!(pulse.renewed(at(71 + 10_800), TimeDelta::days(1)), Pulse::beginning(at(71 + 10_800)));
        let many = (1..=120).fold(pulse, |pulse, n| pulse.renewed(at(71 + n * 31), limit));
        assert_eq!((many.gaps.len(), many.gaps.first()), (96, Some(&begun(gap(71 + 24 * 31, 71 + 25 * 31)))));
    }

    #[test]
    fn a_deadline_in_a_gap_starts_afresh_at_its_end() {
        let due = after(&[gap(10, 85)], 0, 20, 20);
        assert_eq!((due.at, due.gap, due.is_in_gap), (at(105), Some(gap(10, 85)), true));
        // One that comes soon after the gap waits as long, and one that comes later is not moved.
        let due = after(&[gap(10, 85)], 0, 90, 20);
        assert_eq!((due.at, due.gap, due.is_in_gap), (at(105), Some(gap(10, 85)), false));
        assert_eq!(after(&[gap(10, 85)], 0, 110, 20), Deadline::at(at(110)));
        // What was heard since it began, and what was due before, is judged as always.
        assert_eq!(after(&[gap(10, 85)], 11, 31, 20), Deadline::at(at(31)));
        assert_eq!(after(&[gap(10, 85)], 0, 9, 20), Deadline::at(at(9)));
        // What was heard soon after Medic last proved that it hears was heard before it no longer did.
        let late = Gap { begun: at(40), ..gap(10, 85) };
        assert_eq!((after(&[late], 40, 60, 20).at, after(&[late], 41, 61, 20).at), (at(105), at(61)));
    }

    #[test]
    fn gaps_postpone_a_deadline_by_an_hour_in_all() {
        assert_eq!(after(&[gap(0, 18_000)], 0, 60, 86_400).at, at(18_000 + 3_600));
        // Half an hour is left, and then nothing.
        let gaps = [gap(0, 100), gap(1_000, 1_900), gap(3_000, 3_100), gap(3_600, 4_000), gap(4_100, 9_000)];
        assert_eq!(after(&gaps[..1], 0, 50, 1_800).at, at(1_900));
        assert_eq!(after(&gaps[..2], 0, 50, 1_800).at, at(3_700));
        assert_eq!(after(&gaps[..3], 0, 50, 1_800).at, at(3_700));
        assert_eq!(after(&gaps[..4], 0, 50, 1_800).at, at(4_000));
        assert_eq!(after(&gaps, 0, 50, 1_800).at, at(4_000));
    }

    proptest! {
        /// Whatever the gaps, a deadline only moves back, to no instant in a gap that hid it, and by no more than an hour
        /// of the time in which Medic heard.
        #[test]
        fn however_many_gaps_there_are_medic_waits_for_an_hour_at_most(
            own in 0_i64..5_000,
            fresh in 1_i64..10_000,
            spans in prop::collection::vec((0_i64..2_000, 1_i64..2_000), 0..20),
        ) {
            let mut begin = 0;
            let gaps: Vec<_> = spans.into_iter().map(|(pause, lasts)| {
                let from = begin + pause;
                begin = from + lasts;
                gap(from, begin)
            }).collect();
            let due = after(&gaps, 0, own, fresh);
            prop_assert!(due.at >= due.own);
            let unheard = gaps.iter().map(|gap| (gap.to.min(due.at) - gap.from.max(due.own)).max(TimeDelta::zero()));
            let waited = due.at - due.own - unheard.sum::<TimeDelta>();
            prop_assert!(waited <= TimeDelta::hours(1), "{waited}");
            prop_assert!(gaps.iter().all(|gap| due.at <= gap.from || due.at >= gap.to || due.own >= gap.to));
            prop_assert_eq!(due.is_in_gap, gaps.iter().any(|gap| gap.from <= due.own && due.own <= gap.to));
        }
    }
}
