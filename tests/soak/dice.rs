//! Chance from a seed: the same seed throws the same dice.

use chrono::TimeDelta;

/// A stream of random numbers (`SplitMix64`), one for each thing that is planned, so that one does not move the others.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, stream: &str) -> Self {
        let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(stream.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Returns whether something happens that does so in `percent` of all cases.
    pub(crate) fn in_percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a span, to the millisecond.
    pub(crate) fn between(&mut self, from: TimeDelta, to: TimeDelta) -> TimeDelta {
        let width = u64::try_from((to - from).num_milliseconds()).unwrap_or_default();
        from + TimeDelta::milliseconds(self.below(width + 1).cast_signed())
    }

    /// Returns one of them, each as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut roll = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            match roll.checked_sub(*weight) {
                Some(rest) => roll = rest,
                None => return *choice,
            }
        }
        choices[choices.len() - 1].1
    }
}
