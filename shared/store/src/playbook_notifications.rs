//! How notifications of executions and of circuits are kept.

use chrono::TimeDelta;
use domain::{
    AlertCopy, ApprovalRequest, CircuitOf, ExecutionId, Invalid, OpenCircuit, PlaybookEvent, PlaybookNotification,
    ServiceId, ShownPlan, Verdict, VerdictKind, from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

/// The kind of a circuit's notification.
pub(crate) const CIRCUIT: &str = "circuit_open";

const STARTED: &str = "started";
const APPROVAL_REQUESTED: &str = "approval_requested";
const APPROVED: &str = "approved";
const REJECTED: &str = "rejected";
/// An approval request that needs no decision any more.
const WITHDRAWN: &str = "withdrawn";
const COMPLETED: &str = "completed";
const FAILED: &str = "failed";
const CANCELLED: &str = "cancelled";
const ESCALATED: &str = "escalated";

/// A notification of an execution; its kind is the notification's.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PlaybookItem {
    playbook_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<ServiceItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<ApprovalRequestItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    took_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_at: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ServiceItem {
    heartbeat_name: String,
    service_name: String,
    team: String,
    priority: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runbook: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ApprovalRequestItem {
    version: u64,
    digest: String,
    until: i64,
    proceeds: bool,
    steps: Vec<String>,
    more_steps: usize,
    #[serde(default)]
    more_chars: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variables: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CircuitItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heartbeat_name: Option<String>,
    max: u32,
    window_ms: i64,
}

impl ServiceItem {
    fn of(service: &AlertCopy) -> Self {
        let AlertCopy { heartbeat_name, service_name, team, priority, runbook } = service.clone();
        Self { heartbeat_name, service_name, team, priority: priority.as_str().to_owned(), runbook }
    }

    fn into_copy(self) -> Result<AlertCopy, Invalid> {
        let Self { heartbeat_name, service_name, team, priority, runbook } = self;
        Ok(AlertCopy { heartbeat_name, service_name, team, priority: priority.parse()?, runbook })
    }
}

impl PlaybookItem {
    /// Returns a notification's kind, and everything else of it.
    pub(crate) fn of(notification: &PlaybookNotification) -> (&'static str, Self) {
        let PlaybookNotification { execution_id: _, playbook_name, service_id, service, event } = notification;
        let item = Self {
            playbook_name: playbook_name.clone(),
            service_id: service_id.map(ServiceId::get),
            service: service.as_ref().map(ServiceItem::of),
            ..Self::default()
        };
        match event.clone() {
            PlaybookEvent::Started { why } => (STARTED, Self { why: Some(why), ..item }),
            PlaybookEvent::ApprovalRequested(ApprovalRequest {
                why,
                version,
                digest,
                until,
                proceeds,
                shown: ShownPlan { steps, more_steps, more_chars, variables },
            }) => {
                let until = to_millis(until);
                let request =
                    ApprovalRequestItem { version, digest, until, proceeds, steps, more_steps, more_chars, variables };
                (APPROVAL_REQUESTED, Self { why: Some(why), request: Some(request), ..item })
            }
            PlaybookEvent::Decided(Verdict { kind, by, reason, at }) => {
                let kind = match kind {
                    VerdictKind::Approved => APPROVED,
                    VerdictKind::Rejected => REJECTED,
                    VerdictKind::Cancelled => WITHDRAWN,
                };
                (kind, Self { by, reason, event_at: Some(to_millis(at)), ..item })
            }
            PlaybookEvent::Completed { took } => (COMPLETED, Self { took_ms: Some(took.num_milliseconds()), ..item }),
            PlaybookEvent::Failed { step, error } => (FAILED, Self { step: Some(step), reason: Some(error), ..item }),
            PlaybookEvent::Cancelled { by, reason } => (CANCELLED, Self { by, reason, ..item }),
            PlaybookEvent::Escalated { step, problem, at } => {
                let event_at = Some(to_millis(at));
                (ESCALATED, Self { step: Some(step), reason: Some(problem), event_at, ..item })
            }
        }
    }

    /// Returns the notification of an execution, if its kind is known.
    pub(crate) fn into_notification(
        self,
        execution_id: ExecutionId,
        kind: &str,
    ) -> Result<Option<PlaybookNotification>, Invalid> {
        let Self { playbook_name, service_id, service, why, request, by, reason, step, took_ms, event_at } = self;
        let at = from_millis(event_at.unwrap_or_default());
        let verdict = |kind| PlaybookEvent::Decided(Verdict { kind, by: by.clone(), reason: reason.clone(), at });
        let event = match kind {
            STARTED => PlaybookEvent::Started { why: why.unwrap_or_default() },
            APPROVAL_REQUESTED => {
                let ApprovalRequestItem { version, digest, until, proceeds, steps, more_steps, more_chars, variables } =
                    request.unwrap_or_default();
                let (why, until) = (why.unwrap_or_default(), from_millis(until));
                let shown = ShownPlan { steps, more_steps, more_chars, variables };
                PlaybookEvent::ApprovalRequested(ApprovalRequest { why, version, digest, until, proceeds, shown })
            }
            APPROVED => verdict(VerdictKind::Approved),
            REJECTED => verdict(VerdictKind::Rejected),
            WITHDRAWN => verdict(VerdictKind::Cancelled),
            COMPLETED => PlaybookEvent::Completed { took: TimeDelta::milliseconds(took_ms.unwrap_or_default()) },
            FAILED => PlaybookEvent::Failed { step: step.unwrap_or_default(), error: reason.unwrap_or_default() },
            CANCELLED => PlaybookEvent::Cancelled { by, reason },
            ESCALATED => {
                let (step, problem) = (step.unwrap_or_default(), reason.unwrap_or_default());
                PlaybookEvent::Escalated { step, problem, at }
            }
            _ => return Ok(None),
        };
        let service = service.map(ServiceItem::into_copy).transpose()?;
        let service_id = service_id.map(ServiceId::new);
        Ok(Some(PlaybookNotification { execution_id, playbook_name, service_id, service, event }))
    }
}

impl CircuitItem {
    pub(crate) fn of(circuit: &OpenCircuit) -> Self {
        let OpenCircuit { of: _, heartbeat_name, max, window } = circuit;
        Self { heartbeat_name: heartbeat_name.clone(), max: *max, window_ms: window.num_milliseconds() }
    }

    pub(crate) fn into_circuit(self, of: CircuitOf) -> OpenCircuit {
        let Self { heartbeat_name, max, window_ms } = self;
        OpenCircuit { of, heartbeat_name, max, window: TimeDelta::milliseconds(window_ms) }
    }
}

#[cfg(test)]
mod tests {
    use domain::Priority;

    use super::*;

    #[test]
    fn every_notification_of_an_execution_reads_as_it_was_written() {
        let at = from_millis(1_790_000_000_123);
        let (by, reason) = (Some("slack:U1".to_owned()), Some("why".to_owned()));
        let verdict = |kind| Verdict { kind, by: by.clone(), reason: reason.clone(), at };
        let (step, text) = ("verify".to_owned(), "because".to_owned());
        let request = ApprovalRequest {
            why: text.clone(),
            version: 3,
            digest: "d".to_owned(),
            until: at,
            proceeds: true,
            shown: ShownPlan {
                steps: vec!["one".to_owned()],
                more_steps: 2,
                more_chars: 3,
                variables: Some("A=1".to_owned()),
            },
        };
        let events = [
            PlaybookEvent::Started { why: text.clone() },
            PlaybookEvent::ApprovalRequested(request),
            PlaybookEvent::Decided(verdict(VerdictKind::Approved)),
            PlaybookEvent::Decided(verdict(VerdictKind::Rejected)),
            PlaybookEvent::Decided(verdict(VerdictKind::Cancelled)),
            PlaybookEvent::Completed { took: TimeDelta::milliseconds(1_234) },
            PlaybookEvent::Failed { step: step.clone(), error: text.clone() },
            PlaybookEvent::Cancelled { by: by.clone(), reason: None },
            PlaybookEvent::Escalated { step, problem: text, at },
        ];
        let service = AlertCopy {
            heartbeat_name: "worker-1".to_owned(),
            service_name: "worker".to_owned(),
            team: "site-reliability".to_owned(),
            priority: Priority::P2,
            runbook: None,
        };
        for event in events {
            let notification = PlaybookNotification {
                execution_id: ExecutionId::at(at, [3; 10]),
                playbook_name: "restart".to_owned(),
                service_id: Some(ServiceId::new(7)),
                service: Some(service.clone()),
                event,
            };
            let (kind, item) = PlaybookItem::of(&notification);
            assert_eq!(item.into_notification(notification.execution_id, kind).unwrap(), Some(notification));
        }
    }
}
