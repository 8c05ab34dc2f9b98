//! Saves what happens to executions: each event is one transaction, with what it sends and what it leaves in the audit log.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Advance, Effect, Event, Execution, ExecutionId, ExecutionStage, Playbook, StepOutcome, retry_delay};
use outbound::{ScriptReport, Wake};
use store::{Commit, ExecutionRecord, Writes};

use crate::error::error_chain;
use crate::outbox::Outbox;
use crate::retry::retry_on_conflict;
use crate::{Error, Medic};

/// How often a report is sent again: for some ten minutes.
const MAX_REPORT_FAILURES: u32 = 14;
/// A script that ends early leaves its attempt more time than this.
const MAX_REPORT_DELAY: TimeDelta = TimeDelta::minutes(1);

/// What an event made of an execution.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) record: ExecutionRecord,
    pub(super) effects: Vec<Effect>,
}

impl Medic {
    /// Saves an execution that begins, together with `writes`. None if one of these met a conflict.
    pub(super) async fn begin(
        &self,
        begun: Advance,
        mut writes: Writes,
        now: DateTime<Utc>,
    ) -> Result<Option<Applied>, Error> {
        let stamp = self.new_stamp()?;
        writes.create_execution(&self.table, &begun.execution, &stamp)?;
        let outbox = self.add_effects(&mut writes, &begun, now).await?;
        let Advance { execution, effects } = begun;
        let id = execution.id;
        let record = if self.table.commit(writes).await? == Commit::Conflict {
            // An earlier attempt of this very write may have been made, or one of a client's repetitions was first.
            let Some(known) = self.table.execution(id).await? else { return Ok(None) };
            known
        } else {
            ExecutionRecord { execution, version: 1, stamp, nonce: None }
        };
        self.hand_over(&outbox, now).await;
        tracing::info!(execution.id = %id, "a playbook begins");
        Ok(Some(Applied { record, effects }))
    }

    /// Adds to a transaction what an execution's change sends, and what it leaves in the audit log.
    async fn add_effects(&self, writes: &mut Writes, advance: &Advance, now: DateTime<Utc>) -> Result<Outbox, Error> {
        self.audit_execution(writes, advance, now).await?;
        let outbox = self.execution_outbox(advance, now).await?;
        outbox.add_to(writes, &self.table)?;
        Ok(outbox)
    }

    /// Applies an event, and saves what it makes of an execution. `decide` gets the execution as it is, and may find that
    /// nothing happens. What was decided before comes first.
    pub(super) async fn apply(
        &self,
        id: ExecutionId,
        decide: impl Fn(&ExecutionRecord) -> Result<Option<Event>, Error>,
        now: DateTime<Utc>,
    ) -> Result<Applied, Error> {
        let decide = &decide;
        retry_on_conflict(format!("execution {id}"), || async move {
            let found = self.table.execution(id).await?;
            let old = found.ok_or_else(|| Error::NotFound(format!("There is no execution {id}")))?;
            if let Some(decision) = self.earlier_decision(&old, now).await? {
                let advance = old.execution.advance(decision, now);
                if let Some(decided) = self.save(old, advance, now).await? {
                    self.wake_execution(&decided.record.execution, now).await;
                }
                return Ok(None);
            }
            let Some(event) = decide(&old)? else {
                return Ok(Some(Applied { record: old, effects: Vec::new() }));
            };
            let advance = old.execution.advance(event, now);
            if advance.execution == old.execution {
                return Ok(Some(Applied { record: old, effects: advance.effects }));
            }
            self.save(old, advance, now).await
        })
        .await
    }

    /// Saves a change of an execution. None if it has changed meanwhile.
    async fn save(&self, old: ExecutionRecord, advance: Advance, now: DateTime<Utc>) -> Result<Option<Applied>, Error> {
        let id = old.execution.id;
        let stamp = self.new_stamp()?;
        let performs = advance.effects.iter().any(|effect| matches!(effect, Effect::Perform { .. }));
        let nonce = if performs { Some(self.new_stamp()?) } else { old.nonce.clone() };
        let mut writes = Writes::new();
        writes.update_execution(&self.table, &old, &advance.execution, &stamp, nonce.as_deref())?;
        let outbox = self.add_effects(&mut writes, &advance, now).await?;
        if self.table.commit(writes).await? == Commit::Conflict {
            // This very write may have been made, and its response lost.
            let found = self.table.execution(id).await?;
            if found.is_none_or(|found| found.stamp != stamp) {
                return Ok(None);
            }
        }
        self.hand_over(&outbox, now).await;
        let Advance { execution, effects } = advance;
        if execution.status.is_terminal() && !old.execution.status.is_terminal() {
            self.count_ended(&execution).await;
        }
        let version = old.version + 1;
        Ok(Some(Applied { record: ExecutionRecord { execution, version, stamp, nonce }, effects }))
    }

