//! Decisions of people about executions: approved, rejected, cancelled.

use chrono::{DateTime, Utc};
use domain::{Decided, Event, Execution, ExecutionId, ExecutionStatus, PlaybookId};
use store::ExecutionRecord;

use super::self_approval::{EXCEPTION, OWN_REQUEST};
use crate::{Actor, Error, Medic};

/// How many open executions are read at a time to find those of one playbook.
const PAGE: usize = 100;

impl Medic {
    /// Records a person's decision. The first one stands, be it the timeout's.
    pub async fn decide(
        &self,
        id: ExecutionId,
        approve: bool,
        by: Option<String>,
        reason: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Execution, Error> {
        let decided = Decided { by, reason, at: now };
        let event = if approve { Event::Approved(decided.clone()) } else { Event::Rejected(decided.clone()) };
        let too_late = |execution: &Execution| {
            Error::Conflict(format!("The execution is not awaiting approval: it is {}", standing(execution)))
        };
        let decide = |record: &ExecutionRecord| {
            let execution = &record.execution;
            if !execution.awaits_decision() {
                return Err(too_late(execution));
            }
            if approve && self.is_own_request(execution, decided.by.as_deref()) {
                return Err(Error::Forbidden(format!("{OWN_REQUEST} {EXCEPTION}")));
            }
            Ok(Some(event.clone()))
        };
        let applied = self.apply(id, decide, now).await?;
        let execution = applied.record.execution;
        self.wake_execution(&execution, now).await;
        if execution.decision.as_ref() == Some(&decided) { Ok(execution) } else { Err(too_late(&execution)) }
    }

    /// Ends an execution, at once or after the step that is being done.
    pub async fn cancel(
        &self,
        id: ExecutionId,
        by: Option<String>,
        reason: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Execution, Error> {
        let decide = |record: &ExecutionRecord| {
            if record.execution.can_be_cancelled() {
                return Ok(Some(Event::Cancelled { by: by.clone(), reason: reason.clone() }));
            }
            Err(Error::Conflict(format!("The execution cannot be cancelled: it is {}", standing(&record.execution))))
        };
        Ok(self.apply(id, decide, now).await?.record.execution)
    }

    /// Cancels the open executions of a playbook that is about to be deleted.
    pub(super) async fn cancel_all_of(&self, playbook: PlaybookId, actor: &Actor) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.table.open_executions(after, PAGE).await?;
            for execution in page.items.iter().filter(|execution| execution.plan.playbook_id == playbook) {
                let reason = Some("the playbook was deleted".to_owned());
                match self.cancel(execution.id, actor.name.clone(), reason, actor.at).await {
                    Ok(_) | Err(Error::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            match page.next.map(|next| next.parse()).transpose()? {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// Returns how an execution stands, for whoever comes too late.
fn standing(execution: &Execution) -> String {
    let decision = execution.decision.as_ref().and_then(|decided| decided.by.as_deref());
    let cancelled = execution.cancelled_by.as_ref().and_then(|decided| decided.by.as_deref());
    match (execution.status, decision, cancelled) {
        (ExecutionStatus::Cancelled, _, Some(by)) => format!("cancelled, by {by}"),
        (ExecutionStatus::Running | ExecutionStatus::Waiting, _, Some(by)) => {
            format!("{}, and was cancelled by {by}", execution.status.as_str())
        }
        (status, Some(by), _) => format!("{}, and was approved by {by}", status.as_str()),
        (status, None, _) => status.as_str().to_owned(),
    }
}
