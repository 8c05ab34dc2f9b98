//! The table itself: reads, conditional writes and transactions, with one place for their retries.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, DeleteRequest, KeysAndAttributes, Put, TransactWriteItem, Update,
    WriteRequest,
};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::item::{Diff, Item};
use crate::keys::{Collection, Key, LIST_INDEX, LIST_PK, LIST_SK, Partition};
use crate::requests::Request as _;
use crate::{Error, retry_policy};

/// Medic's table.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) brief_quota: RetryPartition,
}

/// Whether a conditional write was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    Done,
    /// A condition did not hold, or somebody else was writing: read again and decide again.
    Conflict,
}

/// A part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next part begins, if there is one.
    pub next: Option<String>,
}

/// Writes that are committed together or not at all.
#[derive(Debug, Default)]
pub struct Writes(Vec<TransactWriteItem>);

/// When what is committed gets its places in lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// In the same transaction.
    WithIt,
    /// After it, by whoever committed it, or when its row falls due: there are too many for one transaction.
    Later,
}

/// How often a transaction that conflicts with another one is sent again at once.
pub(crate) const CONFLICT_RETRIES: usize = 3;
/// How many keys one `BatchGetItem` takes at most.
const MAX_GET_BATCH: usize = 100;
/// How many writes one `BatchWriteItem` takes at most.
const MAX_WRITE_BATCH: usize = 25;

impl Table {
    /// Creates a client of the table `name`, configured by `config` but for timeouts and retries.
    pub fn new(config: aws_sdk_dynamodb::config::Builder, name: impl Into<String>) -> Self {
        let client = Client::from_conf(retry_policy::apply(config).build());
        Self { client, name: name.into(), brief_quota: retry_policy::brief_quota() }
    }