    /// Records the report of a script's attempt. One that cannot be recorded is sent again, to arrive soon: nothing else
    /// holds it, a message that failed comes back only after its queue's visibility timeout, and by then the attempt has
    /// ended and the script has run again.
    pub async fn record_report(&self, report: ScriptReport, now: DateTime<Utc>) -> Result<(), Error> {
        let failures = report.failures + 1;
        let Err(error) = self.record_attempt(report.clone(), now).await else { return Ok(()) };
        if failures > MAX_REPORT_FAILURES {
            return Err(error);
        }
        tracing::warn!(error = %error_chain(&error), failures, "a script's report was not recorded; it is sent again");
        let delay = retry_delay(failures).min(MAX_REPORT_DELAY).to_std().unwrap_or_default();
        if let Err(unsent) = self.script_reports.send_report(&ScriptReport { failures, ..report }, delay).await {
            tracing::warn!(error = %error_chain(&unsent), "a script's report was not sent again");
            return Err(error);
        }
        Ok(())
    }

    /// Records a report. One without its attempt's nonce counts for nothing.
    async fn record_attempt(&self, report: ScriptReport, now: DateTime<Utc>) -> Result<(), Error> {
        let ScriptReport { execution_id, step_index, attempt, nonce, exit, output, error, .. } = report;
        let Ok(id) = execution_id.parse() else { return Ok(()) };
        let step = usize::try_from(step_index).unwrap_or(usize::MAX);
        let succeeded = exit == Some(0) && error.is_none();
        let error = if succeeded { None } else { Some(error.unwrap_or_else(|| "the script failed".to_owned())) };
        let outcome = StepOutcome { succeeded, output, error };
        let decide = |record: &ExecutionRecord| {
            if record.nonce.as_deref() != Some(&nonce) {
                tracing::warn!(execution.id = %id, "a script's report came that nobody asked for");
                return Ok(None);
            }
            Ok(Some(Event::Done { step, attempt, outcome: outcome.clone() }))
        };
        match self.apply(id, decide, now).await {
            Ok(applied) => self.wake_execution(&applied.record.execution, now).await,
            Err(Error::NotFound(_)) => {
                tracing::warn!(execution.id = %id, "a script's report came that nobody asked for");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends a wake-up for when an execution has something to do next. The ends of claims and of approvals need none: a
    /// report or a decision comes before them, or the row falls due.
    pub(super) async fn wake_execution(&self, execution: &Execution, now: DateTime<Utc>) {
        let waits = matches!(execution.stage, ExecutionStage::Claimed { .. } | ExecutionStage::Approval { .. });
        if let Some(at) = execution.due_at().filter(|_| !waits) {
            self.wake(Wake::Execution { execution_id: execution.id.to_string() }, at.max(now)).await;
        }
    }

    /// Counts an execution that ended.
    async fn count_ended(&self, execution: &Execution) {
        let known = self.table.find::<Playbook>(execution.plan.playbook_id).await.ok().flatten();
        let playbook = known.map_or_else(|| "unknown".to_owned(), |playbook| playbook.name.to_string());
        let status = execution.status.as_str();
        metrics::counter!("medic_playbook_executions_total", "playbook" => playbook.clone(), "status" => status)
            .increment(1);
        let took = execution.completed_at.map(|at| at - execution.started_at).unwrap_or_default();
        metrics::histogram!("medic_playbook_execution_duration_seconds", "playbook" => playbook)
            .record(took.as_seconds_f64().max(0.0));
        tracing::info!(execution.id = %execution.id, execution.status = status, "an execution ended");
    }
}
