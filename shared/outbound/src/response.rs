//! The result of sending something, and the HTTP client that all senders share.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::RetryAfter;

/// The result of one attempt to deliver something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Accepted,
    /// Worth another attempt, no sooner than `after` if the receiver said so.
    Retry {
        error: String,
        after: Option<TimeDelta>,
    },
    /// It would fail again.
    Refused {
        error: String,
    },
}

impl Delivery {
    /// The values of the label `status` in the request metrics.
    pub const LABELS: [&str; 3] = ["success", "retry", "failed"];

    pub const fn label(&self) -> &'static str {
        let [success, retry, failed] = Self::LABELS;
        match self {
            Self::Accepted => success,
            Self::Retry { .. } => retry,
            Self::Refused { .. } => failed,
        }
    }

    pub(crate) fn unreachable(error: &reqwest::Error) -> Self {
        let what = if error.is_timeout() {
            "timed out"
        } else if error.is_connect() {
            "could not connect"
        } else {
            "the connection failed"
        };
        Self::Retry { error: what.to_owned(), after: None }
    }

    /// Returns the outcome of a request that cannot be made as Medic is configured: it waits until that is fixed.
    pub(crate) fn misconfigured(what: &str) -> Self {
        Self::Retry { error: what.to_owned(), after: None }
    }

    /// Judges a status code: 408, 429 and 5xx are worth another attempt.
    pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        if status.is_success() {
            return Self::Accepted;
        }
        let error = format!("answered {}", status.as_u16());
        let transient = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT;
        if transient { Self::Retry { error, after: retry_after(headers) } } else { Self::Refused { error } }
    }
}

/// Reads the wait that `Retry-After` asks for in seconds. Slack and PagerDuty send no date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<TimeDelta> {
    match RetryAfter::read(headers)? {
        after @ RetryAfter::Seconds(_) => Some(after.wait(DateTime::UNIX_EPOCH)),
        RetryAfter::Date(_) => None,
    }
}

/// Creates a client that waits 10 s at most and follows no redirect.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("medic/", env!("CARGO_PKG_VERSION")))
        .build()
}
