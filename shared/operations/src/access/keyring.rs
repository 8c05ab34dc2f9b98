//! Checks API keys: argon2 once per key and process, then a constant-time comparison of a digest.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{ApiKey, ApiKeyId, Credential};
use sha2::{Digest as _, Sha256};
use store::Table;
use subtle::ConstantTimeEq as _;

use crate::Error;

/// Why a request may not pass. The label of `medic_auth_failures_total` and the response follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    MissingKey,
    InvalidKey,
    ExpiredKey,
    InsufficientScope,
}

impl AuthFailure {
    pub const ALL: [Self; 4] = [Self::MissingKey, Self::InvalidKey, Self::ExpiredKey, Self::InsufficientScope];

    pub const fn reason(self) -> &'static str {
        match self {
            Self::MissingKey => "missing_key",
            Self::InvalidKey => "invalid_key",
            Self::ExpiredKey => "expired_key",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// How long a record is trusted before it is read again: with a stale read's and the clocks' slack, a revoked key is
/// refused within 30 s.
pub(super) const TRUSTED_FOR: TimeDelta = TimeDelta::seconds(20);
/// Wrong secrets that may cost an argon2 verification, per key in a minute.
const WRONG_SECRETS: usize = 10;
/// What was learnt is forgotten past this many keys.
pub(super) const MAX_KEYS: usize = 10_000;

/// What this process knows of the keys that it was shown.
#[derive(Debug, Default)]
pub struct Keyring {
    verifications: AtomicU64,
    keys: Mutex<HashMap<ApiKeyId, Arc<tokio::sync::Mutex<Known>>>>,
}

#[derive(Debug, Default)]
struct Known {
    record: Option<(Arc<ApiKey>, DateTime<Utc>)>,
    /// The digest of the key that matched the hash beside it.
    verified: Option<([u8; 32], String)>,
    /// When a secret was found wrong, and its digest: the same one again costs nothing.
    wrong: VecDeque<(DateTime<Utc>, [u8; 32])>,
}

impl Keyring {
    /// Returns the record of a key that is valid now.
    pub async fn verify(
        &self,
        table: &Table,
        credential: &Credential,
        now: DateTime<Utc>,
    ) -> Result<Result<Arc<ApiKey>, AuthFailure>, Error> {
        let known = self.known(credential.id);
        // One at a time for each key, so that a burst of first requests costs one verification.
        let mut known = known.lock().await;
        let Some(record) = known.record(table, credential.id, now).await? else {
            self.forget(credential.id);
            return Ok(Err(AuthFailure::InvalidKey));
        };
        if !known.matches(&record, credential, now, &self.verifications).await? {
            return Ok(Err(AuthFailure::InvalidKey));
        }
        if record.expires_at.is_some_and(|at| at <= now) {
            return Ok(Err(AuthFailure::ExpiredKey));
        }
        Ok(Ok(record))
    }

    /// Returns how many argon2 verifications this process has made.
    pub fn verifications(&self) -> u64 {
        self.verifications.load(Ordering::Relaxed)
    }

    /// Forgets a key that was changed here, so that this process sees it at once.
    pub(super) fn forget(&self, id: ApiKeyId) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn known(&self, id: ApiKeyId) -> Arc<tokio::sync::Mutex<Known>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        Arc::clone(keys.entry(id).or_default())
    }
}

impl Known {
    async fn record(&mut self, table: &Table, id: ApiKeyId, now: DateTime<Utc>) -> Result<Option<Arc<ApiKey>>, Error> {
        if let Some((record, read_at)) = &self.record
            && (TimeDelta::zero()..TRUSTED_FOR).contains(&(now - *read_at))
        {
            return Ok(Some(Arc::clone(record)));
        }
        let found = match table.api_key(id, false).await? {
            Some(found) => Some(found),
            // A key created a moment ago may not be everywhere yet.
            None => table.api_key(id, true).await?,
        };
        let found = found.map(Arc::new);
        self.record = found.clone().map(|record| (record, now));
        Ok(found)
    }

    async fn matches(
        &mut self,
        record: &ApiKey,
        credential: &Credential,
        now: DateTime<Utc>,
        verifications: &AtomicU64,
    ) -> Result<bool, Error> {
        let key = credential.reveal();
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if let Some((verified, hash)) = &self.verified
            && *hash == record.hash
        {
            return Ok(verified.ct_eq(&digest).into());
        }
        while self.wrong.front().is_some_and(|(at, _)| now - *at >= TimeDelta::minutes(1)) {
            self.wrong.pop_front();
        }
        if self.wrong.len() >= WRONG_SECRETS || self.wrong.iter().any(|(_, wrong)| *wrong == digest) {
            return Ok(false);
        }
        verifications.fetch_add(1, Ordering::Relaxed);
        let right = is_hash_of(record.hash.clone(), key).await?;
        if right {
            self.verified = Some((digest, record.hash.clone()));
        } else {
            self.wrong.push_back((now, digest));
        }
        Ok(right)
    }
}

/// Returns whether a key's argon2id hash, as a PHC string, is this one.
pub(super) async fn is_hash_of(hash: String, key: String) -> Result<bool, Error> {
    tokio::task::spawn_blocking(move || {
        let parsed = PasswordHash::new(&hash).map_err(|source| Error::Hash(source.to_string()))?;
        Ok::<_, Error>(Argon2::default().verify_password(key.as_bytes(), &parsed).is_ok())
    })
    .await
    .map_err(|source| Error::Hash(source.to_string()))?
}

/// Returns the argon2id hash of a key, as a PHC string.
pub(super) async fn hash(key: String) -> Result<String, Error> {
    tokio::task::spawn_blocking(move || {
        let hash = Argon2::default().hash_password(key.as_bytes());
        hash.map(|hash| hash.to_string()).map_err(|source| Error::Hash(source.to_string()))
    })
    .await
    .map_err(|source| Error::Hash(source.to_string()))?
}
