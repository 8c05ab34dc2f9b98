//! One measured figure, with its budget if it has one.

use std::fmt;

use serde_json::{Value, json};

/// What was measured. Where there is a budget, less is better.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    budget: Option<f64>,
}

impl Figure {
    pub(crate) const HEADING: &'static str = "   measured  unit         budget  what\n";

    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        // Nothing here is more exact than thousandths.
        Self { name: name.into(), value: (value * 1e3).round() / 1e3, unit, budget: None }
    }

    pub(crate) fn at_most(self, budget: f64) -> Self {
        Self { budget: Some(budget), ..self }
    }

    pub(crate) fn within(&self) -> Option<bool> {
        self.budget.map(|budget| self.value <= budget)
    }

    pub(crate) fn json(&self) -> Value {
        let Self { name, value, unit, budget } = self;
        json!({"name": name, "value": value, "unit": unit, "budget": budget, "within": self.within()})
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = self.budget.map(|budget| budget.to_string()).unwrap_or_default();
        let missed = if self.within() == Some(false) { "  MISSED" } else { "" };
        write!(f, "{:>11}  {:<12} {budget:>6}  {}{missed}", self.value, self.unit, self.name)
    }
}

/// Returns the value at or below which `share` of the values lie, by the nearest rank.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few thousand values"
    )]
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}
