//! Loopback receivers that stand in for Slack, PagerDuty and a user's webhook: they record what arrives and respond as
//! planned.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::limits::{pagerduty_takes, slack_error};

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// `slack`, `pagerduty` or `webhook`; `update` and `post_ephemeral` for the other methods of Slack.
    pub receiver: &'static str,
    pub headers: HeaderMap,
    /// The body as it came, to check a signature.
    pub text: String,
    pub body: Value,
    pub at: Instant,
    /// Whether the response accepted it.
    pub accepted: bool,
}

impl Arrival {
    /// Returns its content in one line: Slack's text, PagerDuty's action and dedup key, or an event's type.
    pub fn line(&self) -> String {
        match self.receiver {
            "slack" | "update" | "post_ephemeral" => self.body["text"].as_str().unwrap_or_default().to_owned(),
            "webhook" => self.body["type"].as_str().unwrap_or_default().to_owned(),
            _ => format!(
                "{} {}",
                self.body["event_action"].as_str().unwrap_or_default(),
                self.body["dedup_key"].as_str().unwrap_or_default()
            ),
        }
    }
}

/// The response to the next request.
#[derive(Debug, Clone)]
pub struct Planned {
    pub status: u16,
    pub retry_after: Option<u32>,
    /// Slack's `error`, with `ok: false`.
    pub error: Option<&'static str>,
    pub delay: Duration,
    /// Sent instead of the usual body.
    pub body: Option<String>,
}

impl Planned {
    pub fn status(status: u16) -> Self {
        Self { status, retry_after: None, error: None, delay: Duration::ZERO, body: None }
    }
}

#[derive(Debug, Default)]
struct Plans {
    slack: VecDeque<Planned>,
    update: VecDeque<Planned>,
    post_ephemeral: VecDeque<Planned>,
    pagerduty: VecDeque<Planned>,
    webhook: VecDeque<Planned>,
}

impl Plans {
    fn of(&mut self, receiver: &str) -> &mut VecDeque<Planned> {
        match receiver {
            "slack" => &mut self.slack,
            "update" => &mut self.update,
            "post_ephemeral" => &mut self.post_ephemeral,
            "pagerduty" => &mut self.pagerduty,
            _ => &mut self.webhook,
        }
    }
}

/// The receivers.
#[derive(Debug, Clone)]
pub struct Receivers {
    address: SocketAddr,
    plans: Arc<Mutex<Plans>>,
    arrivals: Arc<watch::Sender<Vec<Arrival>>>,
}

impl Receivers {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let receivers = Self { address, plans: Arc::default(), arrivals: Arc::new(watch::Sender::new(Vec::new())) };
        let router = Router::new()
            .route("/api/chat.postMessage", post(|state, headers, body| receive("slack", state, headers, body)))
            .route("/api/chat.update", post(|state, headers, body| receive("update", state, headers, body)))
            .route(
                "/api/chat.postEphemeral",
                post(|state, headers, body| receive("post_ephemeral", state, headers, body)),
            )
            .route("/v2/enqueue", post(|state, headers, body| receive("pagerduty", state, headers, body)))
            .route("/hook", post(|state, headers, body| receive("webhook", state, headers, body)))
            .with_state(receivers.clone());
        #[expect(clippy::disallowed_methods, reason = "the receivers live as long as their test")]
        drop(tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") }));
        receivers
    }

    /// Returns the environment that points Medic at them.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SLACK_API_TOKEN", "xoxb-test".to_owned()),
            ("SLACK_CHANNEL_ID", "C0ALERTS".to_owned()),
            ("MEDIC_SLACK_API_URL", format!("http://{}/api", self.address)),
            ("PAGERDUTY_ROUTING_KEY", "R0UTING".to_owned()),
            ("MEDIC_PAGERDUTY_URL", format!("http://{}/v2/enqueue", self.address)),
        ]
    }

    pub fn plan_slack(&self, plans: impl IntoIterator<Item = Planned>) {
        self.plans.lock().expect("plans").slack.extend(plans);
    }

    pub fn plan_updates(&self, plans: impl IntoIterator<Item = Planned>) {
        self.plans.lock().expect("plans").update.extend(plans);
    }

    pub fn plan_webhook(&self, plans: impl IntoIterator<Item = Planned>) {
        self.plans.lock().expect("plans").webhook.extend(plans);
    }

    /// Returns the URL of the webhook's receiver.
    pub fn hook(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn plan_pagerduty(&self, plans: impl IntoIterator<Item = Planned>) {
        self.plans.lock().expect("plans").pagerduty.extend(plans);
    }

    /// Returns all that arrived, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.borrow().clone()
    }

    /// Returns what one receiver accepted, a line each, in order.
    pub fn accepted(&self, receiver: &str) -> Vec<String> {
        let is_accepted = |arrival: &&Arrival| arrival.receiver == receiver && arrival.accepted;
        self.arrivals().iter().filter(is_accepted).map(Arrival::line).collect()
    }

    /// Waits until something arrives that `wanted` accepts, or the timeout passes.
    pub async fn wait_for(&self, timeout: Duration, wanted: impl Fn(&Arrival) -> bool) -> Option<Arrival> {
        let mut arrivals = self.arrivals.subscribe();
        let found = async {
            loop {
                let found = arrivals.borrow_and_update().iter().find(|arrival| wanted(arrival)).cloned();
                if found.is_some() {
                    return found;
                }
                arrivals.changed().await.ok()?;
            }
        };
        tokio::time::timeout(timeout, found).await.ok().flatten()
    }
}

async fn receive(
    receiver: &'static str,
    State(receivers): State<Receivers>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let at = Instant::now();
    let planned = {
        let mut plans = receivers.plans.lock().expect("plans");
        plans.of(receiver).pop_front()
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let planned = planned.unwrap_or_else(|| usually(receiver, &body));
    if !planned.delay.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "a receiver that is planned to be slow")]
        tokio::time::sleep(planned.delay).await;
    }
    let accepted = (200..300).contains(&planned.status) && planned.error.is_none();
    let channel = Value::clone(&body["channel"]);
    let arrival = Arrival { receiver, headers, text, body, at, accepted };
    receivers.arrivals.send_modify(|arrivals| arrivals.push(arrival));
    let ts = format!("1767614400.{:06}", receivers.arrivals.borrow().len());
    let usual = match planned.error {
        Some(error) => json!({"ok": false, "error": error}),
        None if receiver == "slack" => json!({"ok": accepted, "channel": channel, "ts": ts}),
        None => json!({"ok": accepted, "status": "success"}),
    };
    let status = StatusCode::from_u16(planned.status).expect("a status");
    let mut response = match planned.body {
        Some(body) => (status, body).into_response(),
        None => (status, axum::Json(usual)).into_response(),
    };
    if let Some(seconds) = planned.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// A channel that does not exist, in the harness's Slack.
pub const NO_CHANNEL: &str = "C0GONE";

/// Returns the response where none is planned: what is over the receiver's limits is refused.
fn usually(receiver: &str, body: &Value) -> Planned {
    match receiver {
        "slack" if body["channel"] == NO_CHANNEL => {
            Planned { error: Some("channel_not_found"), ..Planned::status(200) }
        }
        "pagerduty" if pagerduty_takes(body) => Planned::status(202),
        "pagerduty" => Planned::status(400),
        "slack" | "update" => Planned { error: slack_error(body), ..Planned::status(200) },
        _ => Planned::status(200),
    }
}
