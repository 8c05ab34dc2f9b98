//! The audit log: each entry under its day, and rows that point to it from its execution and its service. Nothing here
//! updates or deletes one; they expire.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use domain::{
    AuditAction, AuditDetails, AuditEntry, AuditedChange, AuditedThing, AuditedValue, ExecutionId, LogId, ServiceId,
    from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

use crate::item::{self, Item, corrupt};
use crate::keys::{AuditedBy, Key, audit_day_pk};
use crate::table::{IS_NEW, Page, Writes, first};
use crate::{Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct AuditItem {
    at: i64,
    action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    execution_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    #[serde(flatten)]
    details: DetailsItem,
    /// In seconds, as DynamoDB's time to live wants it.
    expires_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct DetailsItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    playbook_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thing: Option<ThingItem>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ChangeItem>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ThingItem {
    kind: String,
    id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChangeItem {
    field: String,
    old: ValueItem,
    new: ValueItem,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum ValueItem {
    Null,
    Flag(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl ValueItem {
    fn of(value: AuditedValue) -> Self {
        match value {
            AuditedValue::Null => Self::Null,
            AuditedValue::Flag(flag) => Self::Flag(flag),
            AuditedValue::Whole(whole) => Self::Whole(whole),
            AuditedValue::Fraction(fraction) => Self::Fraction(fraction),
            AuditedValue::Text(text) => Self::Text(text),
            AuditedValue::List(values) => Self::List(values.into_iter().map(Self::of).collect()),
            AuditedValue::Map(values) => {
                Self::Map(values.into_iter().map(|(name, value)| (name, Self::of(value))).collect())
            }
        }
    }

    fn into_value(self) -> AuditedValue {
        match self {
            Self::Null => AuditedValue::Null,
            Self::Flag(flag) => AuditedValue::Flag(flag),
            Self::Whole(whole) => AuditedValue::Whole(whole),
            Self::Fraction(fraction) => AuditedValue::Fraction(fraction),
            Self::Text(text) => AuditedValue::Text(text),
            Self::List(values) => AuditedValue::List(values.into_iter().map(Self::into_value).collect()),
            Self::Map(values) => {
                AuditedValue::Map(values.into_iter().map(|(name, value)| (name, value.into_value())).collect())
            }
        }
    }
}

impl DetailsItem {
    fn of(details: AuditDetails) -> Self {
        let AuditDetails {
            playbook_name,
            service_name,
            step_name,
            step_type,
            duration_ms,
            output,
            error_message,
            reason,
            thing,
            changes,
            variables,
        } = details.kept();
        Self {
            playbook_name,
            service_name,
            step_name,
            step_type,
            duration_ms,
            output,
            error_message,
            reason,
            thing: thing.map(|AuditedThing { kind, id, name }| ThingItem { kind: kind.as_str().to_owned(), id, name }),
            changes: changes
                .into_iter()
                .map(|AuditedChange { field, old, new }| ChangeItem {
                    field,
                    old: ValueItem::of(old),
                    new: ValueItem::of(new),
                })
                .collect(),
            variables,
        }
    }

    fn into_details(self) -> Result<AuditDetails, domain::Invalid> {
        let Self {
            playbook_name,
            service_name,
            step_name,
            step_type,
            duration_ms,
            output,
            error_message,
            reason,
            thing,
            changes,
            variables,
        } = self;
        let thing = thing.map(|ThingItem { kind, id, name }| Ok(AuditedThing { kind: kind.parse()?, id, name }));
        Ok(AuditDetails {
            playbook_name,
            service_name,
            step_name,
            step_type,
            duration_ms,
            output,
            error_message,
            reason,
            thing: thing.transpose()?,
            changes: changes
                .into_iter()
                .map(|ChangeItem { field, old, new }| AuditedChange {
                    field,
                    old: old.into_value(),
                    new: new.into_value(),
                })
                .collect(),
            variables,
        })
    }
}

/// The rows that point to an entry hold nothing else.
#[derive(Debug, Serialize)]
struct PointerItem {
    expires_at: i64,
}

impl Writes {
    /// Adds an entry of the audit log to the writes that it records. It expires `retention` after it happened.
    pub fn add_audit(&mut self, table: &Table, entry: &AuditEntry, retention: TimeDelta) -> Result<(), Error> {
        let AuditEntry { id, at, action, actor, execution_id, service_id, details } = entry.clone();
        let expires_at = (at + retention).timestamp();
        let body = AuditItem {
            at: to_millis(at),
            action: action.as_str().to_owned(),
            actor,
            execution_id: execution_id.map(|id| id.to_string()),
            service_id: service_id.map(ServiceId::get),
            details: DetailsItem::of(details),
            expires_at,
        };
        self.table_put(table, item::write(&Key::audit(id), &body)?, Some(IS_NEW))?;
        let found_by = [execution_id.map(AuditedBy::Execution), service_id.map(AuditedBy::Service)];
        for by in found_by.into_iter().flatten() {
            let pointer = item::write(&Key::audit_pointer(by, id), &PointerItem { expires_at })?;
            self.table_put(table, pointer, Some(IS_NEW))?;
        }
        Ok(())
    }
}

/// Which entries are wanted; each filter narrows what the others leave.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    pub execution_id: Option<ExecutionId>,
    pub service_id: Option<ServiceId>,
    pub action: Option<AuditAction>,
    pub actor: Option<String>,
    /// Those of this instant and later.
    pub from: DateTime<Utc>,
    /// Those earlier than this.
    pub until: DateTime<Utc>,
}

/// Which part of the entries to read.
#[derive(Debug, Clone, Copy)]
pub struct AuditPage {
    /// Only those before this.
    pub before: Option<LogId>,
    /// How many entries to return at most.
    pub limit: usize,
    /// About how many entries to read at most, whatever the filters leave of them.
    pub max_read: usize,
}

/// Entries that are read at a time.
const PAGE: usize = 250;
/// Days, or pages of entries, that one request reads.
const MAX_QUERIES: usize = 100;

impl Table {
    /// Returns entries, newest first. Where `max_read` ends a page, it holds fewer than there are, and its cursor leads on.
    pub async fn audit_log(
        &self,
        query: &AuditQuery,
        page: AuditPage,
        now: DateTime<Utc>,
    ) -> Result<Page<AuditEntry>, Error> {
        let by = query.execution_id.map(AuditedBy::Execution).or_else(|| query.service_id.map(AuditedBy::Service));
        let lowest = LogId::first_of(query.from);
        let until = LogId::first_of(query.until);
        let AuditPage { before, limit, max_read } = page;
        // From here on everything was read.
        let mut end = before.map_or(until, |before| before.min(until));
        let (mut found, mut read) = (Vec::new(), 0);
        for _ in 0..MAX_QUERIES {
            if end <= lowest || read >= max_read {
                break;
            }
            let (entries, reached, count) = match by {
                Some(by) => self.entries_by(by, lowest, end, now).await?,
                None => self.entries_of_a_day(lowest, end, now).await?,
            };
            read += count;
            end = reached;
            for entry in entries.into_iter().filter(|entry| query.wants(entry)) {
                if found.len() == limit {
                    let next = found.last().map(|last: &AuditEntry| last.id.to_string());
                    return Ok(Page { items: found, next });
                }
                found.push(entry);
            }
        }
        Ok(Page { items: found, next: (end > lowest).then(|| end.to_string()) })
    }

    /// Reads the newest entries before `end` of the day of that instant, down to `lowest`.
    async fn entries_of_a_day(&self, lowest: LogId, end: LogId, now: DateTime<Utc>) -> Result<Entries, Error> {
        let day = end.just_before().time().date_naive();
        let lowest = lowest.max(LogId::first_of(day.and_time(NaiveTime::MIN).and_utc()));
        let (items, more) = self.before(audit_day_pk(day), lowest, end).await?;
        let reached = if more { last_id(&items)? } else { lowest };
        let count = items.len();
        Ok((read_all(items, now)?, reached, count))
    }

    /// Reads entries in the same way by what they are about.
    async fn entries_by(&self, by: AuditedBy, lowest: LogId, end: LogId, now: DateTime<Utc>) -> Result<Entries, Error> {
        let (pointers, more) = self.before(by.pk(), lowest, end).await?;
        let reached = if more { last_id(&pointers)? } else { lowest };
        let keys = pointers.iter().map(|pointer| id_of(pointer).map(Key::audit)).collect::<Result<Vec<_>, _>>()?;
        let count = keys.len();
        let mut entries = read_all(self.get_many(keys).await?, now)?;
        entries.sort_unstable_by_key(|entry| Reverse(entry.id));
        Ok((entries, reached, count))
    }

    async fn before(&self, pk: String, lowest: LogId, end: LogId) -> Result<(Vec<Item>, bool), Error> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND sk BETWEEN :low AND :high")
            .expression_attribute_values(":p", item::text(pk))
            .expression_attribute_values(":low", item::text(lowest.to_string()))
            .expression_attribute_values(":high", item::text(end.just_before().to_string()))
            .scan_index_forward(false)
            .consistent_read(true);
        first(query, PAGE).await
    }
}

/// Entries, newest first; where they end; and how many were read.
type Entries = (Vec<AuditEntry>, LogId, usize);

impl AuditQuery {
    fn wants(&self, entry: &AuditEntry) -> bool {
        let Self { execution_id, service_id, action, actor, from: _, until: _ } = self;
        execution_id.is_none_or(|id| entry.execution_id == Some(id))
            && service_id.is_none_or(|id| entry.service_id == Some(id))
            && action.is_none_or(|action| entry.action == action)
            && actor.as_ref().is_none_or(|actor| entry.actor.as_ref() == Some(actor))
    }
}

fn id_of(item: &Item) -> Result<LogId, Error> {
    let key = Key::of(item);
    let id = key.as_ref().and_then(|key| key.sk.parse().ok());
    id.ok_or_else(|| corrupt(key.as_ref(), "not a key of an audit entry"))
}

fn last_id(items: &[Item]) -> Result<LogId, Error> {
    items.last().map_or_else(|| Err(corrupt(None, "a page with more after it and nothing in it")), id_of)
}

/// Reads entries, but for those that have expired.
fn read_all(items: Vec<Item>, now: DateTime<Utc>) -> Result<Vec<AuditEntry>, Error> {
    items.into_iter().filter(|item| !item::is_expired(item, now)).map(read).collect()
}

fn read(item: Item) -> Result<AuditEntry, Error> {
    let (id, key) = (id_of(&item)?, Key::of(&item));
    let AuditItem { at, action, actor, execution_id, service_id, details, expires_at: _ } = item::read(item)?;
    let invalid = |source: domain::Invalid| corrupt(key.as_ref(), source);
    Ok(AuditEntry {
        id,
        at: from_millis(at),
        action: action.parse().map_err(invalid)?,
        actor,
        execution_id: execution_id.map(|id| id.parse()).transpose().map_err(invalid)?,
        service_id: service_id.map(ServiceId::new),
        details: details.into_details().map_err(invalid)?,
    })
}
