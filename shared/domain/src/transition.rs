//! Judges a service: whether it is late, has recovered, or is due for a reminder. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{AlertId, Expectation, Outage, PendingEvent, Rule, RunsLook, Service};

/// What should happen to a service now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing until `due_at`; nothing at all without one.
    Rest { due_at: Option<DateTime<Utc>> },
    /// One transition; judge again after it.
    Act(Transition),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    Open(Opening),
    /// This many more intervals, or expected times, have passed.
    Remind {
        intervals: u32,
    },
    /// What decides on the service's runs has changed.
    LookAtRuns,
    /// A mute has ended.
    Unmute,
    /// The alert is open, and nobody was notified while it was muted.
    NotifyOpen,
    Close(Close),
    /// A deleted service without an alert leaves the table.
    Remove,
}

/// Why an alert opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Too few heartbeats; it was due at this instant.
    Overdue {
        since: DateTime<Utc>,
    },
    Pending(PendingEvent),
}

/// Why an alert closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    Recovered,
    /// An operator cleared `down`.
    SetUp,
    /// The service is no longer monitored: nobody is notified, but incidents are resolved.
    Unmonitored,
}

/// A service after a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub service: Service,
    /// Whether people are notified, and at which instant of the alert's own order.
    pub notification_at: Option<DateTime<Utc>>,
}

/// How often a service that maintenance holds is judged again, so that an end that comes early delays it by less than a
/// minute.
const HELD_LOOK: TimeDelta = TimeDelta::seconds(45);
/// How long the list of open runs may lag behind.
const SECOND_LOOK: TimeDelta = TimeDelta::seconds(10);

impl Service {
    /// Decides what should happen at `now`.
    pub fn judge(&self, now: DateTime<Utc>) -> Decision {
        match self.transition(now) {
            Some(transition) => Decision::Act(transition),
            None => Decision::Rest { due_at: self.timer() },
        }
    }

    fn transition(&self, now: DateTime<Utc>) -> Option<Transition> {
        let outage = self.outage.as_ref();
        if self.runs_look.is_some_and(|look| now >= look.at) {
            return Some(Transition::LookAtRuns);
        }
        if self.deleted || !self.active {
            return match outage {
                Some(_) => Some(Transition::Close(Close::Unmonitored)),
                None if self.deleted => Some(Transition::Remove),
                None => self.mute_ended(now).then_some(Transition::Unmute),
            };
        }
        if self.mute_ended(now) {
            return Some(Transition::Unmute);
        }
        if let (Some(_), Some(PendingEvent::SwitchedOff)) = (outage, self.pending) {
            return Some(Transition::Close(Close::Unmonitored));
        }
        let Some(outage) = outage else {
            if let Some(pending) = self.pending {
                return Some(Transition::Open(Opening::Pending(pending)));
            }
            let since = self.overdue_at();
            return (now >= since).then_some(Transition::Open(Opening::Overdue { since }));
        };
        if self.pending == Some(PendingEvent::SetUp) {
            return Some(Transition::Close(Close::SetUp));
        }
        if self.has_recovered(outage) {
            return Some(Transition::Close(Close::Recovered));
        }
        if !outage.notified && self.mute.is_none() {
            return Some(Transition::NotifyOpen);
        }
        (now >= outage.remind_at()).then(|| Transition::Remind { intervals: self.reminders(outage, now).0 })
    }

    fn mute_ended(&self, now: DateTime<Utc>) -> bool {
        self.mute.is_some_and(|mute| now >= mute.until)
    }

    /// Returns the instant from which the service is late, as it is now.
    pub fn overdue_at(&self) -> DateTime<Utc> {
        let Rule { expectation, grace, threshold: _ } = &self.rule;
        let heartbeat = self.recent.nth_newest().filter(|heartbeat| *heartbeat >= self.counts_from);
        match (expectation, heartbeat) {
            (Expectation::Interval(interval), heartbeat) => heartbeat.unwrap_or(self.counts_from) + *interval + *grace,
            (Expectation::Timetable(timetable), Some(heartbeat)) => timetable.overdue_after(heartbeat, *grace),
            (Expectation::Timetable(timetable), None) => timetable.overdue_from(self.counts_from, *grace),
        }
    }

    /// Returns how many reminders are due, and when the one after them is.
    fn reminders(&self, outage: &Outage, now: DateTime<Utc>) -> (u32, DateTime<Utc>) {
        self.rule.expectation.reminders(self.rule.grace, outage.next_reminder_at, now)
    }

