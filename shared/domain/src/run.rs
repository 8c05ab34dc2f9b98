//! A run of a job, as its signals report it, in whatever order and however often they come. Pure.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{AlertId, Deadline, Gap, Invalid, Label, ServiceId, Status};

/// The name that a client gives to one run of a job; unique within its service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId(Label);

impl RunId {
    pub const MAX_CHARS: usize = 128;

    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        Label::parse("run_id", text, Self::MAX_CHARS).map(Self)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn into_label(self) -> Label {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a job reports of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignalKind {
    Start,
    Complete,
    Fail,
}

impl SignalKind {
    /// Returns the status of the heartbeat that the signal also is.
    pub const fn status(self) -> Status {
        match self {
            Self::Start => Status::Started,
            Self::Complete => Status::Completed,
            Self::Fail => Status::Failed,
        }
    }

    pub const fn is_end(self) -> bool {
        match self {
            Self::Start => false,
            Self::Complete | Self::Fail => true,
        }
    }
}

/// The state of a run, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    Started,
    /// It has not ended by its maximum, and people were notified, or would have been without a mute.
    StaleAlerted,
    Completed,
    Failed,
    /// It had not ended when a later run began, and nobody will report its end: no ping named either.
    Superseded,
}

impl RunStatus {
    pub const ALL: [Self; 5] = [Self::Started, Self::StaleAlerted, Self::Completed, Self::Failed, Self::Superseded];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::StaleAlerted => "STALE_ALERTED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Superseded => "SUPERSEDED",
        }
    }
}

impl FromStr for RunStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Invalid::new("status", "must be one of STARTED, STALE_ALERTED, COMPLETED, FAILED, SUPERSEDED")
        })
    }
}

/// How a run ended. Of two ends the earlier one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunEnd {
    pub at: DateTime<Utc>,
    pub failed: bool,
}

/// A run's end over the maximum of its service, as that was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    pub max_duration_ms: u64,
    /// Nobody is to be notified of it any more.
    pub settled: bool,
}

/// The one alert of a run that did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    pub alert_id: AlertId,
    /// Whether anybody was notified. That of a muted service opens without a notification.
    pub notified: bool,
    /// Somebody closed it by hand; the sweep acts on that.
    pub resolved: bool,
    pub closed: bool,
    /// When its service's schedule next changes its period; none once somebody acknowledged it.
    pub next_period_at: Option<DateTime<Utc>>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub service_id: ServiceId,
    pub id: RunId,
    /// The first start; never after the end.
    pub started_at: Option<DateTime<Utc>>,
    pub end: Option<RunEnd>,
    /// When a later run began, where this one had not ended by then. An end that is reported all the same counts.
    pub superseded_at: Option<DateTime<Utc>>,
    pub overrun: Option<Overrun>,
    pub stale: Option<Stale>,
    /// Its service was switched off meanwhile: nobody is notified of it.
    pub let_go: bool,
    /// When the last notification of this run was created; the next is later.
    pub last_notification_at: Option<DateTime<Utc>>,
    /// When the row comes due in the index.
    pub due_at: Option<DateTime<Utc>>,
    /// Moves with each change; 0 for a run that is not saved yet.
    pub version: u64,
}

impl Run {
    /// Creates a run of which nothing is known yet.
    pub const fn new(service_id: ServiceId, id: RunId) -> Self {
        Self {
            service_id,
            id,
            started_at: None,
            end: None,
            superseded_at: None,
            overrun: None,
            stale: None,
            let_go: false,
            last_notification_at: None,
            due_at: None,
            version: 0,
        }
    }

    pub const fn status(&self) -> RunStatus {
        match (&self.end, &self.superseded_at, &self.stale) {
            (Some(end), _, _) if end.failed => RunStatus::Failed,
            (Some(_), _, _) => RunStatus::Completed,
            (None, Some(_), _) => RunStatus::Superseded,
            (None, None, Some(_)) => RunStatus::StaleAlerted,
            (None, None, None) => RunStatus::Started,
        }
    }

    /// Returns whether nothing more is expected of it: it has ended, or was superseded.
    pub const fn is_over(&self) -> bool {
        self.end.is_some() || self.superseded_at.is_some()
    }

    /// Returns how long it took, in whole milliseconds; 0 when only its end is known, none where no end is.
    pub fn duration_ms(&self) -> Option<u64> {
        let end = self.end?;
        Some(self.started_at.map_or(0, |start| millis(end.at - start)))
    }

    /// Returns whether it counts in statistics: it was completed, and its start is known.
    pub fn is_measured(&self) -> bool {
        self.status() == RunStatus::Completed && self.started_at.is_some()
    }

    /// Returns the time of its newest signal, or when it was superseded.
    pub fn newest_at(&self) -> Option<DateTime<Utc>> {
        self.end.map(|end| end.at).or(self.superseded_at).or(self.started_at)
    }

