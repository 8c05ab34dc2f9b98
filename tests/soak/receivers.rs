//! Slack, PagerDuty and webhooks on loopback, each on a port of its own: they record what arrives, and respond as they are
//! ordered to. They keep no connection, so that refusing one is refusing all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::facts::{locked, now, sleep, sleep_until};
use crate::faults::{Mode, Planned, Spell};

/// A kind of receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Slack,
    PagerDuty,
    Webhook,
}

/// A request that was processed.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) at: DateTime<Utc>,
    /// When it was answered with success.
    pub(crate) answered: Option<DateTime<Utc>>,
    pub(crate) path: String,
    /// The `webhook-id`.
    pub(crate) id: String,
    pub(crate) body: Value,
}

/// When a receiver did not respond as it should.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trouble {
    pub(crate) from: DateTime<Utc>,
    pub(crate) to: DateTime<Utc>,
}

/// A receiver.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    troubles: Arc<Mutex<Vec<Trouble>>>,
}

/// Longer than Medic waits.
const HANG: TimeDelta = TimeDelta::seconds(40);

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Slack, Self::PagerDuty, Self::Webhook];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slack => "Slack",
            Self::PagerDuty => "PagerDuty",
            Self::Webhook => "webhooks",
        }
    }
}

impl Receiver {
    pub(crate) fn new(kind: Kind, address: SocketAddr) -> Self {
        Self {
            kind,
            address,
            mode: Arc::new(Mutex::new(Mode::Well)),
            arrivals: Arc::default(),
            troubles: Arc::default(),
        }
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        locked(&self.arrivals).clone()
    }

    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        locked(&self.troubles).clone()
    }

    async fn serve(&self) -> JoinHandle<()> {
        let listener = TcpListener::bind(self.address).await.expect("the receiver's port");
        let router = Router::new().fallback(receive).with_state(self.clone());
        #[expect(clippy::disallowed_methods, reason = "a receiver lives as long as the soak, but for its spells")]
        tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") })
    }

    /// Responds as planned, and well after that.
    pub(crate) async fn run(self, began: DateTime<Utc>, spells: Vec<Planned<Spell>>) {
        let mut server = self.serve().await;
        for Planned { at, fault: Spell { mode, length } } in spells {
            sleep_until(began + at).await;
            let from = now();
            *locked(&self.mode) = mode;
            if mode == Mode::RefusesConnections {
                server.abort();
                sleep(length).await;
                server = self.serve().await;
            } else {
                sleep(length).await;
            }
            *locked(&self.mode) = Mode::Well;
            locked(&self.troubles).push(Trouble { from, to: now() });
        }
    }

    /// Records what arrived, and returns its place.
    fn keep(&self, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> usize {
        let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let body = serde_json::from_slice(body).unwrap_or_default();
        let arrival = Arrival { at: now(), answered: None, path: uri.path().to_owned(), id, body };
        let mut arrivals = locked(&self.arrivals);
        arrivals.push(arrival);
        arrivals.len() - 1
    }

    fn success(&self, place: usize) -> Response {
        let mut arrivals = locked(&self.arrivals);
        arrivals[place].answered = Some(now());
        let channel = Value::clone(&arrivals[place].body["channel"]);
        drop(arrivals);
        match self.kind {
            Kind::Slack => {
                let ts = format!("1767614400.{place:06}");
                axum::Json(json!({"ok": true, "channel": channel, "ts": ts})).into_response()
            }
            Kind::PagerDuty => (StatusCode::ACCEPTED, axum::Json(json!({"status": "success"}))).into_response(),
            Kind::Webhook => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

async fn receive(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mode = *locked(&receiver.mode);
    let mut response = match mode {
        // Connections that came before nobody was there are served.
        Mode::Well | Mode::RefusesConnections => receiver.success(receiver.keep(&uri, &headers, &body)),
        Mode::Slow(delay) => {
            let place = receiver.keep(&uri, &headers, &body);
            sleep(delay).await;
            receiver.success(place)
        }
        Mode::Hangs | Mode::AcceptsAndHangs => {
            if mode == Mode::AcceptsAndHangs {
                receiver.keep(&uri, &headers, &body);
            }
            sleep(HANG).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Mode::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Mode::Limits(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
        }
    };
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}
