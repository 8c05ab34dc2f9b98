//! Names, ids and thresholds of the services that report, as this process last saw them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use domain::{HeartbeatName, ServiceId};

/// What this process remembers of services that report: which id a name has, and the threshold that the next blind write
/// supposes. Both are guesses, which the write's condition checks.
#[derive(Debug, Default)]
pub(crate) struct ServiceNames {
    by_name: Mutex<HashMap<String, ServiceId>>,
    thresholds: Mutex<HashMap<ServiceId, u32>>,
    by_id: Mutex<HashMap<ServiceId, HeartbeatName>>,
}

/// A map starts anew past this many entries: some 10 MB.
const MAX_REMEMBERED: usize = 100_000;

impl ServiceNames {
    pub(crate) fn id(&self, folded: &str) -> Option<ServiceId> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).get(folded).copied()
    }

    pub(crate) fn remember(&self, folded: String, id: ServiceId) {
        insert_bounded(&self.by_name, folded, id);
    }

    pub(crate) fn forget(&self, folded: &str) {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).remove(folded);
    }

    /// Returns a service's name, which never changes.
    pub(crate) fn name(&self, id: ServiceId) -> Option<HeartbeatName> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(crate) fn remember_name(&self, id: ServiceId, name: HeartbeatName) {
        insert_bounded(&self.by_id, id, name);
    }

    pub(crate) fn threshold(&self, id: ServiceId) -> u32 {
        self.thresholds.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or(1)
    }

    pub(crate) fn remember_threshold(&self, id: ServiceId, threshold: u32) {
        if threshold == 1 {
            self.thresholds.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        } else {
            insert_bounded(&self.thresholds, id, threshold);
        }
    }
}

fn insert_bounded<K: Hash + Eq, V>(map: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= MAX_REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}
