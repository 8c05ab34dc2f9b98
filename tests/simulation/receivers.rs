//! Slack, PagerDuty, a webhook's receiver and what steps of playbooks call: they take, refuse, hang or answer late as the seed decides.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::{Response, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use local::ManualTime;
use outbound::Http;
use runtime::Clock as _;
use serde_json::{Value, json};

use crate::fate::{Seed, Weather, hash, yields};
use crate::repairs::Call;

/// What a receiver took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) receiver: &'static str,
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
    taken: Arc<Mutex<Vec<Taken>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// What becomes of a request.
#[derive(Clone, Copy)]
enum Lot {
    Taken,
    Unavailable,
    Hurried,
    /// Taken after some seconds.
    Late,
    /// Taken, and the sender hears that it failed.
    Denied,
    /// Not taken, and the sender waits in vain.
    Hangs,
    /// Taken, and the sender waits in vain.
    Silent,
}

impl Receivers {
    /// Nobody listens at their address: whoever sends goes by `Http`.
    pub(crate) fn start(seed: &Arc<Seed>, time: &ManualTime) -> Self {
        let (address, seed) = ("http://receivers.test".to_owned(), Arc::clone(seed));
        Self { address, seed, time: time.clone(), taken: Arc::default(), calls: Arc::default() }
    }

    /// What steps of playbooks called.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn taken(&self, receiver: &str) -> Vec<Taken> {
        self.taken.lock().unwrap().iter().filter(|taken| taken.receiver == receiver).cloned().collect()
    }

    fn lot(&self, receiver: &str) -> Lot {
        if !self.seed.is(Weather::Stormy) {
            // Nothing fails, and senders meet each other nevertheless.
            let is_late = self.seed.is(Weather::Lossy) && self.seed.roll(receiver, 100) < 40;
            return if is_late { Lot::Late } else { Lot::Taken };
        }
        if self.seed.is_out(receiver) {
            return Lot::Unavailable;
        }
        match self.seed.roll(receiver, 100) {
            0..8 => Lot::Unavailable,
            8..12 => Lot::Hurried,
            12..16 => Lot::Late,
            16..22 => Lot::Denied,
            22..24 => Lot::Hangs,
            24..26 => Lot::Silent,
            _ => Lot::Taken,
        }
    }

    fn take(&self, receiver: &'static str, request: &reqwest::Request) {
        let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        self.seed.record(&format!("{receiver} took {id} {:016x}", hash(body)));
        let body = serde_json::from_slice(body).unwrap();
        self.taken.lock().unwrap().push(Taken { receiver, at: self.time.now(), id, body });
    }

    /// Notes a call of a playbook's step.
    fn note_call(&self, request: &reqwest::Request, is_taken: bool) {
        let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        self.calls.lock().unwrap().push(Call { key: key.to_owned(), at: self.time.now(), is_taken });
    }

    async fn wait(&self, millis: i64) {
        self.seed.wait(self.time.now() + TimeDelta::milliseconds(millis)).await;
    }
}

/// A sender waits so long for an answer.
const PATIENCE_MILLIS: i64 = 10_000;

#[async_trait]
impl Http for Receivers {
    async fn execute(&self, request: reqwest::Request) -> Result<reqwest::Response, reqwest::Error> {
        let receiver = match request.url().path() {
            "/api/chat.postMessage" => "slack",
            // A question that was answered.
            "/api/chat.update" => "update",
            "/v2/enqueue" => "pagerduty",
            "/hook" => "webhook",
            "/step" => "step",
            other => panic!("nobody receives at {other}"),
        };
        let lot = self.lot(receiver);
        yields(self.seed.roll((receiver, "way"), 4)).await;
        match lot {
            Lot::Taken | Lot::Denied | Lot::Silent => self.take(receiver, &request),
            Lot::Late => {
                self.wait(self.seed.roll((receiver, "late"), 9_000).try_into().unwrap()).await;
                self.take(receiver, &request);
            }
            Lot::Unavailable | Lot::Hurried | Lot::Hangs => {}
        }
        if receiver == "step" {
            self.note_call(&request, matches!(lot, Lot::Taken | Lot::Late));
        }
        yields(self.seed.roll((receiver, "way back"), 4)).await;
        match lot {
            Lot::Taken | Lot::Late => {
                let body = json!({"ok": true, "channel": "C0ALERTS", "ts": "1.1"});
                Ok(answer(StatusCode::OK, &[("content-type", "application/json")], body.to_string()))
            }
            Lot::Unavailable => Ok(answer(StatusCode::SERVICE_UNAVAILABLE, &[], String::new())),
            Lot::Hurried => Ok(answer(StatusCode::TOO_MANY_REQUESTS, &[("retry-after", "20")], String::new())),
            Lot::Denied => Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, &[], String::new())),
            Lot::Hangs | Lot::Silent => {
                self.wait(PATIENCE_MILLIS).await;
                // The client's own errors cannot be made, but this one.
                answer(StatusCode::GATEWAY_TIMEOUT, &[], String::new()).error_for_status()
            }
        }
    }
}

fn answer(status: StatusCode, headers: &[(&str, &str)], body: String) -> reqwest::Response {
    let response = Response::builder().status(status);
    headers.iter().fold(response, |response, (name, value)| response.header(*name, *value)).body(body).unwrap().into()
}
