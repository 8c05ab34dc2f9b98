//! Triggers: all in one partition, each under its playbook's id and its own, so that an alert finds them by one query.

use domain::{PlaybookId, Revision, Trigger, TriggerId, TriggerTerms};
use serde::{Deserialize, Serialize};

use crate::entity::RevisionItem;
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition, id_in};
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
    const KIND: &'static str = "trigger";

    fn id(&self) -> Self::Id {
        (self.playbook_id, self.id)
    }

    fn number((_, id): Self::Id) -> i64 {
        id.get()
    }

    fn key((playbook, id): Self::Id) -> Key {
        Key::trigger(playbook, id)
    }

    fn revision(&self) -> &Revision {
        &self.revision
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
        let not_a_key = || corrupt(Some(key), "not a trigger's key");
        Ok(Self {
            id: id_in(&key.sk).ok_or_else(not_a_key)?,
            playbook_id: key.sk.split('#').next().and_then(id_in).ok_or_else(not_a_key)?,
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
    /// Every trigger. Consistent: one read unit for each 4 KB.
    pub async fn triggers(&self) -> Result<Vec<Trigger>, Error> {
        let (items, _) = self.rows(&Partition::triggers(), None, usize::MAX).await?;
        crate::entity::read_all(items)
    }

    /// Triggers of a playbook, newest first.
    pub async fn triggers_of(
        &self,
        playbook: PlaybookId,
        after: Option<TriggerId>,
        limit: usize,
    ) -> Result<Page<Trigger>, Error> {
        self.page(&Partition::triggers_of(playbook), after.map(TriggerId::get), limit).await
    }
}
