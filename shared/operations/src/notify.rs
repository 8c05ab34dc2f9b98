//! Drains a lane: sends what one receiver is owed, in order, one sender at a time.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Alert, GIVE_UP_AFTER, Notice, NoticeId, NoticeKind, NoticeOwner, Outcome, Receiver, retry_delay};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use outbound::{Delivery, Wake};
use store::{Commit, Lane, LaneEntry, Owed};

use crate::error::error_chain;
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

/// A lane that is held by an entry until an instant.
struct Leased {
    first: LaneEntry,
    until: DateTime<Utc>,
}

/// An entry that is owed, with what it is to say.
type Told = (LaneEntry, Notice);

/// An entry with what it stands for.
struct Read {
    entry: LaneEntry,
    owner: NoticeOwner,
    id: NoticeId,
    notice: Result<Option<Notice>, store::Error>,
    moot: Option<&'static str>,
}

/// A sender that dies frees its lane after this; longer than the two sends of one step can take.
pub(crate) const LEASE: TimeDelta = TimeDelta::seconds(25);
/// Entries read at a time; a lease among them is seen.
pub(crate) const PAGE: i32 = 1_001;
/// Where another target waits for its turn, one that is to be tried again only after this has failed: by the waits of
/// `retry_delay` that is at the fourth try, some seven seconds and what each try takes after the first.
const TOO_LONG_FOR_THE_NEXT: TimeDelta = TimeDelta::seconds(8);
/// What a send takes at most: two posts of 10 s.
const LONGEST_SEND: TimeDelta = TimeDelta::seconds(20);
/// The most notices in one Slack message. Of more than a few it tells their number and the first names.
const GROUP: usize = 1_000;
/// Reads and writes of a group that are under way at once: a thousand notices take some seconds, and a lease is longer.
const AT_ONCE: usize = 16;
/// Notices that are read by one request.
const READ_AHEAD: usize = 100;
/// Slack takes about one message a second for each channel. <https://docs.slack.dev/apis/web-api/rate-limits>
const SLACK_PACE: TimeDelta = TimeDelta::seconds(1);
/// Reads of two items may see one of them before the other, though they were written together.
const NOTICE_VISIBLE_AFTER: TimeDelta = TimeDelta::seconds(1);
/// Past this, a notice that is not there will not come.
const NOTICE_GONE_AFTER: TimeDelta = TimeDelta::hours(1);

impl Medic {
    /// Sends what comes next in a lane.
    pub async fn drain(&self, lane: &Lane, now: Now<'_>) -> Result<Drained, Error> {
        let Some(receiver) = lane.receiver() else {
            return Err(Error::NotFound(format!("No receiver has the lane {lane}")));
        };
        if let Receiver::Webhook { webhook_id } = receiver {
            return self.drain_webhook(lane, webhook_id, now).await;
        }
        let Leased { first, mut until } = match self.lease(lane, &receiver, now()).await? {
            Ok(leased) => leased,
            Err(drained) => return Ok(drained),
        };
        // Read again under the lease: whoever holds another entry came first.
        let entries = self.table.lane(lane, PAGE).await?;
        let mine = |entry: &LaneEntry| entry.place == first.place;
        if entries.iter().any(|entry| !mine(entry) && self.is_held(entry, now())) {
            self.release(lane, &first, until, now()).await?;
            return Ok(Drained::More);
        }
        let more = entries.len() > GROUP;
        let most = if matches!(receiver, Receiver::Slack { .. }) { GROUP } else { 1 };
        let mut owed = self.still_owed(lane, &receiver, entries, most, now()).await?;
        owed.truncate(together(&owed));
        let notices: Vec<_> = owed.iter().map(|(_, notice)| notice.clone()).collect();
        if notices.is_empty() {
            self.release(lane, &first, until, now()).await?;
            return Ok(Drained::More);
        }
        // Reading them may have taken a while.
        if now() + LONGEST_SEND > until {
            let renewed = now() + LEASE;
            let held = LaneEntry { held_until: Some(until), ..first.clone() };
            if self.table.hold(lane, &held, &self.instance, renewed).await? == Commit::Refused {
                return Ok(Drained::More);
            }
            until = renewed;
        }
        let mut sent = notices.as_slice();
        let mut delivery = self.send(&receiver, sent, now()).await?;
        if matches!(delivery, Delivery::Refused { .. }) && sent.len() > 1 {
            // One of them is at fault: it must not take the others with it.
            sent = &notices[..1];
            delivery = self.send(&receiver, sent, now()).await?;
        }
        if let Delivery::Retry { error, after } = &delivery {
            return self.try_again(lane, &receiver, &owed, until, (error, *after), now()).await;
        }
        let error = match delivery {
            Delivery::Refused { error } => Some(error),
            Delivery::Accepted | Delivery::Retry { .. } => None,
        };
        // The entry that holds the lane goes last: with it gone, another sender would take what is sent and not recorded.
        let (holds, others): (Vec<_>, Vec<_>) = owed.iter().take(sent.len()).partition(|(entry, _)| mine(entry));
        for told in [others, holds] {
            let entries: Vec<_> = told.iter().map(|(entry, _)| entry).collect();
            let settled: Vec<_> =
                told.iter().map(|(_, notice)| self.end(lane, &receiver, notice, error.clone(), now())).collect();
            stream::iter(settled).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            self.table.leave_lane_all(lane, &entries).await?;
        }
        if sent.iter().all(|notice| notice.id.to_string() != first.place) {
            self.release(lane, &first, until, now()).await?;
        }
        if more && matches!(receiver, Receiver::Slack { .. }) {
            self.pace(lane, now()).await?;
            return Ok(Drained::Done);
        }
        Ok(Drained::More)
    }

