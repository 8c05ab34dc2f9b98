//! Leases a lane: one sender at a time, by a write of the lane's head, and no faster than its receiver takes messages.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Pace, Receiver};
use outbound::Wake;
use store::{Lane, LaneEntry, LaneHead, LaneHold, LanePage};

use super::drain::{ReceiverLane, TOO_LONG_FOR_THE_NEXT, max_at_once};
use crate::medic::SlackDelivery;
use crate::{Error, Medic};

/// What became of an attempt to lease a lane.
pub(super) enum Lease {
    /// The lane is this sender's.
    Held(Box<Leased>),
    /// The lane waits for another attempt, so long that other targets should get what waits in it.
    Waiting { entries: Vec<LaneEntry> },
    /// Nothing can be sent now: the lane is empty, somebody else has it, or its receiver takes no more for the moment. Then
    /// it is looked at again when that ends.
    Nothing,
}

/// A lane that this sender holds, by the first of its entries.
pub(super) struct Leased {
    pub(super) head: LaneHead,
    /// As it was before.
    pub(super) old_head: LaneHead,
    pub(super) entries: Vec<LaneEntry>,
}

impl Leased {
    /// Returns whether the lease ends when this entry leaves the lane.
    pub(super) fn is_by(&self, entry: &LaneEntry) -> bool {
        self.head.hold.as_ref().is_some_and(|hold| hold.is_by(entry))
    }
}

/// How long a lease lasts, after which the lane of a sender that died is free. Longer than a send can take.
const LEASE: TimeDelta = TimeDelta::seconds(25);
/// Entries read at a time.
const PAGE: i32 = 2_001;
/// Items of a lane that a first read returns: enough for most, and at no higher cost than one of them.
const FIRST_LOOK: i32 = 8;

impl Medic {
    /// Leases a lane by its first entry.
    pub(super) async fn lease(&self, at: ReceiverLane<'_>, now: DateTime<Utc>) -> Result<Lease, Error> {
        let ReceiverLane { lane, receiver } = at;
        let LanePage { head: old_head, mut entries, is_whole } = self.table.read_lane(lane, FIRST_LOOK).await?;
        if entries.is_empty() {
            return Ok(Lease::Nothing);
        }
        if let Some(until) = self.busy_until(lane, &old_head, &entries, is_whole, now).await? {
            self.schedule_lane_wakeup(lane.to_string(), until, now).await;
            if old_head.hold.is_some() || until - now < TOO_LONG_FOR_THE_NEXT {
                return Ok(Lease::Nothing);
            }
            if !is_whole {
                entries = self.table.lane(lane, PAGE).await?;
            }
            return Ok(Lease::Waiting { entries });
        }
        if let Some(at) = old_head.pace.map(|pace| pace.next_at()).filter(|at| *at > now) {
            self.schedule_lane_wakeup(lane.to_string(), at, now).await;
            return Ok(Lease::Nothing);
        }
        if !is_whole && max_at_once(receiver) > 1 {
            entries = self.table.lane(lane, PAGE).await?;
        }
        let Some(first) = entries.first() else { return Ok(Lease::Nothing) };
        let until = now + LEASE;
        let hold = LaneHold { holder: self.instance.clone(), place: first.place.clone(), queued_at: first.queued_at };
        let is_paced = matches!((receiver, &self.slack), (Receiver::Slack { .. }, SlackDelivery::Post(_)));
        let head = LaneHead {
            held_until: Some(until),
            hold: Some(hold),
            attempts: 0,
            pace: if is_paced { Some(Pace::and_one(old_head.pace, now)) } else { None },
            ..old_head.clone()
        };
        let Some(head) = self.set_head(lane, &old_head, head).await? else {
            // Somebody was first.
            self.wake(Wake::Lane { lane: lane.to_string() }, until).await;
            return Ok(Lease::Nothing);
        };
        Ok(Lease::Held(Box::new(Leased { head, old_head, entries })))
    }

    /// Returns until when a lane is held, or waits for another attempt. A hold of a sender that is
    /// gone is none.
    async fn busy_until(
        &self,
        lane: &Lane,
        head: &LaneHead,
        entries: &[LaneEntry],
        is_whole: bool,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(until) = head.held_until.filter(|until| *until > now) else { return Ok(None) };
        let Some(hold) = &head.hold else { return Ok(Some(until)) };
        if self.is_gone(&hold.holder) {
            return Ok(None);
        }
        let is_listed = entries.iter().any(|entry| hold.is_by(entry));
        let may_come = !is_whole && entries.last().is_some_and(|last| last.place < hold.place);
        let is_held = is_listed || (may_come && self.table.is_held_by_entry(lane, hold).await?);
        Ok(is_held.then_some(until))
    }

    /// Extends a lease. Returns whether the lane was still this sender's.
    pub(super) async fn renew(
        &self,
        lane: &Lane,
        leased: &mut Leased,
        pace: Option<Pace>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let renewed = LaneHead { held_until: Some(now + LEASE), pace, ..leased.head.clone() };
        let Some(head) = self.set_head(lane, &leased.head, renewed).await? else { return Ok(false) };
        leased.head = head;
        Ok(true)
    }

    /// Writes a lane's head under a stamp of its own. None if somebody else was first.
    pub(super) async fn set_head(&self, lane: &Lane, old: &LaneHead, new: LaneHead) -> Result<Option<LaneHead>, Error> {
        Ok(self.table.set_lane_head(lane, old, LaneHead { stamp: self.new_stamp()?, ..new }).await?)
    }

    /// Releases a lane in which nothing was sent.
    pub(super) async fn release(&self, lane: &Lane, leased: Leased) -> Result<(), Error> {
        let Leased { head, old_head, entries: _ } = leased;
        let free =
            LaneHead { held_until: None, hold: None, attempts: old_head.attempts, pace: old_head.pace, ..head.clone() };
        // On a conflict the lease ran out before.
        let _released: Option<LaneHead> = self.set_head(lane, &head, free).await?;
        Ok(())
    }

    /// Returns whether a sender is known to be gone: it is another process, where this is the only one.
    fn is_gone(&self, holder: &str) -> bool {
        self.settings.only_process && holder != self.instance
    }
}
