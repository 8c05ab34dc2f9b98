//! What a webhook step of a playbook sends.

use std::time::Duration;

use domain::Invalid;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::{Answer, Call, Outgoing, SendError, UserHeaders};

/// A call with every placeholder filled in. It may hold secrets, so there is no `Debug`.
#[derive(Clone)]
pub struct StepCall<'a> {
    pub method: &'a str,
    pub url: String,
    pub headers: Vec<(&'a str, String)>,
    /// JSON, sent as such unless the headers say otherwise.
    pub body: Option<String>,
    /// The same for each attempt of a step.
    pub idempotency_key: &'a str,
    pub timeout: Duration,
}

/// Why a step's call got no response.
#[derive(Debug, thiserror::Error)]
pub enum StepCallError {
    /// It may repeat a part of the request.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Send(#[from] SendError),
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl StepCall<'_> {
    /// Sends once. Any response is `Ok`, whatever its status.
    pub async fn send(self, outgoing: &Outgoing) -> Result<Answer, StepCallError> {
        let Self { method, url, headers, body, idempotency_key, timeout } = self;
        let pairs = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let mut headers = UserHeaders::parse("headers", pairs, &[IDEMPOTENCY_KEY.as_str()])?.to_map();
        let key = HeaderValue::from_str(idempotency_key);
        headers.insert(IDEMPOTENCY_KEY, key.map_err(|_| Invalid::new("idempotency-key", "must be plain text"))?);
        if body.is_some() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let method = method.parse::<Method>().map_err(|_| Invalid::new("method", "must be a method of HTTP"))?;
        let call = Call { method, url, headers, body: body.unwrap_or_default().into_bytes(), timeout };
        Ok(outgoing.send(call).await?)
    }
}
