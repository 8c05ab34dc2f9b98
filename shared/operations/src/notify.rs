//! Drains a lane: sends what one receiver is owed, in order, one sender at a time.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, GIVE_UP_AFTER, Notification, NotificationId, NotificationKind, NotificationOwner, Outcome, Pace, Receiver,
    retry_delay,
};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use outbound::{Delivery, Slack, Wake};
use store::{Commit, Lane, LaneEntry, LaneHead, Owed};

use crate::error::error_chain;
use crate::leases::Leased;
use crate::{Error, Medic};

/// What one step in a lane came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is left to do now.
    Done,
    /// There may be more.
    More,
}

/// Reads the time anew, since a send takes a while.
pub type Now<'a> = &'a (dyn Fn() -> DateTime<Utc> + Sync);

/// An entry that is owed, with what it is to say.
type Told = (LaneEntry, Notification);

/// What there is to do in a lane.
#[derive(Default)]
struct StillOwed {
    told: Vec<Told>,
    /// Entries that are to leave the lane unsent: what they stand for was settled.
    settled: Vec<LaneEntry>,
}

/// An entry with what it stands for.
struct Read {
    entry: LaneEntry,
    owner: NotificationOwner,
    id: NotificationId,
    notification: Result<Option<Notification>, store::Error>,
    moot: Option<&'static str>,
}

/// Where another target waits for its turn, one that is to be tried again only after this has failed: by the waits of
/// `retry_delay` that is at the fourth try, some seven seconds and what each try takes after the first.
pub(crate) const TOO_LONG_FOR_THE_NEXT: TimeDelta = TimeDelta::seconds(8);
/// What a send takes at most: a post of 10 s, and what is recorded of it.
const MAX_SEND: TimeDelta = TimeDelta::seconds(20);
/// The most notifications in one Slack message. Of more than a few it tells their number and the first names.
const GROUP: usize = 2_000;
/// Reads and writes of a group that are under way at once: two thousand notifications take some seconds, and a lease is longer.
const AT_ONCE: usize = 16;
/// Notifications that are read by one request.
const READ_AHEAD: usize = 100;
/// Reads of two items may see one of them before the other, though they were written together.
const NOTIFICATION_VISIBLE_AFTER: TimeDelta = TimeDelta::seconds(1);
/// Past this, a notification that is not there will not come.
const NOTIFICATION_GONE_AFTER: TimeDelta = TimeDelta::hours(1);

impl Medic {
    /// Sends what comes next in a lane.
    pub async fn drain(&self, lane: &Lane, now: Now<'_>) -> Result<Drained, Error> {
        let Some(receiver) = lane.receiver() else {
            return Err(Error::NotFound(format!("No receiver has the lane {lane}")));
        };
        if let Receiver::Webhook { webhook_id } = receiver {
            return self.drain_webhook(lane, webhook_id, now).await;
        }
        let Some(mut leased) = self.lease(lane, &receiver, now()).await? else {
            return Ok(Drained::Done);
        };
        let most = most_at_once(&receiver);
        let entries = std::mem::take(&mut leased.entries);
        let StillOwed { mut told, settled } = self.still_owed(lane, &receiver, entries, most, now()).await?;
        told.truncate(together(&told));
        // The entry that holds the lane leaves it last: with it gone, another sender would take what is sent and not recorded.
        let (holding, settled): (Vec<_>, Vec<_>) = settled.iter().partition(|entry| leased.is_by(entry));
        self.table.leave_lane_all(lane, &settled).await?;
        let drained = match (told.first(), holding.first()) {
            (Some(_), _) => self.tell(lane, &receiver, &told, leased, now).await?,
            (None, Some(_)) => Drained::More,
            // The first notification is not to be seen yet.
            (None, None) => {
                self.release(lane, leased).await?;
                Drained::Done
            }
        };
        self.table.leave_lane_all(lane, &holding).await?;
        Ok(drained)
    }

