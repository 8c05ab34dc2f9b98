//! Notices, which are the outbox: written with their transition, due until every receiver has been told or given up,
//! and then kept beside their alert as the record of who was told.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Announcement, Notice, NoticeId, NoticeKind, NoticeOwner, Outcome, ServiceKey, SlackMessage, Stage, Subject,
    TargetId, from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

use crate::alerts::AlertItem;
use crate::item::{self, Diff, Item, corrupt, number, text};
use crate::keys::{Key, Lane, NOTICE_PREFIX, RowKind, notices_pk, printed_pk};
use crate::playbook_notices::{CIRCUIT, CircuitItem, PlaybookItem};
use crate::table::{CONFLICT_RETRIES, Commit, IS_NEW, Page, Writes, is_conflict, refused};
use crate::{Error, Table};

/// How long a notice's hand-over may take before the sweep hands it over again.
const HAND_OVER: TimeDelta = TimeDelta::seconds(30);

#[derive(Debug, Serialize, Deserialize)]
struct NoticeItem {
    kind: String,
    at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alert: Option<AlertItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    announcement: Option<AnnouncementItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    playbook: Option<PlaybookItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    circuit: Option<CircuitItem>,
    /// By lane.
    outcomes: BTreeMap<String, OutcomeItem>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AnnouncementItem {
    name: String,
    services: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

const BEGAN: &str = "began";
const ENDED: &str = "ended";

#[derive(Debug, Serialize, Deserialize)]
struct OutcomeItem {
    /// Its place in the order of telling.
    n: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_key: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    waits: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageItem>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MessageItem {
    channel: String,
    ts: String,
}

impl MessageItem {
    fn of(message: &SlackMessage) -> Self {
        let SlackMessage { channel, ts } = message.clone();
        Self { channel, ts }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct PrintedItem {
    text: String,
    expires_at: i64,
}

impl OutcomeItem {
    fn of(n: usize, outcome: &Outcome) -> Self {
        let Outcome { receiver: _, target_id, service_key, waits, at, error, message } = outcome;
        Self {
            n,
            target_id: target_id.map(TargetId::get),
            service_key: service_key.as_ref().map(|key| key.reveal().to_owned()),
            waits: *waits,
            at: at.map(to_millis),
            error: error.clone(),
            message: message.as_ref().map(MessageItem::of),
        }
    }
}

impl Writes {
    /// Adds a notice and its place in the lane of each receiver whose turn it is.
    pub fn add_notice(&mut self, table: &Table, notice: &Notice) -> Result<(), Error> {
        let Notice { id, at, subject, outcomes } = notice;
        let key = Key::notice(notice.owner(), *id);
        let (mut playbook, mut circuit) = (None, None);
        let (kind, alert, announcement) = match subject {
            Subject::Alert { kind, alert } => (kind.as_str(), Some(AlertItem::of(alert)), None),
            Subject::Playbook(told) => {
                let (kind, item) = PlaybookItem::of(told);
                playbook = Some(item);
                (kind, None, None)
            }
            Subject::Circuit(open) => {
                circuit = Some(CircuitItem::of(open));
                (CIRCUIT, None, None)
            }
            Subject::Maintenance(Announcement { window_id: _, name, services, stage }) => {
                let (kind, until) = match stage {
                    Stage::Began { until } => (BEGAN, *until),
                    Stage::Ended => (ENDED, None),
                };
                let item = AnnouncementItem { name: name.clone(), services: *services, until: until.map(to_millis) };
                (kind, None, Some(item))
            }
        };
        let by_lane =
            |(n, outcome): (usize, &Outcome)| (Lane::of(&outcome.receiver).to_string(), OutcomeItem::of(n, outcome));
        let body = NoticeItem {
            kind: kind.to_owned(),
            at: to_millis(*at),
            alert,
            announcement,
            playbook,
            circuit,
            outcomes: outcomes.iter().enumerate().map(by_lane).collect(),
        };
        let mut item = item::write(&key, &body)?;
        let due_at = (!notice.is_settled()).then(|| to_millis(*at + HAND_OVER));
        item::set_due(&mut item, &key, due_at);
        self.table_put(table, item, Some(IS_NEW))?;
        let others_wait = outcomes.iter().any(|outcome| outcome.waits);
        for outcome in outcomes.iter().filter(|outcome| outcome.is_owed()) {
            self.join_lane(table, &Lane::of(&outcome.receiver), notice.owner(), *id, others_wait)?;
        }
        Ok(())
    }
}

impl Table {
    pub async fn notice(&self, owner: NoticeOwner, id: NoticeId) -> Result<Option<Notice>, Error> {
        self.get(&Key::notice(owner, id), true).await?.map(read).transpose()
    }

    /// The notices of these keys that are there, by id: each as it reads, or why it does not. Consistent.
    pub async fn notices_by_id(
        &self,
        ids: &[(NoticeOwner, NoticeId)],
    ) -> Result<HashMap<NoticeId, Result<Notice, Error>>, Error> {
        let items = self.get_many(ids.iter().map(|(owner, id)| Key::notice(*owner, *id)).collect()).await?;
        let mut items: HashMap<Key, Item> =
            items.into_iter().filter_map(|item| Some((Key::of(&item)?, item))).collect();
        let found = ids.iter().filter_map(|(owner, id)| Some((*id, read(items.remove(&Key::notice(*owner, *id))?))));
        Ok(found.collect())
    }

    /// The notices of an alert or another owner, in their order.
    pub async fn notices(&self, owner: NoticeOwner) -> Result<Vec<Notice>, Error> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND begins_with(sk, :s)")
            .expression_attribute_values(":p", text(notices_pk(owner)))
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
        let key = Key::notice(notice.owner(), notice.id);
        let others_settled = !notice.outcomes.iter().any(|other| other.receiver != outcome.receiver && other.is_owed());
        let mut update = Self::outcome_expression(outcome);
        if others_settled {
            update.push_str(" REMOVE due_shard, due_at, due_failures");
        }
        let mut request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .update_expression(update)
            .condition_expression(UNSETTLED)
            .return_values(ReturnValue::AllNew);
        for (name, value) in outcome_names(outcome) {
            request = request.expression_attribute_names(name, value);
        }
        for (name, value) in outcome_values(outcome) {
            request = request.expression_attribute_values(name, value);
        }
        for _ in 0..CONFLICT_RETRIES {
            match request.clone().send().await {
                Ok(answer) if !others_settled => {
                    return Ok(answer.attributes.map(read).transpose()?.is_some_and(|notice| notice.is_settled()));
                }
                // Nothing was recorded: a transaction on this notice was under way.
                Err(error) if is_conflict(&error) => {}
                // Refused, it was recorded before.
                sent => return refused(sent).map(|_| false),
            }
        }
        Err(Error::Unavailable("a notice is in transactions all the time".into()))
    }

    /// Records that a notice failed at one receiver, and gives the next one its turn, in one transaction. Its alert must be
    /// open: whoever closes it tells its end to all who had their turn.
    pub async fn pass_on(&self, notice: &Notice, failed: &Outcome, next: &Outcome) -> Result<Commit, Error> {
        let lane = Lane::of(&next.receiver);
        let mut diff = Diff {
            expression: format!("{}, outcomes.#next.#waits = :no", Self::outcome_expression(failed)),
            names: outcome_names(failed).into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            values: outcome_values(failed).into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        diff.names.insert("#next".to_owned(), lane.to_string());
        diff.names.insert("#waits".to_owned(), "waits".to_owned());
        diff.values.insert(":no".to_owned(), AttributeValue::Bool(false));
        let mut writes = Writes::new();
        writes.table_update(self, &Key::notice(notice.owner(), notice.id), diff, UNSETTLED, [])?;
        let others_wait = notice.outcomes.iter().any(|other| other.waits && other.receiver != next.receiver);
        writes.join_lane(self, &lane, notice.owner(), notice.id, others_wait)?;
        if let NoticeOwner::Alert(alert) = notice.owner() {
            writes.pass_on_alert(self, alert)?;
        }
        self.commit(writes).await
    }

    fn outcome_expression(outcome: &Outcome) -> String {
        let error = if outcome.error.is_some() { ", outcomes.#lane.#error = :error" } else { "" };
        format!("SET outcomes.#lane.#at = :at{error}")
    }

    /// Keeps where a notice's message is at one receiver, so that it can be changed later.
    pub async fn keep_message(&self, notice: &Notice, lane: &Lane, message: &SlackMessage) -> Result<(), Error> {
        let place: HashMap<String, AttributeValue> = [("channel", &message.channel), ("ts", &message.ts)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect();
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::notice(notice.owner(), notice.id).attributes()))
            .update_expression("SET outcomes.#lane.#message = :message")
            .condition_expression("attribute_exists(outcomes.#lane)")
            .expression_attribute_names("#lane", lane.to_string())
            .expression_attribute_names("#message", "message")
            .expression_attribute_values(":message", AttributeValue::M(place))
            .send()
            .await?;
        Ok(())
    }

    /// Ends a settled notice's timer.
    pub async fn end_notice(&self, notice: &Notice) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::notice(notice.owner(), notice.id).attributes()))
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
            .set_key(Some(Key::notice(notice.owner(), notice.id).attributes()))
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
    pub async fn printed(&self, after: Option<NoticeId>, limit: usize) -> Result<Page<(NoticeId, String)>, Error> {
        let (items, more) = self.newest(printed_pk(), after.map(|id| id.to_string()), limit).await?;
        let read = |item: Item| -> Result<_, Error> {
            let key = Key::of(&item);
            let id = key.as_ref().map_or("", |key| key.sk.as_str()).parse();
            let id = id.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?;
            let PrintedItem { text, expires_at: _ } = item::read(item)?;
            Ok((id, text))
        };
        let items = items.into_iter().map(read).collect::<Result<Vec<(NoticeId, String)>, Error>>()?;
        let next = if more { items.last().map(|(id, _)| id.to_string()) } else { None };
        Ok(Page { items, next })
    }
}

/// That a receiver has not answered yet.
const UNSETTLED: &str = "attribute_exists(outcomes.#lane) AND attribute_not_exists(outcomes.#lane.#at)";

fn outcome_names(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut names = vec![("#lane", Lane::of(&outcome.receiver).to_string()), ("#at", "at".to_owned())];
    names.extend(outcome.error.is_some().then(|| ("#error", "error".to_owned())));
    names
}

fn outcome_values(outcome: &Outcome) -> Vec<(&'static str, AttributeValue)> {
    let at = outcome.at.map(to_millis).unwrap_or_default();
    let error = outcome.error.as_ref().map(|error| (":error", text(error)));
    [(":at", number(at))].into_iter().chain(error).collect()
}

fn read(item: Item) -> Result<Notice, Error> {
    let key = Key::of(&item);
    let Some(RowKind::Notice(owner, id)) = key.as_ref().and_then(Key::row_kind) else {
        return Err(corrupt(key.as_ref(), "not a notice's key"));
    };
    let NoticeItem { kind, at, alert, announcement, playbook, circuit, outcomes } = item::read(item)?;
    let invalid = |source: domain::Invalid| corrupt(key.as_ref(), source);
    let unknown = || corrupt(key.as_ref(), "an unknown kind of notice");
    let subject = match owner {
        NoticeOwner::Alert(id) => {
            let alert = alert.ok_or_else(unknown)?;
            let kind = NoticeKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(unknown)?;
            Subject::Alert { kind, alert: Box::new(alert.into_alert(id).map_err(invalid)?) }
        }
        NoticeOwner::Window(window_id) => {
            let AnnouncementItem { name, services, until } = announcement.ok_or_else(unknown)?;
            let stage = match kind.as_str() {
                BEGAN => Stage::Began { until: until.map(from_millis) },
                ENDED => Stage::Ended,
                _ => return Err(unknown()),
            };
            Subject::Maintenance(Announcement { window_id, name, services, stage })
        }
        NoticeOwner::Execution(id) => {
            let playbook = playbook.ok_or_else(unknown)?.into_notice(id, &kind).map_err(invalid)?;
            Subject::Playbook(Box::new(playbook.ok_or_else(unknown)?))
        }
        NoticeOwner::Circuit(service_id) => Subject::Circuit(circuit.ok_or_else(unknown)?.into_circuit(service_id)),
    };
    let mut outcomes = outcomes
        .into_iter()
        .map(|(lane, OutcomeItem { n, target_id, service_key, waits, at, error, message })| {
            let receiver = Lane::parse(&lane).and_then(|lane| lane.receiver());
            let receiver = receiver.ok_or_else(|| corrupt(key.as_ref(), "an unknown lane"))?;
            let target_id = target_id.map(TargetId::new);
            let service_key = service_key.map(ServiceKey::parse).transpose().map_err(invalid)?;
            let message = message.map(|MessageItem { channel, ts }| SlackMessage { channel, ts });
            Ok((n, Outcome { receiver, target_id, service_key, waits, at: at.map(from_millis), error, message }))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    outcomes.sort_unstable_by_key(|(n, _)| *n);
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(Notice { id, at: from_millis(at), subject, outcomes })
}
