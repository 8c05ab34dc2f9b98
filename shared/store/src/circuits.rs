//! The circuit of each service and that of all: one item each, written as it was read. Those that are open are listed by when they close.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Circuit, CircuitOf, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, number, text};
use crate::keys::{Collection, Key, LIST_INDEX, LIST_PK, LIST_SK, id_in};
use crate::table::{IS_NEW, Writes, all};
use crate::{Error, Table};

#[derive(Debug, Default, Serialize, Deserialize)]
struct CircuitItem {
    starts: Vec<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    notified: bool,
    version: u64,
    expires_at: i64,
}

/// A circuit as it was read.
#[derive(Debug, Clone, Default)]
pub struct CircuitRecord {
    pub circuit: Circuit,
    version: u64,
}

/// How many executions may start within what time.
#[derive(Debug, Clone, Copy)]
pub struct CircuitLimit {
    pub max: u32,
    pub window: TimeDelta,
}

impl Writes {
    /// Updates a circuit from what was read to `circuit`.
    pub fn update_circuit(
        &mut self,
        table: &Table,
        of: CircuitOf,
        old: &CircuitRecord,
        circuit: &Circuit,
        limit: CircuitLimit,
    ) -> Result<(), Error> {
        let key = Key::circuit(of);
        let newest = circuit.starts.last().copied().unwrap_or_default();
        let body = CircuitItem {
            starts: circuit.starts.iter().copied().map(to_millis).collect(),
            notified: circuit.is_notified,
            version: old.version + 1,
            expires_at: (newest + limit.window + TimeDelta::days(1)).timestamp(),
        };
        let mut item = item::write(&key, &body)?;
        let max = usize::try_from(limit.max).unwrap_or(usize::MAX);
        let deciding = circuit.starts.len().checked_sub(max).and_then(|n| circuit.starts.get(n));
        if let Some(deciding) = deciding {
            item.insert(LIST_PK.to_owned(), text(Collection::OpenCircuits.pk()));
            item.insert(LIST_SK.to_owned(), text(Collection::circuit_place(*deciding + limit.window, of)));
        }
        if old.version == 0 {
            return self.table_put(table, item, Some(IS_NEW));
        }
        self.table_put_if(table, item, "version = :old_version", [(":old_version", number(old.version))])
    }
}

impl Table {
    /// Reads a circuit. Consistent.
    pub async fn circuit(&self, of: CircuitOf) -> Result<CircuitRecord, Error> {
        let Some(item) = self.get(&Key::circuit(of), true).await? else { return Ok(CircuitRecord::default()) };
        let CircuitItem { starts, notified, version, expires_at: _ } = item::read(item)?;
        let starts = starts.into_iter().map(from_millis).collect();
        Ok(CircuitRecord { circuit: Circuit { starts, is_notified: notified }, version })
    }

    /// Returns the circuits that are open: it reads what is open, not what exists. It may lag behind by moments.
    pub async fn open_circuits(&self, now: DateTime<Utc>) -> Result<Vec<CircuitOf>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(LIST_INDEX)
            .key_condition_expression("#p = :p AND #s > :now")
            .expression_attribute_names("#p", LIST_PK)
            .expression_attribute_names("#s", LIST_SK)
            .expression_attribute_values(":p", AttributeValue::S(Collection::OpenCircuits.pk()))
            // What closes in this millisecond is closed: `~` sorts after `#`.
            .expression_attribute_values(":now", AttributeValue::S(format!("{}~", Collection::instant(now))));
        let open = all(query).await?;
        Ok(open.iter().filter_map(|item| id_in::<CircuitOf>(&Key::of(item)?.pk)).collect())
    }
}
