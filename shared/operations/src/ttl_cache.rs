//! A list that was read a moment ago, and need not be read again.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// A list that concerns every service, as this process last read it. It stays good for a second: many services may fall
/// silent within one.
#[derive(Debug)]
pub(crate) struct TtlCache<T>(Mutex<Option<Kept<T>>>);

type Kept<T> = (DateTime<Utc>, Arc<Vec<T>>);

const TTL: TimeDelta = TimeDelta::seconds(1);

impl<T> Default for TtlCache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> TtlCache<T> {
    /// Returns the list, if it was read within the last second.
    pub(crate) fn get(&self, now: DateTime<Utc>) -> Option<Arc<Vec<T>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref()
            .filter(|(at, _)| (TimeDelta::zero()..TTL).contains(&(now - *at)))
            .map(|(_, list)| Arc::clone(list))
    }

    /// Keeps a list that was just read, and returns it.
    pub(crate) fn keep(&self, list: Vec<T>, now: DateTime<Utc>) -> Arc<Vec<T>> {
        let list = Arc::new(list);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&list)));
        list
    }

    /// Drops the list, because somebody changes it.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
