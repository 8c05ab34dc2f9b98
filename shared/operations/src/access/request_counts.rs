//! What this process has seen of the requests that keys made, so that few of them cost a read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::{KeyId, RateWindow, RequestClass};
use tokio::sync::OnceCell;

/// What this process has seen of the minutes that it counts in, one for each key and class. It only saves calls.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts(Mutex<HashMap<(KeyId, RequestClass), Arc<Minute>>>);

/// What was seen is forgotten past this many keys and classes: some 2 MB.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Debug)]
pub(super) struct Minute {
    /// Since 1970.
    pub(super) number: i64,
    /// The requests of the minute before, which is over: read once.
    pub(super) older: OnceCell<u32>,
    /// The highest count that the table returned for this one.
    current: AtomicU32,
}

impl RequestCounts {
    pub(super) fn minute(&self, key: KeyId, class: RequestClass, now: DateTime<Utc>) -> Arc<Minute> {
        let number = RateWindow::minute_of(now);
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(minute) = minutes.get(&(key, class))
            && minute.number >= number
        {
            return Arc::clone(minute);
        }
        if minutes.len() >= MAX_REMEMBERED {
            minutes.clear();
        }
        let minute = Arc::new(Minute { number, older: OnceCell::new(), current: AtomicU32::new(0) });
        minutes.insert((key, class), Arc::clone(&minute));
        minute
    }
}

impl Minute {
    pub(super) fn saw(&self, requests: u32) {
        self.current.fetch_max(requests, Ordering::Relaxed);
    }

    pub(super) fn window(&self) -> RateWindow {
        let older = self.older.get().copied().unwrap_or_default();
        RateWindow { minute: self.number, older, current: self.current.load(Ordering::Relaxed) }
    }
}
