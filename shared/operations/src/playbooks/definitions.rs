//! Creates, updates and deletes playbooks.

use domain::{Invalid, Playbook, PlaybookDefinition, PlaybookId, Revision, StepKind, WebhookCall};
use store::{Commit, Page};

use super::document::Problem;
use crate::retry::retry_on_conflict;
use crate::settings::described;
use crate::{Actor, Error, Medic};

impl Medic {
    pub async fn create_playbook(&self, yaml: String, actor: &Actor) -> Result<Playbook, Error> {
        let definition = self.read_playbook(&yaml).await?;
        let id = self.table.next_playbook_id().await?;
        let PlaybookDefinition { name, description, trigger, .. } = definition;
        let trigger = match trigger {
            Some(terms) => Some((self.table.next_trigger_id().await?, terms)),
            None => None,
        };
        self.create(Playbook { id, name, description, yaml, trigger, revision: Revision::beginning(actor.at) }, actor)
            .await
    }

    /// Returns playbooks, newest first.
    pub async fn playbooks(&self, after: Option<PlaybookId>, limit: usize) -> Result<Page<Playbook>, Error> {
        Ok(self.table.playbooks(after, limit).await?)
    }

    /// Gives a playbook its next version.
    pub async fn update_playbook(&self, id: PlaybookId, yaml: &str, actor: &Actor) -> Result<Playbook, Error> {
        let present: Playbook = self.find(id).await?;
        let PlaybookDefinition { name, description, trigger, .. } = self.read_playbook(yaml).await?;
        let new_trigger_id = match (&trigger, &present.trigger) {
            (Some(_), None) => Some(self.table.next_trigger_id().await?),
            (Some(_), Some(_)) | (None, _) => None,
        };
        let decide = |playbook: Playbook| {
            let trigger_id = playbook.trigger.as_ref().map(|(id, _)| *id).or(new_trigger_id);
            if trigger.is_some() && trigger_id.is_none() {
                return Err(Error::contended(described::<Playbook>(id)));
            }
            Ok(Playbook {
                name: name.clone(),
                description: description.clone(),
                yaml: yaml.to_owned(),
                trigger: trigger_id.zip(trigger.clone()),
                ..playbook
            })
        };
        self.update(id, actor, decide).await
    }

    /// Deletes a playbook with its triggers, and ends its open executions. Its versions stay.
    pub async fn delete_playbook(&self, id: PlaybookId, actor: &Actor) -> Result<(), Error> {
        retry_on_conflict(described::<Playbook>(id), || async move {
            let snapshot: Playbook = self.find(id).await?;
            // First, so that a repetition after a crash here does the rest; and then what began meanwhile.
            self.cancel_all_of(id, actor).await?;
            let writes = self.audit_of_deletion(actor, &snapshot)?;
            if self.table.delete_playbook(&snapshot, writes).await? == Commit::Conflict {
                return Ok(None);
            }
            self.forget_configuration();
            self.cancel_all_of(id, actor).await?;
            Ok(Some(()))
        })
        .await
    }

    /// Returns what a playbook's document defines. Each address without variables resolves, and to nothing inside.
    async fn read_playbook(&self, yaml: &str) -> Result<PlaybookDefinition, Error> {
        let definition = self.validate_playbook(yaml).definition.map_err(|problems| as_invalid(&problems))?;
        for (n, step) in definition.steps.iter().enumerate() {
            if let StepKind::Webhook(WebhookCall { url, .. }) = &step.kind
                && let Some(plain) = url.as_plain()
            {
                self.check_url(&format!("steps[{n}].url"), plain).await?;
            }
        }
        Ok(definition)
    }
}

/// Returns all problems of a document as one error, which begins with the first.
fn as_invalid(problems: &[Problem]) -> Invalid {
    let Some(Problem { field, message, line }) = problems.first() else {
        return Invalid::new("yaml", "cannot be read");
    };
    let rest: Vec<_> = problems.iter().skip(1).map(ToString::to_string).collect();
    let rest = if rest.is_empty() { String::new() } else { format!("; {}", rest.join("; ")) };
    Invalid::new(field, format!("{message} (line {line}){rest}"))
}
