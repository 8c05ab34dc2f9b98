//! Notifications, which are the outbox: written with their transition, due until every receiver was notified or given up,
//! and then kept beside their alert as the record of who was notified.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use chrono::{DateTime, Utc};
use domain::{
    Announcement, Notification, NotificationId, NotificationKind, NotificationOwner, Outcome, Receiver, ServiceKey,
    SlackMessage, Stage, Subject, TargetId, from_millis, to_millis,
};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use crate::alerts::AlertItem;
use crate::due::HAND_OVER_AGAIN;
use crate::item::{self, Diff, Item, corrupt, number, text};
use crate::keys::{Key, Lane, NOTIFICATION_PREFIX, RowKind, notifications_pk, printed_pk};
use crate::playbook_notifications::{CIRCUIT, CircuitItem, PlaybookItem};
use crate::requests::Request as _;
use crate::table::{CONFLICT_RETRIES, Commit, IS_NEW, Page, Queue, Writes, commit_of, first, is_conflict};
use crate::{Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct NotificationItem {
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
    /// Its places in lanes are still to follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unqueued: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct AnnouncementItem {
    name: String,
    services: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

/// Lanes that a notification is put into at once.
const AT_ONCE: usize = 8;

const BEGAN: &str = "began";
const ENDED: &str = "ended";

#[derive(Debug, Serialize, Deserialize)]
struct OutcomeItem {
    /// Its place in the order of receivers.
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
pub(crate) struct MessageItem {
    channel: String,
    ts: String,
}

impl MessageItem {
    pub(crate) fn of(message: &SlackMessage) -> Self {
        let SlackMessage { channel, ts } = message.clone();
        Self { channel, ts }
    }

    pub(crate) fn into_message(self) -> SlackMessage {
        let Self { channel, ts } = self;
        SlackMessage { channel, ts }
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
    /// Adds a notification, and its place in the lane of each receiver whose turn it is unless these are to follow the
    /// commit.
    pub fn add_notification(&mut self, table: &Table, notification: &Notification, queue: Queue) -> Result<(), Error> {
        let Notification { id, at, subject, outcomes } = notification;
        let key = Key::notification(notification.owner(), *id);
        let (mut playbook, mut circuit) = (None, None);
        let (kind, alert, announcement) = match subject {
            Subject::Alert { kind, alert } => (kind.as_str(), Some(AlertItem::of(alert)), None),
            Subject::Playbook(event) => {
                let (kind, item) = PlaybookItem::of(event);
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
        let body = NotificationItem {
            kind: kind.to_owned(),
            at: to_millis(*at),
            alert,
            announcement,
            playbook,
            circuit,
            outcomes: outcomes.iter().enumerate().map(by_lane).collect(),
            unqueued: queue == Queue::Later,
        };
        let mut item = item::write(&key, &body)?;
        let due_at = (!notification.is_settled()).then(|| to_millis(*at + HAND_OVER_AGAIN));
        item::set_due(&mut item, &key, due_at);
        self.table_put(table, item, Some(IS_NEW))?;
        if queue == Queue::Later {
            return Ok(());
        }
        let others_wait = outcomes.iter().any(|outcome| outcome.waits);
        for outcome in outcomes.iter().filter(|outcome| outcome.is_pending()) {
            self.join_lane(table, &Lane::of(&outcome.receiver), notification.owner(), *id, others_wait)?;
        }
        Ok(())
    }

    /// Records that a notification failed at the last of its receivers, which ends its timer.
    pub fn settle_last(&mut self, table: &Table, notification: &Notification, failed: &Outcome) -> Result<(), Error> {
        let mut diff = Table::outcome_diff(failed);
        diff.expression = format!("{} {}", diff.expression, item::END_TIMER);
        self.table_update(table, &Key::notification(notification.owner(), notification.id), diff, UNSETTLED, [])
    }

    /// Commits the other writes only if a notification is still to be sent to a receiver.
    pub fn check_pending(
        &mut self,
        table: &Table,
        notification: &Notification,
        receiver: &Receiver,
    ) -> Result<(), Error> {
        let key = Key::notification(notification.owner(), notification.id);
        let names = [("#lane", Lane::of(receiver).to_string()), ("#at", "at".to_owned())];
        self.table_check_if(table, &key, UNSETTLED, names, [])
    }
}

impl Table {
    /// Finds a notification, and when it gets its places in lanes: later, if it has not got them yet. Consistent.
    pub async fn notification(
        &self,
        owner: NotificationOwner,
        id: NotificationId,
    ) -> Result<Option<(Notification, Queue)>, Error> {
        let Some(item) = self.get(&Key::notification(owner, id), true).await? else { return Ok(None) };
        let queue = if item.contains_key("unqueued") { Queue::Later } else { Queue::WithIt };
        Ok(Some((read(item)?, queue)))
    }

    /// Puts a notification into the lane of each receiver whose turn it is, where it is not there. It may be done twice: an
    /// entry of what was sent leaves its lane unsent.
    pub async fn queue_notification(&self, notification: &Notification, now: DateTime<Utc>) -> Result<(), Error> {
        let (owner, id) = (notification.owner(), notification.id);
        let others_wait = notification.outcomes.iter().any(|outcome| outcome.waits);
        let pending = notification.outcomes.iter().filter(|outcome| outcome.is_pending());
        let lanes: Vec<_> = pending.map(|outcome| Lane::of(&outcome.receiver)).collect();
        let joined: Vec<_> =
            lanes.iter().map(|lane| self.join_lane_if_absent(lane, owner, id, others_wait, now)).collect();
        stream::iter(joined).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Returns the notifications of these keys that exist, by id: each as it reads, or why it does not. Consistent.
    pub async fn notifications_by_id(
        &self,
        ids: &[(NotificationOwner, NotificationId)],
    ) -> Result<HashMap<NotificationId, Result<Notification, Error>>, Error> {
        let items = self.get_many(ids.iter().map(|(owner, id)| Key::notification(*owner, *id)).collect()).await?;
        let mut items: HashMap<Key, Item> =
            items.into_iter().filter_map(|item| Some((Key::of(&item)?, item))).collect();
        let found =
            ids.iter().filter_map(|(owner, id)| Some((*id, read(items.remove(&Key::notification(*owner, *id))?))));
        Ok(found.collect())
    }

    /// Returns the notifications of an alert or another owner, in their order.
    pub async fn notifications(&self, owner: NotificationOwner) -> Result<Vec<Notification>, Error> {
        let items = self.part(&notifications_pk(owner), NOTIFICATION_PREFIX).await?;
        items.into_iter().map(read).collect()
    }

    /// Returns some notifications of an owner, in their order: those after `after`.
    pub async fn notifications_after(
        &self,
        owner: NotificationOwner,
        after: Option<NotificationId>,
        limit: usize,
    ) -> Result<Page<Notification>, Error> {
        // `!` and `~` sort before and after whatever ids are made of.
        let low = after.map_or_else(|| NOTIFICATION_PREFIX.to_owned(), |id| format!("{NOTIFICATION_PREFIX}{id}!"));
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :p AND sk BETWEEN :low AND :high")
            .expression_attribute_values(":p", text(notifications_pk(owner)))
            .expression_attribute_values(":low", text(low))
            .expression_attribute_values(":high", text(format!("{NOTIFICATION_PREFIX}~")))
            .consistent_read(true);
        let (items, more) = first(query, limit).await?;
        let items = items.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let next = items.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(Page { items, next })
    }

    /// Records the outcome of a notification at one receiver, once; the last one ends the notification's timer.
    pub async fn settle(&self, notification: &Notification, outcome: &Outcome) -> Result<(), Error> {
        let key = Key::notification(notification.owner(), notification.id);
        let others_settled =
            !notification.outcomes.iter().any(|other| other.receiver != outcome.receiver && other.is_pending());
        let mut update = Self::outcome_expression(outcome);
        if others_settled {
            update = format!("{update} {}", item::END_TIMER);
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
            match request.clone().send_boxed().await {
                // Two that settle at once do not see each other before.
                Ok(answer) if !others_settled => {
                    let settled = answer.attributes.map(read).transpose()?.filter(Notification::is_settled);
                    return match settled {
                        Some(settled) => self.end_notification(&settled).await,
                        None => Ok(()),
                    };
                }
                // Nothing was recorded: a transaction on this notification was under way.
                Err(error) if is_conflict(&error) => {}
                // On a conflict it was recorded before.
                sent => return commit_of(sent).map(drop),
            }
        }
        Err(Error::Unavailable("a notification is in transactions all the time".into()))
    }

    /// Records that a notification failed at one receiver, if another one is still to be sent it: so this is not the last.
    pub async fn settle_before(
        &self,
        notification: &Notification,
        failed: &Outcome,
        pending: &Receiver,
    ) -> Result<Commit, Error> {
        let mut diff = Self::outcome_diff(failed);
        diff.names.insert("#pending".to_owned(), Lane::of(pending).to_string());
        let is_before = format!("{UNSETTLED} AND attribute_not_exists(outcomes.#pending.#at)");
        let mut writes = Writes::new();
        writes.table_update(self, &Key::notification(notification.owner(), notification.id), diff, &is_before, [])?;
        self.single_update(writes).await
    }

    /// Records that a notification failed at one receiver, and gives the next one its turn, in one transaction. Its alert
    /// must be open: whoever closes it sends its end to all who had their turn.
    pub async fn pass_on(
        &self,
        notification: &Notification,
        failed: &Outcome,
        next: &Outcome,
    ) -> Result<Commit, Error> {
        let lane = Lane::of(&next.receiver);
        let mut diff = Self::outcome_diff(failed);
        diff.expression.push_str(", outcomes.#next.#waits = :no");
        diff.names.insert("#next".to_owned(), lane.to_string());
        diff.names.insert("#waits".to_owned(), "waits".to_owned());
        diff.values.insert(":no".to_owned(), AttributeValue::Bool(false));
        let mut writes = Writes::new();
        writes.table_update(self, &Key::notification(notification.owner(), notification.id), diff, UNSETTLED, [])?;
        let others_wait = notification.outcomes.iter().any(|other| other.waits && other.receiver != next.receiver);
        writes.join_lane(self, &lane, notification.owner(), notification.id, others_wait)?;
        if let NotificationOwner::Alert(alert) = notification.owner() {
            writes.pass_on_alert(self, alert)?;
        }
        self.commit(writes).await
    }

    fn outcome_diff(outcome: &Outcome) -> Diff {
        Diff {
            expression: Self::outcome_expression(outcome),
            names: outcome_names(outcome).into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            values: outcome_values(outcome).into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    fn outcome_expression(outcome: &Outcome) -> String {
        let error = if outcome.error.is_some() { ", outcomes.#lane.#error = :error" } else { "" };
        format!("SET outcomes.#lane.#at = :at{error}")
    }

    /// Keeps where a notification's message is at one receiver, so that it can be updated later.
    pub async fn keep_message(
        &self,
        notification: &Notification,
        lane: &Lane,
        message: &SlackMessage,
    ) -> Result<(), Error> {
        let place: HashMap<String, AttributeValue> = [("channel", &message.channel), ("ts", &message.ts)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect();
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::notification(notification.owner(), notification.id).attributes()))
            .update_expression("SET outcomes.#lane.#message = :message")
            .condition_expression("attribute_exists(outcomes.#lane)")
            .expression_attribute_names("#lane", lane.to_string())
            .expression_attribute_names("#message", "message")
            .expression_attribute_values(":message", AttributeValue::M(place))
            .send_boxed()
            .await?;
        Ok(())
    }

    /// Ends a settled notification's timer.
    pub async fn end_notification(&self, notification: &Notification) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::notification(notification.owner(), notification.id).attributes()))
            .update_expression(item::END_TIMER)
            .condition_expression("attribute_exists(pk)")
            .send_boxed()
            .await?;
        Ok(())
    }

    /// Lets a notification that is in its lanes come due again at `at`.
    pub async fn postpone_notification(&self, notification: &Notification, at: DateTime<Utc>) -> Result<(), Error> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::notification(notification.owner(), notification.id).attributes()))
            .update_expression("SET due_at = :at REMOVE due_failures, unqueued")
            .condition_expression("attribute_exists(due_at)")
            .expression_attribute_values(":at", number(to_millis(at)))
            .send_boxed()
            .await;
        // On a conflict it was settled meanwhile.
        let _postponed: Commit = commit_of(sent)?;
        Ok(())
    }

    /// Keeps the text of a notification where no receiver is configured.
    pub async fn print(&self, id: NotificationId, body: &str, expires_at: DateTime<Utc>) -> Result<(), Error> {
        let item = PrintedItem { text: body.to_owned(), expires_at: expires_at.timestamp() };
        self.put(item::write(&Key::printed(id), &item)?).await
    }

    /// Returns what was printed, newest first.
    pub async fn printed(
        &self,
        after: Option<NotificationId>,
        limit: usize,
    ) -> Result<Page<(NotificationId, String)>, Error> {
        let (items, more) = self.newest(printed_pk(), after.map(|id| id.to_string()), limit).await?;
        let read = |item: Item| -> Result<_, Error> {
            let key = Key::of(&item);
            let id = key.as_ref().map_or("", |key| key.sk.as_str()).parse();
            let id = id.map_err(|source: domain::Invalid| corrupt(key.as_ref(), source))?;
            let PrintedItem { text, expires_at: _ } = item::read(item)?;
            Ok((id, text))
        };
        let items = items.into_iter().map(read).collect::<Result<Vec<(NotificationId, String)>, Error>>()?;
        let next = if more { items.last().map(|(id, _)| id.to_string()) } else { None };
        Ok(Page { items, next })
    }
}

/// The condition that there is no outcome at a receiver yet.
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

fn read(item: Item) -> Result<Notification, Error> {
    let key = Key::of(&item);
    let Some(RowKind::Notification(owner, id)) = key.as_ref().and_then(Key::row_kind) else {
        return Err(corrupt(key.as_ref(), "not a notification's key"));
    };
    let NotificationItem { kind, at, alert, announcement, playbook, circuit, outcomes, unqueued: _ } =
        item::read(item)?;
    let invalid = |source: domain::Invalid| corrupt(key.as_ref(), source);
    let unknown = || corrupt(key.as_ref(), "an unknown kind of notification");
    let subject = match owner {
        NotificationOwner::Alert(id) => {
            let alert = alert.ok_or_else(unknown)?;
            let kind = NotificationKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(unknown)?;
            Subject::Alert { kind, alert: Box::new(alert.into_alert(id).map_err(invalid)?) }
        }
        NotificationOwner::Window(window_id) => {
            let AnnouncementItem { name, services, until } = announcement.ok_or_else(unknown)?;
            let stage = match kind.as_str() {
                BEGAN => Stage::Began { until: until.map(from_millis) },
                ENDED => Stage::Ended,
                _ => return Err(unknown()),
            };
            Subject::Maintenance(Announcement { window_id, name, services, stage })
        }
        NotificationOwner::Execution(id) => {
            let playbook = playbook.ok_or_else(unknown)?.into_notification(id, &kind).map_err(invalid)?;
            Subject::Playbook(Box::new(playbook.ok_or_else(unknown)?))
        }
        NotificationOwner::Circuit(of) => Subject::Circuit(circuit.ok_or_else(unknown)?.into_circuit(of)),
    };
    let mut outcomes = outcomes
        .into_iter()
        .map(|(lane, OutcomeItem { n, target_id, service_key, waits, at, error, message })| {
            let receiver = Lane::parse(&lane).and_then(|lane| lane.receiver());
            let receiver = receiver.ok_or_else(|| corrupt(key.as_ref(), "an unknown lane"))?;
            let target_id = target_id.map(TargetId::new);
            let service_key = service_key.map(ServiceKey::parse).transpose().map_err(invalid)?;
            let message = message.map(MessageItem::into_message);
            Ok((n, Outcome { receiver, target_id, service_key, waits, at: at.map(from_millis), error, message }))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    outcomes.sort_unstable_by_key(|(n, _)| *n);
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(Notification { id, at: from_millis(at), subject, outcomes })
}
