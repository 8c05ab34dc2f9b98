//! Drains a lane of notifications: sends what one receiver is due, in order, one sender at a time.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{GIVE_UP_AFTER, Notification, NotificationId, NotificationOwner, Pace, retry_delay};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use outbound::{Delivery, Slack, Wake};
use store::{LaneEntry, LaneHead, Queued};

use super::drain::{Drained, GROUP, ReceiverLane, TOO_LONG_FOR_THE_NEXT, is_pending, max_at_once};
use super::leases::{Lease, Leased};
use crate::error::error_chain;
use crate::{Error, Medic, Now};

/// An entry that is to be sent, with what it is to say.
type QueuedNotification = (LaneEntry, Notification);

/// What there is to do in a lane.
#[derive(Default)]
struct Work {
    to_send: Vec<QueuedNotification>,
    /// Entries that leave the lane unsent: what they stand for was settled.
    settled: Vec<LaneEntry>,
}

/// An entry with what it stands for.
struct Read {
    entry: LaneEntry,
    owner: NotificationOwner,
    id: NotificationId,
    notification: Result<Option<Notification>, store::Error>,
    superseded: Option<&'static str>,
}

/// A send that the receiver did not accept, and that is worth another attempt.
struct Failure {
    error: String,
    /// How long the receiver asked to wait.
    after: Option<TimeDelta>,
}

/// How long a send takes at most: a post of 10 s, and what is recorded of it.
const MAX_SEND: TimeDelta = TimeDelta::seconds(20);
/// Reads and writes of a group that are under way at once: two thousand notifications take some seconds, and a lease is
/// longer.
const AT_ONCE: usize = 16;
/// Notifications that are read by one request.
const READ_AHEAD: usize = 100;
/// Reads of two items may see one of them before the other, though they were written together.
const NOTIFICATION_VISIBLE_AFTER: TimeDelta = TimeDelta::seconds(1);
/// Past this, a notification that is not there will not come.
const NOTIFICATION_GONE_AFTER: TimeDelta = TimeDelta::hours(1);

impl Medic {
    /// Sends the notifications that come next in a lane.
    pub(super) async fn drain_notifications(&self, at: ReceiverLane<'_>, now: Now<'_>) -> Result<Drained, Error> {
        let mut leased = match self.lease(at, now()).await? {
            Lease::Held(leased) => *leased,
            Lease::Waiting { entries } => {
                self.pass_on_what_waits(at, entries, now()).await?;
                return Ok(Drained::Done);
            }
            Lease::Nothing => return Ok(Drained::Done),
        };
        let max = max_at_once(at.receiver);
        let entries = std::mem::take(&mut leased.entries);
        let Work { mut to_send, settled } = self.work_in(at, entries, max, now()).await?;
        to_send.truncate(together(&to_send));
        // The entry that holds the lane leaves it last: with it gone, another sender would take what is sent and not
        // recorded.
        let (holding, settled): (Vec<_>, Vec<_>) = settled.iter().partition(|entry| leased.is_by(entry));
        self.table.leave_lane_all(at.lane, &settled).await?;
        let drained = match (to_send.first(), holding.first()) {
            (Some(_), _) => self.send_group(at, &to_send, leased, now).await?,
            (None, Some(_)) => Drained::More,
            // The first notification is not to be seen yet.
            (None, None) => {
                self.release(at.lane, leased).await?;
                Drained::Done
            }
        };
        self.table.leave_lane_all(at.lane, &holding).await?;
        Ok(drained)
    }

