//! Creates, updates and deletes the triggers of playbooks.

use domain::{Playbook, PlaybookId, Revision, Trigger, TriggerId, TriggerTerms};
use store::{Entity as _, Page, Saved};

use crate::retry::retry_on_conflict;
use crate::settings::described;
use crate::{Actor, Error, Medic};

/// A trigger to be created.
#[derive(Debug, Clone)]
pub struct NewTrigger {
    pub terms: TriggerTerms,
    pub enabled: bool,
}

/// An update: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct TriggerUpdate {
    pub service_pattern: Option<String>,
    pub consecutive_failures: Option<u32>,
    pub enabled: Option<bool>,
}

impl Medic {
    pub async fn create_trigger(
        &self,
        playbook_id: PlaybookId,
        new: NewTrigger,
        actor: &Actor,
    ) -> Result<Trigger, Error> {
        let _playbook: Playbook = self.find(playbook_id).await?;
        let NewTrigger { terms, enabled } = new;
        let id = self.table.next_trigger_id().await?;
        let trigger = &Trigger { id, playbook_id, terms, enabled, revision: Revision::beginning(actor.at) };
        retry_on_conflict(described::<Trigger>(trigger.id()), || async move {
            match self.table.create_trigger(trigger, self.audit_of_creation(actor, trigger)?).await? {
                Saved::Done => {
                    self.forget_configuration();
                    Ok(Some(()))
                }
                Saved::Conflict | Saved::NameTaken => Ok(None),
                Saved::Full => {
                    Err(Error::Conflict(format!("There may be at most {} triggers for one playbook", Trigger::MAX)))
                }
                Saved::OwnerGone => Err(Error::NotFound(format!("There is no {}", described::<Playbook>(playbook_id)))),
            }
        })
        .await?;
        Ok(trigger.clone())
    }

    /// Returns a playbook's triggers, newest first.
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
        update: &TriggerUpdate,
        actor: &Actor,
    ) -> Result<Trigger, Error> {
        let _present = self.trigger(playbook, id).await?;
        let TriggerUpdate { service_pattern, consecutive_failures, enabled } = update;
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
