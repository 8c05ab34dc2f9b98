//! Judges a run: whether it took too long, has not ended in time, or has ended after all. Pure.

use chrono::{DateTime, Utc};

use crate::transition::held_look;
use crate::{AlertId, Mute, Run, Stale};

/// What of its service decides on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunWatch {
    /// Whether the service is there and active.
    pub is_watched: bool,
    pub max_duration_ms: Option<u64>,
    pub mute: Option<Mute>,
}

impl RunWatch {
    fn is_muted(&self, now: DateTime<Utc>) -> bool {
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
    /// Its service is no longer snapshot: nobody is notified, but its incident is resolved.
    LetGo,
    /// It ended over its maximum: an alert that closes as it opens.
    Exceed,
    /// It has not ended by its maximum.
    GoStale,
    /// Its alert is open, and nobody was told while the service was muted.
    Notify,
    /// It has ended after all.
    Recover,
}

impl Run {
    /// What should happen at `now`.
    pub fn judge(&self, watch: &RunWatch, now: DateTime<Utc>) -> RunDecision {
        let rest = |due_at| RunDecision::Rest { due_at };
        if !watch.is_watched {
            let is_held = self.is_pending() || (self.end.is_none() && !self.let_go);
            return if is_held { RunDecision::Act(RunTransition::LetGo) } else { rest(None) };
        }
        match (self.end, self.stale) {
            (Some(_), _) if self.is_stale_open() => RunDecision::Act(RunTransition::Recover),
            (Some(_), _) if self.is_pending() => RunDecision::Act(RunTransition::Exceed),
            (Some(_), _) => rest(None),
            (None, _) if self.let_go => rest(None),
            (None, Some(stale)) if stale.notified || stale.closed => rest(None),
            (None, Some(_)) if watch.is_muted(now) => rest(watch.mute.map(|mute| mute.until)),
            (None, Some(_)) => RunDecision::Act(RunTransition::Notify),
            (None, None) => match self.stale_at(watch.max_duration_ms) {
                Some(at) if now >= at => RunDecision::Act(RunTransition::GoStale),
                due_at => rest(due_at),
            },
        }
    }

    /// The run after its alert opened as `alert_id`.
    #[must_use]
    pub fn gone_stale(mut self, alert_id: AlertId, watch: &RunWatch, now: DateTime<Utc>) -> Self {
        self.stale = Some(Stale { alert_id, notified: !watch.is_muted(now), closed: false });
        self.moved(watch, now)
    }

    /// The run after a transition that needs no new alert.
    #[must_use]
    pub fn apply(mut self, transition: RunTransition, watch: &RunWatch, now: DateTime<Utc>) -> Self {
        match transition {
            RunTransition::GoStale => {}
            RunTransition::Exceed => self.settle_overrun(),
            RunTransition::LetGo => {
                self.let_go = true;
                self.settle_overrun();
                self.close_stale();
            }
            RunTransition::Notify => {
                if let Some(stale) = &mut self.stale {
                    stale.notified = true;
                }
            }
            RunTransition::Recover => self.close_stale(),
        }
        self.moved(watch, now)
    }

    /// The run with the timer that it should have.
    #[must_use]
    pub fn rested(mut self, due_at: Option<DateTime<Utc>>) -> Self {
        self.due_at = due_at;
        self.version += 1;
        self
    }

    /// The run while its alert may not open because of maintenance that lasts until `end`, where that is known.
    #[must_use]
    pub fn held(self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        self.rested(Some(held_look(end, now)))
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

    fn moved(self, watch: &RunWatch, now: DateTime<Utc>) -> Self {
        let due_at = match self.judge(watch, now) {
            RunDecision::Rest { due_at } => due_at,
            RunDecision::Act(_) => Some(now),
        };
        self.rested(due_at)
    }
}