    /// Leaves the rest of a lane to another message.
    pub async fn drain_later(&self, lane: &Lane, now: DateTime<Utc>) {
        self.wake(Wake::Lane { lane: lane.to_string() }, now).await;
    }

    /// Takes the lane by its first entry that is still owed; or answers that there is none, or that somebody else has the
    /// lane. Then it is looked at again when that lease ends, should its holder have died.
    async fn lease(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        now: DateTime<Utc>,
    ) -> Result<Result<Leased, Drained>, Error> {
        // A lane with much in it is held by its first entry more often than not.
        let (mut entries, has_more) = self.table.lane_and_more(lane, 1).await?;
        let is_sending = entries.first().is_some_and(|entry| self.is_leased(entry, now));
        if has_more && !is_sending {
            entries = self.table.lane(lane, PAGE).await?;
        }
        let held_until =
            entries.iter().filter(|entry| self.is_held(entry, now)).filter_map(|entry| entry.held_until).max();
        if let Some(until) = held_until {
            self.watch_lane(lane, until, now).await;
            let is_sending = entries.iter().any(|entry| self.is_leased(entry, now));
            if !is_sending && until - now >= TOO_LONG_FOR_THE_NEXT {
                self.pass_on_what_waits(lane, receiver, entries, now).await?;
            }
            return Ok(Err(Drained::Done));
        }
        let is_full = i32::try_from(entries.len()).is_ok_and(|entries| entries == PAGE);
        let Some((first, _)) = self.still_owed(lane, receiver, entries, 1, now).await?.into_iter().next() else {
            // A full page of what is owed no more may have something behind it.
            return Ok(Err(if is_full { Drained::More } else { Drained::Done }));
        };
        let until = now + LEASE;
        if self.table.hold(lane, &first, &self.instance, until).await? == Commit::Done {
            return Ok(Ok(Leased { first, until }));
        }
        // Somebody was first; or this very write was made, and its answer lost.
        self.wake(Wake::Lane { lane: lane.to_string() }, until).await;
        Ok(Err(Drained::Done))
    }

    /// Lets the next targets have what waits in a lane whose receiver is not to be tried for long. The lane is held, by an
    /// entry that waits, and so nobody sends.
    async fn pass_on_what_waits(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        entries: Vec<LaneEntry>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let entries = entries.into_iter().filter(|entry| entry.others_wait).collect();
        for (entry, notice) in self.still_owed(lane, receiver, entries, GROUP, now).await? {
            if notice.next_after(receiver).is_some() {
                let error = "given up: it waits behind what this receiver does not take".to_owned();
                self.finish(lane, receiver, (&entry, &notice), Some(error), now).await?;
            }
        }
        Ok(())
    }

    /// Looks at a lane again when somebody's hold of it ends, should its holder have died.
    pub(crate) async fn watch_lane(&self, lane: &Lane, until: DateTime<Utc>, now: DateTime<Utc>) {
        if self.lanes_watched.is_new(&lane.to_string(), until, now) {
            self.wake(Wake::Lane { lane: lane.to_string() }, until).await;
        }
    }

    /// Whether somebody is sending this entry.
    pub(crate) fn is_leased(&self, entry: &LaneEntry, now: DateTime<Utc>) -> bool {
        entry.is_leased(now, |holder| self.settings.only_process && holder != self.instance)
    }

    /// Whether the lane is somebody's by this entry. Where this is the only process, another one's hold is a dead one's.
    fn is_held(&self, entry: &LaneEntry, now: DateTime<Utc>) -> bool {
        entry.is_held(now, |holder| self.settings.only_process && holder != self.instance)
    }

