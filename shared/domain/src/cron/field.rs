//! One field of a cron expression: the values that match it.

use crate::Invalid;

/// What one of the five fields may hold.
pub(super) struct Kind {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
    /// One more than `max` stands for `min`: Sunday is 0 and 7.
    wraps: bool,
}

pub(super) const MINUTE: Kind = Kind { name: "minute", min: 0, max: 59, names: &[], wraps: false };
pub(super) const HOUR: Kind = Kind { name: "hour", min: 0, max: 23, names: &[], wraps: false };
pub(super) const DAY: Kind = Kind { name: "day of the month", min: 1, max: 31, names: &[], wraps: false };
pub(super) const MONTH: Kind = Kind {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    wraps: false,
};
pub(super) const WEEKDAY: Kind = Kind {
    name: "day of the week",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    wraps: true,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Field {
    /// One bit for each value.
    values: u64,
    /// It is `*`, or a list with a `*` in it: it restricts nothing.
    pub(super) is_star: bool,
    /// It begins with `*`, which makes it a wildcard in Vixie cron's eyes, `*/15` too.
    pub(super) begins_with_star: bool,
}

impl Field {
    pub(super) fn has(&self, value: u32) -> bool {
        self.values >> value & 1 == 1
    }

    /// Returns the lowest value from `value` on, which is at most 63.
    pub(super) fn at_or_after(&self, value: u32) -> Option<u32> {
        let rest = self.values >> value;
        (rest != 0).then(|| value + rest.trailing_zeros())
    }

    /// Returns the highest value up to `value`, which is at most 63.
    pub(super) fn at_or_before(&self, value: u32) -> Option<u32> {
        (self.values << (63 - value) != 0).then(|| value - (self.values << (63 - value)).leading_zeros())
    }

    pub(super) fn holds_all_of(&self, kind: &Kind) -> bool {
        (kind.min..=kind.max).all(|value| self.has(value))
    }
}

impl Kind {
    /// Reads lists, ranges, steps and names of any case.
    pub(super) fn parse(&self, text: &str) -> Result<Field, Invalid> {
        let mut field = Field { values: 0, is_star: false, begins_with_star: text.starts_with('*') };
        for element in text.split(',') {
            field.values |= self.element(element)?;
            field.is_star |= element == "*";
        }
        Ok(field)
    }

    fn element(&self, text: &str) -> Result<u64, Invalid> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (text, None),
        };
        if range == "*" {
            return Ok(bits(self.min, self.max, step));
        }
        let Some((low, high)) = range.split_once('-') else {
            let value = self.fold(self.value(range)?);
            return match step {
                None => Ok(bits(value, value, None)),
                // As croniter reads it: from the value to the end of the field. At the end itself it reads something
                // else altogether.
                Some(_) if value < self.max => Ok(bits(value, self.max, step)),
                Some(_) => Err(self.refuse(&format!("{text}, a step from the last value"))),
            };
        };
        let (given_low, high) = (self.value(low)?, self.value(high)?);
        let low = self.fold(given_low);
        if low == high || given_low == high {
            // One value in Vixie cron, every value in croniter.
            return Err(self.refuse(&format!("{range}, a range from a value to itself; write the value alone")));
        }
        let values = match step {
            _ if low < high => bits(low, high, step),
            None => bits(low, self.max, None) | bits(self.min, high, None),
            Some(_) => {
                return Err(self.refuse(&format!("{text}, a step in a range that runs backwards")));
            }
        };
        // A range may end on the 7 of Sunday.
        let past_max = self.max + 1;
        let folded = if self.wraps && values >> past_max & 1 == 1 { 1 << self.min } else { 0 };
        Ok(values & !(1 << past_max) | folded)
    }

    fn value(&self, text: &str) -> Result<u32, Invalid> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(index) => u32::try_from(index).ok().map(|index| self.min + index),
            None => number(text),
        };
        let max = if self.wraps { self.max + 1 } else { self.max };
        let value = value.ok_or_else(|| self.refuse(&format!("'{text}', which is no such value")))?;
        if (self.min..=max).contains(&value) {
            Ok(value)
        } else {
            Err(self.refuse(&format!("{text}, but it goes from {} to {max}", self.min)))
        }
    }

    fn fold(&self, value: u32) -> u32 {
        if value > self.max { self.min } else { value }
    }

    fn step(&self, text: &str) -> Result<u32, Invalid> {
        number(text)
            .filter(|step| *step > 0)
            .ok_or_else(|| self.refuse(&format!("the step '{text}', which must be a whole number above 0")))
    }

    fn refuse(&self, problem: &str) -> Invalid {
        Invalid::new("recurrence", format!("has as its {} {problem}", self.name))
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn bits(low: u32, high: u32, step: Option<u32>) -> u64 {
    let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
    (low..=high).step_by(step.max(1)).fold(0, |bits, value| bits | 1 << value)
}
