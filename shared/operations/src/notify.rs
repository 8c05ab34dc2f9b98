//! Drains a lane: sends what one receiver is owed, in order, one sender at a time.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{GIVE_UP_AFTER, Notice, NoticeKind, Outcome, Receiver, retry_delay};
use outbound::{Delivery, Slack, Wake};
use store::{Commit, Lane, LaneEntry};

use crate::error::error_chain;
use crate::medic::SlackDelivery;
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
type Owed = (LaneEntry, Notice);

/// A sender that dies frees its lane after this; longer than the two sends of one step can take.
const LEASE: TimeDelta = TimeDelta::seconds(25);
/// Entries read at a time; a lease among them is seen.
const PAGE: i32 = 101;
/// The most notices in one Slack message: two of the longest lines fit a block, and it has at most 50 blocks.
const GROUP: usize = 100;
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
        let Leased { first, until } = match self.lease(lane, &receiver, now()).await? {
            Ok(leased) => leased,
            Err(drained) => return Ok(drained),
        };
        // Read again under the lease: whoever holds another entry came first.
        let entries = self.table.lane(lane, PAGE).await?;
        let mine = |entry: &LaneEntry| entry.notice_id == first.notice_id;
        if entries.iter().any(|entry| !mine(entry) && self.is_held(entry, now())) {
            self.release(lane, &first, until, now()).await?;
            return Ok(Drained::More);
        }
        let more = entries.len() > GROUP;
        let most = if matches!(receiver, Receiver::Slack { .. }) { GROUP } else { 1 };
        let owed = self.still_owed(lane, &receiver, entries, most, now()).await?;
        let notices: Vec<_> = owed.iter().map(|(_, notice)| notice.clone()).collect();
        if notices.is_empty() {
            self.release(lane, &first, until, now()).await?;
            return Ok(Drained::More);
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
        for notice in sent {
            self.finish(lane, &receiver, notice, error.clone(), now()).await?;
        }
        if sent.iter().all(|notice| notice.id != first.notice_id) {
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
        let entries = self.table.lane(lane, PAGE).await?;
        let held_until =
            entries.iter().filter(|entry| self.is_held(entry, now)).filter_map(|entry| entry.held_until).max();
        if let Some(until) = held_until {
            if self.lanes_watched.is_new(&lane.to_string(), until, now) {
                self.wake(Wake::Lane { lane: lane.to_string() }, until).await;
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
    ) -> Result<Vec<Owed>, Error> {
        let mut owed = Vec::new();
        for entry in entries {
            if owed.len() == most {
                break;
            }
            let notice = match self.table.notice(entry.alert_id, entry.notice_id).await {
                // It would hold up the lane for good.
                Err(error @ store::Error::Corrupt { .. }) => {
                    tracing::error!(%lane, error = %error_chain(&error), "a notice cannot be read, and is dropped");
                    self.table.leave_lane(lane, entry.notice_id).await?;
                    continue;
                }
                read => read?,
            };
            let Some(notice) = notice else {
                if now - entry.notice_id.time() < NOTICE_GONE_AFTER {
                    self.wake(Wake::Lane { lane: lane.to_string() }, now + NOTICE_VISIBLE_AFTER).await;
                    break;
                }
                tracing::error!(%lane, alert.id = %entry.alert_id, "a lane names a notice that is gone");
                self.table.leave_lane(lane, entry.notice_id).await?;
                continue;
            };
            let sent = notice.outcomes.iter().any(|outcome| outcome.receiver == *receiver && outcome.at.is_some());
            if sent {
                self.table.leave_lane(lane, entry.notice_id).await?;
            } else if self.is_overtaken(&notice).await? {
                self.record(lane, receiver, &notice, Some("overtaken by what came after it".to_owned()), now).await?;
            } else {
                owed.push((entry, notice));
            }
        }
        Ok(owed)
    }

    /// Whether a notice of passing interest is of none any more.
    async fn is_overtaken(&self, notice: &Notice) -> Result<bool, Error> {
        if !notice.kind.is_passing() {
            return Ok(false);
        }
        let Some(alert) = self.table.alert(notice.alert.id).await? else {
            return Ok(true);
        };
        let newer = notice.kind == NoticeKind::Reminder
            && (alert.cycle > notice.alert.cycle || alert.acknowledged_at.is_some());
        Ok(!alert.is_open() || newer)
    }

    async fn send(&self, receiver: &Receiver, notices: &[Notice], now: DateTime<Utc>) -> Result<Delivery, Error> {
        let base_url = self.settings.base_url.as_deref();
        match (receiver, &self.slack, &self.pagerduty) {
            (Receiver::Slack { channel }, SlackDelivery::Post(slack), _) => {
                let delivery = slack.post(channel, notices, base_url).await;
                metrics::counter!("medic_slack_requests_total", "status" => delivery.label()).increment(1);
                Ok(delivery)
            }
            (Receiver::Slack { .. }, SlackDelivery::Print { keep }, _) => {
                for notice in notices {
                    let line = Slack::line(notice);
                    tracing::info!(alert.id = %notice.alert.id, "notice: {line}");
                    if *keep {
                        self.table.print(notice.id, &line, now + TimeDelta::days(30)).await?;
                    }
                }
                Ok(Delivery::Accepted)
            }
            (Receiver::PagerDuty { .. }, _, Some(pagerduty)) => {
                // One event for each notice: its group is always of one.
                let Some(notice) = notices.first() else { return Ok(Delivery::Accepted) };
                let delivery = pagerduty.send(notice, base_url).await;
                metrics::counter!("medic_pagerduty_requests_total", "status" => delivery.label()).increment(1);
                Ok(delivery)
            }
            (Receiver::PagerDuty { .. }, _, None) => {
                Ok(Delivery::Refused { error: "PagerDuty is not set up".to_owned() })
            }
        }
    }

    /// Gives up what is too old, and puts off the rest.
    async fn try_again(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        owed: &[Owed],
        lease: DateTime<Utc>,
        (error, after): (&str, Option<TimeDelta>),
        now: DateTime<Utc>,
    ) -> Result<Drained, Error> {
        let attempts = owed.iter().map(|(entry, _)| entry.attempts).max().unwrap_or_default().saturating_add(1);
        let at = now + retry_delay(attempts).max(after.unwrap_or_default());
        tracing::warn!(%lane, attempts, error, "a notice was not taken");
        let (expired, fresh): (Vec<_>, Vec<_>) = owed.iter().partition(|(_, notice)| now - notice.at >= GIVE_UP_AFTER);
        // Before the lease's own entry may leave, the lane is held by one that stays.
        if let Some((first, _)) = fresh.first() {
            // Refused, the lease ran out and somebody else has the lane.
            if self.table.back_off(lane, first, lease, now, at, attempts).await? == Commit::Done {
                self.wake(Wake::Lane { lane: lane.to_string() }, at).await;
            }
        }
        for (_, notice) in expired {
            let error = format!("given up after 24 hours: {error}");
            self.finish(lane, receiver, notice, Some(error), now).await?;
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

    /// Ends a notice at one receiver: taken, or with an error for good.
    async fn finish(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        notice: &Notice,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if let Some(error) = &error {
            metrics::counter!("medic_notices_failed_total", "receiver" => receiver.kind()).increment(1);
            tracing::error!(%lane, alert.id = %notice.alert.id, error, "a notice was not delivered");
        }
        self.record(lane, receiver, notice, error, now).await
    }

    /// Records an outcome, and then takes the entry out of its lane: a crash between the two is seen by the next sender.
    async fn record(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        notice: &Notice,
        error: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let outcome = Outcome { receiver: receiver.clone(), at: Some(now), error };
        if self.table.settle(notice, &outcome).await? {
            self.table.end_notice(notice).await?;
        }
        self.table.leave_lane(lane, notice.id).await?;
        Ok(())
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