    /// Returns whether enough heartbeats came again to be in time, the last of them one that recovers, and new since
    /// the opening. Judged at the time of the last heartbeat, so that a late look sees what a timely one would have
    /// seen.
    fn has_recovered(&self, outage: &Outage) -> bool {
        let (Some(newest), Some(oldest)) = (self.recent.stamps.first(), self.recent.nth_newest()) else {
            return false;
        };
        let recovers = self.recent.last_status.is_some_and(crate::Status::is_recovery);
        // One heartbeat is enough for a timetable.
        let in_time = |newest| {
            self.rule.expectation.interval().is_none_or(|interval| oldest > newest - interval - self.rule.grace)
        };
        *newest > outage.known && recovers && newest.time().is_some_and(in_time)
    }

    /// Returns the earliest of the service's timers.
    pub fn timer(&self) -> Option<DateTime<Utc>> {
        let mute = self.mute.map(|mute| mute.until);
        let judgement = self.active.then(|| self.outage.as_ref().map_or_else(|| self.overdue_at(), Outage::remind_at));
        let runs = self.runs_look.map(|look| look.at);
        mute.into_iter().chain(judgement).chain(runs).min()
    }

    /// Returns the service while its alert may not open because of maintenance that lasts until `end`, where that is known.
    /// What it reported itself is forgotten if it has recovered since.
    #[must_use]
    pub fn held(mut self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        let recovered =
            self.recent.nth_newest().is_some() && self.recent.last_status.is_some_and(crate::Status::is_recovery);
        if recovered && matches!(self.pending, Some(PendingEvent::Reported(_))) {
            self.pending = None;
        }
        let mute = self.mute.map(|mute| mute.until).filter(|until| *until > now);
        let runs = self.runs_look.map(|look| look.at);
        self.due_at = mute.into_iter().chain(runs).chain([held_look(end, now)]).min();
        self.version += 1;
        self
    }

    /// Returns the service after its alert opened as `alert_id`.
    pub fn opened(mut self, alert_id: AlertId, now: DateTime<Utc>) -> Change {
        let notified = self.mute.is_none();
        // What an operator sets, only later heartbeats clear; what the service reported, those after its report.
        let known = match self.pending {
            Some(PendingEvent::Reported(_)) => self.recent.failed,
            Some(PendingEvent::SetDown | PendingEvent::SetUp | PendingEvent::SwitchedOff) | None => {
                self.recent.newest()
            }
        };
        self.pending = None;
        self.outage = Some(Outage {
            alert_id,
            known,
            next_reminder_at: self.rule.expectation.next_reminder(self.rule.grace, now),
            cycled_at: now,
            cycle: 1,
            notified,
            acknowledged: false,
        });
        let notification_at = notified.then(|| self.next_notification_at(now));
        self.changed(notification_at)
    }

    /// Returns the service after a transition that needs no new alert.
    pub fn apply(mut self, transition: Transition, now: DateTime<Utc>) -> Change {
        let mut notification_at = None;
        match transition {
            Transition::Open(_) | Transition::Remove => {}
            Transition::Unmute => self.unmute(now),
            Transition::LookAtRuns => {
                let again = self.runs_look.is_some_and(|look| !look.last) && self.active;
                self.runs_look = again.then_some(RunsLook { at: now + SECOND_LOOK, last: true });
            }
            Transition::NotifyOpen => {
                if let Some(outage) = &mut self.outage {
                    outage.notified = true;
                    notification_at = Some(self.next_notification_at(now));
                }
            }
            Transition::Remind { intervals } => {
                let muted = self.is_muted(now);
                let next = self.outage.as_ref().map(|outage| self.reminders(outage, now).1);
                if let (Some(outage), Some(next)) = (&mut self.outage, next) {
                    outage.cycle = outage.cycle.saturating_add(intervals);
                    outage.cycled_at = now;
                    outage.next_reminder_at = next;
                    if outage.notified && !outage.acknowledged && !muted {
                        notification_at = Some(self.next_notification_at(now));
                    }
                }
            }
            Transition::Close(close) => {
                if self.outage.take().is_some_and(|outage| outage.notified) {
                    notification_at = Some(self.next_notification_at(now));
                }
                self.pending = None;
                match close {
                    Close::Recovered => self.unmute(now),
                    Close::SetUp => {
                        self.unmute(now);
                        self.counts_from = now;
                    }
                    Close::Unmonitored => {}
                }
            }
        }
        self.changed(notification_at)
    }

    /// Ends a mute, after which people are notified of runs that are stale.
    fn unmute(&mut self, now: DateTime<Utc>) {
        if self.mute.take().is_some_and(|mute| now < mute.until) {
            self.runs_look = Some(RunsLook { at: now, last: false });
        }
    }

    fn changed(mut self, notification_at: Option<DateTime<Utc>>) -> Change {
        self.version += 1;
        // A deleted one stays due until it is removed.
        if !self.deleted {
            self.due_at = self.timer();
        }
        Change { service: self, notification_at }
    }
}

/// Returns when to look again at what maintenance holds that lasts until `end`: windows may be updated meanwhile, which
/// moves no row.
pub(crate) fn held_look(end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    end.map_or(now + HELD_LOOK, |end| end.min(now + HELD_LOOK))
}

