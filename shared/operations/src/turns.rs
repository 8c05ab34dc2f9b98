//! Whose turn it is to handle a row, in this process.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use store::Key;

/// The turns of rows: a tick and a wake-up may come to a row at once, and whoever is second sees what the first left. Rows
/// share turns by the hash of their keys. Correctness does not depend on turns: they save ids and
/// conflicting transactions.
#[derive(Debug)]
pub(crate) struct RowTurns(Vec<(tokio::sync::Mutex<()>, AtomicU64)>);

impl RowTurns {
    const COUNT: usize = 256;

    /// Returns the turn of a row, to be locked while it is handled.
    pub(crate) fn of(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        &self.at(key).0
    }

    /// Returns how often rows that share a turn with this one were handled by themselves, and not with others of a sweep.
    pub(crate) fn handled_alone(&self, key: &Key) -> u64 {
        self.at(key).1.load(Ordering::Relaxed)
    }

    /// Counts that a row was handled by itself. For whoever has its turn.
    pub(crate) fn count_alone(&self, key: &Key) {
        self.at(key).1.fetch_add(1, Ordering::Relaxed);
    }

    fn at(&self, key: &Key) -> &(tokio::sync::Mutex<()>, AtomicU64) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let place = hasher.finish() as usize % Self::COUNT;
        #[expect(clippy::indexing_slicing, reason = "there are as many")]
        &self.0[place]
    }
}

impl Default for RowTurns {
    fn default() -> Self {
        Self(std::iter::repeat_with(Default::default).take(Self::COUNT).collect())
    }
}