    /// Sends notifications, and records what came of it.
    async fn send_group(
        &self,
        at: ReceiverLane<'_>,
        queued: &[QueuedNotification],
        mut leased: Leased,
        now: Now<'_>,
    ) -> Result<Drained, Error> {
        let notifications: Vec<_> = queued.iter().map(|(_, notification)| notification.clone()).collect();
        // Reading them may have taken a while.
        let is_short = leased.head.held_until.is_none_or(|until| now() + MAX_SEND > until);
        let pace = leased.head.pace;
        if is_short && !self.renew(at.lane, &mut leased, pace, now()).await? {
            return Ok(Drained::More);
        }
        let mut sent = queued;
        let mut delivery = self.send(at.receiver, &notifications, now()).await?;
        if let Delivery::Refused { error } = &delivery
            && sent.len() > 1
            && !Slack::refuses_channel(error)
        {
            // One of them is at fault: it must not take the others with it. This is one more message.
            sent = &queued[..1];
            let pace = leased.head.pace.map(|pace| Pace::and_one(Some(pace), now()));
            if !self.renew(at.lane, &mut leased, pace, now()).await? {
                return Ok(Drained::More);
            }
            delivery = self.send(at.receiver, &notifications[..1], now()).await?;
        }
        match delivery {
            Delivery::Accepted => self.settle(at, sent, None, &leased, now()).await?,
            Delivery::Refused { error } => self.settle(at, sent, Some(error), &leased, now()).await?,
            Delivery::Retry { error, after } => {
                return self.try_again(at, queued, leased, Failure { error, after }, now()).await;
            }
        }
        Ok(Drained::More)
    }

    /// Ends notifications at their receiver, accepted or with an error for good, and then takes their entries out of
    /// the lane: the next sender sees a crash between the two. The entry that holds the lane is the last.
    async fn settle(
        &self,
        at: ReceiverLane<'_>,
        sent: &[QueuedNotification],
        error: Option<String>,
        leased: &Leased,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (holding, others): (Vec<_>, Vec<_>) = sent.iter().partition(|(entry, _)| leased.is_by(entry));
        for sent in [others, holding] {
            let ended: Vec<_> =
                sent.iter().map(|(_, notification)| self.end(at, notification, error.clone(), now)).collect();
            stream::iter(ended).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            let entries: Vec<_> = sent.iter().map(|(entry, _)| entry).collect();
            self.table.leave_lane_all(at.lane, &entries).await?;
        }
        Ok(())
    }

    /// Lets the next targets have what waits in a lane whose receiver is not tried again soon. The lane waits, and so
    /// nobody sends.
    async fn pass_on_what_waits(
        &self,
        at: ReceiverLane<'_>,
        entries: Vec<LaneEntry>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let entries = entries.into_iter().filter(|entry| entry.others_wait).collect();
        let Work { to_send, settled } = self.work_in(at, entries, GROUP, now).await?;
        self.table.leave_lane_all(at.lane, &settled.iter().collect::<Vec<_>>()).await?;
        for (entry, notification) in to_send {
            if notification.next_after(at.receiver).is_some() {
                let error = "gave up: it was queued behind a message that this receiver does not accept".to_owned();
                // A crash between the two is seen by the next sender.
                self.end(at, &notification, Some(error), now).await?;
                self.table.leave_lane(at.lane, &entry).await?;
            }
        }
        Ok(())
    }

    /// Returns the first entries that are still to be sent, and those before them that are not.
    async fn work_in(
        &self,
        at: ReceiverLane<'_>,
        entries: Vec<LaneEntry>,
        max: usize,
        now: DateTime<Utc>,
    ) -> Result<Work, Error> {
        let mut work = Work::default();
        // No more is read ahead than can be sent.
        let reads: Vec<_> = entries.chunks(max.min(READ_AHEAD)).map(|some| self.read_notifications(at, some)).collect();
        let mut reads = stream::iter(reads).buffered(if max > READ_AHEAD { AT_ONCE } else { 1 });
        let mut ready = VecDeque::new();
        while work.to_send.len() < max {
            let Some(Read { entry, owner, id, notification, superseded }) = ready.pop_front() else {
                match reads.next().await {
                    Some(more) => ready.extend(more?),
                    None => break,
                }
                continue;
            };
            let notification = match notification {
                // It would hold up the lane for good.
                Err(error @ store::Error::Corrupt { .. }) => {
                    report_dropped(at, owner, &error_chain(&error));
                    work.settled.push(entry);
                    continue;
                }
                read => read?,
            };
            let Some(notification) = notification else {
                if now - id.time() < NOTIFICATION_GONE_AFTER {
                    self.wake(Wake::Lane { lane: at.lane.to_string() }, now + NOTIFICATION_VISIBLE_AFTER).await;
                    break;
                }
                report_dropped(at, owner, "it is gone");
                work.settled.push(entry);
                continue;
            };
            if !is_pending(&notification, at.receiver) {
                work.settled.push(entry);
            } else if let Some(reason) = superseded {
                self.end_superseded(at.receiver, &notification, reason, now).await?;
                work.settled.push(entry);
            } else {
                work.to_send.push((entry, notification));
            }
        }
        Ok(work)
    }

