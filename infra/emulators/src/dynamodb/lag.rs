//! What readers see late: the entries of indexes, and items that they do not read consistently.

use std::cmp::Ordering;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// How long a change of an item stays hidden from those who read an index, or the item but not consistently.
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    pub until: DateTime<Utc>,
    /// Indexes show the item's old entry and its new one meanwhile, and otherwise the old one alone.
    pub shows_both: bool,
}

/// The changes that not everybody sees yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct HiddenChanges {
    changes: Vec<Change>,
    /// The hash and the range key of each index.
    indexes: HashMap<String, [String; 2]>,
}

/// An item before and after a write.
#[derive(Debug)]
struct Change {
    key: Value,
    old: Value,
    new: Value,
    lag: Lag,
}

/// A query of an index: what it is about, without where it begins and how far it goes.
struct IndexQuery<'a> {
    request: &'a Value,
    hash: &'a str,
    range: &'a str,
    conditions: Vec<Condition<'a>>,
}

/// A condition on an attribute: how it compares to a value.
struct Condition<'a> {
    attribute: &'a str,
    allows: fn(Ordering) -> bool,
    value: &'a Value,
}

impl HiddenChanges {
    /// Learns which indexes a table has, from the request that creates it.
    pub(super) fn learn_indexes(&mut self, request: &Value) {
        for index in request["GlobalSecondaryIndexes"].as_array().into_iter().flatten() {
            let attribute = |place: usize| index["KeySchema"][place]["AttributeName"].as_str().unwrap_or_default();
            let name = index["IndexName"].as_str().unwrap_or_default();
            self.indexes.insert(name.to_owned(), [attribute(0).to_owned(), attribute(1).to_owned()]);
        }
    }

    /// Hides what a write changed of an item. What it did not change cannot be hidden.
    pub(super) fn hide(&mut self, key: Value, old: Value, new: Value, lag: Lag) {
        if old != new {
            self.changes.push(Change { key, old, new, lag });
        }
    }

    /// Forgets what everybody sees by now. Returns whether nothing is hidden.
    pub(super) fn is_empty_at(&mut self, now: DateTime<Utc>) -> bool {
        self.changes.retain(|change| change.lag.until > now);
        self.changes.is_empty()
    }

    /// Returns an item as somebody sees it who does not read consistently, if that differs from what it is.
    fn stale(&self, key: &Value) -> Option<&Value> {
        self.changes.iter().find(|change| change.key == *key).map(|change| &change.old)
    }

    /// Returns whether a request reads, and not consistently, what is hidden.
    pub(super) fn has_stale(&self, operation: &str, request: &Value) -> bool {
        match operation {
            "GetItem" => self.stale(&request["Key"]).is_some(),
            "BatchGetItem" => {
                let tables = request["RequestItems"].as_object().into_iter().flatten();
                let keys = tables.filter_map(|(_, wanted)| wanted["Keys"].as_array()).flatten();
                keys.into_iter().any(|key| self.stale(key).is_some())
            }
            _ => false,
        }
    }

    /// Puts in place of items in the response to such a request what they were before.
    pub(super) fn make_stale(&self, operation: &str, request: &Value, answer: &mut Value) {
        if operation == "GetItem" {
            if let Some(old) = self.stale(&request["Key"])
                && let Some(answer) = answer.as_object_mut()
            {
                answer.remove("Item");
                answer.extend((!old.is_null()).then(|| ("Item".to_owned(), old.clone())));
            }
            return;
        }
        for (table, wanted) in request["RequestItems"].as_object().into_iter().flatten() {
            let Some(items) = answer["Responses"][table].as_array_mut() else { continue };
            for key in wanted["Keys"].as_array().into_iter().flatten() {
                if let Some(old) = self.stale(key) {
                    items.retain(|item| key_of(item) != *key);
                    items.extend((!old.is_null()).then(|| old.clone()));
                }
            }
        }
    }

    /// Returns the response to a query of an index, if anything of it is hidden. `serve` answers queries as the table is.
    pub(super) fn query<E>(
        &self,
        request: &Value,
        serve: impl Fn(&Value) -> Result<Value, E>,
    ) -> Result<Option<Value>, E> {
        let Some(index) = request["IndexName"].as_str() else { return Ok(None) };
        let Some([hash, range]) = self.indexes.get(index) else { return Ok(None) };
        let query = IndexQuery { request, hash, range, conditions: conditions(request) };
        let is_concerned = |change: &&Change| query.is_in_partition(&change.old) || query.is_in_partition(&change.new);
        let mut concerned = self.changes.iter().filter(is_concerned).peekable();
        if concerned.peek().is_none() {
            return Ok(None);
        }
        let mut entries = query.all(serve)?;
        let mut seen: Vec<&Value> = Vec::new();
        for change in concerned {
            if !change.lag.shows_both {
                entries.retain(|entry| key_of(entry) != change.key);
            }
            // Of many changes the oldest is the first that everybody will see.
            if !seen.contains(&&change.key) {
                entries.extend(query.entry(&change.old).filter(|entry| !entries.contains(entry)));
                seen.push(&change.key);
            }
        }
        Ok(Some(query.page(entries)))
    }
}