    /// The first entries that are still to be sent; those before them that are not leave the lane.
    async fn still_owed(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        entries: Vec<LaneEntry>,
        most: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<Told>, Error> {
        let mut owed = Vec::new();
        // No more is read ahead than can be sent.
        let reads: Vec<_> =
            entries.chunks(most.min(READ_AHEAD)).map(|some| self.read_notices(lane, receiver, some)).collect();
        let mut reads = stream::iter(reads).buffered(if most > READ_AHEAD { AT_ONCE } else { 1 });
        let mut ready = VecDeque::new();
        while owed.len() < most {
            let Some(Read { entry, owner, id, notice, moot }) = ready.pop_front() else {
                match reads.next().await {
                    Some(more) => ready.extend(more?),
                    None => break,
                }
                continue;
            };
            let notice = match notice {
                // It would hold up the lane for good.
                Err(error @ store::Error::Corrupt { .. }) => {
                    tracing::error!(%lane, error = %error_chain(&error), "a notice cannot be read, and is dropped");
                    metrics::counter!("medic_notices_failed_total").increment(1);
                    self.table.leave_lane(lane, &entry).await?;
                    continue;
                }
                read => read?,
            };
            let Some(notice) = notice else {
                if now - id.time() < NOTICE_GONE_AFTER {
                    self.wake(Wake::Lane { lane: lane.to_string() }, now + NOTICE_VISIBLE_AFTER).await;
                    break;
                }
                tracing::error!(%lane, %owner, "a lane names a notice that is gone");
                metrics::counter!("medic_notices_failed_total").increment(1);
                self.table.leave_lane(lane, &entry).await?;
                continue;
            };
            if !is_unanswered(&notice, receiver) {
                self.table.leave_lane(lane, &entry).await?;
            } else if let Some(why) = moot {
                self.record(receiver, &notice, Some(why.to_owned()), now).await?;
                self.table.leave_lane(lane, &entry).await?;
            } else {
                owed.push((entry, notice));
            }
        }
        Ok(owed)
    }

    /// Reads the notices of entries, and whether they are still to be sent.
    async fn read_notices(&self, lane: &Lane, receiver: &Receiver, entries: &[LaneEntry]) -> Result<Vec<Read>, Error> {
        let mut ids = Vec::new();
        for entry in entries {
            let Owed::Notice(owner, id) = entry.owed else {
                return Err(Error::NotFound(format!("There is no notice {} in {lane}", entry.place)));
            };
            ids.push((owner, id));
        }
        let mut notices = self.table.notices_by_id(&ids).await?;
        let passing = notices.values().flatten().filter_map(Notice::alert).filter(|(kind, _)| kind.is_passing());
        let alert_ids: BTreeSet<_> = passing.map(|(_, alert)| alert.id).collect();
        let alerts = self.table.alerts_by_id(alert_ids).await?;
        let mut read = Vec::with_capacity(entries.len());
        for (entry, (owner, id)) in entries.iter().zip(ids) {
            let notice = notices.remove(&id).transpose();
            let moot = match &notice {
                Ok(Some(notice)) if is_unanswered(notice, receiver) => self.is_moot(notice, &alerts, receiver).await?,
                Ok(_) | Err(_) => None,
            };
            read.push(Read { entry: entry.clone(), owner, id, notice, moot });
        }
        Ok(read)
    }

    /// Why a notice need not be sent any more, or never: what it says has passed, or its receiver did not hear of the
    /// alert that it ends.
    async fn is_moot(
        &self,
        notice: &Notice,
        alerts: &[Alert],
        receiver: &Receiver,
    ) -> Result<Option<&'static str>, Error> {
        let Some((kind, told)) = notice.alert() else { return self.is_answered(notice, receiver).await };
        if kind.is_passing() {
            let overtaken = Some("overtaken by what came after it");
            let Some(alert) = alerts.iter().find(|alert| alert.id == told.id) else { return Ok(overtaken) };
            let newer = kind == NoticeKind::Reminder && (alert.cycle > told.cycle || alert.acknowledged_at.is_some());
            if !alert.is_open() || newer {
                return Ok(overtaken);
            }
        }
        if !kind.is_news() && !self.has_heard(told.id, receiver).await? {
            return Ok(Some("not told of the alert, and so not of this"));
        }
        Ok(None)
    }

