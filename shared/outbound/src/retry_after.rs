//! When a receiver asks to be called again: the header `Retry-After` (RFC 9110, 10.2.3).

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// What a receiver asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    Seconds(u32),
    Date(DateTime<Utc>),
}

impl RetryAfter {
    /// The longest wait that a receiver can ask for at a time.
    const MAX: TimeDelta = TimeDelta::hours(1);

    /// Reads the header. Returns `None` when there is none, or none that can be read.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::Seconds(text.parse().unwrap_or(u32::MAX)));
        }
        // The one date format that may still be sent (RFC 9110, 5.6.7) is one of RFC 2822's.
        DateTime::parse_from_rfc2822(text).ok().map(|date| Self::Date(date.to_utc()))
    }

    /// Returns the wait from `now`, from none to an hour.
    pub fn wait(self, now: DateTime<Utc>) -> TimeDelta {
        let wait = match self {
            Self::Seconds(seconds) => TimeDelta::seconds(i64::from(seconds)),
            Self::Date(date) => date - now,
        };
        wait.clamp(TimeDelta::zero(), Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &'static str) -> Option<i64> {
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        RetryAfter::read(&headers).map(|after| after.wait(now).num_seconds())
    }

    #[test]
    fn reads_seconds_and_dates() {
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 0 "), Some(0));
        assert_eq!(wait("Sun, 01 Mar 2026 12:00:30 GMT"), Some(30));
        assert_eq!(wait("Sun, 01 Mar 2026 11:00:00 GMT"), Some(0));
        assert_eq!(RetryAfter::read(&HeaderMap::new()), None);
    }

    #[test]
    fn waits_an_hour_at_most_and_takes_no_nonsense() {
        assert_eq!(wait("86400"), Some(3_600));
        assert_eq!(wait("99999999999999999999"), Some(3_600));
        assert_eq!(wait("Fri, 01 Jan 2100 00:00:00 GMT"), Some(3_600));
        assert_eq!([wait("-1"), wait("1.5"), wait("soon"), wait("")], [None; 4]);
    }
}
