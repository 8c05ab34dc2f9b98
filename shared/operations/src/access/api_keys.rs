//! Creates, rotates and revokes API keys. The key itself is shown only in the response to its creation.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::{ApiKey, ApiKeyId, Credential, Invalid, KeySecret, Label, RateLimits, Scope, Scopes};
use store::{Claim, Commit, Page, Table, Writes};

use super::keyring::hash;
use crate::entropy::{Entropy, SystemEntropy, random};

use crate::{Actor, Error, Medic};

/// A key to be created.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub name: Label,
    pub scopes: Scopes,
    pub limits: RateLimits,
    pub expires_at: Option<DateTime<Utc>>,
}

impl Medic {
    pub async fn create_api_key(&self, new: NewApiKey, actor: &Actor) -> Result<(ApiKey, Credential), Error> {
        let now = actor.at;
        let NewApiKey { name, scopes, limits, expires_at } = new;
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Invalid::new("expires_at", "must be in the future").into());
        }
        let credential = new_credential(self.table.next_api_key_id().await?, &*self.settings.entropy)?;
        let key = ApiKey {
            id: credential.id,
            name,
            scopes,
            limits,
            expires_at,
            created_at: now,
            rotated_at: None,
            hash: hash(credential.reveal()).await?,
        };
        match self.table.create_api_key(&key, self.audit_of_creation(actor, &key)?).await? {
            Claim::Created => Ok((key, credential)),
            Claim::Taken => Err(Error::Conflict(format!("name is taken: there is an API key named {}", key.name))),
        }
    }

    pub async fn api_keys(&self, after: Option<ApiKeyId>, limit: usize) -> Result<Page<ApiKey>, Error> {
        Ok(self.table.api_keys(after, limit).await?)
    }

    pub async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey, Error> {
        self.table.api_key(id, true).await?.ok_or_else(|| not_found(id))
    }

    /// Gives a key a new secret; the old one is refused from now on.
    pub async fn rotate_api_key(&self, id: ApiKeyId, actor: &Actor) -> Result<(ApiKey, Credential), Error> {
        let old = self.api_key(id).await?;
        let credential = new_credential(id, &*self.settings.entropy)?;
        let key = ApiKey { hash: hash(credential.reveal()).await?, rotated_at: Some(actor.at), ..old.clone() };
        match self.table.update_api_key(&old, &key, self.audit_of_update(actor, &old, &key)?).await? {
            Commit::Done => {}
            // The SDK may have repeated a write that had succeeded.
            Commit::Conflict if self.api_key(id).await?.hash == key.hash => {}
            Commit::Conflict => return Err(Error::Conflict(format!("API key {id} was changed at the same time"))),
        }
        self.keyring.forget(id);
        Ok((key, credential))
    }

    pub async fn revoke_api_key(&self, id: ApiKeyId, actor: &Actor) -> Result<(), Error> {
        let key = self.api_key(id).await?;
        match self.table.revoke_api_key(&key, self.audit_of_deletion(actor, &key)?).await? {
            Commit::Done => {}
            Commit::Conflict if self.table.api_key(id, true).await?.is_none() => {}
            Commit::Conflict => return Err(Error::contended(id)),
        }
        self.keyring.forget(id);
        Ok(())
    }
}

/// Makes sure that a fresh table has an admin key. `kept` is the key's text as it was kept before, and `keep` keeps it:
/// before its record is created, so that a crash between the two leaves a key that the next start completes. Returns a key
/// that was created now.
pub async fn bootstrap_key<E: From<Error>>(
    table: &Table,
    kept: Option<String>,
    keep: impl FnOnce(&str) -> Result<(), E>,
    now: DateTime<Utc>,
) -> Result<Option<String>, E> {
    if table.has_had_api_keys().await.map_err(Error::from)? {
        return Ok(None);
    }
    let first = ApiKeyId::new(1);
    let kept = kept.and_then(|text| Credential::parse(text.trim())).filter(|credential| credential.id == first);
    let credential = if let Some(credential) = kept {
        credential
    } else {
        let credential = new_credential(first, &SystemEntropy)?;
        keep(&credential.reveal())?;
        credential
    };
    let key = ApiKey {
        id: first,
        name: Label::parse("name", "admin", ApiKey::MAX_NAME_CHARS).map_err(Error::from)?,
        scopes: Scopes::parse(vec![Scope::Admin]).map_err(Error::from)?,
        limits: RateLimits::default(),
        expires_at: None,
        created_at: now,
        rotated_at: None,
        hash: hash(credential.reveal()).await?,
    };
    // If the name is taken, an earlier start died right after this.
    let _claim: Claim = table.create_api_key(&key, Writes::new()).await.map_err(Error::from)?;
    table.next_api_key_id().await.map_err(Error::from)?;
    Ok(Some(credential.reveal()))
}

fn new_credential(id: ApiKeyId, entropy: &dyn Entropy) -> Result<Credential, Error> {
    let text = BASE64_URL_SAFE_NO_PAD.encode(random::<32>(entropy)?);
    let secret = KeySecret::parse(&text).ok_or_else(|| Error::Hash("a secret that does not read back".to_owned()))?;
    Ok(Credential { id, secret })
}

fn not_found(id: ApiKeyId) -> Error {
    Error::NotFound(format!("There is no API key {id}"))
}
