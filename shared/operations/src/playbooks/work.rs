//! Does what an execution has to do next, one step for each message.

use chrono::TimeDelta;
use domain::{Effect, Event, ExecutionId, Playbook};
use store::ExecutionRecord;

use super::executions::Applied;
use super::steps::Claim;
use crate::{Error, Medic, Now};

/// Clocks differ by less.
const EARLY: TimeDelta = TimeDelta::seconds(5);

impl Medic {
    /// Does what an execution has to do now: one step at most. What takes long is done between two commits, and may be
    /// lost; its claim ends then.
    pub async fn work_on(&self, id: ExecutionId, now: Now<'_>) -> Result<(), Error> {
        let Some(old) = self.table.execution(id).await? else { return Ok(()) };
        let is_gone = !old.execution.status.is_terminal()
            && self.table.find::<Playbook>(old.execution.plan.playbook_id).await?.is_none();
        let gone = |record: &ExecutionRecord| {
            let reason = Some("the playbook was deleted".to_owned());
            Ok(record.execution.can_be_cancelled().then_some(Event::Cancelled { by: None, reason }))
        };
        let mut applied = if is_gone && old.execution.can_be_cancelled() {
            self.apply(id, gone, now()).await?
        } else {
            self.apply(id, |_| Ok(Some(Event::Due)), now()).await?
        };
        while let Some(event) = self.follow(&applied, now).await? {
            applied = self.apply(id, |_| Ok(Some(event.clone())), now()).await?;
        }
        let record = &applied.record;
        // If nothing came of it, somebody else was woken; but a message that came a little early is sent again.
        let is_early = record.execution.due_at().is_some_and(|at| at - now() < EARLY);
        if record.version != old.version || is_early {
            self.wake_execution(&record.execution, now()).await;
        }
        Ok(())
    }

    /// Does what follows from an event, and returns what came of it, if that is known now.
    async fn follow(&self, applied: &Applied, now: Now<'_>) -> Result<Option<Event>, Error> {
        for effect in &applied.effects {
            match effect {
                Effect::Perform { step, attempt, began_at, deadline } => {
                    let claim = Claim { step: *step, attempt: *attempt, began_at: *began_at, deadline: *deadline };
                    return self.perform(&applied.record, claim, now()).await;
                }
                Effect::LookForReport { since, until } => {
                    let first_at = match applied.record.execution.plan.service_id {
                        Some(service) => self.table.first_report(service, *since, *until, now()).await?,
                        None => None,
                    };
                    return Ok(Some(Event::Reported { first_at }));
                }
                Effect::RequestApproval
                | Effect::NotifyDecision
                | Effect::NotifyStarted
                | Effect::NotifyFinished
                | Effect::Escalate { .. }
                | Effect::Audit(_) => {}
            }
        }
        Ok(None)
    }
}