impl Outage {
    /// Returns when the next interval is counted and people are reminded.
    fn remind_at(&self) -> DateTime<Utc> {
        self.next_reminder_at.max(self.cycled_at + TimeDelta::seconds(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{HeartbeatId, ServiceId, Stamp, Status, from_millis};

    const BEGIN: i64 = 1_790_000_000_000;

    fn at(second: i64) -> DateTime<Utc> {
        from_millis(BEGIN + second * 1_000)
    }

    /// What happened in one second of a service's life.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Nothing,
        Heartbeat(Status),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Nothing),
            4 => Just(Event::Heartbeat(Status::Up)),
            1 => Just(Event::Heartbeat(Status::Started)),
            1 => Just(Event::Heartbeat(Status::Failed)),
        ]
    }

    /// The contract's rule, read naively over the whole history: is the service late at `now`?
    fn is_late(rule: &Rule, heartbeats: &[i64], failed: Option<i64>, now: i64) -> bool {
        let valid: Vec<i64> =
            heartbeats.iter().copied().filter(|at| failed.is_none_or(|failed| *at > failed)).collect();
        let needed = rule.threshold as usize;
        let base = if valid.len() >= needed { valid[valid.len() - needed] } else { 0 };
        let interval = rule.expectation.interval().unwrap();
        now >= base + interval.num_seconds() + rule.grace.num_seconds()
    }

    proptest! {
        /// Looked at each second, a service opens exactly when the naive reading says that it is late or it failed,
        /// and closes only when enough valid heartbeats came and the last of them recovers.
        #[test]
        fn transitions_follow_the_naive_reading(
            interval in 2_i64..12,
            grace in 0_i64..6,
            threshold in 1_u32..4,
            events in prop::collection::vec(event(), 1..80),
        ) {
            let expectation = Expectation::Interval(TimeDelta::seconds(interval));
            let rule = Rule { expectation, grace: TimeDelta::seconds(grace), threshold };
            let mut service = Service::register(ServiceId::new(1), rule.clone(), at(0));
            let (mut heartbeats, mut failed, mut alerts) = (Vec::new(), None, 0);
            for (second, event) in (1..).zip(events) {
                let mut reported_failure = false;
                if let Event::Heartbeat(status) = event {
                    let id = HeartbeatId::at(at(second), [0; 10]);
                    service.record_heartbeat(Stamp::of(id), status, at(second));
                    if status.counts_as_alive() { heartbeats.push(second) } else { (failed, reported_failure) = (Some(second), true) }
                }
                let was_open = service.outage.is_some();
                while let Decision::Act(transition) = service.judge(at(second)) {
                    service = if let Transition::Open(_) = transition {
                        alerts += 1;
                        service.opened(AlertId::new(alerts), at(second)).service
                    } else {
                        service.apply(transition, at(second)).service
                    };
                }
                let is_open = service.outage.is_some();
                if !was_open {
                    prop_assert_eq!(is_open, reported_failure || is_late(&rule, &heartbeats, failed, second), "at {}", second);
                } else if !is_open {
                    prop_assert!(matches!(event, Event::Heartbeat(Status::Up)), "closed at {second} by {event:?}");
                    prop_assert!(!is_late(&rule, &heartbeats, failed, second), "closed at {second} while late");
                } else if let Event::Heartbeat(Status::Up) = event {
                    let valid = heartbeats.iter().filter(|at| failed.is_none_or(|failed| **at > failed)).count();
                    let enough = valid >= threshold as usize;
                    prop_assert!(!enough || is_late(&rule, &heartbeats, failed, second), "still open at {second}");
                }
                // At rest it comes due, and not before now.
                prop_assert!(service.timer().is_some_and(|due| due > at(second)));
            }
        }

        /// However late it is looked at, the number of intervals counted is the number that passed.
        #[test]
        fn reminders_catch_up(interval in 1_i64..500, looks in prop::collection::vec(1_i64..3_000, 1..20)) {
            let expectation = Expectation::Interval(TimeDelta::seconds(interval));
            let rule = Rule { expectation, grace: TimeDelta::zero(), threshold: 1 };
            let mut service = Service::register(ServiceId::new(1), rule, at(0)).opened(AlertId::new(1), at(0)).service;
            let mut now = 0;
            for wait in looks {
                now += wait;
                let mut notifications = 0;
                while let Decision::Act(transition) = service.judge(at(now)) {
                    let change = service.apply(transition, at(now));
                    notifications += u32::from(change.notification_at.is_some());
                    service = change.service;
                }
                prop_assert!(notifications <= 1, "one reminder for a look");
                prop_assert_eq!(i64::from(service.consecutive_failures()), 1 + now / interval);
            }
        }
    }
}