impl IndexQuery<'_> {
    fn is_in_partition(&self, item: &Value) -> bool {
        self.conditions
            .iter()
            .filter(|condition| condition.attribute == self.hash)
            .all(|condition| item[self.hash] == *condition.value)
    }

    /// Returns an item's entry, if it has one that the query asks for.
    fn entry(&self, item: &Value) -> Option<Value> {
        let is_wanted = |condition: &Condition<'_>| {
            item.get(condition.attribute).is_some_and(|value| (condition.allows)(compare(value, condition.value)))
        };
        let names = ["pk", "sk", self.hash, self.range];
        let entry = names.into_iter().map(|name| Some((name.to_owned(), item.get(name)?.clone())));
        let entry = entry.collect::<Option<serde_json::Map<_, _>>>()?;
        self.conditions.iter().all(is_wanted).then_some(Value::Object(entry))
    }

    /// Returns all entries, as the table is.
    fn all<E>(&self, serve: impl Fn(&Value) -> Result<Value, E>) -> Result<Vec<Value>, E> {
        let mut request = self.request.clone();
        for part in ["Limit", "ExclusiveStartKey", "Select"] {
            request.as_object_mut().map(|request| request.remove(part));
        }
        let mut entries = Vec::new();
        loop {
            let mut answer = serve(&request)?;
            if let Some(items) = answer["Items"].as_array_mut() {
                entries.append(items);
            }
            match answer.get("LastEvaluatedKey").filter(|next| !next.is_null()) {
                Some(next) => request["ExclusiveStartKey"] = next.clone(),
                None => return Ok(entries),
            }
        }
    }

    /// Returns the page of these entries that was asked for.
    fn page(&self, mut entries: Vec<Value>) -> Value {
        let is_backward = self.request["ScanIndexForward"] == false;
        let order = |one: &Value, other: &Value| {
            let by = |name: &str| compare(&one[name], &other[name]);
            let order = by(self.range).then_with(|| by("pk")).then_with(|| by("sk"));
            if is_backward { order.reverse() } else { order }
        };
        entries.sort_by(order);
        if let Some(start) = self.request.get("ExclusiveStartKey").filter(|start| !start.is_null()) {
            entries.retain(|entry| order(entry, start).is_gt());
        }
        let limit = self.request["Limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let next = entries.get(limit.saturating_sub(1)).filter(|_| entries.len() > limit).cloned();
        entries.truncate(limit);
        let mut answer = json!({"Count": entries.len(), "ScannedCount": entries.len()});
        if self.request["Select"] != "COUNT" {
            answer["Items"] = entries.into();
        }
        if let Some(next) = next {
            answer["LastEvaluatedKey"] = next;
        }
        answer
    }
}

/// Returns the conditions that a query's key condition names.
fn conditions(request: &Value) -> Vec<Condition<'_>> {
    let expression = request["KeyConditionExpression"].as_str().unwrap_or_default();
    let value = |word: &str| &request["ExpressionAttributeValues"][word];
    let mut words = expression.split_whitespace().filter(|word| *word != "AND");
    let mut conditions = Vec::new();
    while let (Some(name), Some(operator), Some(first)) = (words.next(), words.next(), words.next()) {
        let attribute = request["ExpressionAttributeNames"][name].as_str().unwrap_or(name);
        let mut add = |allows, word| conditions.push(Condition { attribute, allows, value: value(word) });
        match operator {
            "<" => add(Ordering::is_lt, first),
            "<=" => add(Ordering::is_le, first),
            ">" => add(Ordering::is_gt, first),
            ">=" => add(Ordering::is_ge, first),
            "BETWEEN" => {
                add(Ordering::is_ge, first);
                add(Ordering::is_le, words.next().unwrap_or_default());
            }
            _ => add(Ordering::is_eq, first),
        }
    }
    conditions
}

/// Compares two attributes of one type: a number by its value, a text by its bytes.
fn compare(one: &Value, other: &Value) -> Ordering {
    let number = |value: &Value| value["N"].as_str().and_then(|text| text.parse::<f64>().ok());
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => one["S"].as_str().cmp(&other["S"].as_str()),
    }
}

/// Returns the key of an item.
fn key_of(item: &Value) -> Value {
    json!({"pk": item["pk"], "sk": item["sk"]})
}

/// Returns the requests that read what a request writes.
pub(super) fn reads_of_written(operation: &str, request: &Value) -> Vec<Value> {
    let read = |table: &Value, write: &Value| {
        let key = if write["Key"].is_null() { key_of(&write["Item"]) } else { write["Key"].clone() };
        json!({"TableName": table, "Key": key, "ConsistentRead": true})
    };
    let one_of = |write: &Value, kinds: &[&str]| kinds.iter().find_map(|kind| write.get(kind)).cloned();
    match operation {
        "TransactWriteItems" => {
            let writes = request["TransactItems"].as_array().into_iter().flatten();
            // A check writes nothing.
            let writes = writes.filter_map(|write| one_of(write, &["Put", "Update", "Delete"]));
            writes.map(|write| read(&write["TableName"], &write)).collect()
        }
        "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            let of_table = |(table, writes): (&String, &Value)| {
                let writes = writes.as_array().into_iter().flatten();
                let writes = writes.filter_map(|write| one_of(write, &["PutRequest", "DeleteRequest"]));
                writes.map(|write| read(&table.as_str().into(), &write)).collect::<Vec<_>>()
            };
            tables.flat_map(of_table).collect()
        }
        _ => vec![read(&request["TableName"], request)],
    }
}
