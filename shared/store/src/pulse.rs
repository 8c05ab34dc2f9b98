//! The pulse: one row that proves when Medic heard, and when it did not.

use domain::{Gap, Pulse, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, number};
use crate::keys::Key;
use crate::requests::Request as _;
use crate::table::{Commit, IS_NEW, commit_of_put};
use crate::{Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct PulseItem {
    /// When it was last renewed.
    heard_at: i64,
    /// From when, by when and until when, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<(i64, i64, i64)>,
}

impl Table {
    /// Reads the pulse. Consistent.
    pub async fn pulse(&self) -> Result<Option<Pulse>, Error> {
        let Some(item) = self.get(&Key::pulse(), true).await? else { return Ok(None) };
        let PulseItem { heard_at, gaps } = item::read(item)?;
        let gap = |(from, begun, to)| Gap { from: from_millis(from), begun: from_millis(begun), to: from_millis(to) };
        Ok(Some(Pulse { at: from_millis(heard_at), gaps: gaps.into_iter().map(gap).collect() }))
    }

    /// Saves the pulse, if nobody renewed it since it was read as `old`: one write unit, and nothing is read.
    pub async fn save_pulse(&self, old: Option<&Pulse>, pulse: &Pulse) -> Result<Commit, Error> {
        let gap = |gap: &Gap| (to_millis(gap.from), to_millis(gap.begun), to_millis(gap.to));
        let gaps = pulse.gaps.iter().map(gap).collect();
        let item = item::write(&Key::pulse(), &PulseItem { heard_at: to_millis(pulse.at), gaps })?;
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let put = match old {
            None => put.condition_expression(IS_NEW),
            // Each renewal moves it, so that this tells one from another.
            Some(old) => put
                .condition_expression("heard_at = :heard_at")
                .expression_attribute_values(":heard_at", number(to_millis(old.at))),
        };
        commit_of_put(put.send_boxed().await)
    }
}
