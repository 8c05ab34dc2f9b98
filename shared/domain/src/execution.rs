//! Executions: one run of a playbook, from its start or its approval to its verification. A state machine without IO:
//! `advance` returns the execution as it is then, and what is to be done. Its shell saves the first and then does the
//! second; either may be repeated, for the result of each effect counts once.

mod advance;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{AlertId, Approval, AuditAction, ExecutionId, Plan, TriggerId};

/// One run of a playbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    pub id: ExecutionId,
    pub plan: Plan,
    pub playbook_name: String,
    pub origin: Origin,
    pub status: ExecutionStatus,
    pub stage: Stage,
    /// The step that is next, or under way; the number of steps when all are done.
    pub current_step: usize,
    pub steps: Vec<StepRecord>,
    /// Somebody cancelled it: it ends after the step that is under way.
    pub cancelled_by: Option<Decided>,
    /// Who approved or rejected it.
    pub decision: Option<Decided>,
    pub verification: Verification,
    pub verify_within: TimeDelta,
    pub started_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
}

/// What a new execution needs.
#[derive(Debug, Clone)]
pub struct NewExecution {
    pub id: ExecutionId,
    pub plan: Plan,
    pub playbook_name: String,
    pub origin: Origin,
    pub approval: Approval,
    pub verify_within: TimeDelta,
}

/// What started an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A person or a client, by the name of its key.
    Key {
        name: String,
    },
    /// The trigger route.
    Webhook,
    Alert {
        alert_id: AlertId,
        trigger_id: TriggerId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionStatus {
    PendingApproval,
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl ExecutionStatus {
    pub const ALL: [Self; 6] =
        [Self::PendingApproval, Self::Running, Self::Waiting, Self::Completed, Self::Failed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingApproval => "pending_approval",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::PendingApproval | Self::Running | Self::Waiting => false,
        }
    }
}

/// What an execution waits for, with its one timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Approval by a person; when the time is over it proceeds automatically, or expires.
    Approval {
        until: DateTime<Utc>,
        proceeds: bool,
    },
    /// A worker that begins the current step.
    Ready {
        since: DateTime<Utc>,
    },
    /// The worker that does the current step, in this attempt. At the end of the claim it is presumed dead.
    Claimed {
        attempt: u32,
        until: DateTime<Utc>,
    },
    /// The end of a wait.
    Waiting {
        until: DateTime<Utc>,
    },
    /// The next check of a condition, after this attempt.
    Polling {
        attempt: u32,
        next_at: DateTime<Utc>,
    },
    /// It is completed; the next check whether its service reported.
    Verifying {
        next_at: DateTime<Utc>,
        until: DateTime<Utc>,
    },
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    pub status: StepStatus,
    pub output: String,
    /// At most `StepRecord::MAX_ERROR_CHARS`.
    pub error_message: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
}

impl StepRecord {
    pub const MAX_ERROR_CHARS: usize = 2_048;

    pub(crate) const fn pending() -> Self {
        Self {
            status: StepStatus::Pending,
            output: String::new(),
            error_message: None,
            started_at: None,
            completed_at: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    Pending,
    Running,
    Completed,
    Failed,
    Skipped,
}

impl StepStatus {
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Skipped];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A decision about an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The key's name or the Slack user; none when it was automatic.
    pub by: Option<String>,
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

/// Whether the service reported again after the repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// It is not known, or it has no service.
    None,
    Verified {
        at: DateTime<Utc>,
    },
    Unverified,
}

/// What happens to an execution. Each may come twice, late, or out of order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its timer fired, or a message says that there is something to do.
    Due,
    /// A person decided. A decision that was made when the time for it was over counts for nothing: the timeout does.
    Approved(Decided),
    Rejected(Decided),
    /// The alert that started it closed.
    AlertClosed,
    Cancelled {
        by: Option<String>,
        reason: Option<String>,
    },
    /// The result of `Effect::Perform` for a webhook or a script.
    Done {
        step: usize,
        attempt: u32,
        outcome: Outcome,
    },
    /// The result of `Effect::Perform` for a condition: how many heartbeats came since the step began.
    Looked {
        step: usize,
        attempt: u32,
        count: u32,
    },
    /// The result of `Effect::LookForReport`: the first heartbeat of its period, if there was one.
    Reported {
        first_at: Option<DateTime<Utc>>,
    },
}

/// The result of a webhook or a script. Both texts are cut and masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub succeeded: bool,
    pub output: String,
    pub error: Option<String>,
}

