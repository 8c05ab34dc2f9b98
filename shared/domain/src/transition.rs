//! Judges a service: whether it is late, has recovered, or is due for a reminder. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{AlertId, Deadline, Expectation, Gap, Outage, PendingEvent, Rule, RunsLook, Service, Stamp};

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
    /// The period has changed: those are notified too whom the alert is for only now.
    ChangePeriod,
    /// A mute has ended.
    Unmute,
    /// The alert is open, and nobody was notified while it was muted.
    NotifyOpen,
    Close(Close),
    /// What was to be acted on has come too late to matter.
    DropPending,
    /// A deleted service without an alert leaves the table.
    Remove,
}

/// Why an alert opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Too few heartbeats by this deadline.
    Overdue(Deadline),
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

impl Service {
    /// Decides what should happen at `now`. Whoever would open an alert because the service is late decides again with the
    /// gaps as of now; for all else they do not matter.
    pub fn judge(&self, gaps: &[Gap], now: DateTime<Utc>) -> Decision {
        match self.transition(gaps, now) {
            Some(transition) => Decision::Act(transition),
            None => Decision::Rest { due_at: self.timer_after(gaps) },
        }
    }

    fn transition(&self, gaps: &[Gap], now: DateTime<Utc>) -> Option<Transition> {
        let outage = self.outage.as_ref();
        if self.has_idle_pending() {
            return Some(Transition::DropPending);
        }
        if self.deleted || !self.active {
            return match outage {
                Some(_) => Some(Transition::Close(Close::Unmonitored)),
                // First its runs are let go.
                None if self.deleted && self.runs_look.is_none() => Some(Transition::Remove),
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
            let deadline = self.deadline(gaps);
            return (now >= deadline.at).then_some(Transition::Open(Opening::Overdue(deadline)));
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
        if self.next_period_at(outage).is_some_and(|at| now >= at) {
            return Some(Transition::ChangePeriod);
        }
        (now >= outage.remind_at()).then(|| Transition::Remind { intervals: self.reminders(outage, now).0 })
    }

    /// Returns when the alert's next period begins, if anybody is to be notified then: after a mute, at its end.
    fn next_period_at(&self, outage: &Outage) -> Option<DateTime<Utc>> {
        outage.next_period_at.filter(|_| outage.notified && !outage.acknowledged && self.mute.is_none())
    }

    /// Returns whether what is pending can have no effect: nothing is to be opened any more, or nothing to be closed. It
    /// may come in as a service is switched off, since an operator's update and a report do not wait for each other.
    const fn has_idle_pending(&self) -> bool {
        match (self.pending, &self.outage) {
            (None, _) | (Some(PendingEvent::SetUp | PendingEvent::SwitchedOff), Some(_)) => false,
            (Some(PendingEvent::Reported(_) | PendingEvent::SetDown), None) => self.deleted || !self.active,
            (Some(PendingEvent::Reported(_) | PendingEvent::SetDown), Some(_))
            | (Some(PendingEvent::SetUp | PendingEvent::SwitchedOff), None) => true,
        }
    }

    fn mute_ended(&self, now: DateTime<Utc>) -> bool {
        self.mute.is_some_and(|mute| now >= mute.until)
    }

    /// Returns from when the service is late, as it is now and as these gaps postpone it.
    fn deadline(&self, gaps: &[Gap]) -> Deadline {
        let Rule { expectation, grace, threshold: _ } = &self.rule;
        let heartbeat = self.recent.nth_newest().filter(|heartbeat| *heartbeat >= self.counts_from);
        let heard = heartbeat.unwrap_or(self.counts_from);
        let own = match (expectation, heartbeat) {
            (Expectation::Interval(interval), _) => heard + *interval + *grace,
            (Expectation::Timetable(timetable), Some(heartbeat)) => timetable.overdue_after(heartbeat, *grace),
            (Expectation::Timetable(timetable), None) => timetable.overdue_from(self.counts_from, *grace),
        };
        Deadline::at(own).after(gaps, heard, |end| expectation.interval_around(end) + *grace)
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

    /// Returns the earliest of the service's timers. Whoever sees it come due asks whether gaps postpone it.
    pub fn timer(&self) -> Option<DateTime<Utc>> {
        self.timer_after(&[])
    }

    fn timer_after(&self, gaps: &[Gap]) -> Option<DateTime<Utc>> {
        let mute = self.mute.map(|mute| mute.until);
        let judgement = (self.active && !self.deleted).then(|| match &self.outage {
            Some(outage) => self.next_period_at(outage).into_iter().fold(outage.remind_at(), DateTime::min),
            None => self.deadline(gaps).at,
        });
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

    /// Returns the service while nobody may be notified of its alert because of maintenance that lasts until `end`.
    #[must_use]
    pub fn period_held(mut self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        self.set_next_period(Some(held_look(end, now)));
        self.changed(None).service
    }

    /// Sets when the period next changes in which its alert is open.
    pub fn set_next_period(&mut self, at: Option<DateTime<Utc>>) {
        if let Some(outage) = &mut self.outage {
            outage.next_period_at = at;
            self.due_at = self.timer();
        }
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
            next_period_at: None,
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
            Transition::DropPending => self.pending = None,
            Transition::NotifyOpen | Transition::ChangePeriod => {
                if let Some(outage) = &mut self.outage {
                    outage.notified = true;
                    outage.next_period_at = None;
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

    /// Returns the look at the service's runs that is due at `now`.
    pub fn due_runs_look(&self, now: DateTime<Utc>) -> Option<RunsLook> {
        self.runs_look.filter(|look| now >= look.at)
    }

    /// Returns the service after a part of that look; `rest` is the place of the newest run that is left.
    #[must_use]
    pub fn looked_at_runs(mut self, rest: Option<Stamp>, now: DateTime<Utc>) -> Self {
        self.runs_look = self.runs_look.and_then(|look| look.after_part(rest, self.active, now));
        self.version += 1;
        self
    }

    /// Ends a mute, after which people are notified of runs that are stale.
    fn unmute(&mut self, now: DateTime<Utc>) {
        if self.mute.take().is_some_and(|mute| now < mute.until) {
            self.runs_look = Some(RunsLook::beginning(now));
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
mod tests;