    pub(crate) async fn get(&self, key: &Key, consistent: bool) -> Result<Option<Item>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .consistent_read(consistent)
            .send_boxed()
            .await?;
        Ok(answer.item)
    }

    /// Reads many items, consistently, in no order, and each once, however often its key is given: an index shows a row
    /// twice as it moves.
    pub(crate) async fn get_many(&self, mut keys: Vec<Key>) -> Result<Vec<Item>, Error> {
        let mut seen = HashSet::with_capacity(keys.len());
        keys.retain(|key| seen.insert(key.clone()));
        let batches: Vec<Vec<Key>> = keys.chunks(MAX_GET_BATCH).map(<[Key]>::to_vec).collect();
        let found: Vec<Vec<Item>> =
            stream::iter(batches).map(|batch| self.read_batch(batch)).buffer_unordered(8).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Reads at most a batch of items, whose keys are distinct, in no order.
    async fn read_batch(&self, keys: Vec<Key>) -> Result<Vec<Item>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        let mut wanted: Vec<Item> = keys.iter().map(Key::attributes).collect();
        let mut empty_answers = 0;
        while !wanted.is_empty() {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(true)
                .build()
                .map_err(|source| Error::Refused(Box::new(source)))?;
            let answer = self.client.batch_get_item().request_items(&self.name, request).send_boxed().await?;
            let items = answer.responses.and_then(|mut tables| tables.remove(&self.name)).unwrap_or_default();
            empty_answers = if items.is_empty() { empty_answers + 1 } else { 0 };
            found.extend(items);
            wanted = answer
                .unprocessed_keys
                .and_then(|mut tables| tables.remove(&self.name))
                .map(|rest| rest.keys)
                .unwrap_or_default();
            if empty_answers > CONFLICT_RETRIES {
                return Err(Error::Unavailable("DynamoDB leaves keys of a batch unread".into()));
            }
        }
        Ok(found)
    }

    /// Reads all rows of one partition, consistently.
    pub(crate) async fn partition(&self, pk: &str) -> Result<Vec<Item>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p")
            .expression_attribute_values(":p", AttributeValue::S(pk.to_owned()))
            .consistent_read(true);
        all(query).await
    }

    /// Reads the rows of one partition whose sort keys begin so, consistently and in their order.
    pub(crate) async fn part(&self, pk: &str, prefix: &str) -> Result<Vec<Item>, Error> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND begins_with(sk, :s)")
            .expression_attribute_values(":p", AttributeValue::S(pk.to_owned()))
            .expression_attribute_values(":s", AttributeValue::S(prefix.to_owned()))
            .consistent_read(true);
        all(query).await
    }

    /// Deletes many items, in no order. If DynamoDB leaves some undone, that is an error, and all may be deleted again.
    pub(crate) async fn delete_many(&self, keys: Vec<Key>) -> Result<(), Error> {
        let batches: Vec<Vec<Key>> = keys.chunks(MAX_WRITE_BATCH).map(<[Key]>::to_vec).collect();
        stream::iter(batches).map(|batch| self.delete_batch(batch)).buffer_unordered(8).try_collect().await
    }

    async fn delete_batch(&self, keys: Vec<Key>) -> Result<(), Error> {
        let delete = |key: &Key| {
            let delete = DeleteRequest::builder().set_key(Some(key.attributes())).build();
            delete.map(|delete| WriteRequest::builder().delete_request(delete).build())
        };
        let wanted: Result<Vec<_>, _> = keys.iter().map(delete).collect();
        let mut wanted = wanted.map_err(|source| Error::Refused(Box::new(source)))?;
        for _ in 0..CONFLICT_RETRIES {
            let answer = self.client.batch_write_item().request_items(&self.name, wanted).send_boxed().await?;
            wanted = answer.unprocessed_items.and_then(|mut tables| tables.remove(&self.name)).unwrap_or_default();
            if wanted.is_empty() {
                return Ok(());
            }
        }
        Err(Error::Unavailable("DynamoDB leaves deletions of a batch undone".into()))
    }

    pub(crate) async fn put(&self, item: Item) -> Result<(), Error> {
        self.client.put_item().table_name(&self.name).set_item(Some(item)).send_boxed().await?;
        Ok(())
    }

    pub(crate) async fn delete_item(&self, key: &Key) -> Result<(), Error> {
        self.client.delete_item().table_name(&self.name).set_key(Some(key.attributes())).send_boxed().await?;
        Ok(())
    }

    /// Adds to a number of an item, which is created if it does not exist, and returns the sum.
    pub(crate) async fn add(&self, key: &Key, attribute: &str, amount: i64) -> Result<i64, Error> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .update_expression("ADD #a :n")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":n", crate::item::number(amount))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::UpdatedNew)
            .send_boxed()
            .await?;
        answer
            .attributes
            .and_then(|item| item.get(attribute)?.as_n().ok()?.parse().ok())
            .ok_or_else(|| crate::item::corrupt(Some(key), "no number came back"))
    }

    /// Commits all of `writes`, or none.
    pub async fn commit(&self, writes: Writes) -> Result<Commit, Error> {
        if writes.len() > Writes::MAX {
            return Err(Error::Refused(format!("{} writes are too many for a transaction", writes.len()).into()));
        }
        for _ in 0..CONFLICT_RETRIES {
            let sent = self.client.transact_write_items().set_transact_items(Some(writes.0.clone())).send_boxed().await;
            match sent {
                Ok(_) => return Ok(Commit::Done),
                Err(error) => match cancellation(&error) {
                    Some(Cancellation::Condition) => return Ok(Commit::Conflict),
                    Some(Cancellation::Conflict) => {}
                    Some(Cancellation::Throttled) => return Err(Error::Unavailable(Box::new(error))),
                    None => return Err(error.into()),
                },
            }
        }
        Ok(Commit::Conflict)
    }

    /// Commits the one update of `writes` by itself, at half of what a transaction costs.
    pub(crate) async fn single_update(&self, writes: Writes) -> Result<Commit, Error> {
        let Some(update) = writes.0.into_iter().next().and_then(|write| write.update) else {
            return Ok(Commit::Done);
        };
        let sent = self
            .client
            .update_item()
            .table_name(update.table_name)
            .set_key(Some(update.key))
            .update_expression(update.update_expression)
            .set_condition_expression(update.condition_expression)
            .set_expression_attribute_names(update.expression_attribute_names)
            .set_expression_attribute_values(update.expression_attribute_values)
            .send_boxed()
            .await;
        commit_of(sent)
    }

    /// Returns one page of a collection, as keys and newest first. `after` is where the page before it ended.
    pub(crate) async fn list(
        &self,
        collection: &Collection<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Key>, Error> {
        let partition = collection.pk();
        // One more than was asked for shows whether there is a next page.
        let wanted = limit + 1;
        let mut query = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(LIST_INDEX)
            .key_condition_expression(if after.is_some() { "#p = :p AND #s < :s" } else { "#p = :p" })
            .expression_attribute_names("#p", LIST_PK)
            .expression_attribute_values(":p", AttributeValue::S(partition))
            .scan_index_forward(false)
            .limit(i32::try_from(wanted).unwrap_or(i32::MAX));
        if let Some(after) = after {
            query = query
                .expression_attribute_names("#s", LIST_SK)
                .expression_attribute_values(":s", AttributeValue::S(after.to_owned()));
        }
        let mut items = query.send_boxed().await?.items.unwrap_or_default();
        let more = items.len() > limit;
        items.truncate(limit);
        let place = |item: &Item| item.get(LIST_SK).and_then(|v| v.as_s().ok()).cloned();
        let next = if more { items.last().and_then(place) } else { None };
        Ok(Page { items: items.iter().filter_map(Key::of).collect(), next })
    }

    /// Returns one page of a partition's rows, consistently and newest first. `before` is the id where the page before
    /// it ended.
    pub(crate) async fn rows(
        &self,
        partition: &Partition,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<Item>, bool), Error> {
        let (low, high) = partition.range(before);
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND sk BETWEEN :low AND :high")
            .expression_attribute_values(":p", AttributeValue::S(partition.pk.clone()))
            .expression_attribute_values(":low", AttributeValue::S(low))
            .expression_attribute_values(":high", AttributeValue::S(high))
            .scan_index_forward(false)
            .consistent_read(true);
        first(query, limit).await
    }

    /// Returns one page of a partition whose sort keys are ids that sort by time: newest first, those before `before`.
    /// Consistent.
    pub(crate) async fn newest(
        &self,
        pk: String,
        before: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Item>, bool), Error> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND sk < :s")
            .expression_attribute_values(":p", AttributeValue::S(pk))
            // Ids are UUIDs, which sort before this.
            .expression_attribute_values(":s", AttributeValue::S(before.unwrap_or_else(|| "g".to_owned())))
            .scan_index_forward(false)
            .consistent_read(true);
        first(query, limit).await
    }

    /// Counts a collection, reading a page at a time.
    pub(crate) async fn count(&self, collection: &Collection<'_>) -> Result<i64, Error> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(LIST_INDEX)
            .key_condition_expression("#p = :p")
            .expression_attribute_names("#p", LIST_PK)
            .expression_attribute_values(":p", AttributeValue::S(collection.pk()))
            .select(aws_sdk_dynamodb::types::Select::Count)
            .into_paginator()
            .send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += i64::from(page?.count);
        }
        Ok(count)
    }

    /// Checks that the table responds.
    pub async fn ping(&self) -> Result<(), Error> {
        self.get(&Key::stats(), false).await.map(|_| ())
    }
}

