//! What was looked for in the table and is not there.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// How long what was read is trusted before it is read again: with a stale read's and the clocks' slack, a revoked key is refused within 30 s.
const TRUSTED_FOR: TimeDelta = TimeDelta::seconds(20);

/// Keys that do not exist, so that asking for them again costs no read. What is not there is trusted to be so for as long
/// as what is: how soon a request is refused does not tell the two apart.
#[derive(Debug)]
pub(super) struct Missing<K>(Mutex<HashMap<K, DateTime<Utc>>>);

/// All are forgotten past this many: some 1 MB.
const MAX: usize = 10_000;

impl<K> Default for Missing<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Missing<K> {
    pub(super) fn contains(&self, key: &K, now: DateTime<Utc>) -> bool {
        self.locked().get(key).is_some_and(|at| is_trusted(*at, now))
    }

    pub(super) fn remember(&self, key: K, now: DateTime<Utc>) {
        let mut missing = self.locked();
        if missing.len() >= MAX {
            missing.retain(|_, at| is_trusted(*at, now));
        }
        if missing.len() >= MAX {
            missing.clear();
        }
        missing.insert(key, now);
    }

    pub(super) fn forget(&self, key: &K) {
        self.locked().remove(key);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<K, DateTime<Utc>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether what was read at an instant need not be read again yet.
pub(super) fn is_trusted(read_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    (TimeDelta::zero()..TRUSTED_FOR).contains(&(now - read_at))
}
