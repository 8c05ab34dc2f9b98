//! Items as DynamoDB holds them: reading, writing, and writing only what changed.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::keys::{DUE_AT, DUE_SHARD, EXPIRES_AT, Key, PK, SK};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// Counts how often handling a due row has failed; gone once it succeeded.
pub(crate) const DUE_FAILURES: &str = "due_failures";
/// Ends a row's timer.
pub(crate) const END_TIMER: &str = "REMOVE due_shard, due_at, due_failures";

impl Key {
    /// Returns the key as an item's first attributes.
    pub(crate) fn attributes(&self) -> Item {
        [(PK, &self.pk), (SK, &self.sk)].into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect()
    }

    /// Reads the key of an item.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        let text = |name| item.get(name)?.as_s().ok().cloned();
        Some(Self { pk: text(PK)?, sk: text(SK)? })
    }
}

pub(crate) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(format!("{value}"))
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(crate) fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Reads an item; the error names its key.
pub(crate) fn read<T: DeserializeOwned>(item: Item) -> Result<T, Error> {
    let key = Key::of(&item);
    serde_dynamo::from_item(item).map_err(|source| corrupt(key.as_ref(), source))
}

pub(crate) fn corrupt(key: Option<&Key>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Corrupt { key: key.map_or_else(|| "without a key".to_owned(), ToString::to_string), source: source.into() }
}

/// Writes an item's attributes beside its key.
pub(crate) fn write<T: Serialize>(key: &Key, body: &T) -> Result<Item, Error> {
    let mut item: Item = serde_dynamo::to_item(body).map_err(|source| corrupt(Some(key), source))?;
    item.extend(key.attributes());
    Ok(item)
}

/// Returns whether an item has expired: time to live removes it late.
pub(crate) fn is_expired(item: &Item, now: DateTime<Utc>) -> bool {
    let at = item.get(EXPIRES_AT).and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
    at.is_some_and(|at| at <= now.timestamp())
}

/// Sets the attributes of the due index, or leaves the row out of it.
pub(crate) fn set_due(item: &mut Item, key: &Key, due_at: Option<i64>) {
    if let Some(at) = due_at {
        item.insert(DUE_SHARD.to_owned(), text(key.shard().to_string()));
        item.insert(DUE_AT.to_owned(), number(at));
    }
}

/// An update expression that turns one version of an item into another and touches nothing else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diff {
    pub(crate) expression: String,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: Item,
}

impl Diff {
    pub(crate) fn between(old: &Item, new: &Item) -> Option<Self> {
        let mut diff = Self::default();
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        let mut changed: Vec<_> = new.iter().filter(|(name, value)| old.get(*name) != Some(*value)).collect();
        changed.sort_unstable_by_key(|(name, _)| *name);
        for (n, (name, value)) in changed.into_iter().enumerate() {
            diff.names.insert(format!("#s{n}"), name.clone());
            diff.values.insert(format!(":s{n}"), value.clone());
            sets.push(format!("#s{n} = :s{n}"));
        }
        let mut gone: Vec<_> = old.keys().filter(|name| !new.contains_key(*name) && *name != DUE_FAILURES).collect();
        gone.sort_unstable();
        for (n, name) in gone.into_iter().enumerate() {
            diff.names.insert(format!("#r{n}"), name.clone());
            removes.push(format!("#r{n}"));
        }
        if sets.is_empty() && removes.is_empty() {
            return None;
        }
        removes.push(DUE_FAILURES.to_owned());
        if !sets.is_empty() {
            diff.expression = format!("SET {} ", sets.join(", "));
        }
        diff.expression.push_str("REMOVE ");
        diff.expression.push_str(&removes.join(", "));
        Some(diff)
    }
}
