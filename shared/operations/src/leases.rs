//! Who sends in a lane: one sender at a time, by a write of the lane's head, and no faster than its receiver takes it.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Pace, Receiver};
use outbound::Wake;
use store::{Lane, LaneEntry, LaneHead, LaneHold, LaneView};

use crate::medic::SlackDelivery;
use crate::notify::{TOO_LONG_FOR_THE_NEXT, most_at_once};
use crate::{Error, Medic};

/// A lane that this sender holds, by the first of its entries.
pub(crate) struct Leased {
    pub(crate) head: LaneHead,
    /// As it was before.
    pub(crate) seen: LaneHead,
    pub(crate) entries: Vec<LaneEntry>,
}

impl Leased {
    pub(crate) fn is_by(&self, entry: &LaneEntry) -> bool {
        self.head.hold.as_ref().is_some_and(|hold| hold.place == entry.place)
    }
}

/// A sender that dies frees its lane after this; longer than a send can take.
pub(crate) const LEASE: TimeDelta = TimeDelta::seconds(25);
/// Entries read at a time.
const PAGE: i32 = 2_001;
/// Items of a lane that a first look reads: enough for most, and at no more than one of them costs.
const FIRST_LOOK: i32 = 8;

impl Medic {
    /// Takes the lane by its first entry; or answers that there is none, that somebody else has the lane, or that its
    /// receiver is to be told no more for the moment. Then it is looked at again when that ends.
    pub(crate) async fn lease(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        now: DateTime<Utc>,
    ) -> Result<Option<Leased>, Error> {
        let LaneView { head: seen, mut entries, is_whole } = self.table.look_at_lane(lane, FIRST_LOOK).await?;
        if entries.is_empty() {
            return Ok(None);
        }
        if let Some(until) = self.busy_until(lane, &seen, &entries, is_whole, now).await? {
            self.watch_lane(lane, until, now).await;
            if seen.hold.is_none() && until - now >= TOO_LONG_FOR_THE_NEXT {
                if !is_whole {
                    entries = self.table.lane(lane, PAGE).await?;
                }
                self.pass_on_what_waits(lane, receiver, entries, now).await?;
            }
            return Ok(None);
        }
        if let Some(at) = seen.pace.map(|pace| pace.next_at()).filter(|at| *at > now) {
            self.watch_lane(lane, at, now).await;
            return Ok(None);
        }
        if !is_whole && most_at_once(receiver) > 1 {
            entries = self.table.lane(lane, PAGE).await?;
        }
        let Some(first) = entries.first() else { return Ok(None) };
        let until = now + LEASE;
        let hold = LaneHold { holder: self.instance.clone(), place: first.place.clone() };
        let is_paced = matches!((receiver, &self.slack), (Receiver::Slack { .. }, SlackDelivery::Post(_)));
        let head = LaneHead {
            held_until: Some(until),
            hold: Some(hold),
            attempts: 0,
            pace: if is_paced { Some(Pace::and_one(seen.pace, now)) } else { None },
            ..seen.clone()
        };
        let Some(head) = self.table.set_lane_head(lane, &seen, head).await? else {
            // Somebody was first; or this very write was made, and its answer lost.
            self.wake(Wake::Lane { lane: lane.to_string() }, until).await;
            return Ok(None);
        };
        Ok(Some(Leased { head, seen, entries }))
    }

    /// Until when a lane is somebody's, or waits for another try. Where this is the only process, another one's hold is a
    /// dead one's.
    async fn busy_until(
        &self,
        lane: &Lane,
        head: &LaneHead,
        entries: &[LaneEntry],
        is_whole: bool,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(until) = head.held_until.filter(|until| *until > now) else { return Ok(None) };
        let Some(LaneHold { holder, place }) = &head.hold else { return Ok(Some(until)) };
        if self.settings.only_process && *holder != self.instance {
            return Ok(None);
        }
        let is_seen = entries.iter().any(|entry| entry.place == *place);
        let may_come = !is_whole && entries.last().is_some_and(|last| last.place < *place);
        let is_held = is_seen || (may_come && self.table.is_in_lane(lane, place).await?);
        Ok(is_held.then_some(until))
    }

    /// Holds a lane for longer. Answers whether it still was this sender's.
    pub(crate) async fn renew(
        &self,
        lane: &Lane,
        leased: &mut Leased,
        pace: Option<Pace>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let renewed = LaneHead { held_until: Some(now + LEASE), pace, ..leased.head.clone() };
        let Some(head) = self.table.set_lane_head(lane, &leased.head, renewed).await? else { return Ok(false) };
        leased.head = head;
        Ok(true)
    }

    /// Gives a lane back in which nothing was sent.
    pub(crate) async fn release(&self, lane: &Lane, leased: Leased) -> Result<(), Error> {
        let Leased { head, seen, entries: _ } = leased;
        let free = LaneHead { held_until: None, hold: None, attempts: seen.attempts, pace: seen.pace, ..head.clone() };
        // Refused, the lease ran out before.
        let _released: Option<LaneHead> = self.table.set_lane_head(lane, &head, free).await?;
        Ok(())
    }

    /// Looks at a lane again when somebody's hold of it ends, should its holder have died.
    pub(crate) async fn watch_lane(&self, lane: &Lane, until: DateTime<Utc>, now: DateTime<Utc>) {
        if self.sent_lane_wakeups.is_new(&lane.to_string(), until, now) {
            self.wake(Wake::Lane { lane: lane.to_string() }, until).await;
        }
    }

    /// Whether somebody is sending this delivery. Where this is the only process, another one's hold is a dead one's.
    pub(crate) fn is_leased(&self, entry: &LaneEntry, now: DateTime<Utc>) -> bool {
        entry.is_leased(now, |holder| self.settings.only_process && holder != self.instance)
    }
}
