//! Secrets of playbooks, sealed: one partition, each under its id.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use domain::{Label, Revision, SealedSecret, Secret, SecretId};
use serde::{Deserialize, Serialize};

use crate::entity::RevisionItem;
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition, id_in};
use crate::names::NameItem;
use crate::table::Page;
use crate::{Entity, Error, Table};

#[derive(Serialize, Deserialize)]
struct SecretItem {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// In base64.
    sealed: String,
    #[serde(flatten)]
    revision: RevisionItem,
}

impl Entity for Secret {
    type Id = SecretId;

    const NOUN: &'static str = "secret";
    const KIND: &'static str = "secret";

    fn id(&self) -> SecretId {
        self.id
    }

    fn number(id: SecretId) -> i64 {
        id.get()
    }

    fn key(id: SecretId) -> Key {
        Key::secret(id)
    }

    fn revision(&self) -> &Revision {
        &self.revision
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn name(&self) -> Option<&Label> {
        Some(&self.name)
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, description, sealed, revision } = self;
        let body = SecretItem {
            name: name.as_str().to_owned(),
            description: description.clone(),
            sealed: BASE64_STANDARD.encode(sealed.bytes()),
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::secret(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let SecretItem { name, description, sealed, revision } = item::read(item)?;
        Ok(Self {
            id: id_in(&key.sk).ok_or_else(|| corrupt(Some(key), "not a secret's key"))?,
            name: Self::parse_name(name).map_err(|source| corrupt(Some(key), source))?,
            description,
            sealed: SealedSecret::new(BASE64_STANDARD.decode(sealed).map_err(|source| corrupt(Some(key), source))?),
            revision: revision.into_revision(),
        })
    }
}

impl Table {
    /// Secrets, newest first.
    pub async fn secrets(&self, after: Option<SecretId>, limit: usize) -> Result<Page<Secret>, Error> {
        self.page(&Partition::secrets(), after.map(SecretId::get), limit).await
    }

    /// Finds a secret by its name, in any case.
    pub async fn secret_named(&self, name: &str) -> Result<Option<Secret>, Error> {
        let Some(found) = self.get(&Key::name(Secret::KIND, name), true).await? else {
            return Ok(None);
        };
        let NameItem { id } = item::read(found)?;
        self.find(SecretId::new(id)).await
    }
}
