//! An alert: one outage of one service, or one run of its job that took too long, from its opening to its close.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::{AlertId, Priority, Profile, RunId, ServiceId, TriggerId};

/// What an alert keeps of its service, so that it reads the same when the service is renamed or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertCopy {
    pub heartbeat_name: String,
    pub service_name: String,
    pub team: String,
    pub priority: Priority,
    pub runbook: Option<String>,
}

impl AlertCopy {
    pub fn of(profile: &Profile) -> Self {
        Self {
            heartbeat_name: profile.heartbeat_name.as_str().to_owned(),
            service_name: profile.service_name.as_str().to_owned(),
            team: profile.team.as_str().to_owned(),
            priority: profile.priority,
            runbook: profile.runbook.clone(),
        }
    }
}

/// What an alert is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertKind {
    /// The service does not report as it should.
    Heartbeat,
    Job(JobAlert),
}

/// One run that took too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobAlert {
    pub problem: JobProblem,
    pub run_id: RunId,
    pub started_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobProblem {
    /// It ended over its maximum. The alert closes as it opens.
    Exceeded,
    /// It had not ended by its maximum.
    Stale,
}

impl JobProblem {
    pub const ALL: [Self; 2] = [Self::Exceeded, Self::Stale];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exceeded => "exceeded",
            Self::Stale => "stale",
        }
    }
}

/// Why an alert closed, where its service or its run did not report so itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// A later run began.
    Superseded,
    /// Somebody closed it by hand, and may have said why. While it is open, this is about to happen.
    Resolved { by: Option<String>, reason: Option<String> },
}

/// One outage, or one run that took too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub id: AlertId,
    pub service_id: ServiceId,
    pub service: AlertCopy,
    pub kind: AlertKind,
    /// 1 at the opening, and 1 more for each further interval.
    pub cycle: u32,
    /// Why it opened, for people.
    pub reason: String,
    pub created_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    pub closing: Option<Closing>,
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub acknowledged_by: Option<String>,
    /// How often a notification of it was passed on to the next target, because one before could not be notified.
    pub passed_on: u32,
    /// Medic could not hear when it fell due, so that it may be well: no playbook starts for it.
    pub due_in_gap: bool,
    /// Every receiver refused to be notified of it, and that was reported, once.
    pub is_unnotified: bool,
    /// The triggers that started a playbook for it, each once.
    pub triggered: Vec<TriggerId>,
}

impl Alert {
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    pub fn name(&self) -> String {
        format!("Medic - {} {}", self.title(), self.service.heartbeat_name)
    }

    /// Returns the problem, to be followed by the service's name.
    pub fn title(&self) -> &'static str {
        match self.job().map(|job| job.problem) {
            None => "Heartbeat failure for",
            Some(JobProblem::Exceeded) => "Job exceeded max duration for",
            Some(JobProblem::Stale) => "Stale job detected for",
        }
    }

    /// Returns the run that it is about, if it is about one.
    pub const fn job(&self) -> Option<&JobAlert> {
        match &self.kind {
            AlertKind::Heartbeat => None,
            AlertKind::Job(job) => Some(job),
        }
    }

    /// Returns who closed it by hand.
    pub fn resolved_by(&self) -> Option<&str> {
        match &self.closing {
            Some(Closing::Resolved { by, .. }) => by.as_deref(),
            Some(Closing::Superseded) | None => None,
        }
    }

    /// Returns why it closed, for people, where its service or its run did not report so itself.
    pub fn resolution(&self) -> Option<&str> {
        match &self.closing {
            Some(Closing::Superseded) => Some("superseded by a later run"),
            Some(Closing::Resolved { reason, .. }) => reason.as_deref(),
            None => None,
        }
    }

    /// Returns whether it asked for an execution of a playbook.
    pub fn has_starts(&self) -> bool {
        !self.triggered.is_empty()
    }

    /// Returns whether further receivers may still be notified of it: it is open, or it closed as it opened.
    pub fn may_still_notify(&self) -> bool {
        self.is_open() || self.job().is_some_and(|job| job.problem == JobProblem::Exceeded)
    }

    /// Returns the key by which receivers recognise one incident. It begins with the alert's id, so that no two alerts share
    /// one, and a resolve that comes late closes no later incident.
    pub fn dedup_key(&self) -> String {
        dedup_key(self.id, &self.service.heartbeat_name)
    }
}

/// `PagerDuty` takes so many characters in a `dedup_key`.
const MAX_DEDUP_KEY_CHARS: usize = 255;

/// Returns the key of an incident by what it is about, whose `id` no other has, and a name for people.
pub(crate) fn dedup_key(id: impl fmt::Display, name: &str) -> String {
    format!("medic-{id}-{name}").chars().take(MAX_DEDUP_KEY_CHARS).collect()
}
