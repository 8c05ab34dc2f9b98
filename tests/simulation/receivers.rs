//! Slack, PagerDuty, a webhook's receiver and what steps of playbooks call: they accept, refuse, hang or respond late
//! as the seed decides.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::{Response, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use local::ManualTime;
use outbound::Http;
use runtime::Clock as _;
use serde_json::{Value, json};

use crate::executions::StepCall;
use crate::planned_services::{REFUSED_CHANNEL, REFUSED_SERVICE};
use crate::seed::{FaultLevel, Seed, hash, yields};

/// A request that a receiver accepted.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) receiver: String,
    pub(crate) at: DateTime<Utc>,
    /// `webhook-id`, or nothing.
    pub(crate) id: String,
    pub(crate) body: Value,
}

#[derive(Debug, Clone)]
pub(crate) struct Receivers {
    pub(crate) address: String,
    seed: Arc<Seed>,
    time: ManualTime,
    received: Arc<Mutex<Vec<Received>>>,
    calls: Arc<Mutex<Vec<StepCall>>>,
}

/// How a receiver reacts to a request.
#[derive(Clone, Copy)]
enum Reaction {
    Accepts,
    Unavailable,
    RateLimits,
    /// Accepts it after some seconds.
    AcceptsLate,
    /// Accepts it, and responds that it failed.
    AcceptsAndFails,
    /// Does not accept it, and never responds.
    Hangs,
    /// Accepts it, and never responds.
    AcceptsAndHangs,
}

impl Receivers {
    /// Creates them. Nobody listens at their address: requests come in through `Http`.
    pub(crate) fn start(seed: &Arc<Seed>, time: &ManualTime) -> Self {
        let (address, seed) = ("http://receivers.test".to_owned(), Arc::clone(seed));
        Self { address, seed, time: time.clone(), received: Arc::default(), calls: Arc::default() }
    }

    /// Returns the calls of playbooks' steps.
    pub(crate) fn calls(&self) -> Vec<StepCall> {
        self.calls.lock().unwrap().clone()
    }

    /// Returns what one receiver accepted, in order.
    pub(crate) fn received(&self, receiver: &str) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|received| received.receiver == receiver).cloned().collect()
    }

    /// Decides how a receiver reacts to its next request.
    fn reaction(&self, receiver: &str) -> Reaction {
        if !self.seed.is(FaultLevel::Stormy) {
            // Nothing fails, but senders overlap all the same.
            let is_late = self.seed.is(FaultLevel::Lossy) && self.seed.roll(receiver, 100) < 40;
            return if is_late { Reaction::AcceptsLate } else { Reaction::Accepts };
        }
        if self.seed.is_out(receiver) {
            return Reaction::Unavailable;
        }
        match self.seed.roll(receiver, 100) {
            0..8 => Reaction::Unavailable,
            8..12 => Reaction::RateLimits,
            12..16 => Reaction::AcceptsLate,
            16..22 => Reaction::AcceptsAndFails,
            22..24 => Reaction::Hangs,
            24..26 => Reaction::AcceptsAndHangs,
            _ => Reaction::Accepts,
        }
    }

    fn accept(&self, receiver: &str, request: &reqwest::Request) {
        if refusal(receiver, request).is_some() {
            return;
        }
        let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        self.seed.record(&format!("{receiver} took {id} {:016x}", hash(body)));
        let body = serde_json::from_slice(body).unwrap();
        self.received.lock().unwrap().push(Received { receiver: receiver.to_owned(), at: self.time.now(), id, body });
    }

    /// Records a call of a playbook's step.
    fn record_call(&self, request: &reqwest::Request, is_accepted: bool) {
        let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        self.calls.lock().unwrap().push(StepCall { key: key.to_owned(), at: self.time.now(), is_accepted });
    }

    async fn wait(&self, millis: i64) {
        self.seed.wait(self.time.now() + TimeDelta::milliseconds(millis)).await;
    }
}

/// How long a sender waits for a response.
const SENDER_TIMEOUT_MILLIS: i64 = 10_000;

#[async_trait]
impl Http for Receivers {
    async fn execute(&self, request: reqwest::Request) -> Result<reqwest::Response, reqwest::Error> {
        let path = request.url().path().to_owned();
        let receiver = match path.as_str() {
            "/api/chat.postMessage" => "slack",
            // An approval request that was decided on, and a press that does not count.
            "/api/chat.update" => "update",
            "/api/chat.postEphemeral" => "ephemeral",
            "/v2/enqueue" => "pagerduty",
            "/hook" => "webhook",
            "/during_hours" => "during_hours",
            "/after_hours" => "after_hours",
            "/step" => "step",
            other => other.strip_prefix("/hooks/").unwrap_or_else(|| panic!("nobody receives at {other}")),
        };
        let reaction = self.reaction(receiver);
        let refusal = refusal(receiver, &request);
        yields(self.seed.roll((receiver, "way"), 4)).await;
        match reaction {
            Reaction::Accepts | Reaction::AcceptsAndFails | Reaction::AcceptsAndHangs => {
                self.accept(receiver, &request);
            }
            Reaction::AcceptsLate => {
                self.wait(self.seed.roll((receiver, "late"), 9_000).try_into().unwrap()).await;
                self.accept(receiver, &request);
            }
            Reaction::Unavailable | Reaction::RateLimits | Reaction::Hangs => {}
        }
        if receiver == "step" {
            self.record_call(&request, matches!(reaction, Reaction::Accepts | Reaction::AcceptsLate));
        }
        yields(self.seed.roll((receiver, "way back"), 4)).await;
        match reaction {
            Reaction::Accepts | Reaction::AcceptsLate => {
                if let Some(refusal) = refusal {
                    return Ok(refusal);
                }
                let body = json!({"ok": true, "channel": "C0ALERTS", "ts": "1.1"});
                Ok(response(StatusCode::OK, &[("content-type", "application/json")], body.to_string()))
            }
            Reaction::Unavailable => Ok(response(StatusCode::SERVICE_UNAVAILABLE, &[], String::new())),
            Reaction::RateLimits => {
                Ok(response(StatusCode::TOO_MANY_REQUESTS, &[("retry-after", "20")], String::new()))
            }
            Reaction::AcceptsAndFails => Ok(response(StatusCode::INTERNAL_SERVER_ERROR, &[], String::new())),
            Reaction::Hangs | Reaction::AcceptsAndHangs => {
                self.wait(SENDER_TIMEOUT_MILLIS).await;
                // The client's own errors cannot be created, but for this one.
                response(StatusCode::GATEWAY_TIMEOUT, &[], String::new()).error_for_status()
            }
        }
    }
}

/// Returns what Slack and PagerDuty respond to what they refuse for good.
fn refusal(receiver: &str, request: &reqwest::Request) -> Option<reqwest::Response> {
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_refused = match receiver {
        "slack" => body["channel"] == REFUSED_CHANNEL,
        "pagerduty" => body["dedup_key"].as_str().is_some_and(|key| key.ends_with(REFUSED_SERVICE)),
        _ => false,
    };
    let (status, body) = if receiver == "slack" {
        (StatusCode::OK, json!({"ok": false, "error": "channel_not_found"}))
    } else {
        (StatusCode::BAD_REQUEST, json!({"status": "invalid event", "errors": ["the service is unknown"]}))
    };
    is_refused.then(|| response(status, &[("content-type", "application/json")], body.to_string()))
}

fn response(status: StatusCode, headers: &[(&str, &str)], body: String) -> reqwest::Response {
    let builder = Response::builder().status(status);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(body).unwrap().into()
}
