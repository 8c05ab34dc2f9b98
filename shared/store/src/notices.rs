//! Notices, which are the outbox: written with their transition, due until every receiver has been told or given up,
//! and then kept beside their alert as the record of who was told.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{AlertId, Notice, NoticeId, NoticeKind, Outcome, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::alerts::AlertItem;
use crate::item::{self, Item, corrupt, number, text};
use crate::keys::{Key, Lane, NOTICE_PREFIX, RowKind, alert_pk, printed_pk};
use crate::table::{Commit, IS_NEW, Writes, refused};
use crate::{Error, Table};

/// How long a notice's hand-over may take before the sweep hands it over again.
const HAND_OVER: TimeDelta = TimeDelta::seconds(30);

#[derive(Debug, Serialize, Deserialize)]
struct NoticeItem {
    kind: String,
    at: i64,
    alert: AlertItem,
    /// By lane.
    outcomes: BTreeMap<String, OutcomeItem>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OutcomeItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PrintedItem {
    text: String,
    expires_at: i64,
}

impl Writes {
    /// Adds a notice and its place in each receiver's lane.
    pub fn add_notice(&mut self, table: &Table, notice: &Notice) -> Result<(), Error> {
        let Notice { id, kind, at, alert, outcomes } = notice;
        let key = Key::notice(alert.id, *id);
        let body = NoticeItem {
            kind: kind.as_str().to_owned(),
            at: to_millis(*at),
            alert: AlertItem::of(alert),
            outcomes: outcomes
                .iter()
                .map(|outcome| (Lane::of(&outcome.receiver).to_string(), OutcomeItem { at: None, error: None }))
                .collect(),
        };
        let mut item = item::write(&key, &body)?;
        item::set_due(&mut item, &key, Some(to_millis(*at + HAND_OVER)));
        self.table_put(table, item, Some(IS_NEW))?;
        for outcome in outcomes {
            self.join_lane(table, &Lane::of(&outcome.receiver), notice)?;
        }
        Ok(())
    }
}

impl Table {
    pub async fn notice(&self, alert: AlertId, id: NoticeId) -> Result<Option<Notice>, Error> {
        self.get(&Key::notice(alert, id), true).await?.map(read).transpose()
    }

    /// An alert's notices, in their order.
    pub async fn notices(&self, alert: AlertId) -> Result<Vec<Notice>, Error> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND begins_with(sk, :s)")
            .expression_attribute_values(":p", text(alert_pk(alert)))
            .expression_attribute_values(":s", text(NOTICE_PREFIX))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut notices = Vec::new();
        while let Some(item) = pages.next().await {
            notices.push(read(item?)?);
        }
        Ok(notices)
    }

    /// Records what became of a notice at one receiver, once; the last one ends the notice's timer.
    /// Answers whether the timer must still be ended: two that settle at once do not see each other before.
    pub async fn settle(&self, notice: &Notice, outcome: &Outcome) -> Result<bool, Error> {
        let key = Key::notice(notice.alert.id, notice.id);
        let others_settled =
            notice.outcomes.iter().filter(|other| other.receiver != outcome.receiver).all(|other| other.at.is_some());
        let mut update = "SET outcomes.#lane = :outcome".to_owned();
        if others_settled {
            update.push_str(" REMOVE due_shard, due_at, due_failures");
        }
        let body = OutcomeItem { at: outcome.at.map(to_millis), error: outcome.error.clone() };
        let body: Item = serde_dynamo::to_item(&body).map_err(|source| corrupt(Some(&key), source))?;
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .update_expression(update)
            .condition_expression("attribute_exists(outcomes.#lane) AND attribute_not_exists(outcomes.#lane.#at)")
            .expression_attribute_names("#lane", Lane::of(&outcome.receiver).to_string())
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":outcome", AttributeValue::M(body))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match sent {
            Ok(answer) if !others_settled => {
                Ok(answer.attributes.map(read).transpose()?.is_some_and(|notice| notice.is_settled()))
            }
            // Refused, it was recorded before.
            sent => refused(sent).map(|_| false),
        }
    }

    /// Ends a settled notice's timer.
    pub async fn end_notice(&self, notice: &Notice) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::notice(notice.alert.id, notice.id).attributes()))
            .update_expression("REMOVE due_shard, due_at, due_failures")
            .condition_expression("attribute_exists(pk)")
            .send()
            .await?;
        Ok(())
    }

    /// Lets a notice come due again at `at`.
    pub async fn postpone_notice(&self, notice: &Notice, at: DateTime<Utc>) -> Result<(), Error> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::notice(notice.alert.id, notice.id).attributes()))
            .update_expression("SET due_at = :at REMOVE due_failures")
            .condition_expression("attribute_exists(due_at)")
            .expression_attribute_values(":at", number(to_millis(at)))
            .send()
            .await;
        // Refused, it was settled meanwhile.
        let _postponed: Commit = refused(sent)?;
        Ok(())
    }

    /// Keeps what a notice said where no receiver is set up.
    pub async fn print(&self, id: NoticeId, body: &str, expires_at: DateTime<Utc>) -> Result<(), Error> {
        let item = PrintedItem { text: body.to_owned(), expires_at: expires_at.timestamp() };
        self.put(item::write(&Key::printed(id), &item)?).await
    }

    /// What was printed, newest first.
    pub async fn printed(&self, after: Option<NoticeId>, limit: usize) -> Result<Vec<(NoticeId, String)>, Error> {
        let before = after.map_or_else(|| "g".to_owned(), |id| id.to_string());
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND sk < :s")
            .expression_attribute_values(":p", text(printed_pk()))
            .expression_attribute_values(":s", text(before))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await?;
        let read = |item: Item| -> Result<_, Error> {
            let key = Key::of(&item);
            let id = key.as_ref().map_or("", |key| key.sk.as_str()).parse();
            let id = id.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?;
            let PrintedItem { text, expires_at: _ } = item::read(item)?;
            Ok((id, text))
        };
        answer.items.unwrap_or_default().into_iter().map(read).collect()
    }
}

fn read(item: Item) -> Result<Notice, Error> {
    let key = Key::of(&item);
    let Some(RowKind::Notice(alert, id)) = key.as_ref().and_then(Key::row_kind) else {
        return Err(corrupt(key.as_ref(), "not a notice's key"));
    };
    let NoticeItem { kind, at, alert: copy, outcomes } = item::read(item)?;
    let invalid = |source: domain::Invalid| corrupt(key.as_ref(), source);
    let kind = NoticeKind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)
        .ok_or_else(|| corrupt(key.as_ref(), "an unknown kind of notice"))?;
    let outcomes = outcomes
        .into_iter()
        .map(|(lane, OutcomeItem { at, error })| {
            let receiver = Lane::parse(&lane).and_then(|lane| lane.receiver());
            let receiver = receiver.ok_or_else(|| corrupt(key.as_ref(), "an unknown lane"))?;
            Ok(Outcome { receiver, at: at.map(from_millis), error })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Notice { id, kind, at: from_millis(at), alert: copy.into_alert(alert).map_err(invalid)?, outcomes })
}
