//! Checks API keys: a constant-time comparison of a digest, and argon2 once per key and process where that matches. A wrong
//! secret costs neither time nor memory, and keeps nobody else out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use chrono::{DateTime, Utc};
use domain::{ApiKey, ApiKeyId, Credential};
use sha2::{Digest as _, Sha256};
use store::{Table, digest};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::missing::{Missing, is_trusted};
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

/// What was learnt is forgotten past this many keys.
pub(super) const MAX_KEYS: usize = 10_000;

/// Hashes that are computed at once: each takes 19 MiB.
static HASHING: Semaphore = Semaphore::const_new(2);

/// What this process knows of the keys that it was shown.
#[derive(Debug, Default)]
pub struct Keyring {
    verifications: AtomicU64,
    keys: Mutex<HashMap<ApiKeyId, Arc<tokio::sync::Mutex<Known>>>>,
    missing: Missing<ApiKeyId>,
}

#[derive(Debug, Default)]
struct Known {
    record: Option<(Arc<ApiKey>, DateTime<Utc>)>,
    /// The SHA-256 of the key that matched the hash beside it.
    verified: Option<([u8; 32], String)>,
}

impl Keyring {
    /// Returns the record of a key that is valid now.
    pub async fn verify(
        &self,
        table: &Table,
        credential: &Credential,
        now: DateTime<Utc>,
    ) -> Result<Result<Arc<ApiKey>, AuthFailure>, Error> {
        if self.missing.contains(&credential.id, now) {
            return Ok(Err(AuthFailure::InvalidKey));
        }
        let known = self.known(credential.id);
        // One at a time for each key, so that a burst of first requests costs one verification.
        let mut known = known.lock().await;
        let Some(record) = known.record(table, credential.id, now).await? else {
            self.forget(credential.id);
            self.missing.remember(credential.id, now);
            return Ok(Err(AuthFailure::InvalidKey));
        };
        if !known.matches(&record, credential, &self.verifications).await? {
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

    /// Forgets a key that was created or changed here, so that this process sees it at once.
    pub(super) fn forget(&self, id: ApiKeyId) {
        self.missing.forget(&id);
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
            && is_trusted(*read_at, now)
        {
            return Ok(Some(Arc::clone(record)));
        }
        // At first consistent, as a key created a moment ago may not be everywhere yet; one read, whether it is there or not.
        let found = table.api_key(id, self.record.is_none()).await?.map(Arc::new);
        self.record = found.clone().map(|record| (record, now));
        Ok(found)
    }

    async fn matches(
        &mut self,
        record: &ApiKey,
        credential: &Credential,
        verifications: &AtomicU64,
    ) -> Result<bool, Error> {
        let key = credential.reveal();
        let has_digest: bool = digest(&key).as_bytes().ct_eq(record.digest.as_bytes()).into();
        if !has_digest {
            return Ok(false);
        }
        let sha: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        if let Some((verified, hash)) = &self.verified
            && *hash == record.hash
        {
            return Ok(verified.ct_eq(&sha).into());
        }
        verifications.fetch_add(1, Ordering::Relaxed);
        let is_right = is_hash_of(record.hash.clone(), key).await?;
        if is_right {
            self.verified = Some((sha, record.hash.clone()));
        }
        Ok(is_right)
    }
}

/// Returns whether a key's argon2id hash, as a PHC string, is this one.
pub(super) async fn is_hash_of(hash: String, key: String) -> Result<bool, Error> {
    hashing(move || {
        let parsed = PasswordHash::new(&hash).map_err(|source| Error::Hash(source.to_string()))?;
        Ok(Argon2::default().verify_password(key.as_bytes(), &parsed).is_ok())
    })
    .await
}

/// Returns the argon2id hash of a key, as a PHC string.
pub(super) async fn hash(key: String) -> Result<String, Error> {
    hashing(move || {
        let hash = Argon2::default().hash_password(key.as_bytes());
        hash.map(|hash| hash.to_string()).map_err(|source| Error::Hash(source.to_string()))
    })
    .await
}

/// Computes a hash on a thread of its own, few at once.
async fn hashing<T: Send + 'static>(compute: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let failed = |source: &dyn std::fmt::Display| Error::Hash(source.to_string());
    let _place = HASHING.acquire().await.map_err(|source| failed(&source))?;
    tokio::task::spawn_blocking(compute).await.map_err(|source| failed(&source))?
}
