//! Audits executions: the entries are written with what they record.

use chrono::{DateTime, Utc};
use domain::{
    Advance, Alert, AuditAction, AuditDetails, AuditEntry, Audited, Decided, Effect, Execution, Origin, Playbook,
    ServiceId,
};
use store::Writes;

use crate::{Actor, Error, Medic};

impl Medic {
    /// Adds the entries of an execution's effects.
    pub(super) async fn audit_execution(
        &self,
        writes: &mut Writes,
        advance: &Advance,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let Advance { execution, effects } = advance;
        let audited: Vec<_> = effects.iter().filter_map(Effect::audited).collect();
        if audited.is_empty() {
            return Ok(());
        }
        let service_name = self.service_name(execution.plan.service_id).await?;
        for audited in audited {
            let entry = AuditEntry {
                id: self.next_log_id(now)?,
                at: now,
                action: audited.action(),
                actor: actor(audited, execution),
                execution_id: Some(execution.id),
                service_id: execution.plan.service_id,
                details: AuditDetails { service_name: service_name.clone(), ..details(audited, execution, now) },
            };
            writes.add_audit(&self.table, &entry, self.settings.audit_retention)?;
        }
        Ok(())
    }

    /// Adds that a playbook could not be started.
    pub(super) fn audit_unplanned(
        &self,
        writes: &mut Writes,
        playbook: &Playbook,
        alert: &Alert,
        problem: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let details = AuditDetails {
            playbook_name: Some(playbook.name.to_string()),
            service_name: Some(alert.service.service_name.clone()),
            error_message: Some(problem.to_owned()),
            ..AuditDetails::default()
        };
        let (action, medic) = (AuditAction::ExecutionFailed, Actor::medic(now));
        self.add_audit_entry(writes, action, &medic, Some(alert.service_id), details)
    }

    async fn service_name(&self, service: Option<ServiceId>) -> Result<Option<String>, Error> {
        let Some(id) = service else { return Ok(None) };
        Ok(self.table.service(id).await?.map(|record| record.profile.service_name.as_str().to_owned()))
    }
}

/// Returns who did it: whoever decided; and for what began it, whose key that was.
fn actor(audited: &Audited, execution: &Execution) -> Option<String> {
    match (audited, &execution.origin) {
        (Audited::Approved(decided) | Audited::Rejected(decided) | Audited::Cancelled(decided), _) => {
            decided.by.clone()
        }
        (Audited::Started | Audited::ApprovalRequested, Origin::Key { name }) => Some(name.clone()),
        (
            Audited::Started
            | Audited::ApprovalRequested
            | Audited::StepCompleted { .. }
            | Audited::StepFailed { .. }
            | Audited::Completed
            | Audited::Failed,
            _,
        ) => None,
    }
}

fn details(audited: &Audited, execution: &Execution, now: DateTime<Utc>) -> AuditDetails {
    let playbook_name = Some(execution.playbook_name.clone());
    let so_far = u64::try_from((now - execution.started_at).num_milliseconds()).ok();
    match audited {
        Audited::Started | Audited::ApprovalRequested => {
            let mut variables = execution.plan.given.clone();
            variables.extend(execution.plan.variables.clone());
            AuditDetails { playbook_name, variables, ..AuditDetails::default() }
        }
        Audited::Approved(Decided { reason, .. }) | Audited::Rejected(Decided { reason, .. }) => {
            AuditDetails { playbook_name, reason: reason.clone(), ..AuditDetails::default() }
        }
        Audited::Cancelled(Decided { reason, .. }) => {
            AuditDetails { playbook_name, reason: reason.clone(), duration_ms: so_far, ..AuditDetails::default() }
        }
        Audited::Completed => AuditDetails { playbook_name, duration_ms: so_far, ..AuditDetails::default() },
        Audited::Failed => {
            let error = execution.steps.iter().find_map(|step| step.error_message.clone());
            AuditDetails { playbook_name, duration_ms: so_far, error_message: error, ..AuditDetails::default() }
        }
        Audited::StepCompleted { step } | Audited::StepFailed { step } => {
            let (planned, record) = (execution.plan.steps.get(*step), execution.steps.get(*step));
            let took = record.and_then(|record| Some(record.completed_at? - record.started_at?));
            AuditDetails {
                playbook_name,
                step_name: planned.map(|step| step.name.to_string()),
                step_type: planned.map(|step| step.work.kind().to_owned()),
                duration_ms: took.and_then(|took| u64::try_from(took.num_milliseconds()).ok()),
                output: record.map(|record| record.output.clone()).filter(|output| !output.is_empty()),
                error_message: record.and_then(|record| record.error_message.clone()),
                ..AuditDetails::default()
            }
        }
    }
}
