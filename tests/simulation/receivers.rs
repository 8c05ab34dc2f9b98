//! Slack, PagerDuty, a webhook's receiver and what steps of playbooks call: they take, refuse, hang or answer late as the seed decides.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::post;
use chrono::{DateTime, TimeDelta, Utc};
use local::ManualTime;
use runtime::Clock as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fate::{Seed, Weather};
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

#[derive(Clone)]
pub(crate) struct Receivers {
    pub(crate) address: String,
    seed: Arc<Seed>,
    time: ManualTime,
    taken: Arc<Mutex<Vec<Taken>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receivers {
    pub(crate) async fn start(seed: &Arc<Seed>, time: &ManualTime) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let receivers = Self { address, seed: Arc::clone(seed), time: time.clone(), taken: Arc::default(), calls: Arc::default() };
        let router = Router::new()
            .route("/api/chat.postMessage", post(async |state, headers, body| receive("slack", state, &headers, &body)))
            .route("/v2/enqueue", post(async |state, headers, body| receive("pagerduty", state, &headers, &body)))
            .route("/hook", post(async |state, headers, body| receive("webhook", state, &headers, &body)))
            .route("/step", post(step))
            .with_state(receivers.clone());
        #[expect(clippy::disallowed_methods, reason = "the receivers live as long as their simulation")]
        drop(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        receivers
    }

    /// What steps of playbooks called.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn taken(&self, receiver: &str) -> Vec<Taken> {
        self.taken.lock().unwrap().iter().filter(|taken| taken.receiver == receiver).cloned().collect()
    }
}

/// What a step of a playbook calls.
async fn step(State(all): State<Receivers>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = receive("step", State(all.clone()), &headers, &body);
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    all.calls.lock().unwrap().push(Call { key, at: all.time.now(), is_taken: answer.status().is_success() });
    answer
}

fn receive(receiver: &'static str, State(all): State<Receivers>, headers: &HeaderMap, body: &Bytes) -> Response {
    let fate = if all.seed.is(Weather::Stormy) { all.seed.roll(receiver, 100) } else { 100 };
    if fate < 8 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if fate < 12 {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "20")]).into_response();
    }
    if fate < 16 {
        let late = all.seed.roll((receiver, "late"), 9_000);
        all.time.set(all.time.now() + TimeDelta::milliseconds(late.try_into().unwrap()));
    }
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(body).unwrap();
    all.taken.lock().unwrap().push(Taken { receiver, at: all.time.now(), id, body });
    if fate < 22 {
        // Taken, and the sender does not hear of it.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    (StatusCode::OK, axum::Json(json!({"ok": true, "channel": "C0ALERTS", "ts": "1.1"}))).into_response()
}
