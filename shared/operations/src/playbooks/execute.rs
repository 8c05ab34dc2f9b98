//! Starts a playbook for a caller.

use chrono::{DateTime, Utc};
use domain::{Execution, ExecutionId, Invalid, Playbook, Variables, parse_variable};
use sha2::{Digest as _, Sha256};
use store::Writes;
use subtle::ConstantTimeEq as _;

use super::planning::NewRun;
use crate::retry::retry_on_conflict;
use crate::{Error, Medic};

/// How many variables a caller may give.
const MAX_VARIABLES: usize = 50;

impl Medic {
    /// Starts a playbook, or requests the approval that it needs.
    pub async fn execute(&self, new: NewRun, now: DateTime<Utc>) -> Result<Execution, Error> {
        let playbook: Playbook = self.find(new.playbook_id).await?;
        let service = match new.service_id {
            Some(id) => {
                let known = self.table.service(id).await?;
                let gone = || Invalid::new("service_id", format!("must be a service's: there is no service {id}"));
                Some(known.ok_or_else(gone)?)
            }
            None => None,
        };
        check_variables(&new.given)?;
        let mut id = ExecutionId::at(now, self.random()?);
        if let Some(key) = &new.idempotency_key {
            let first = self.table.first_execution(playbook.id, key, id, now).await?;
            // Whoever was first may have died before it began.
            if first != id
                && let Some(known) = self.table.execution(first).await?
            {
                return Ok(known.execution);
            }
            id = first;
        }
        let (playbook, service, new) = (&playbook, service.as_ref(), &new);
        retry_on_conflict(format!("the circuit of service {:?}", new.service_id), || async move {
            let begun = self.plan(playbook, service, id, new, now).await?;
            let mut writes = Writes::new();
            // None refuses a person.
            self.pass_circuits(new.service_id, true, &mut writes, now).await?;
            let Some(applied) = self.begin(begun, writes, now).await? else { return Ok(None) };
            self.wake_execution(&applied.record.execution, now).await;
            Ok(Some(applied.record.execution))
        })
        .await
    }

    /// Returns whether this is the secret that starts playbooks without a key; none when none is set. In constant time.
    pub fn is_webhook_secret(&self, given: &[u8]) -> Option<bool> {
        let secret = self.settings.webhook_secret.as_ref()?;
        // Their digests are of one length, so that the comparison reveals nothing of the secret's.
        Some(Sha256::digest(secret).ct_eq(&Sha256::digest(given)).into())
    }
}

fn check_variables(variables: &Variables) -> Result<(), Invalid> {
    if variables.len() > MAX_VARIABLES {
        return Err(Invalid::new("variables", format!("must be at most {MAX_VARIABLES} variables")));
    }
    variables.iter().try_for_each(|(name, value)| parse_variable(&format!("variables.{name}"), name, value))
}
