//! Playbooks: one partition, each under its id, and beside each a row for every version that it had.

use domain::{Label, Playbook, PlaybookDefinition, PlaybookId, Revision, Trigger, TriggerId, TriggerTerms};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, read_id};
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition};
use crate::table::{Commit, IS_NEW, Page, Writes};
use crate::{Entity, Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct PlaybookItem {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    yaml: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trigger: Option<DeclaredTrigger>,
    #[serde(flatten)]
    revision: RevisionItem,
}

#[derive(Debug, Serialize, Deserialize)]
struct DeclaredTrigger {
    id: i64,
    service_pattern: String,
    consecutive_failures: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct VersionItem {
    name: String,
    yaml: String,
}

impl Entity for Playbook {
    type Id = PlaybookId;

    const NOUN: &'static str = "playbook";

    fn identity(&self) -> Identity<'_, PlaybookId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: PlaybookId) -> Key {
        Key::playbook(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, description, yaml, trigger, revision } = self;
        let trigger =
            trigger.as_ref().map(|(id, TriggerTerms { service_pattern, consecutive_failures })| DeclaredTrigger {
                id: id.get(),
                service_pattern: service_pattern.clone(),
                consecutive_failures: *consecutive_failures,
            });
        let body = PlaybookItem {
            name: name.as_str().to_owned(),
            description: description.clone(),
            yaml: yaml.clone(),
            trigger,
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::playbook(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let PlaybookItem { name, description, yaml, trigger, revision } = item::read(item)?;
        let name = Label::parse("name", name, PlaybookDefinition::MAX_NAME_CHARS);
        let trigger = trigger.map(|DeclaredTrigger { id, service_pattern, consecutive_failures }| {
            (TriggerId::new(id), TriggerTerms { service_pattern, consecutive_failures })
        });
        Ok(Self {
            id: read_id(key, &key.sk)?,
            name: name.map_err(|source| corrupt(Some(key), source))?,
            description,
            yaml,
            trigger,
            revision: revision.into_revision(),
        })
    }

    /// Adds its version, which is kept for good, and the row of the trigger that it declares, as the document has it,
    /// whenever that part of the document changes.
    fn write_companions(&self, before: Option<&Self>, table: &Table, writes: &mut Writes) -> Result<(), Error> {
        let version = VersionItem { name: self.name.as_str().to_owned(), yaml: self.yaml.clone() };
        let key = Key::playbook_version(self.id, self.revision.version);
        writes.table_put(table, item::write(&key, &version)?, Some(IS_NEW))?;
        let declared_before = before.and_then(|before| before.trigger.as_ref());
        if self.trigger.as_ref() == declared_before {
            return Ok(());
        }
        match (&self.trigger, declared_before) {
            (Some((id, terms)), _) => {
                let now = self.revision.date_modified.unwrap_or(self.revision.date_added);
                let trigger = Trigger {
                    id: *id,
                    playbook_id: self.id,
                    terms: terms.clone(),
                    enabled: true,
                    revision: Revision::beginning(now),
                };
                writes.table_put(table, trigger.write()?, None)
            }
            (None, Some((id, _))) => writes.table_delete(table, &Key::trigger(self.id, *id), ALWAYS),
            (None, None) => Ok(()),
        }
    }
}

/// Holds for every item, whether it exists or not.
const ALWAYS: &str = "attribute_exists(pk) OR attribute_not_exists(pk)";

impl Table {
    /// Returns playbooks, newest first.
    pub async fn playbooks(&self, after: Option<PlaybookId>, limit: usize) -> Result<Page<Playbook>, Error> {
        self.page(&Partition::playbooks(), after.map(PlaybookId::get), limit).await
    }

    /// Returns the document of one version of a playbook, also of one that was deleted.
    pub async fn playbook_version(&self, id: PlaybookId, version: u64) -> Result<Option<String>, Error> {
        let found = self.get(&Key::playbook_version(id, version), true).await?;
        Ok(found.map(item::read::<VersionItem>).transpose()?.map(|VersionItem { name: _, yaml }| yaml))
    }

    /// Deletes a playbook as it was read, and its triggers with it, together with what `writes` holds. A trigger that is
    /// created at this very moment may stay; it starts nothing, for its playbook is gone.
    pub async fn delete_playbook(&self, old: &Playbook, mut writes: Writes) -> Result<Commit, Error> {
        for trigger in self.triggers_of(old.id, None, Trigger::MAX + 1).await?.items {
            writes.table_delete(self, &Trigger::key(trigger.id()), ALWAYS)?;
        }
        self.delete(old, writes).await
    }
}
