//! Which wake-ups are on their way, so that each is sent once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

/// The wake-ups that this process has sent and that have not arrived yet: for a shard of the due index and a second, or for
/// a lane that somebody holds. One that could not be sent is none: whoever needs it next sends it.
#[derive(Debug)]
pub(crate) struct SentWakeups<K> {
    arrivals: Mutex<HashMap<Place<K>, DateTime<Utc>>>,
    /// One sends at a time for a target and second: the others see then whether it was sent.
    turns: [tokio::sync::Mutex<()>; TURNS],
}

/// A target, and a second since 1970.
type Place<K> = (K, i64);

const TURNS: usize = 64;
/// Past this many, those that have arrived are dropped.
const MAX_REMEMBERED: usize = 4_096;

impl<K> Default for SentWakeups<K> {
    fn default() -> Self {
        Self { arrivals: Mutex::default(), turns: [const { tokio::sync::Mutex::const_new(()) }; TURNS] }
    }
}

impl<K: Hash + Eq> SentWakeups<K> {
    /// Sends a wake-up for `at`, unless one is on its way that arrives in that second and no later. `send` returns whether it
    /// was sent.
    pub(crate) async fn send_once(
        &self,
        target: K,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
        send: impl Future<Output = bool>,
    ) {
        let place = (target, at.timestamp());
        let _turn = self.turn(&place).lock().await;
        if !self.is_on_its_way(&place, at, now) && send.await {
            let mut arrivals = self.arrivals();
            if arrivals.len() > MAX_REMEMBERED {
                arrivals.retain(|_, at| *at > now);
            }
            arrivals.insert(place, at);
        }
    }

    /// Forgets a wake-up that has arrived, which by this process's clock may be early.
    pub(crate) fn arrived(&self, target: K, at: DateTime<Utc>) {
        let place = (target, at.timestamp());
        let mut arrivals = self.arrivals();
        if arrivals.get(&place) == Some(&at) {
            arrivals.remove(&place);
        }
    }

    /// Returns whether one is on its way that is early enough. One that has arrived by now did not see rows that come due later.
    fn is_on_its_way(&self, place: &Place<K>, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.arrivals().get(place).is_some_and(|arrival| now < *arrival && *arrival <= at)
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<Place<K>, DateTime<Utc>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, place: &Place<K>) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        place.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let turn = hasher.finish() as usize % TURNS;
        #[expect(clippy::indexing_slicing, reason = "there are as many")]
        &self.turns[turn]
    }
}