    /// Sends notifications that are owed, and records what came of it.
    async fn tell(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        told: &[Told],
        mut leased: Leased,
        now: Now<'_>,
    ) -> Result<Drained, Error> {
        let notifications: Vec<_> = told.iter().map(|(_, notification)| notification.clone()).collect();
        // Reading them may have taken a while.
        let is_short = leased.head.held_until.is_none_or(|until| now() + MAX_SEND > until);
        let pace = leased.head.pace;
        if is_short && !self.renew(lane, &mut leased, pace, now()).await? {
            return Ok(Drained::More);
        }
        let mut sent = told;
        let mut delivery = self.send(receiver, &notifications, now()).await?;
        if let Delivery::Refused { error } = &delivery
            && sent.len() > 1
            && !Slack::refuses_channel(error)
        {
            // One of them is at fault: it must not take the others with it. This is one more message.
            sent = &told[..1];
            let pace = leased.head.pace.map(|pace| Pace::and_one(Some(pace), now()));
            if !self.renew(lane, &mut leased, pace, now()).await? {
                return Ok(Drained::More);
            }
            delivery = self.send(receiver, &notifications[..1], now()).await?;
        }
        match delivery {
            Delivery::Accepted => self.settle(lane, receiver, sent, None, &leased, now()).await?,
            Delivery::Refused { error } => self.settle(lane, receiver, sent, Some(error), &leased, now()).await?,
            Delivery::Retry { error, after } => {
                return self.try_again(lane, receiver, told, leased, (&error, after), now()).await;
            }
        }
        Ok(Drained::More)
    }

    /// Leaves the rest of a lane to another message.
    pub async fn drain_later(&self, lane: &Lane, now: DateTime<Utc>) {
        self.wake(Wake::Lane { lane: lane.to_string() }, now).await;
    }

    /// Ends notifications at their receiver, taken or with an error for good, and then takes their entries out of the lane: a
    /// crash between the two is seen by the next sender. The entry that holds the lane is the last.
    async fn settle(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        told: &[Told],
        error: Option<String>,
        leased: &Leased,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (holding, others): (Vec<_>, Vec<_>) = told.iter().partition(|(entry, _)| leased.is_by(entry));
        for told in [others, holding] {
            let ended: Vec<_> = told
                .iter()
                .map(|(_, notification)| self.end(lane, receiver, notification, error.clone(), now))
                .collect();
            stream::iter(ended).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            let entries: Vec<_> = told.iter().map(|(entry, _)| entry).collect();
            self.table.leave_lane_all(lane, &entries).await?;
        }
        Ok(())
    }

    /// Lets the next targets have what waits in a lane whose receiver is not to be tried for long. The lane waits, and so
    /// nobody sends.
    pub(crate) async fn pass_on_what_waits(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        entries: Vec<LaneEntry>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let entries = entries.into_iter().filter(|entry| entry.others_wait).collect();
        let StillOwed { told, settled } = self.still_owed(lane, receiver, entries, GROUP, now).await?;
        self.table.leave_lane_all(lane, &settled.iter().collect::<Vec<_>>()).await?;
        for (entry, notification) in told {
            if notification.next_after(receiver).is_some() {
                let error = "given up: it waits behind what this receiver does not take".to_owned();
                self.finish(lane, receiver, (&entry, &notification), Some(error), now).await?;
            }
        }
        Ok(())
    }

    /// The first entries that are still to be sent, and those before them that are not.
    async fn still_owed(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        entries: Vec<LaneEntry>,
        most: usize,
        now: DateTime<Utc>,
    ) -> Result<StillOwed, Error> {
        let mut owed = StillOwed::default();
        // No more is read ahead than can be sent.
        let reads: Vec<_> =
            entries.chunks(most.min(READ_AHEAD)).map(|some| self.read_notifications(lane, receiver, some)).collect();
        let mut reads = stream::iter(reads).buffered(if most > READ_AHEAD { AT_ONCE } else { 1 });
        let mut ready = VecDeque::new();
        while owed.told.len() < most {
            let Some(Read { entry, owner, id, notification, moot }) = ready.pop_front() else {
                match reads.next().await {
                    Some(more) => ready.extend(more?),
                    None => break,
                }
                continue;
            };
            let notification = match notification {
                // It would hold up the lane for good.
                Err(error @ store::Error::Corrupt { .. }) => {
                    tracing::error!(%lane, error = %error_chain(&error), "a notification cannot be read, and is dropped");
                    metrics::counter!("medic_notifications_failed_total").increment(1);
                    owed.settled.push(entry);
                    continue;
                }
                read => read?,
            };
            let Some(notification) = notification else {
                if now - id.time() < NOTIFICATION_GONE_AFTER {
                    self.wake(Wake::Lane { lane: lane.to_string() }, now + NOTIFICATION_VISIBLE_AFTER).await;
                    break;
                }
                tracing::error!(%lane, %owner, "a lane names a notification that is gone");
                metrics::counter!("medic_notifications_failed_total").increment(1);
                owed.settled.push(entry);
                continue;
            };
            if !is_unanswered(&notification, receiver) {
                owed.settled.push(entry);
            } else if let Some(why) = moot {
                self.record(receiver, &notification, Some(why.to_owned()), now).await?;
                owed.settled.push(entry);
            } else {
                owed.told.push((entry, notification));
            }
        }
        Ok(owed)
    }

