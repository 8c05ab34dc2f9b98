//! Limits on requests: a sliding window for each key and class, counted in the table by all instances together.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use domain::{KeyId, RateLimits, RateWindow, RequestClass, Ruling};
use store::RequestCount;

use super::request_counts::Minute;
use crate::error::error_chain;
use crate::{Error, Medic};

impl Medic {
    /// Decides whether a request of `key` is let in, and counts it if it is.
    ///
    /// When it cannot be counted it is let in: a limit protects the service, and must not take heartbeats from
    /// it. If all of the table is out of reach, the request fails by itself.
    pub async fn admit(&self, key: KeyId, limits: RateLimits, class: RequestClass, now: DateTime<Utc>) -> Ruling {
        let limit = limits.of(class).unwrap_or_else(|| self.settings.limits.of(class));
        let minute = self.request_counts.minute(key, class, now);
        match self.count_request(key, class, limit, &minute, now).await {
            Ok(ruling) => ruling,
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(%key, class = class.as_str(), %error, "a request was not counted");
                let (_, ruling) = minute.window().rule(limit, now);
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
        let (_, ruling) = window.rule(limit, now);
        // Counts only grow: a minute that was full when this process last read it is still full. The table is asked
        // again once the older minute has faded far enough to leave room.
        let Some(max) = NonZeroU32::new(window.capacity(limit, now)).filter(|_| ruling.is_let_in()) else {
            return Ok(ruling);
        };
        // The table decides; what `rule` makes of its count is the same, in the caller's words.
        let before = match self.table.count_request(key, class, minute.number, max).await? {
            RequestCount::Counted { requests } => {
                minute.saw(requests);
                requests.saturating_sub(1)
            }
            RequestCount::Full { requests } => {
                minute.saw(requests);
                requests
            }
        };
        let (_, ruling) = RateWindow { current: before, ..window }.rule(limit, now);
        Ok(ruling)
    }
}
