//! Creates, rotates and revokes API keys. The key itself is shown only in the response to its creation.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::{ApiKey, ApiKeyId, Credential, Invalid, KeySecret, Label, RateLimits, Revision, Scope, Scopes};
use store::{Commit, Page, Saved, Table, Writes, digest};

use super::keyring::hash;
use crate::entropy::{Entropy, SystemEntropy, random};
use crate::retry::retry_on_conflict;
use crate::settings::{described, is_saved};
use crate::{Actor, Error, Medic};

/// A key to be created.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub name: Label,
    pub scopes: Scopes,
    pub limits: RateLimits,
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewApiKey {
    /// Returns an admin key of this name, without limits of its own, that does not expire.
    pub fn admin(name: &str) -> Result<Self, Error> {
        Ok(Self {
            name: ApiKey::parse_name(name)?,
            scopes: Scopes::parse(vec![Scope::Admin])?,
            limits: RateLimits::default(),
            expires_at: None,
        })
    }

    /// Returns the key's record with a secret that nobody has seen.
    async fn with_secret(
        self,
        id: ApiKeyId,
        entropy: &dyn Entropy,
        now: DateTime<Utc>,
    ) -> Result<(ApiKey, Credential), Error> {
        let credential = new_credential(id, entropy)?;
        Ok((self.hashed(&credential, now).await?, credential))
    }

    async fn hashed(self, credential: &Credential, now: DateTime<Utc>) -> Result<ApiKey, Error> {
        let Self { name, scopes, limits, expires_at } = self;
        let Hashed { digest, hash } = Hashed::of(credential).await?;
        let revision = Revision::beginning(now);
        Ok(ApiKey { id: credential.id, name, scopes, limits, expires_at, rotated_at: None, digest, hash, revision })
    }
}

impl Medic {
    pub async fn create_api_key(&self, new: NewApiKey, actor: &Actor) -> Result<(ApiKey, Credential), Error> {
        if new.expires_at.is_some_and(|at| at <= actor.at) {
            return Err(Invalid::new("expires_at", "must be in the future").into());
        }
        let id = self.table.next_api_key_id().await?;
        let (key, credential) = new.with_secret(id, &*self.settings.entropy, actor.at).await?;
        let key = self.create(key, actor).await?;
        self.keyring.forget(id);
        Ok((key, credential))
    }

    /// Returns keys, newest first.
    pub async fn api_keys(&self, after: Option<ApiKeyId>, limit: usize) -> Result<Page<ApiKey>, Error> {
        Ok(self.table.api_keys(after, limit).await?)
    }

    /// Gives a key a new secret; the old one is refused from now on.
    pub async fn rotate_api_key(&self, id: ApiKeyId, actor: &Actor) -> Result<(ApiKey, Credential), Error> {
        let credential = new_credential(id, &*self.settings.entropy)?;
        let hashed = Hashed::of(&credential).await?;
        let rotate = |key: ApiKey| {
            let Hashed { digest, hash } = hashed.clone();
            Ok(ApiKey { digest, hash, rotated_at: Some(actor.at), ..key })
        };
        Ok((self.update_api_key(id, rotate, actor).await?, credential))
    }

    /// Updates a key as `decide` says, which is asked again when somebody else updated it meanwhile.
    pub async fn update_api_key(
        &self,
        id: ApiKeyId,
        decide: impl Fn(ApiKey) -> Result<ApiKey, Error>,
        actor: &Actor,
    ) -> Result<ApiKey, Error> {
        let decide = &decide;
        let key = retry_on_conflict(described::<ApiKey>(id), || async move {
            let old: ApiKey = self.find(id).await?;
            let new = ApiKey { revision: old.revision.changed(actor.at), ..decide(old.clone())? };
            if new.expires_at != old.expires_at && new.expires_at.is_some_and(|at| at <= actor.at) {
                return Err(Invalid::new("expires_at", "must be in the future").into());
            }
            let mut writes = self.audit_of_update(actor, &old, &new)?;
            if old.is_lasting_admin() && !new.is_lasting_admin() {
                self.keep_an_admin(&old, &mut writes).await?;
            }
            Ok(is_saved(self.table.update(&old, &new, writes).await?, &new)?.then_some(new))
        })
        .await?;
        self.keyring.forget(id);
        Ok(key)
    }

    pub async fn revoke_api_key(&self, id: ApiKeyId, actor: &Actor) -> Result<(), Error> {
        retry_on_conflict(described::<ApiKey>(id), || async move {
            let key: ApiKey = self.find(id).await?;
            let mut writes = self.audit_of_deletion(actor, &key)?;
            if key.is_lasting_admin() {
                self.keep_an_admin(&key, &mut writes).await?;
            }
            Ok((self.table.delete(&key, writes).await? == Commit::Done).then_some(()))
        })
        .await?;
        self.keyring.forget(id);
        Ok(())
    }

    /// Adds that there is another admin key that does not expire: with none, nobody could make one.
    async fn keep_an_admin(&self, leaving: &ApiKey, writes: &mut Writes) -> Result<(), Error> {
        let mut after = None;
        loop {
            let Page { items, next } = self.table.api_keys(after, KEYS_A_PAGE).await?;
            if let Some(other) = items.iter().find(|key| key.id != leaving.id && key.is_lasting_admin()) {
                return Ok(writes.check_lasting_admin(&self.table, other.id)?);
            }
            after = next.and_then(|next| next.parse().ok());
            if after.is_none() {
                return Err(Error::Conflict(
                    "This is the last key with admin that does not expire: create another first".to_owned(),
                ));
            }
        }
    }
}

/// Keys that are read at once.
const KEYS_A_PAGE: usize = 250;

/// What is stored of a key's secret.
#[derive(Clone)]
struct Hashed {
    digest: String,
    hash: String,
}

impl Hashed {
    async fn of(credential: &Credential) -> Result<Self, Error> {
        let key = credential.reveal();
        Ok(Self { digest: digest(&key), hash: hash(key).await? })
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
    let key = NewApiKey::admin("admin")?.hashed(&credential, now).await?;
    // If it is there, an earlier start died right after this.
    let _saved: Saved = table.create(&key, Writes::new()).await.map_err(Error::from)?;
    table.next_api_key_id().await.map_err(Error::from)?;
    Ok(Some(credential.reveal()))
}

fn new_credential(id: ApiKeyId, entropy: &dyn Entropy) -> Result<Credential, Error> {
    let text = BASE64_URL_SAFE_NO_PAD.encode(random::<32>(entropy)?);
    let secret = KeySecret::parse(&text).ok_or_else(|| Error::Hash("a secret that does not read back".to_owned()))?;
    Ok(Credential { id, secret })
}