    /// Reads the notifications of entries, and whether they are still to be sent.
    async fn read_notifications(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        entries: &[LaneEntry],
    ) -> Result<Vec<Read>, Error> {
        let mut ids = Vec::new();
        for entry in entries {
            let Owed::Notification(owner, id) = entry.owed else {
                return Err(Error::NotFound(format!("There is no notification {} in {lane}", entry.place)));
            };
            ids.push((owner, id));
        }
        let mut notifications = self.table.notifications_by_id(&ids).await?;
        let passing = notifications
            .values()
            .flatten()
            .filter_map(Notification::alert)
            .filter(|(kind, _)| kind.can_be_superseded());
        let alert_ids: BTreeSet<_> = passing.map(|(_, alert)| alert.id).collect();
        let alerts = self.table.alerts_by_id(alert_ids).await?;
        let mut read = Vec::with_capacity(entries.len());
        for (entry, (owner, id)) in entries.iter().zip(ids) {
            let notification = notifications.remove(&id).transpose();
            let moot = match &notification {
                Ok(Some(notification)) if is_unanswered(notification, receiver) => {
                    self.superseded_reason(notification, &alerts, receiver).await?
                }
                Ok(_) | Err(_) => None,
            };
            read.push(Read { entry: entry.clone(), owner, id, notification, moot });
        }
        Ok(read)
    }