    /// Returns when it is stale, should it not have ended by then.
    pub fn stale_at(&self, max_duration_ms: Option<u64>) -> Option<DateTime<Utc>> {
        self.deadline(max_duration_ms, &[]).map(|deadline| deadline.at)
    }

    /// Returns the same as these gaps postpone it, in which its end might have come.
    pub fn deadline(&self, max_duration_ms: Option<u64>, gaps: &[Gap]) -> Option<Deadline> {
        let max = TimeDelta::milliseconds(i64::try_from(max_duration_ms?).ok()?);
        let started_at = self.started_at?;
        Some(Deadline::at(started_at.checked_add_signed(max)?).after(gaps, started_at, |_| max))
    }

    /// Returns by how much it ended over its maximum, and that maximum.
    pub fn exceeded(&self) -> Option<(u64, u64)> {
        let max = self.overrun?.max_duration_ms;
        Some((self.duration_ms()?.saturating_sub(max), max))
    }

    /// Returns whether its end is that of a run that was reported as stale.
    pub const fn has_recovered(&self) -> bool {
        self.end.is_some() && self.stale.is_some()
    }

    /// Returns when a signal of this kind was accepted before.
    pub fn signal_at(&self, kind: SignalKind) -> Option<DateTime<Utc>> {
        match kind {
            SignalKind::Start => self.started_at,
            SignalKind::Complete => self.end.filter(|end| !end.failed).map(|end| end.at),
            SignalKind::Fail => self.end.filter(|end| end.failed).map(|end| end.at),
        }
    }

    /// Records a signal that was received at `at`. One that is known, or that comes too late to matter, changes nothing.
    pub fn record_signal(
        &mut self,
        kind: SignalKind,
        at: DateTime<Utc>,
        max_duration_ms: Option<u64>,
        now: DateTime<Utc>,
    ) {
        let before = (self.started_at, self.end);
        match kind {
            SignalKind::Start => self.started_at = Some(self.started_at.map_or(at, |start| start.min(at))),
            SignalKind::Complete | SignalKind::Fail => {
                let end = RunEnd { at, failed: kind == SignalKind::Fail };
                self.end = Some(self.end.map_or(end, |known| known.min(end)));
            }
        }
        if let Some(end) = self.end {
            self.started_at = self.started_at.filter(|start| *start <= end.at);
        }
        if before == (self.started_at, self.end) {
            return;
        }
        if self.overrun.is_none()
            && let (Some(duration), Some(max)) = (self.duration_ms(), max_duration_ms)
            && duration > max
        {
            // Of one that was stale people were notified already.
            let settled = self.let_go || self.stale.is_some();
            self.overrun = Some(Overrun { max_duration_ms: max, settled });
        }
        self.due_at = match self.stale {
            _ if self.is_over() => self.is_pending().then_some(now),
            Some(_) => self.due_at,
            None if self.let_go => None,
            None => self.stale_at(max_duration_ms),
        };
        self.version += 1;
    }

    /// Records that a later run has begun. A run that is over stays as it is.
    pub fn supersede(&mut self, now: DateTime<Utc>) {
        if !self.is_over() {
            self.superseded_at = Some(now);
            self.due_at = self.is_pending().then_some(now);
            self.version += 1;
        }
    }

    /// Records that somebody closes its alert by hand. It stays as it is without an open alert.
    pub fn resolve(&mut self, now: DateTime<Utc>) {
        if let Some(stale) = self.stale.as_mut().filter(|stale| !stale.closed) {
            stale.resolved = true;
            self.due_at = Some(now);
            self.version += 1;
        }
    }

    /// Returns whether people are still to be notified of its end.
    pub(crate) fn is_pending(&self) -> bool {
        self.is_stale_open() || self.overrun.is_some_and(|overrun| !overrun.settled)
    }

    /// Returns whether its alert is open.
    pub const fn is_stale_open(&self) -> bool {
        match self.stale {
            Some(stale) => !stale.closed,
            None => false,
        }
    }

    /// Sets when the period next changes in which its alert is open, if anybody was notified of that.
    pub fn set_next_period(&mut self, at: Option<DateTime<Utc>>) {
        if let Some(stale) = self.stale.as_mut().filter(|stale| stale.notified) {
            stale.next_period_at = at;
            self.due_at = at;
        }
    }

    /// Returns an instant for the next notification: now, but after the one before it.
    pub fn next_notification_at(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let at = self.last_notification_at.map_or(now, |last| now.max(last + TimeDelta::milliseconds(1)));
        self.last_notification_at = Some(at);
        at
    }
}

fn millis(span: TimeDelta) -> u64 {
    u64::try_from(span.num_milliseconds()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