    /// Reads the notifications of entries, and whether they are still to be sent.
    async fn read_notifications(&self, at: ReceiverLane<'_>, entries: &[LaneEntry]) -> Result<Vec<Read>, Error> {
        let mut ids = Vec::new();
        for entry in entries {
            let Queued::Notification(owner, id) = entry.queued else {
                return Err(Error::NotFound(format!("There is no notification {} in {}", entry.place, at.lane)));
            };
            ids.push((owner, id));
        }
        let mut notifications = self.table.notifications_by_id(&ids).await?;
        let passing = notifications.values().flatten().filter_map(Notification::alert);
        let alert_ids: BTreeSet<_> =
            passing.filter(|(kind, _)| kind.can_be_superseded()).map(|(_, alert)| alert.id).collect();
        let alerts = self.table.alerts_by_id(alert_ids).await?;
        let mut read = Vec::with_capacity(entries.len());
        for (entry, (owner, id)) in entries.iter().zip(ids) {
            let notification = notifications.remove(&id).transpose();
            let superseded = match &notification {
                Ok(Some(notification)) if is_pending(notification, at.receiver) => {
                    self.superseded_reason(notification, &alerts, at.receiver).await?
                }
                Ok(_) | Err(_) => None,
            };
            read.push(Read { entry: entry.clone(), owner, id, notification, superseded });
        }
        Ok(read)
    }

    /// Gives up what is too old, and postpones the rest.
    async fn try_again(
        &self,
        at: ReceiverLane<'_>,
        queued: &[QueuedNotification],
        leased: Leased,
        failure: Failure,
        now: DateTime<Utc>,
    ) -> Result<Drained, Error> {
        let Failure { error, after } = failure;
        let attempts = leased.old_head.attempts.saturating_add(1);
        let next = now + retry_delay(attempts).max(after.unwrap_or_default());
        tracing::warn!(lane = %at.lane, attempts, error, "a notification was not accepted");
        let is_over = |(_, notification): &QueuedNotification| {
            let others_wait = notification.next_after(at.receiver).is_some();
            now - notification.at >= GIVE_UP_AFTER || (others_wait && next - now >= TOO_LONG_FOR_THE_NEXT)
        };
        let (expired, fresh): (Vec<_>, Vec<_>) = queued.iter().cloned().partition(is_over);
        // Before the lease's own entry may leave, the lane waits.
        if !fresh.is_empty() {
            let waiting = LaneHead { held_until: Some(next), hold: None, attempts, ..leased.head.clone() };
            // On a conflict the lease ran out, and somebody else has the lane.
            if self.set_head(at.lane, &leased.head, waiting).await?.is_some() {
                self.wake(Wake::Lane { lane: at.lane.to_string() }, next).await;
                if next - now >= TOO_LONG_FOR_THE_NEXT {
                    // What waits behind it may go to others.
                    self.wake(Wake::Lane { lane: at.lane.to_string() }, now).await;
                }
            }
        }
        let (old, passed_on): (Vec<_>, Vec<_>) =
            expired.into_iter().partition(|(_, notification)| now - notification.at >= GIVE_UP_AFTER);
        let tries = if attempts == 1 { "one attempt".to_owned() } else { format!("{attempts} attempts") };
        for (given_up, after) in [(passed_on, tries.as_str()), (old, "24 hours")] {
            let error = format!("gave up after {after}: {error}");
            self.settle(at, &given_up, Some(error), &leased, now).await?;
        }
        Ok(if fresh.is_empty() { Drained::More } else { Drained::Done })
    }
}

/// Returns how many of the first notifications may share a message.
fn together(queued: &[QueuedNotification]) -> usize {
    let alone = queued.iter().position(|(_, notification)| notification.stands_alone());
    alone.map_or(queued.len(), |first| first.max(1))
}

/// Reports an entry that is dropped because it stands for nothing that can be sent.
fn report_dropped(at: ReceiverLane<'_>, owner: NotificationOwner, error: &str) {
    tracing::error!(lane = %at.lane, %owner, error, "a notification cannot be read, and is dropped");
    metrics::counter!("medic_notifications_failed_total").increment(1);
}
