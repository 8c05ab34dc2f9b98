//! Judges a run: whether it took too long, has not ended in time, or has ended after all. Pure.

use chrono::{DateTime, Utc};

use crate::transition::held_look;
use crate::{AlertId, Deadline, Gap, Mute, Run, Stale};

/// What decides on a run of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunContext {
    /// Whether the service is there and active.
    pub is_monitored: bool,
    pub max_duration_ms: Option<u64>,
    pub mute: Option<Mute>,
}

impl RunContext {
    /// Returns whether notifications are held back at `now`.
    pub fn is_muted(&self, now: DateTime<Utc>) -> bool {
        self.mute.is_some_and(|mute| now < mute.until)
    }
}

/// What should happen to a run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunDecision {
    /// Nothing until `due_at`; nothing at all without one.
    Rest { due_at: Option<DateTime<Utc>> },
    /// One transition; judge again after it.
    Act(RunTransition),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunTransition {
    /// Its service is no longer monitored: nobody is notified, but its incident is resolved.
    LetGo,
    /// It ended over its maximum: an alert that closes as it opens.
    Exceed,
    /// It has not ended by its maximum, which is this deadline.
    GoStale(Deadline),
    /// Its alert is open, and nobody was notified while the service was muted.
    Notify,
    /// The period has changed: those are notified too whom its alert is for only now.
    ChangePeriod,
    /// It is over after all: it has ended, or was superseded.
    Recover,
    /// Somebody closed its alert by hand.
    Resolve,
}

impl RunTransition {
    /// Returns the deadline that a run has missed which has not ended.
    pub const fn deadline(self) -> Option<Deadline> {
        match self {
            Self::GoStale(deadline) => Some(deadline),
            Self::LetGo | Self::Exceed | Self::Notify | Self::ChangePeriod | Self::Recover | Self::Resolve => None,
        }
    }
}

impl Run {
    /// Decides what should happen at `now`. Whoever would open an alert because it has not ended decides again with the
    /// gaps as of now; for all else they do not matter.
    pub fn judge(&self, context: &RunContext, gaps: &[Gap], now: DateTime<Utc>) -> RunDecision {
        let rest = |due_at| RunDecision::Rest { due_at };
        if !context.is_monitored {
            let is_held = self.is_pending() || (!self.is_over() && !self.let_go);
            return if is_held { RunDecision::Act(RunTransition::LetGo) } else { rest(None) };
        }
        match self.stale {
            Some(stale) if self.is_over() && !stale.closed => RunDecision::Act(RunTransition::Recover),
            _ if self.is_over() && self.is_pending() => RunDecision::Act(RunTransition::Exceed),
            _ if self.is_over() => rest(None),
            Some(stale) if stale.resolved && !stale.closed => RunDecision::Act(RunTransition::Resolve),
            _ if self.let_go => rest(None),
            Some(stale) if stale.closed || stale.notified && stale.next_period_at.is_none() => rest(None),
            Some(_) if context.is_muted(now) => rest(context.mute.map(|mute| mute.until)),
            Some(stale) if !stale.notified => RunDecision::Act(RunTransition::Notify),
            Some(stale) => match stale.next_period_at {
                Some(at) if now >= at => RunDecision::Act(RunTransition::ChangePeriod),
                due_at => rest(due_at),
            },
            None => match self.deadline(context.max_duration_ms, gaps) {
                Some(deadline) if now >= deadline.at => RunDecision::Act(RunTransition::GoStale(deadline)),
                deadline => rest(deadline.map(|deadline| deadline.at)),
            },
        }
    }

    /// Returns the run after its alert opened as `alert_id`.
    #[must_use]
    pub fn gone_stale(mut self, alert_id: AlertId, context: &RunContext, now: DateTime<Utc>) -> Self {
        let notified = !context.is_muted(now);
        self.stale = Some(Stale { alert_id, notified, resolved: false, closed: false, next_period_at: None });
        self.moved(context, now)
    }

    /// Returns the run after a transition that needs no new alert.
    #[must_use]
    pub fn apply(mut self, transition: RunTransition, context: &RunContext, now: DateTime<Utc>) -> Self {
        match transition {
            RunTransition::GoStale(_) => {}
            RunTransition::Exceed => self.settle_overrun(),
            RunTransition::LetGo => {
                self.let_go = true;
                self.settle_overrun();
                self.close_stale();
            }
            RunTransition::Notify | RunTransition::ChangePeriod => {
                if let Some(stale) = &mut self.stale {
                    stale.notified = true;
                    stale.next_period_at = None;
                }
            }
            RunTransition::Recover | RunTransition::Resolve => self.close_stale(),
        }
        self.moved(context, now)
    }

    /// Returns the run with the timer that it should have.
    #[must_use]
    pub fn rested(mut self, due_at: Option<DateTime<Utc>>) -> Self {
        self.due_at = due_at;
        self.version += 1;
        self
    }

    /// Returns the run while its alert may not open because of maintenance that lasts until `end`, where that is known.
    #[must_use]
    pub fn held(self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        self.rested(Some(held_look(end, now)))
    }

    /// Returns the run while nobody may be notified of its alert because of maintenance that lasts until `end`.
    #[must_use]
    pub fn period_held(mut self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        self.set_next_period(Some(held_look(end, now)));
        let due_at = self.due_at;
        self.rested(due_at)
    }

    /// Returns the run after somebody acknowledged its alert: nobody else is notified that it is open.
    #[must_use]
    pub fn acknowledged(mut self) -> Self {
        let due_at = self.due_at;
        if let Some(stale) = &mut self.stale {
            stale.next_period_at = None;
        }
        self.rested(due_at)
    }

    fn settle_overrun(&mut self) {
        if let Some(overrun) = &mut self.overrun {
            overrun.settled = true;
        }
    }

    fn close_stale(&mut self) {
        if let Some(stale) = &mut self.stale {
            stale.closed = true;
        }
    }

    fn moved(self, context: &RunContext, now: DateTime<Utc>) -> Self {
        let due_at = match self.judge(context, &[], now) {
            RunDecision::Rest { due_at } => due_at,
            RunDecision::Act(_) => Some(now),
        };
        self.rested(due_at)
    }
}
