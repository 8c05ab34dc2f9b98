//! API keys: found by id in one read. The item holds a hash, never the key.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{ApiKey, ApiKeyId, Label, RateLimits, Scope, Scopes, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::counters::API_KEYS;
use crate::item::{self, Diff, Item, corrupt};
use crate::keys::{Collection, Key, api_key_id_of};
use crate::names::NameItem;
use crate::table::{Commit, EXISTS, IS_NEW, Page, Writes};
use crate::{Claim, Error, Table};

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
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotated_at: Option<i64>,
    hash: String,
    list_pk: String,
    list_sk: String,
}

impl Table {
    /// Finds a key's record: half a read unit, or one when consistent.
    pub async fn api_key(&self, id: ApiKeyId, consistent: bool) -> Result<Option<ApiKey>, Error> {
        self.get(&Key::api_key(id), consistent).await?.map(read).transpose()
    }

    /// Returns keys, newest first.
    pub async fn api_keys(&self, after: Option<ApiKeyId>, limit: usize) -> Result<Page<ApiKey>, Error> {
        let after = after.map(|id| Collection::sk(id.get()));
        let page = self.list(&Collection::ApiKeys, after.as_deref(), limit).await?;
        let last = page.items.last().and_then(|key| api_key_id_of(&key.pk));
        let mut items = self.get_many(page.items).await?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        items.sort_unstable_by_key(|key| std::cmp::Reverse(key.id));
        Ok(Page { items, next: page.next.and(last).map(|id| id.to_string()) })
    }

    /// Returns whether any key was ever created here: a table where all were revoked is not a new one.
    pub async fn has_had_api_keys(&self) -> Result<bool, Error> {
        Ok(self.get(&Key::counter(API_KEYS), true).await?.is_some())
    }

    /// Creates a key under its name, which must be free, together with what `writes` holds.
    pub async fn create_api_key(&self, key: &ApiKey, mut writes: Writes) -> Result<Claim, Error> {
        let name = Key::name("api-key", key.name.as_str());
        writes.table_put(self, item::write(&name, &NameItem { id: key.id.get() })?, Some(IS_NEW))?;
        writes.table_put(self, api_key_item(key)?, Some(IS_NEW))?;
        match self.commit(writes).await? {
            Commit::Done => Ok(Claim::Created),
            Commit::Conflict => match self.api_key(key.id, true).await? {
                Some(found) if found.hash == key.hash => Ok(Claim::Created),
                Some(_) | None => Ok(Claim::Taken),
            },
        }
    }

    /// Updates a key's record together with what `writes` holds, if nobody else updated or revoked it meanwhile.
    pub async fn update_api_key(&self, old: &ApiKey, new: &ApiKey, mut writes: Writes) -> Result<Commit, Error> {
        let Some(mut diff) = Diff::between(&api_key_item(old)?, &api_key_item(new)?) else {
            return Ok(Commit::Done);
        };
        diff.names.insert("#hash".to_owned(), "hash".to_owned());
        let values = [(":old_hash", AttributeValue::S(old.hash.clone()))];
        writes.table_update(self, &Key::api_key(new.id), diff, "#hash = :old_hash", values)?;
        self.commit(writes).await
    }

    /// Deletes a key and frees its name, together with what `writes` holds.
    pub async fn revoke_api_key(&self, key: &ApiKey, mut writes: Writes) -> Result<Commit, Error> {
        writes.table_delete(self, &Key::api_key(key.id), EXISTS)?;
        writes.table_delete(self, &Key::name("api-key", key.name.as_str()), EXISTS)?;
        self.commit(writes).await
    }
}

fn api_key_item(key: &ApiKey) -> Result<Item, Error> {
    let ApiKey { id, name, scopes, limits, expires_at, created_at, rotated_at, hash } = key;
    let RateLimits { heartbeats, management } = limits;
    let body = ApiKeyItem {
        name: name.as_str().to_owned(),
        scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        rate_limit_heartbeats: *heartbeats,
        rate_limit_management: *management,
        key_expires_at: expires_at.map(to_millis),
        created_at: to_millis(*created_at),
        rotated_at: rotated_at.map(to_millis),
        hash: hash.clone(),
        list_pk: Collection::ApiKeys.pk(),
        list_sk: Collection::sk(id.get()),
    };
    item::write(&Key::api_key(*id), &body)
}

fn read(item: Item) -> Result<ApiKey, Error> {
    let key = Key::of(&item);
    let id = key.as_ref().and_then(|key| api_key_id_of(&key.pk));
    let id = id.ok_or_else(|| corrupt(key.as_ref(), "not an API key's key"))?;
    let ApiKeyItem {
        name,
        scopes,
        rate_limit_heartbeats,
        rate_limit_management,
        key_expires_at,
        created_at,
        rotated_at,
        hash,
        list_pk: _,
        list_sk: _,
    } = item::read(item)?;
    let invalid = |source: domain::Invalid| corrupt(key.as_ref(), source);
    let scopes = scopes.iter().map(|scope| scope.parse::<Scope>()).collect::<Result<_, _>>().map_err(invalid)?;
    Ok(ApiKey {
        id,
        name: Label::parse("name", name, usize::MAX).map_err(invalid)?,
        scopes: Scopes::parse(scopes).map_err(invalid)?,
        limits: RateLimits { heartbeats: rate_limit_heartbeats, management: rate_limit_management },
        expires_at: key_expires_at.map(from_millis),
        created_at: from_millis(created_at),
        rotated_at: rotated_at.map(from_millis),
        hash,
    })
}
