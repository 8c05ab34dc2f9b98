//! API keys: found by id in one read. The item holds a digest and a hash, never the key.

use domain::{ApiKey, ApiKeyId, Label, RateLimits, Revision, Scope, Scopes, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::counters::API_KEYS;
use crate::entity::{Identity, RevisionItem, read_all, read_id};
use crate::item::{self, Item, corrupt, text};
use crate::keys::{Collection, Key, id_in};
use crate::table::{Page, Writes};
use crate::{Entity, Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct ApiKeyItem {
    name: String,
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_limit_heartbeats: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_limit_management: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotated_at: Option<i64>,
    digest: String,
    hash: String,
    #[serde(flatten)]
    revision: RevisionItem,
    list_pk: String,
    list_sk: String,
}

impl Entity for ApiKey {
    type Id = ApiKeyId;

    const NOUN: &'static str = "API key";
    const KIND: &'static str = "api-key";

    fn identity(&self) -> Identity<'_, ApiKeyId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: ApiKeyId) -> Key {
        Key::api_key(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, scopes, limits, expires_at, rotated_at, digest, hash, revision } = self;
        let RateLimits { heartbeats, management } = limits;
        let body = ApiKeyItem {
            name: name.as_str().to_owned(),
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            rate_limit_heartbeats: *heartbeats,
            rate_limit_management: *management,
            key_expires_at: expires_at.map(to_millis),
            rotated_at: rotated_at.map(to_millis),
            digest: digest.clone(),
            hash: hash.clone(),
            revision: RevisionItem::of(revision),
            list_pk: Collection::ApiKeys.pk(),
            list_sk: Collection::sk(id.get()),
        };
        item::write(&Key::api_key(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let ApiKeyItem {
            name,
            scopes,
            rate_limit_heartbeats,
            rate_limit_management,
            key_expires_at,
            rotated_at,
            digest,
            hash,
            revision,
            list_pk: _,
            list_sk: _,
        } = item::read(item)?;
        let invalid = |source: domain::Invalid| corrupt(Some(key), source);
        let scopes = scopes.iter().map(|scope| scope.parse::<Scope>()).collect::<Result<_, _>>().map_err(invalid)?;
        Ok(Self {
            id: read_id(key, &key.pk)?,
            name: Label::parse("name", name, usize::MAX).map_err(invalid)?,
            scopes: Scopes::parse(scopes).map_err(invalid)?,
            limits: RateLimits { heartbeats: rate_limit_heartbeats, management: rate_limit_management },
            expires_at: key_expires_at.map(from_millis),
            rotated_at: rotated_at.map(from_millis),
            digest,
            hash,
            revision: revision.into_revision(),
        })
    }
}

impl Writes {
    /// Commits the other writes only if a key still is an admin key that does not expire.
    pub fn check_lasting_admin(&mut self, table: &Table, id: ApiKeyId) -> Result<(), Error> {
        let is_one = "contains(scopes, :admin) AND attribute_not_exists(key_expires_at)";
        self.table_check_if(table, &Key::api_key(id), is_one, [], [(":admin", text(Scope::Admin.as_str()))])
    }
}

impl Table {
    /// Finds a key's record: half a read unit, or one when consistent.
    pub async fn api_key(&self, id: ApiKeyId, consistent: bool) -> Result<Option<ApiKey>, Error> {
        let key = Key::api_key(id);
        self.get(&key, consistent).await?.map(|item| ApiKey::read(&key, item)).transpose()
    }

    /// Returns keys, newest first.
    pub async fn api_keys(&self, after: Option<ApiKeyId>, limit: usize) -> Result<Page<ApiKey>, Error> {
        let after = after.map(|id| Collection::sk(id.get()));
        let page = self.list(&Collection::ApiKeys, after.as_deref(), limit).await?;
        let last = page.items.last().and_then(|key| id_in::<ApiKeyId>(&key.pk));
        let mut items: Vec<ApiKey> = read_all(self.get_many(page.items).await?)?;
        items.sort_unstable_by_key(|key| std::cmp::Reverse(key.id));
        Ok(Page { items, next: page.next.and(last).map(|id| id.to_string()) })
    }

    /// Returns whether any key was ever created here: a table where all were revoked is not a new one.
    pub async fn has_had_api_keys(&self) -> Result<bool, Error> {
        Ok(self.get(&Key::counter(API_KEYS), true).await?.is_some())
    }
}
