//! Secrets of playbooks, sealed: one partition, each under its id.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use domain::{Revision, SealedSecret, Secret, SecretId, SecretUses};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, read_id};
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition};
use crate::table::Page;
use crate::{Entity, Error, Table};

#[derive(Serialize, Deserialize)]
struct SecretItem {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_scripts: Vec<String>,
    /// In base64.
    sealed: String,
    #[serde(flatten)]
    revision: RevisionItem,
}

impl Entity for Secret {
    type Id = SecretId;

    const NOUN: &'static str = "secret";

    fn identity(&self) -> Identity<'_, SecretId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: SecretId) -> Key {
        Key::secret(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, description, uses: SecretUses { hosts, scripts }, sealed, revision } = self;
        let body = SecretItem {
            name: name.as_str().to_owned(),
            description: description.clone(),
            allowed_hosts: hosts.clone(),
            allowed_scripts: scripts.iter().map(|name| name.as_str().to_owned()).collect(),
            sealed: BASE64_STANDARD.encode(sealed.bytes()),
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::secret(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let SecretItem { name, description, allowed_hosts, allowed_scripts, sealed, revision } = item::read(item)?;
        let scripts = SecretUses::parse_scripts(allowed_scripts).map_err(|source| corrupt(Some(key), source))?;
        Ok(Self {
            id: read_id(key, &key.sk)?,
            name: Self::parse_name(name).map_err(|source| corrupt(Some(key), source))?,
            description,
            uses: SecretUses { hosts: allowed_hosts, scripts },
            sealed: SealedSecret::new(BASE64_STANDARD.decode(sealed).map_err(|source| corrupt(Some(key), source))?),
            revision: revision.into_revision(),
        })
    }
}

impl Table {
    /// Returns secrets, newest first.
    pub async fn secrets(&self, after: Option<SecretId>, limit: usize) -> Result<Page<Secret>, Error> {
        self.page(&Partition::secrets(), after.map(SecretId::get), limit).await
    }

    /// Finds a secret by its name, in any case.
    pub async fn secret_named(&self, name: &str) -> Result<Option<Secret>, Error> {
        self.find_named(name, SecretId::new).await
    }
}
