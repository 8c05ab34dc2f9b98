//! Plans an execution: the playbook's steps with their variables filled in, which is what is approved and what runs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    Advance, Execution, ExecutionId, NewExecution, Origin, Plan, Playbook, PlaybookDefinition, PlaybookId, Script,
    ServiceId, StepKind, Variables,
};
use store::ServiceRecord;

use super::document::Document;
use crate::{Error, Medic};

/// What is to be run.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub playbook_id: PlaybookId,
    pub service_id: Option<ServiceId>,
    /// The caller's own, which cannot replace those that are always there.
    pub given: Variables,
    /// What the alert that starts it gives.
    pub of_alert: Variables,
    pub origin: Origin,
    /// The client's key for its request, which starts one execution however often it is sent.
    pub idempotency_key: Option<String>,
}

impl Medic {
    /// Plans a run of a playbook.
    pub(super) async fn plan(
        &self,
        playbook: &Playbook,
        service: Option<&ServiceRecord>,
        id: ExecutionId,
        new: &NewRun,
        now: DateTime<Utc>,
    ) -> Result<Advance, Error> {
        let Document { definition, warnings: _ } = self.validate_playbook(&playbook.yaml);
        let unreadable = |_| Error::Conflict(format!("The playbook {} is no longer valid", playbook.name));
        let definition = definition.map_err(unreadable)?;
        let service_name = service.map(|record| record.profile.service_name.as_str()).unwrap_or_default();
        let mut variables = new.of_alert.clone();
        variables.extend([
            ("EXECUTION_ID".to_owned(), id.to_string()),
            ("PLAYBOOK_ID".to_owned(), playbook.id.to_string()),
            ("PLAYBOOK_NAME".to_owned(), playbook.name.to_string()),
            ("SERVICE_ID".to_owned(), new.service_id.map(|id| id.to_string()).unwrap_or_default()),
            ("SERVICE_NAME".to_owned(), service_name.to_owned()),
        ]);
        let scripts = self.scripts_of(&definition).await?;
        let find = |name: &str| -> Option<&Script> { scripts.get(name) };
        let version = playbook.revision.version;
        let plan = Plan::of(&definition, playbook.id, version, new.service_id, variables, new.given.clone(), find)?;
        let new = NewExecution {
            id,
            plan,
            playbook_name: playbook.name.to_string(),
            origin: new.origin.clone(),
            approval: definition.approval,
            verify_within: definition.verify_within,
        };
        Ok(Execution::begin(new, now))
    }

    /// Returns the registered scripts that a playbook names.
    async fn scripts_of(&self, definition: &PlaybookDefinition) -> Result<BTreeMap<String, Script>, Error> {
        let mut scripts = BTreeMap::new();
        for step in &definition.steps {
            if let StepKind::Script { script, .. } = &step.kind
                && let Some(found) = self.table.script_named(script).await?
            {
                scripts.insert(script.clone(), found);
            }
        }
        Ok(scripts)
    }
}