    /// Gives up what is too old, and puts off the rest.
    async fn try_again(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        owed: &[Told],
        lease: DateTime<Utc>,
        (error, after): (&str, Option<TimeDelta>),
        now: DateTime<Utc>,
    ) -> Result<Drained, Error> {
        let attempts = owed.iter().map(|(entry, _)| entry.attempts).max().unwrap_or_default().saturating_add(1);
        let at = now + retry_delay(attempts).max(after.unwrap_or_default());
        tracing::warn!(%lane, attempts, error, "a notice was not taken");
        let is_over = |(_, notice): &&Told| {
            let others_wait = notice.next_after(receiver).is_some();
            now - notice.at >= GIVE_UP_AFTER || (others_wait && at - now >= TOO_LONG_FOR_THE_NEXT)
        };
        let (expired, fresh): (Vec<_>, Vec<_>) = owed.iter().partition(is_over);
        // Before the lease's own entry may leave, the lane is held by one that stays.
        if let Some((first, _)) = fresh.first() {
            // Refused, the lease ran out and somebody else has the lane.
            if self.table.back_off(lane, first, lease, now, at, attempts).await? == Commit::Done {
                self.wake(Wake::Lane { lane: lane.to_string() }, at).await;
                if at - now >= TOO_LONG_FOR_THE_NEXT {
                    // What waits behind it may go to others.
                    self.drain_later(lane, now).await;
                }
            }
        }
        for (entry, notice) in expired {
            let after = match attempts {
                _ if now - notice.at >= GIVE_UP_AFTER => "24 hours".to_owned(),
                1 => "one try".to_owned(),
                tries => format!("{tries} tries"),
            };
            let error = format!("given up after {after}: {error}");
            self.finish(lane, receiver, (entry, notice), Some(error), now).await?;
        }
        Ok(if fresh.is_empty() { Drained::More } else { Drained::Done })
    }

    /// Gives the lane back.
    async fn release(
        &self,
        lane: &Lane,
        held: &LaneEntry,
        lease: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        // Refused, the lease ran out before.
        let _released: Commit = self.table.back_off(lane, held, lease, now, now, held.attempts).await?;
        Ok(())
    }

    /// Ends a notice at one receiver, taken or with an error for good, and then takes the entry out of its lane: a crash
    /// between the two is seen by the next sender.
    async fn finish(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        (entry, notice): (&LaneEntry, &Notice),
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.end(lane, receiver, notice, error, now).await?;
        Ok(self.table.leave_lane(lane, entry).await?)
    }

    /// Ends a notice at one receiver.
    async fn end(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        notice: &Notice,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if let Some(error) = &error {
            metrics::counter!("medic_notices_failed_total").increment(1);
            tracing::error!(%lane, owner = %notice.owner(), error, "a notice was not delivered");
        }
        self.record(receiver, notice, error, now).await
    }

    /// Records what became of a notice at one receiver; where it failed for good, the next one has its turn.
    async fn record(
        &self,
        receiver: &Receiver,
        notice: &Notice,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let Some(owed) = notice.outcome(receiver) else { return Ok(()) };
        let outcome = Outcome { at: Some(now), error, ..owed.anew() };
        let next = if outcome.error.is_some() { notice.next_after(receiver) } else { None };
        let passed_on = match next {
            Some(next) => self.pass_on(notice, &outcome, next, now).await?,
            None => false,
        };
        if !passed_on && self.table.settle(notice, &outcome).await? {
            self.table.end_notice(notice).await?;
        }
        Ok(())
    }

    /// Gives the next target its turn. Answers whether it has it: that an alert closed is no news.
    async fn pass_on(
        &self,
        notice: &Notice,
        failed: &Outcome,
        next: &Outcome,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        if self.table.pass_on(notice, failed, next).await? == Commit::Refused {
            let seen =
                self.table.notices_by_id(&[(notice.owner(), notice.id)]).await?.remove(&notice.id).transpose()?;
            if seen.is_some_and(|seen| is_unanswered(&seen, &failed.receiver)) {
                return match notice.owner() {
                    NoticeOwner::Alert(id) if !self.table.alerts_by_id([id]).await?.iter().any(Alert::is_news) => {
                        Ok(false)
                    }
                    // Others kept writing to the notice or to the alert.
                    NoticeOwner::Alert(_)
                    | NoticeOwner::Window(_)
                    | NoticeOwner::Execution(_)
                    | NoticeOwner::Circuit(_) => Err(Error::contended(notice.id)),
                };
            }
        }
        self.wake(Wake::Lane { lane: Lane::of(&next.receiver).to_string() }, now).await;
        Ok(true)
    }

    /// Keeps a lane with more to send at its receiver's pace.
    async fn pace(&self, lane: &Lane, now: DateTime<Utc>) -> Result<(), Error> {
        let at = now + SLACK_PACE;
        if let Some(next) = self.table.lane(lane, 1).await?.first()
            && self.table.back_off(lane, next, now, now, at, next.attempts).await? == Commit::Done
        {
            self.wake(Wake::Lane { lane: lane.to_string() }, at).await;
        }
        Ok(())
    }
}

/// How many of the first notices may share a message.
fn together(owed: &[Told]) -> usize {
    let alone = owed.iter().position(|(_, notice)| notice.stands_alone());
    alone.map_or(owed.len(), |first| first.max(1))
}

/// Whether nothing came of a notice at a receiver yet. A read may still show a turn as waiting that has come.
fn is_unanswered(notice: &Notice, receiver: &Receiver) -> bool {
    notice.outcome(receiver).is_some_and(|outcome| outcome.at.is_none())
}
