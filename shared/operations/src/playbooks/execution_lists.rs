//! Lists executions, and says how well playbooks work.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{CircuitOf, Effectiveness, Execution, ExecutionId, Playbook, PlaybookId, ServiceId};
use store::{ExecutionFilter, Page};

use crate::{Error, Medic};

/// How many executions are read at a time for a playbook's effectiveness.
const PAGE: usize = 100;
const EFFECTIVENESS_OF: TimeDelta = TimeDelta::days(30);

impl Medic {
    /// Returns executions, newest first.
    pub async fn executions(
        &self,
        filter: ExecutionFilter,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Page<Execution>, Error> {
        Ok(self.table.executions(filter, after, limit).await?)
    }

    /// Returns an execution with its steps.
    pub async fn execution(&self, id: ExecutionId) -> Result<Execution, Error> {
        let found = self.table.execution_in_full(id).await?;
        found.ok_or_else(|| Error::NotFound(format!("There is no execution {id}")))
    }

    /// Returns the services for which no alert starts a playbook now.
    pub async fn open_circuits(&self, now: DateTime<Utc>) -> Result<Vec<ServiceId>, Error> {
        Ok(self.table.open_circuits(now).await?.into_iter().filter_map(CircuitOf::service).collect())
    }

    /// Returns how a playbook's runs of the last 30 days went.
    pub async fn effectiveness(&self, id: PlaybookId, now: DateTime<Utc>) -> Result<Effectiveness, Error> {
        let _playbook: Playbook = self.find(id).await?;
        let filter = ExecutionFilter { playbook: Some(id), ..ExecutionFilter::default() };
        let (mut runs, mut after) = (Vec::new(), None);
        loop {
            let page = self.table.executions(filter, after, PAGE).await?;
            let recent = |execution: &Execution| now - execution.started_at <= EFFECTIVENESS_OF;
            let is_over = page.items.iter().any(|execution| !recent(execution));
            runs.extend(page.items.into_iter().filter(recent));
            match page.next.map(|next| next.parse()).transpose()? {
                Some(next) if !is_over => after = Some(next),
                Some(_) | None => return Ok(Effectiveness::of(&runs)),
            }
        }
    }
}
