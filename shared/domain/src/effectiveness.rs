//! Whether a playbook's runs helped. Pure.

use chrono::TimeDelta;

use crate::{Execution, Verification};

/// How some runs of a playbook turned out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effectiveness {
    /// Those that completed and whose verification is known.
    pub runs: usize,
    /// From the start of each verified run to its service's report, the shortest first.
    recoveries: Vec<TimeDelta>,
}

impl Effectiveness {
    pub fn of<'a>(executions: impl IntoIterator<Item = &'a Execution>) -> Self {
        let mut found = Self::default();
        for execution in executions {
            match execution.verification {
                Verification::None => {}
                Verification::Unverified => found.runs += 1,
                Verification::Verified { at } => {
                    found.runs += 1;
                    found.recoveries.push(at - execution.started_at);
                }
            }
        }
        found.recoveries.sort_unstable();
        found
    }

    pub fn verified(&self) -> usize {
        self.recoveries.len()
    }

    /// Returns the share of verified runs from 0 to 1, or none without runs.
    pub fn verified_share(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of runs")]
        (self.runs > 0).then(|| self.verified() as f64 / self.runs as f64)
    }

    /// Returns the middle one, or the mean of the middle two.
    pub fn median_to_recovery(&self) -> Option<TimeDelta> {
        let middle = self.recoveries.len() / 2;
        let upper = *self.recoveries.get(middle)?;
        match middle.checked_sub(1).and_then(|below| self.recoveries.get(below)) {
            Some(lower) if self.recoveries.len().is_multiple_of(2) => Some((*lower + upper) / 2),
            Some(_) | None => Some(upper),
        }
    }
}
