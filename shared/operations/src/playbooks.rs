//! Playbooks and their triggers.

use domain::{Invalid, WebhookCall};
use domain::{Playbook, PlaybookDefinition, PlaybookId, Revision, StepKind, Trigger, TriggerId, TriggerTerms};
use store::{Commit, Page};

use crate::configuration::{TRIES, contended};
use crate::{Actor, Document, Error, Medic, Problem};

/// What a new trigger is to be.
#[derive(Debug, Clone)]
pub struct NewTrigger {
    pub terms: TriggerTerms,
    pub enabled: bool,
}

/// An edit: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct TriggerUpdate {
    pub service_pattern: Option<String>,
    pub consecutive_failures: Option<u32>,
    pub enabled: Option<bool>,
}

impl Medic {
    /// Reads a playbook's document, and names what is wrong with it.
    pub fn validate_playbook(&self, yaml: &str) -> Document {
        Document::read(yaml, &self.guard)
    }

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

    /// Playbooks, newest first.
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
                return Err(contended::<Playbook>(id));
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

    /// Removes a playbook with its triggers, and ends what goes on of it. Its versions stay.
    pub async fn delete_playbook(&self, id: PlaybookId, actor: &Actor) -> Result<(), Error> {
        for _ in 0..TRIES {
            let seen: Playbook = self.find(id).await?;
            // First, so that who dies here and comes again does the rest; and then what began meanwhile.
            self.cancel_all_of(id, actor).await?;
            if self.table.delete_playbook(&seen, self.audit_of_deletion(actor, &seen)?).await? == Commit::Done {
                self.forget_configured();
                self.cancel_all_of(id, actor).await?;
                return Ok(());
            }
        }
        Err(contended::<Playbook>(id))
    }

    /// What a playbook's document defines. Each address without variables resolves, and to nothing inside.
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

    pub async fn create_trigger(
        &self,
        playbook_id: PlaybookId,
        new: NewTrigger,
        actor: &Actor,
    ) -> Result<Trigger, Error> {
        let _playbook: Playbook = self.find(playbook_id).await?;
        if self.table.triggers_of(playbook_id, None, Trigger::MAX).await?.items.len() >= Trigger::MAX {
            return Err(Error::Conflict(format!("There may be at most {} triggers for one playbook", Trigger::MAX)));
        }
        let NewTrigger { terms, enabled } = new;
        let id = self.table.next_trigger_id().await?;
        self.create(Trigger { id, playbook_id, terms, enabled, revision: Revision::beginning(actor.at) }, actor).await
    }

    /// A playbook's triggers, newest first.
    pub async fn triggers(
        &self,
        playbook: PlaybookId,
        after: Option<TriggerId>,
        limit: usize,
    ) -> Result<Page<Trigger>, Error> {
        let _playbook: Playbook = self.find(playbook).await?;
        Ok(self.table.triggers_of(playbook, after, limit).await?)
    }

    pub async fn trigger(&self, playbook: PlaybookId, id: TriggerId) -> Result<Trigger, Error> {
        let _playbook: Playbook = self.find(playbook).await?;
        self.find((playbook, id)).await
    }

    pub async fn update_trigger(
        &self,
        playbook: PlaybookId,
        id: TriggerId,
        changes: &TriggerUpdate,
        actor: &Actor,
    ) -> Result<Trigger, Error> {
        let _present = self.trigger(playbook, id).await?;
        let TriggerUpdate { service_pattern, consecutive_failures, enabled } = changes;
        let decide = |trigger: Trigger| {
            let TriggerTerms { service_pattern: old_pattern, consecutive_failures: old_failures } = trigger.terms;
            Ok(Trigger {
                terms: TriggerTerms {
                    service_pattern: service_pattern.clone().unwrap_or(old_pattern),
                    consecutive_failures: consecutive_failures.unwrap_or(old_failures),
                },
                enabled: enabled.unwrap_or(trigger.enabled),
                ..trigger
            })
        };
        self.update((playbook, id), actor, decide).await
    }

    pub async fn delete_trigger(&self, playbook: PlaybookId, id: TriggerId, actor: &Actor) -> Result<(), Error> {
        let _present = self.trigger(playbook, id).await?;
        self.delete::<Trigger>((playbook, id), actor).await
    }
}

/// All problems of a document as one error, which begins with the first.
fn as_invalid(problems: &[Problem]) -> Invalid {
    let mut told = problems.iter().map(ToString::to_string);
    let Some(Problem { field, message, line }) = problems.first() else {
        return Invalid::new("yaml", "cannot be read");
    };
    let rest: Vec<_> = told.by_ref().skip(1).collect();
    let rest = if rest.is_empty() { String::new() } else { format!("; {}", rest.join("; ")) };
    Invalid::new(field, format!("{message} (line {line}){rest}"))
}
