//! Posts events to webhooks, as Standard Webhooks 1.0 says.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue};
use reqwest::{Method, StatusCode};
use serde::Serialize;

use crate::signing::signatures;
use crate::{Answer, Call, Outgoing, UserHeaders, WebhookSecret};

/// The headers of a webhook that its user may not set, besides those that frame a request.
pub const WEBHOOK_HEADERS: [&str; 2] = ["content-type", "webhook-*"];

/// An event, as it is posted to webhooks.
#[derive(Debug, Clone, Copy)]
pub struct WebhookEvent<'a> {
    /// Such as `alert.opened`.
    pub kind: &'a str,
    /// When it happened, which is the same in every attempt.
    pub at: DateTime<Utc>,
    pub data: &'a serde_json::Value,
}

/// One attempt to post an event.
#[derive(Debug, Clone, Copy)]
pub struct WebhookAttempt<'a> {
    pub url: &'a str,
    pub headers: &'a UserHeaders,
    /// The secret, and the one before it while that is still valid; none where nothing is signed.
    pub secrets: &'a [WebhookSecret],
    /// The delivery's, the same in every attempt; receivers recognise repeats by it.
    pub id: &'a str,
    /// When this attempt is made.
    pub at: DateTime<Utc>,
    pub event: WebhookEvent<'a>,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookReport {
    pub outcome: WebhookOutcome,
    /// The status and the excerpt of the body, when there was an answer.
    pub response: Option<(u16, String)>,
}

/// What remains to be done after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// Answered with a status of 200 to 299.
    Success,
    /// Worth another try while attempts are left, no sooner than `after` if the receiver said so. Any answer but success
    /// and 410 is: the standard gives no other status a meaning.
    Retry { error: String, after: Option<TimeDelta> },
    /// Answered with 410: the receiver wants neither this delivery nor any other, so the webhook is to be disabled.
    Gone { error: String },
    /// The guard lets nobody call the address; it would fail again.
    Refused { error: String },
}

impl WebhookEvent<'_> {
    /// Returns the body of a request: the same bytes for the same event.
    fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            timestamp: String,
            data: &'a serde_json::Value,
        }
        let &Self { kind, at, data } = self;
        serde_json::to_vec(&Body { kind, timestamp: domain::format_time(at), data })
    }
}

impl WebhookAttempt<'_> {
    /// Makes the attempt.
    pub async fn post(&self, outgoing: &Outgoing) -> WebhookReport {
        let Ok(body) = self.event.body() else {
            return WebhookReport::refused("its event cannot be written as JSON");
        };
        let Ok(headers) = self.headers(&body) else {
            return WebhookReport::refused("its id cannot be a header");
        };
        let call = Call { method: Method::POST, url: self.url.to_owned(), headers, body, timeout: Outgoing::TIMEOUT };
        match outgoing.send(call).await {
            Ok(answer) => WebhookReport::of(answer, self.at),
            Err(error) if error.is_final() => WebhookReport::refused(&error.to_string()),
            Err(error) => {
                let outcome = WebhookOutcome::Retry { error: error.to_string(), after: None };
                WebhookReport { outcome, response: None }
            }
        }
    }

    fn headers(&self, body: &[u8]) -> Result<HeaderMap, InvalidHeaderValue> {
        let timestamp = self.at.timestamp();
        let mut headers = self.headers.to_map();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-id", self.id.try_into()?);
        headers.insert("webhook-timestamp", timestamp.into());
        if !self.secrets.is_empty() {
            headers.insert("webhook-signature", signatures(self.secrets, self.id, timestamp, body).try_into()?);
        }
        Ok(headers)
    }
}

impl WebhookReport {
    fn of(answer: Answer, now: DateTime<Utc>) -> Self {
        let Answer { status, retry_after, body } = answer;
        let code = status.as_u16();
        let outcome = if status.is_success() {
            WebhookOutcome::Success
        } else if status == StatusCode::GONE {
            WebhookOutcome::Gone { error: format!("answered {code}: the receiver wants no more deliveries") }
        } else {
            let why = if status.is_redirection() { ": redirects are not followed" } else { "" };
            let after = retry_after.map(|after| after.wait(now));
            WebhookOutcome::Retry { error: format!("answered {code}{why}"), after }
        };
        Self { outcome, response: Some((code, body)) }
    }

    fn refused(error: &str) -> Self {
        Self { outcome: WebhookOutcome::Refused { error: error.to_owned() }, response: None }
    }
}