/// What is to be done once the execution is saved. Nothing is lost if it is not done: the execution's timer causes it
/// again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Do a step, in this attempt: call, hand over to the script runner, or look for heartbeats since `began_at`.
    /// `deadline` is when the claim ends.
    Perform {
        step: usize,
        attempt: u32,
        began_at: DateTime<Utc>,
        deadline: DateTime<Utc>,
    },
    /// Look for the service's first heartbeat after `since` and not after `until`.
    LookForReport {
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    },
    /// Ask people for approval.
    RequestApproval,
    /// Notify those who were asked of the decision.
    NotifyDecision,
    NotifyStarted,
    NotifyFinished,
    /// Notify the on-call that a condition did not hold.
    Escalate {
        step: usize,
    },
    /// Write it into the audit log, in the transaction that saves the execution.
    Audit(Audited),
}

impl Effect {
    /// Returns whether people or webhooks are notified.
    pub const fn notifies(&self) -> bool {
        match self {
            Self::RequestApproval
            | Self::NotifyDecision
            | Self::NotifyStarted
            | Self::NotifyFinished
            | Self::Escalate { .. } => true,
            Self::Perform { .. } | Self::LookForReport { .. } | Self::Audit(_) => false,
        }
    }

    /// Returns what the audit log records.
    pub const fn audited(&self) -> Option<&Audited> {
        match self {
            Self::Audit(audited) => Some(audited),
            Self::Perform { .. }
            | Self::LookForReport { .. }
            | Self::RequestApproval
            | Self::NotifyDecision
            | Self::NotifyStarted
            | Self::NotifyFinished
            | Self::Escalate { .. } => None,
        }
    }
}

/// What the audit log records of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audited {
    Started,
    ApprovalRequested,
    Approved(Decided),
    Rejected(Decided),
    StepCompleted { step: usize },
    StepFailed { step: usize },
    Completed,
    Failed,
    Cancelled(Decided),
}

impl Audited {
    pub const fn action(&self) -> AuditAction {
        match self {
            Self::Started => AuditAction::ExecutionStarted,
            Self::ApprovalRequested => AuditAction::ApprovalRequested,
            Self::Approved(_) => AuditAction::Approved,
            Self::Rejected(_) => AuditAction::Rejected,
            Self::StepCompleted { .. } => AuditAction::StepCompleted,
            Self::StepFailed { .. } => AuditAction::StepFailed,
            Self::Completed => AuditAction::ExecutionCompleted,
            Self::Failed => AuditAction::ExecutionFailed,
            Self::Cancelled(_) => AuditAction::ExecutionCancelled,
        }
    }
}

/// An execution after an event, and what follows. When the event changed nothing, the execution is as before and nothing
/// follows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Advance {
    pub execution: Execution,
    pub effects: Vec<Effect>,
}

impl Execution {
    /// How often a step is tried whose worker is lost.
    pub const MAX_ATTEMPTS: u32 = 5;
    /// A step's claim ends so long after its own timeout.
    pub const CLAIM_GRACE: TimeDelta = TimeDelta::seconds(30);
    /// How long one look for heartbeats may take.
    pub const LOOK_TIMEOUT: TimeDelta = TimeDelta::seconds(10);
    /// How often Medic checks whether the service reported, within `verify_within`.
    pub const VERIFICATION_LOOKS: i32 = 20;

    /// Returns when something is to be done next; its row is due then.
    pub const fn due_at(&self) -> Option<DateTime<Utc>> {
        match self.stage {
            Stage::Approval { until, .. } | Stage::Claimed { until, .. } | Stage::Waiting { until } => Some(until),
            Stage::Ready { since } => Some(since),
            Stage::Polling { next_at, .. } | Stage::Verifying { next_at, .. } => Some(next_at),
            Stage::Ended => None,
        }
    }

    /// Returns whether a person may still approve or reject it.
    pub const fn awaits_decision(&self) -> bool {
        matches!(self.stage, Stage::Approval { .. })
    }

    /// Returns whether it can be cancelled: it has not ended, and nobody cancelled it.
    pub const fn can_be_cancelled(&self) -> bool {
        !self.status.is_terminal() && self.cancelled_by.is_none()
    }

    /// Returns the key that a webhook step sends, so that its receiver recognises a repetition.
    pub fn idempotency_key(&self, step: usize) -> String {
        format!("{}-{step}", self.id)
    }
}
