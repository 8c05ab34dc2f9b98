//! Notifications of an execution of a playbook, and of a circuit that is open. Each holds all that its text needs, so that
//! it reads the same whatever happens to the execution and its service.

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::dedup_key;
use crate::{AlertCopy, CircuitOf, ExecutionId, Plan, ServiceId, TargetKind};

/// What a notification reports of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookNotification {
    pub execution_id: ExecutionId,
    pub playbook_name: String,
    pub service_id: Option<ServiceId>,
    /// Its service; none if it has none, or if that was deleted.
    pub service: Option<AlertCopy>,
    pub event: PlaybookEvent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaybookEvent {
    Started {
        why: String,
    },
    /// Somebody is asked for approval.
    ApprovalRequested(ApprovalRequest),
    /// What became of the approval request.
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
    /// A condition did not hold: the on-call must look.
    Escalated {
        step: String,
        problem: String,
        at: DateTime<Utc>,
    },
}

/// A plan that is awaiting approval, cut to what a message can show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    pub why: String,
    pub version: u64,
    pub digest: String,
    pub until: DateTime<Utc>,
    /// Whether it proceeds automatically then; otherwise it expires.
    pub proceeds: bool,
    pub shown: ShownPlan,
}

/// As much of a plan as a message can show, and how much it leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShownPlan {
    /// The first steps in words, secrets masked.
    pub steps: Vec<String>,
    /// How many steps there are beside those.
    pub more_steps: usize,
    /// How many characters are left out of those that are shown.
    pub more_chars: usize,
    /// What scripts receive beside their parameters; none if no script runs.
    pub variables: Option<String>,
}

impl ShownPlan {
    /// How long a step, and all of them, may be as markup, in units of UTF-16: Slack takes 3,000 in a block.
    const MAX_STEP: usize = 2_500;
    const MAX: usize = 8_000;

    pub fn of(plan: &Plan) -> Self {
        let mut left = Self::MAX;
        let mut shown = Self { variables: plan.variables_in_words(), ..Self::default() };
        for step in &plan.steps {
            if left == 0 {
                shown.more_steps += 1;
                continue;
            }
            let words = step.in_words();
            let mut room = left.min(Self::MAX_STEP);
            let fits = |c: &char| match room.checked_sub(as_markup(*c)) {
                Some(rest) => {
                    room = rest;
                    true
                }
                None => false,
            };
            let mut text: String = words.chars().take_while(fits).collect();
            let missing = words.chars().count() - text.chars().count();
            if missing > 0 {
                text.push('…');
                shown.more_chars += missing;
            }
            left = left.saturating_sub(text.chars().map(as_markup).sum());
            shown.steps.push(text);
        }
        shown
    }
}

/// Returns how long a character is as Slack's markup.
const fn as_markup(c: char) -> usize {
    match c {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        c => c.len_utf16(),
    }
}

/// What was decided, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub kind: VerdictKind,
    /// None when it was automatic.
    pub by: Option<String>,
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    Approved,
    Rejected,
    /// Nobody decided: it expired, or was not needed any more.
    Cancelled,
}

impl PlaybookNotification {
    /// How many characters of a reason or an error are shown at most.
    pub const MAX_REASON_CHARS: usize = 300;

    /// Returns whether a receiver of this kind gets it: Slack gets all of them, and PagerDuty those that need the on-call.
    pub const fn is_for(&self, kind: TargetKind) -> bool {
        match kind {
            TargetKind::Slack => true,
            TargetKind::PagerDuty => matches!(self.event, PlaybookEvent::Escalated { .. }),
            TargetKind::Webhook => false,
        }
    }

    /// Returns whether it must reach somebody, so that it goes to the channel where no target gets it.
    pub const fn must_reach_somebody(&self) -> bool {
        matches!(self.event, PlaybookEvent::ApprovalRequested(_) | PlaybookEvent::Escalated { .. })
    }

    /// Returns whether it stands in a message of its own: one that has buttons, or that takes the place of one.
    pub const fn stands_alone(&self) -> bool {
        matches!(self.event, PlaybookEvent::ApprovalRequested(_) | PlaybookEvent::Decided(_))
    }

    /// Returns the key by which receivers recognise two escalations as one incident.
    pub fn dedup_key(&self) -> String {
        let of = self.service.as_ref().map_or(&self.playbook_name, |service| &service.heartbeat_name);
        dedup_key(self.execution_id, of)
    }
}

/// A circuit that is open: playbooks no longer start automatically, for a service or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCircuit {
    pub of: CircuitOf,
    /// The service's name; none when it was deleted.
    pub heartbeat_name: Option<String>,
    /// How many started within `window`.
    pub max: u32,
    pub window: TimeDelta,
}

/// Returns the first characters of a text, with a mark where there were more.
pub fn shorten(text: &str, max_chars: usize) -> String {
    let mut chars = text.char_indices();
    match chars.nth(max_chars) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect(),
    }
}
