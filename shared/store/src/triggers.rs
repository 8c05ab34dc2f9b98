//! Triggers: all in one partition, each under its playbook's id and its own, so that an alert finds them by one query.

use domain::{PlaybookId, Revision, Trigger, TriggerId, TriggerTerms};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, read_id};
use crate::item::{self, Item};
use crate::keys::{Key, Partition};
use crate::table::Page;
use crate::{Entity, Error, Table};

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

    fn needs(&self) -> Option<Key> {
        Some(Key::playbook(self.playbook_id))
    }
}

impl Table {
    /// Returns every trigger. Consistent: one read unit for each 4 KB.
    pub async fn triggers(&self) -> Result<Vec<Trigger>, Error> {
        let (items, _) = self.rows(&Partition::triggers(), None, usize::MAX).await?;
        crate::entity::read_all(items)
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
