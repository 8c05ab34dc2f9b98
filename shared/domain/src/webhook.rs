//! Webhooks: the receivers of events, how often a delivery is tried, and with which secrets it is signed.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Endpoint, Invalid, Revision, ServiceId, WebhookId};

/// A receiver of the events of one service, or of every service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub id: WebhookId,
    pub endpoint: Endpoint,
    pub enabled: bool,
    /// None stands for every service.
    pub service_id: Option<ServiceId>,
    pub attempts: Attempts,
    pub secrets: WebhookSecrets,
    pub revision: Revision,
}

impl Webhook {
    /// How many may be for one service, and how many for every service, so that the work of an alert stays bounded.
    pub const MAX_FOR_ONE: u32 = 10;
    pub const MAX_FOR_ALL: u32 = 20;

    /// Returns whether it gets the events of this service.
    pub fn covers(&self, service: ServiceId) -> bool {
        self.enabled && self.service_id.is_none_or(|id| id == service)
    }
}

/// How often a delivery is tried, and how long each try waits for the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts {
    pub max: u32,
    delays_seconds: Vec<u32>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { max: 3, delays_seconds: vec![1, 5, 30] }
    }
}

impl Attempts {
    const RANGE: std::ops::RangeInclusive<u32> = 1..=4;
    const MAX_DELAYS: usize = 10;
    const MAX_DELAY: i64 = 3_600;

    pub fn parse_max(value: i64) -> Result<u32, Invalid> {
        u32::try_from(value)
            .ok()
            .filter(|max| Self::RANGE.contains(max))
            .ok_or_else(|| Invalid::new("max_attempts", "must be a whole number from 1 to 4"))
    }

    pub fn parse_delays(seconds: &[i64]) -> Result<Vec<u32>, Invalid> {
        let whole = |seconds: &i64| u32::try_from(*seconds).ok().filter(|_| (1..=Self::MAX_DELAY).contains(seconds));
        let delays: Option<Vec<_>> = seconds.iter().map(whole).collect();
        delays
            .filter(|delays| (1..=Self::MAX_DELAYS).contains(&delays.len()))
            .ok_or_else(|| Invalid::new("retry_delays_seconds", "must be 1 to 10 whole numbers from 1 to 3600"))
    }

    pub const fn new(max: u32, delays_seconds: Vec<u32>) -> Self {
        Self { max, delays_seconds }
    }

    pub fn delays_seconds(&self) -> &[u32] {
        &self.delays_seconds
    }

    /// Returns how long the next attempt waits when `made` have failed; none when that was the last. The last delay
    /// stands for all that are not given.
    pub fn delay_after(&self, made: u32) -> Option<TimeDelta> {
        let nth = usize::try_from(made.checked_sub(1)?).ok()?;
        let seconds = self.delays_seconds.get(nth).or_else(|| self.delays_seconds.last()).copied().unwrap_or(1);
        (made < self.max).then(|| TimeDelta::seconds(seconds.into()))
    }
}

/// A secret as its owner is shown it: `whsec_…`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// What a webhook's deliveries are signed with: the secret, and the one before it for a day after it was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecrets {
    pub current: SecretText,
    /// The secret before, and until when it is valid.
    pub previous: Option<(SecretText, DateTime<Utc>)>,
}

impl WebhookSecrets {
    const OVERLAP: TimeDelta = TimeDelta::hours(24);

    pub const fn first(secret: SecretText) -> Self {
        Self { current: secret, previous: None }
    }

    /// Replaces the secret. One that was still valid beside it is valid no more.
    #[must_use]
    pub fn rotate(&self, new: SecretText, now: DateTime<Utc>) -> Self {
        Self { current: new, previous: Some((self.current.clone(), now + Self::OVERLAP)) }
    }

    /// Returns until when the secret before this one is valid, if it still is.
    pub fn previous_valid_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.previous.as_ref().map(|(_, until)| *until).filter(|until| now < *until)
    }

    /// Returns the secrets that are valid at `now`, the new one first.
    pub fn valid_at(&self, now: DateTime<Utc>) -> impl Iterator<Item = &SecretText> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        std::iter::once(&self.current).chain(previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(attempts: &Attempts) -> Vec<i64> {
        (1..).map_while(|made| attempts.delay_after(made)).map(|delay| delay.num_seconds()).collect()
    }

    #[test]
    fn each_attempt_but_the_first_waits_and_the_last_delay_stands_for_the_rest() {
        assert_eq!(delays(&Attempts::default()), [1, 5]);
        assert_eq!(delays(&Attempts::new(4, vec![2])), [2, 2, 2]);
        assert_eq!(delays(&Attempts::new(1, vec![1, 5, 30])), [0; 0]);
    }

    #[test]
    fn the_secret_before_is_valid_for_a_day() {
        let now = crate::from_millis(1_790_000_000_000);
        let [a, b, c] = ["whsec_a", "whsec_b", "whsec_c"].map(SecretText::new);
        let valid =
            |secrets: &WebhookSecrets, at| secrets.valid_at(at).map(|s| s.reveal().to_owned()).collect::<Vec<_>>();
        let rotated = WebhookSecrets::first(a).rotate(b, now);
        let day = TimeDelta::hours(24);
        assert_eq!(valid(&rotated, now + day - TimeDelta::milliseconds(1)), ["whsec_b", "whsec_a"]);
        assert_eq!(valid(&rotated, now + day), ["whsec_b"]);
        assert_eq!(valid(&rotated.rotate(c, now), now), ["whsec_c", "whsec_b"]);
        assert!(!format!("{rotated:?}").contains("whsec_"));
    }
}
