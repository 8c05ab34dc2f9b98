//! What this process knows of the ping keys that it was shown.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::PingKeyId;
use store::FoundPingKey;

use super::keyring::MAX_KEYS;
use super::missing::Missing;

/// What this process knows of the ping keys that were shown to it, by the SHA-256 of each. Only right ones are in it.
#[derive(Debug, Default)]
pub(crate) struct PingKeyring {
    keys: Mutex<HashMap<[u8; 32], KnownKey>>,
    pub(super) missing: Missing<[u8; 32]>,
    /// One verification at a time, so that a burst of first pings costs one.
    pub(super) verifying: tokio::sync::Mutex<()>,
}

/// A key, and when it was verified.
pub(super) type KnownKey = (FoundPingKey, DateTime<Utc>);

impl PingKeyring {
    pub(super) fn known(&self, sha: &[u8; 32]) -> Option<KnownKey> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(sha).cloned()
    }

    pub(super) fn remember(&self, sha: [u8; 32], key: FoundPingKey, now: DateTime<Utc>) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(sha, (key, now));
    }

    pub(super) fn forget(&self, id: PingKeyId) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (key, _)| key.id != id);
    }
}