/// Returns all items of a query.
pub(crate) async fn all(query: QueryFluentBuilder) -> Result<Vec<Item>, Error> {
    let mut items = query.into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(item) = items.next().await {
        found.push(item?);
    }
    Ok(found)
}

/// Returns the first items of a query, and whether there are more. A response may end early, at 1 MB.
pub(crate) async fn first(query: QueryFluentBuilder, limit: usize) -> Result<(Vec<Item>, bool), Error> {
    let wanted = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
    let mut items = query.limit(wanted).into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(item) = items.next().await {
        if found.len() == limit {
            return Ok((found, true));
        }
        found.push(item?);
    }
    Ok((found, false))
}

/// Returns whether a plain conditional update was committed.
pub(crate) fn commit_of<R>(sent: Result<UpdateItemOutput, SdkError<UpdateItemError, R>>) -> Result<Commit, Error>
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match sent {
        Ok(_) => Ok(Commit::Done),
        Err(error) => match error.as_service_error() {
            Some(
                UpdateItemError::ConditionalCheckFailedException(_) | UpdateItemError::TransactionConflictException(_),
            ) => Ok(Commit::Conflict),
            _ => Err(error.into()),
        },
    }
}

/// Returns whether a plain conditional put was committed.
pub(crate) fn commit_of_put<R>(sent: Result<PutItemOutput, SdkError<PutItemError, R>>) -> Result<Commit, Error>
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match sent {
        Ok(_) => Ok(Commit::Done),
        Err(error) => match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(_) | PutItemError::TransactionConflictException(_)) => {
                Ok(Commit::Conflict)
            }
            _ => Err(error.into()),
        },
    }
}

