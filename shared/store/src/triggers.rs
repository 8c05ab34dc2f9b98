//! Triggers: all in one partition, each under its playbook's id and its own, so that an alert finds them by one query.

use domain::{PlaybookId, Revision, Trigger, TriggerId, TriggerTerms};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, Saved, read_id};
use crate::item::{self, Diff, Item, number};
use crate::keys::{Key, Partition};
use crate::table::{Page, Writes};
use crate::{Entity, Error, Table};

/// Counts on a playbook's row how many triggers were created for it, so that of two at once one meets a conflict.
const TRIGGERS_CREATED: &str = "triggers_created";

#[derive(Debug, Serialize, Deserialize)]
struct TriggerItem {
    service_pattern: String,
    consecutive_failures: u32,
    enabled: bool,
    #[serde(flatten)]
    revision: RevisionItem,
}

impl Entity for Trigger {
    type Id = (PlaybookId, TriggerId);

    const NOUN: &'static str = "trigger";

    fn identity(&self) -> Identity<'_, Self::Id> {
        Identity::unnamed((self.playbook_id, self.id), self.revision)
    }

    fn key((playbook, id): Self::Id) -> Key {
        Key::trigger(playbook, id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, playbook_id, terms, enabled, revision } = self;
        let TriggerTerms { service_pattern, consecutive_failures } = terms;
        let body = TriggerItem {
            service_pattern: service_pattern.clone(),
            consecutive_failures: *consecutive_failures,
            enabled: *enabled,
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::trigger(*playbook_id, *id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let TriggerItem { service_pattern, consecutive_failures, enabled, revision } = item::read(item)?;
        Ok(Self {
            id: read_id(key, &key.sk)?,
            playbook_id: read_id(key, key.sk.split('#').next().unwrap_or_default())?,
            terms: TriggerTerms { service_pattern, consecutive_failures },
            enabled,
            revision: revision.into_revision(),
        })
    }
}

impl Table {
    /// Returns every trigger. Consistent: one read unit for each 4 KB.
    pub async fn triggers(&self) -> Result<Vec<Trigger>, Error> {
        let (items, _) = self.rows(&Partition::triggers(), None, usize::MAX).await?;
        crate::entity::read_all(items)
    }

    /// Creates a trigger, together with what `writes` holds, unless its playbook is gone or has as many as it may have. Whoever
    /// creates another at the same time meets a conflict: each counts on the playbook's row.
    pub async fn create_trigger(&self, new: &Trigger, mut writes: Writes) -> Result<Saved, Error> {
        let key = Key::playbook(new.playbook_id);
        let Some(playbook) = self.get(&key, true).await? else { return Ok(Saved::OwnerGone) };
        let others = self.triggers_of(new.playbook_id, None, Trigger::MAX).await?.items;
        if others.len() >= Trigger::MAX && others.iter().all(|other| other.id != new.id) {
            return Ok(Saved::Full);
        }
        let created = playbook.get(TRIGGERS_CREATED).cloned();
        let condition = match created {
            Some(_) => "attribute_exists(pk) AND triggers_created = :created",
            None => "attribute_exists(pk) AND attribute_not_exists(triggers_created)",
        };
        let values = [(":one".to_owned(), number(1))];
        let count =
            Diff { expression: "ADD triggers_created :one".to_owned(), values: values.into(), ..Diff::default() };
        writes.table_update(self, &key, count, condition, created.map(|created| (":created", created)))?;
        self.create(new, writes).await
    }

    /// Returns triggers of a playbook, newest first.
    pub async fn triggers_of(
        &self,
        playbook: PlaybookId,
        after: Option<TriggerId>,
        limit: usize,
    ) -> Result<Page<Trigger>, Error> {
        self.page(&Partition::triggers_of(playbook), after.map(TriggerId::get), limit).await
    }
}
