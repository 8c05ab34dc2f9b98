//! Keys for pings. A row beside each finds it by the key's digest in one read, and holds what checking it needs.

use domain::{Label, PingKey, PingKeyId, Revision};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, read_id};
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition};
use crate::names::NameItem;
use crate::table::Page;
use crate::{Entity, Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct PingKeyItem {
    name: String,
    digest: String,
    hash: String,
    #[serde(flatten)]
    revision: RevisionItem,
}

#[derive(Debug, Serialize, Deserialize)]
struct DigestItem {
    id: i64,
    hash: String,
}

/// A key as its digest finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPingKey {
    pub id: PingKeyId,
    /// The argon2id hash of the whole key, as a PHC string.
    pub hash: String,
}

impl Entity for PingKey {
    type Id = PingKeyId;

    const NOUN: &'static str = "ping key";
    const KIND: &'static str = "ping-key";

    fn identity(&self) -> Identity<'_, PingKeyId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: PingKeyId) -> Key {
        Key::ping_key(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, digest, hash, revision } = self;
        let body = PingKeyItem {
            name: name.as_str().to_owned(),
            digest: digest.clone(),
            hash: hash.clone(),
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::ping_key(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let PingKeyItem { name, digest, hash, revision } = item::read(item)?;
        Ok(Self {
            id: read_id(key, &key.sk)?,
            name: Label::parse("name", name, usize::MAX).map_err(|source| corrupt(Some(key), source))?,
            digest,
            hash,
            revision: revision.into_revision(),
        })
    }

    fn companion_rows(&self) -> Result<Vec<Item>, Error> {
        let id = self.id.get();
        let name = item::write(&Key::name(Self::KIND, self.name.as_str()), &NameItem { id })?;
        let found_by = DigestItem { id, hash: self.hash.clone() };
        Ok(vec![name, item::write(&Key::ping_key_digest(&self.digest), &found_by)?])
    }
}

impl Table {
    /// Finds a key by its digest: half a read unit, or one when consistent.
    pub async fn ping_key_by_digest(&self, digest: &str, consistent: bool) -> Result<Option<FoundPingKey>, Error> {
        let Some(item) = self.get(&Key::ping_key_digest(digest), consistent).await? else {
            return Ok(None);
        };
        let DigestItem { id, hash } = item::read(item)?;
        Ok(Some(FoundPingKey { id: PingKeyId::new(id), hash }))
    }

    /// Returns keys, newest first. Consistent.
    pub async fn ping_keys(&self, after: Option<PingKeyId>, limit: usize) -> Result<Page<PingKey>, Error> {
        self.page(&Partition::ping_keys(), after.map(PingKeyId::get), limit).await
    }
}