/// Returns whether a plain update failed because a transaction on its item was under way.
pub(crate) fn is_conflict<R>(error: &SdkError<UpdateItemError, R>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_transaction_conflict_exception)
}

enum Cancellation {
    Condition,
    Conflict,
    Throttled,
}

fn cancellation(error: &SdkError<TransactWriteItemsError>) -> Option<Cancellation> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return None;
    };
    let codes: Vec<_> = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
    if codes.contains(&"ConditionalCheckFailed") {
        Some(Cancellation::Condition)
    } else if codes.contains(&"TransactionConflict") {
        Some(Cancellation::Conflict)
    } else if error.as_service_error().is_some_and(retry_policy::is_throttled) {
        Some(Cancellation::Throttled)
    } else {
        None
    }
}

impl Writes {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many writes DynamoDB commits together at most.
    pub const MAX: usize = 100;

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn table_put(&mut self, table: &Table, item: Item, condition: Option<&str>) -> Result<(), Error> {
        let put = Put::builder()
            .table_name(&table.name)
            .set_item(Some(item))
            .set_condition_expression(condition.map(ToOwned::to_owned))
            .build()
            .map_err(|source| Error::Refused(Box::new(source)))?;
        self.0.push(TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    /// Puts an item if `condition` holds (its values are in `values`).
    pub(crate) fn table_put_if(
        &mut self,
        table: &Table,
        item: Item,
        condition: &str,
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<(), Error> {
        let values: Item = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let put = Put::builder()
            .table_name(&table.name)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|source| Error::Refused(Box::new(source)))?;
        self.0.push(TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    pub(crate) fn table_delete(&mut self, table: &Table, key: &Key, condition: &str) -> Result<(), Error> {
        self.table_delete_if(table, key, condition, [])
    }

    /// Deletes an item if `condition` holds (its values are in `values`).
    pub(crate) fn table_delete_if(
        &mut self,
        table: &Table,
        key: &Key,
        condition: &str,
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<(), Error> {
        let values: Item = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let delete = Delete::builder()
            .table_name(&table.name)
            .set_key(Some(key.attributes()))
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values).filter(|values| !values.is_empty()))
            .build()
            .map_err(|source| Error::Refused(Box::new(source)))?;
        self.0.push(TransactWriteItem::builder().delete(delete).build());
        Ok(())
    }

    /// Commits the other writes only if `condition` holds for an item.
    pub(crate) fn table_check(&mut self, table: &Table, key: &Key, condition: &str) -> Result<(), Error> {
        self.table_check_if(table, key, condition, [], [])
    }

    /// Commits the other writes only if `condition` holds for an item (with these names and values in it).
    pub(crate) fn table_check_if(
        &mut self,
        table: &Table,
        key: &Key,
        condition: &str,
        names: impl IntoIterator<Item = (&'static str, String)>,
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<(), Error> {
        let names: HashMap<_, _> = names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let values: Item = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let check = ConditionCheck::builder()
            .table_name(&table.name)
            .set_key(Some(key.attributes()))
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names).filter(|names| !names.is_empty()))
            .set_expression_attribute_values(Some(values).filter(|values| !values.is_empty()))
            .build()
            .map_err(|source| Error::Refused(Box::new(source)))?;
        self.0.push(TransactWriteItem::builder().condition_check(check).build());
        Ok(())
    }

    /// Writes what differs between two versions of an item, if `condition` holds (its values are in `values`).
    pub(crate) fn table_update(
        &mut self,
        table: &Table,
        key: &Key,
        diff: Diff,
        condition: &str,
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<(), Error> {
        let Diff { expression, names, values: mut all } = diff;
        all.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let update = Update::builder()
            .table_name(&table.name)
            .set_key(Some(key.attributes()))
            .update_expression(expression)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names).filter(|names| !names.is_empty()))
            .set_expression_attribute_values(Some(all).filter(|all| !all.is_empty()))
            .build()
            .map_err(|source| Error::Refused(Box::new(source)))?;
        self.0.push(TransactWriteItem::builder().update(update).build());
        Ok(())
    }
}

/// The conditions that an item exists, or does not.
pub(crate) const EXISTS: &str = "attribute_exists(pk)";
pub(crate) const IS_NEW: &str = "attribute_not_exists(pk)";