    /// Why a notification need not be sent any more, or never: what it says has passed, or its receiver did not hear of the
    /// alert that it ends.
    async fn superseded_reason(
        &self,
        notification: &Notification,
        alerts: &[Alert],
        receiver: &Receiver,
    ) -> Result<Option<&'static str>, Error> {
        let Some((kind, told)) = notification.alert() else { return self.is_answered(notification, receiver).await };
        if kind.can_be_superseded() {
            let overtaken = Some("overtaken by what came after it");
            let Some(alert) = alerts.iter().find(|alert| alert.id == told.id) else { return Ok(overtaken) };
            let newer =
                kind == NotificationKind::Reminder && (alert.cycle > told.cycle || alert.acknowledged_at.is_some());
            if !alert.is_open() || newer {
                return Ok(overtaken);
            }
        }
        if !kind.raises_alert() && !self.was_notified(told.id, receiver).await? {
            return Ok(Some("not told of the alert, and so not of this"));
        }
        Ok(None)
    }

    /// Gives up what is too old, and puts off the rest.
    async fn try_again(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        told: &[Told],
        leased: Leased,
        (error, after): (&str, Option<TimeDelta>),
        now: DateTime<Utc>,
    ) -> Result<Drained, Error> {
        let attempts = leased.seen.attempts.saturating_add(1);
        let at = now + retry_delay(attempts).max(after.unwrap_or_default());
        tracing::warn!(%lane, attempts, error, "a notification was not taken");
        let is_over = |(_, notification): &Told| {
            let others_wait = notification.next_after(receiver).is_some();
            now - notification.at >= GIVE_UP_AFTER || (others_wait && at - now >= TOO_LONG_FOR_THE_NEXT)
        };
        let (expired, fresh): (Vec<_>, Vec<_>) = told.iter().cloned().partition(is_over);
        // Before the lease's own entry may leave, the lane waits.
        if !fresh.is_empty() {
            let waiting = LaneHead { held_until: Some(at), hold: None, attempts, ..leased.head.clone() };
            // Refused, the lease ran out and somebody else has the lane.
            if self.table.set_lane_head(lane, &leased.head, waiting).await?.is_some() {
                self.wake(Wake::Lane { lane: lane.to_string() }, at).await;
                if at - now >= TOO_LONG_FOR_THE_NEXT {
                    // What waits behind it may go to others.
                    self.drain_later(lane, now).await;
                }
            }
        }
        let (old, passed_on): (Vec<_>, Vec<_>) =
            expired.into_iter().partition(|(_, notification)| now - notification.at >= GIVE_UP_AFTER);
        let tries = if attempts == 1 { "one try".to_owned() } else { format!("{attempts} tries") };
        for (given_up, after) in [(passed_on, tries.as_str()), (old, "24 hours")] {
            let error = format!("given up after {after}: {error}");
            self.settle(lane, receiver, &given_up, Some(error), &leased, now).await?;
        }
        Ok(if fresh.is_empty() { Drained::More } else { Drained::Done })
    }

    /// Ends a notification at one receiver, taken or with an error for good, and then takes the entry out of its lane: a crash
    /// between the two is seen by the next sender.
    async fn finish(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        (entry, notification): (&LaneEntry, &Notification),
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.end(lane, receiver, notification, error, now).await?;
        Ok(self.table.leave_lane(lane, entry).await?)
    }

    /// Ends a notification at one receiver.
    async fn end(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        notification: &Notification,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if let Some(error) = &error {
            metrics::counter!("medic_notifications_failed_total").increment(1);
            tracing::error!(%lane, owner = %notification.owner(), error, "a notification was not delivered");
        }
        self.record(receiver, notification, error, now).await
    }

    /// Records what became of a notification at one receiver; where it failed for good, the next one has its turn.
    async fn record(
        &self,
        receiver: &Receiver,
        notification: &Notification,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let Some(owed) = notification.outcome(receiver) else { return Ok(()) };
        let outcome = Outcome { at: Some(now), error, ..owed.anew() };
        let next = if outcome.error.is_some() { notification.next_after(receiver) } else { None };
        let passed_on = match next {
            Some(next) => self.pass_on(notification, &outcome, next, now).await?,
            None => false,
        };
        if !passed_on && self.table.settle(notification, &outcome).await? {
            self.table.end_notification(notification).await?;
        }
        Ok(())
    }

    /// Gives the next target its turn. Answers whether it has it: that an alert closed is no news.
    async fn pass_on(
        &self,
        notification: &Notification,
        failed: &Outcome,
        next: &Outcome,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        if self.table.pass_on(notification, failed, next).await? == Commit::Conflict {
            let seen = self
                .table
                .notifications_by_id(&[(notification.owner(), notification.id)])
                .await?
                .remove(&notification.id)
                .transpose()?;
            if seen.is_some_and(|seen| is_unanswered(&seen, &failed.receiver)) {
                return match notification.owner() {
                    NotificationOwner::Alert(id)
                        if !self.table.alerts_by_id([id]).await?.iter().any(Alert::raises_alert) =>
                    {
                        Ok(false)
                    }
                    // Others kept writing to the notification or to the alert.
                    NotificationOwner::Alert(_)
                    | NotificationOwner::Window(_)
                    | NotificationOwner::Execution(_)
                    | NotificationOwner::Circuit(_) => Err(Error::contended(notification.id)),
                };
            }
        }
        self.wake(Wake::Lane { lane: Lane::of(&next.receiver).to_string() }, now).await;
        Ok(true)
    }
}

/// How many notifications a receiver takes in one message.
pub(crate) const fn most_at_once(receiver: &Receiver) -> usize {
    if matches!(receiver, Receiver::Slack { .. }) { GROUP } else { 1 }
}

/// How many of the first notifications may share a message.
fn together(owed: &[Told]) -> usize {
    let alone = owed.iter().position(|(_, notification)| notification.stands_alone());
    alone.map_or(owed.len(), |first| first.max(1))
}

/// Whether nothing came of a notification at a receiver yet. A read may still show a turn as waiting that has come.
fn is_unanswered(notification: &Notification, receiver: &Receiver) -> bool {
    notification.outcome(receiver).is_some_and(|outcome| outcome.at.is_none())
}
