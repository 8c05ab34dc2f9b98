//! Which wake-ups are on their way, so that each is sent once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

/// The wake-ups that this process has sent and that have not arrived yet: for a shard of the due index and a second, or for
/// a lane that somebody holds.
#[derive(Debug)]
pub(crate) struct SentWakeups<K>(Mutex<HashMap<(K, i64), DateTime<Utc>>>);

/// Past this many, those that have arrived are dropped.
const MAX_REMEMBERED: usize = 4_096;

impl<K> Default for SentWakeups<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> SentWakeups<K> {
    /// Records a wake-up for `at`. Returns whether it must be sent: none is on its way for that second, or only one that
    /// arrives later in it.
    pub(crate) fn add(&self, target: &K, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() > MAX_REMEMBERED {
            sent.retain(|_, at| *at > now);
        }
        let earliest = sent.entry((target.clone(), at.timestamp())).or_insert(DateTime::<Utc>::MAX_UTC);
        // One that has arrived by now did not see rows that come due later.
        let is_new = at < *earliest || *earliest <= now;
        if is_new {
            *earliest = at;
        }
        is_new
    }
}
