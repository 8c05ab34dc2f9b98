//! Limits on requests: a sliding window for each key and class, counted in the table by all instances together.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::{KeyId, RateLimits, RateWindow, RequestClass, Ruling};
use store::Place;
use tokio::sync::OnceCell;

use crate::error::error_chain;
use crate::{Error, Medic};

/// Requests a minute for a key that has no limits of its own.
#[derive(Debug, Clone, Copy)]
pub struct DefaultLimits {
    pub heartbeats: u32,
    pub management: u32,
    pub executions: u32,
}

/// For each address that starts playbooks with the secret for it.
const TRIGGERS: u32 = 10;

impl DefaultLimits {
    fn of(self, class: RequestClass) -> u32 {
        match class {
            RequestClass::Heartbeats => self.heartbeats,
            RequestClass::Management => self.management,
            RequestClass::Executions => self.executions,
            RequestClass::Triggers => TRIGGERS,
        }
    }
}

impl Medic {
    /// Decides whether a request of `key` is let in, and counts it if it is.
    ///
    /// When it cannot be counted it is let in: a limit protects the service, and must not take heartbeats from it. If all
    /// of the table is out of reach, the request fails by itself.
    pub async fn admit(&self, key: KeyId, limits: RateLimits, class: RequestClass, now: DateTime<Utc>) -> Ruling {
        let limit = limits.of(class).unwrap_or_else(|| self.settings.limits.of(class));
        let minute = self.limits.minute(key, class, now);
        match self.count_request(key, class, limit, &minute, now).await {
            Ok(ruling) => ruling,
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(%key, class = class.as_str(), %error, "a request was not counted");
                let (_, ruling) = minute.window().ask(limit, now);
                ruling
            }
        }
    }

    async fn count_request(
        &self,
        key: KeyId,
        class: RequestClass,
        limit: u32,
        minute: &Minute,
        now: DateTime<Utc>,
    ) -> Result<Ruling, Error> {
        let older = minute.older.get_or_try_init(|| self.table.requests(key, class, minute.number - 1)).await?;
        let window = minute.window();
        let window = RateWindow { older: *older, ..window };
        let (_, ruling) = window.ask(limit, now);
        // Counts only grow, so what is full by what this process saw last is full. It asks again when the older minute has
        // faded so far that there is room.
        let Some(most) = NonZeroU32::new(window.most(limit, now)).filter(|_| ruling.is_let_in()) else {
            return Ok(ruling);
        };
        // The table decides; what `ask` says of its count is the same, in the caller's words.
        let before = match self.table.count_request(key, class, minute.number, most).await? {
            Place::Taken { requests } => {
                minute.saw(requests);
                requests.saturating_sub(1)
            }
            Place::Full { requests } => {
                minute.saw(requests);
                requests
            }
        };
        let (_, ruling) = RateWindow { current: before, ..window }.ask(limit, now);
        Ok(ruling)
    }
}

/// What this process has seen of the minutes that it counts in, one for each key and class. It only saves calls.
#[derive(Debug, Default)]
pub(crate) struct Limits(Mutex<HashMap<(KeyId, RequestClass), Arc<Minute>>>);

/// Past this many, what was seen is forgotten: some 2 MB.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Debug)]
struct Minute {
    /// Since 1970.
    number: i64,
    /// The requests of the minute before, which is over: read once.
    older: OnceCell<u32>,
    /// The most that an answer said of this one.
    current: AtomicU32,
}

impl Limits {
    fn minute(&self, key: KeyId, class: RequestClass, now: DateTime<Utc>) -> Arc<Minute> {
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
    fn saw(&self, requests: u32) {
        self.current.fetch_max(requests, Ordering::Relaxed);
    }

    fn window(&self) -> RateWindow {
        let older = self.older.get().copied().unwrap_or_default();
        RateWindow { minute: self.number, older, current: self.current.load(Ordering::Relaxed) }
    }
}
