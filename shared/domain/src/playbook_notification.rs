//! What people are told of an execution of a playbook, and of a circuit that is open. Each says all that its text needs, so
//! that it reads the same whatever becomes of the execution and its service.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{AlertCopy, ExecutionId, ServiceId, TargetKind};

/// One thing that is told of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookNotification {
    pub execution_id: ExecutionId,
    pub playbook_name: String,
    pub service_id: Option<ServiceId>,
    /// Its service; none if it has none, or if that is gone.
    pub service: Option<AlertCopy>,
    pub event: PlaybookEvent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaybookEvent {
    Started {
        why: String,
    },
    /// Somebody is asked for a yes.
    ApprovalRequested(ApprovalRequest),
    /// What became of the question.
    Decided(Verdict),
    Completed {
        took: TimeDelta,
    },
    Failed {
        step: String,
        error: String,
    },
    Cancelled {
        by: Option<String>,
        reason: Option<String>,
    },
    /// A condition did not hold: the on-call is to look.
    Escalated {
        step: String,
        problem: String,
        at: DateTime<Utc>,
    },
}

/// A plan that waits for a yes, cut to what a message can show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    pub why: String,
    pub version: u64,
    pub digest: String,
    pub until: DateTime<Utc>,
    /// Whether it goes on by itself then; else it expires.
    pub proceeds: bool,
    /// The first steps in words, secrets masked.
    pub steps: Vec<String>,
    /// How many steps there are beside those.
    pub more_steps: usize,
}

impl ApprovalRequest {
    pub const MAX_STEPS: usize = 20;
    pub const MAX_STEP_CHARS: usize = 150;
}

/// What was decided, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub kind: VerdictKind,
    /// None when it came about by itself.
    pub by: Option<String>,
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    Approved,
    Rejected,
    /// Nobody said yes or no: it expired, or was not needed any more.
    Cancelled,
}

impl PlaybookNotification {
    /// The most characters of a reason or an error that are told.
    pub const MAX_REASON_CHARS: usize = 300;

    /// Whether a receiver of this kind wants it: all of it is told in Slack, and what needs the on-call also to PagerDuty.
    pub const fn is_for(&self, kind: TargetKind) -> bool {
        match kind {
            TargetKind::Slack => true,
            TargetKind::PagerDuty => matches!(self.event, PlaybookEvent::Escalated { .. }),
            TargetKind::Webhook => false,
        }
    }

    /// Whether somebody must hear of it, so that it goes to the channel where no target takes it.
    pub const fn must_be_heard(&self) -> bool {
        matches!(self.event, PlaybookEvent::ApprovalRequested(_) | PlaybookEvent::Escalated { .. })
    }

    /// Whether it stands in a message of its own: one that has buttons, or that takes the place of one.
    pub const fn stands_alone(&self) -> bool {
        matches!(self.event, PlaybookEvent::ApprovalRequested(_) | PlaybookEvent::Decided(_))
    }

    /// What tells receivers that two escalations are one incident.
    pub fn dedup_key(&self) -> String {
        let of = self.service.as_ref().map_or(&self.playbook_name, |service| &service.heartbeat_name);
        format!("medic-{of}-{}", self.execution_id)
    }
}

/// That playbooks start by themselves no more for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCircuit {
    pub service_id: ServiceId,
    /// Its name; none when it is gone.
    pub heartbeat_name: Option<String>,
    /// How many started within `window`.
    pub most: u32,
    pub window: TimeDelta,
}

/// The first characters of a text, with a mark where there were more.
pub fn shorten(text: &str, most: usize) -> String {
    let mut chars = text.char_indices();
    match chars.nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}
