//! Creates what a seed begins with, while nothing fails.

use chrono::TimeDelta;
use runtime::Clock as _;
use serde_json::{Value, json};

use super::Run;
use crate::actions::rule;
use crate::cloud::{ClientRequest, Response};
use crate::jobs::Jobs;
use crate::model::{Heartbeat, Service};
use crate::notifications::{Audience, GENERAL_CHANNEL, Webhook};
use crate::observed;
use crate::planned_services::{PlannedService, Team};

impl Run {
    pub(super) async fn set_up(&mut self) {
        self.create_receivers().await;
        for (place, window) in self.plan.windows.clone().into_iter().enumerate() {
            let window = window.fields(&format!("window-{place}"));
            let created = self.request("POST", "/v2/maintenance-windows", window).await;
            self.windows.push(created["window_id"].as_i64().expect("an id"));
        }
        if !self.plan.playbooks.is_empty() {
            let script = json!({"name": "mend", "interpreter": "bash", "content": "true"});
            self.request("POST", "/v2/scripts", script).await;
        }
        for (place, playbook) in self.plan.playbooks.clone().into_iter().enumerate() {
            let yaml = playbook.yaml(place, &self.cloud.receivers.address);
            self.request("POST", "/v2/playbooks", json!({"yaml": yaml})).await;
        }
        if let Some(hours) = &self.plan.hours {
            let schedule = hours.fields();
            self.request("POST", "/v2/schedules", schedule).await;
        }
        self.cloud.seed.set_quiet(false);
        let maintenance: Vec<_> = self.plan.windows.iter().flat_map(|window| window.spans(self.plan.end)).collect();
        let service = |(place, planned): (usize, &PlannedService)| Service {
            id: 0,
            name: planned.name(place),
            rule: rule(&planned.expected),
            registered: Heartbeat { first: planned.begins, last: planned.begins, status: "UP" },
            heartbeats: Vec::new(),
            repeated: Vec::new(),
            changes: Vec::new(),
            resolutions: Vec::new(),
            resolved: Vec::new(),
            maintenance: maintenance.clone(),
            gaps: Vec::new(),
            jobs: planned.max_duration_ms.map(|millis| Jobs {
                max_duration: TimeDelta::milliseconds(millis),
                signals: Vec::new(),
                pings: Vec::new(),
            }),
        };
        self.services = self.plan.services.iter().enumerate().map(service).collect();
    }

    /// Creates teams, webhooks, and the key of those who ping.
    async fn create_receivers(&mut self) {
        let webhooks = if self.plan.is_largest { MAX_WEBHOOKS_FOR_ALL } else { 1 };
        let webhooks: Vec<_> = (0..webhooks).map(webhook_name).collect();
        let mut known = Vec::new();
        for receiver in webhooks {
            let webhook = self.request("POST", "/v2/webhooks", self.webhook(&receiver)).await;
            known.push(Webhook { id: webhook["webhook_id"].as_i64().expect("an id"), receiver });
        }
        let planned = self.plan.services.iter();
        let channels = planned.map(|planned| planned.team.map_or(GENERAL_CHANNEL, Team::channel));
        let audience = |channel: &str| Audience { channels: vec![channel.to_owned()], webhooks: known.clone() };
        self.audiences = channels.map(audience).collect();
        for team in [Team::Usual, Team::Refused] {
            if self.plan.services.iter().any(|planned| planned.team == Some(team)) {
                let team = json!({"name": team.name(), "slack_channel_id": team.channel()});
                self.request("POST", "/v2/teams", team).await;
            }
        }
        if self.plan.services.iter().any(|planned| planned.pings) {
            let key = self.request("POST", "/v2/ping-keys", json!({})).await["key"].as_str().expect("a key").to_owned();
            self.cloud.use_ping_key(key).await;
        }
    }

    /// Sends a request while nothing fails, and returns its results.
    pub(super) async fn request(&mut self, method: &'static str, path: &str, body: Value) -> Value {
        self.requests += 1;
        let path = path.to_owned();
        let request = ClientRequest { number: self.requests, method, path, body, idempotency_key: None };
        self.cloud.send(&request);
        let ended = self.cloud.run_until(self.cloud.time.now()).await.expect("an end");
        let Response { status, body } = ended.response.expect("a response");
        assert!((200..300).contains(&status), "{method} {}: {status} {body}", request.path);
        body["results"].clone()
    }

    /// Gives the first service the receivers that it is to have for itself: where it has hours, a schedule, and targets that
    /// are notified always or by period; and in the largest seeds as many as are allowed. Nothing fails meanwhile.
    pub(super) async fn add_receivers(&mut self) {
        let has_hours = self.plan.hours.is_some();
        if !has_hours && !self.plan.is_largest {
            return;
        }
        let id = self.services[0].id;
        let (service, address) = (format!("/v2/services/{id}"), self.cloud.receivers.address.clone());
        let slack = |channel: &str| json!({"type": "slack", "config": {"channel_id": channel}});
        let mut targets = vec![json!({"type": "pagerduty", "config": {"service_key": "R0UTING"}})];
        self.cloud.seed.set_quiet(true);
        let paused_until = self.cloud.paused_until();
        while self.cloud.time.now() < paused_until {
            if let Some(ended) = self.cloud.run_until(paused_until).await {
                self.ended(ended);
            }
        }
        if has_hours {
            self.request_amid("PATCH", &service, json!({"schedule_id": 1})).await;
            targets.extend(["during_hours", "after_hours"].map(|period| {
                let url = format!("{address}/{period}");
                json!({"type": "webhook", "config": {"url": url}, "period": period})
            }));
        }
        let mut channels = vec![GENERAL_CHANNEL.to_owned()];
        if self.plan.is_largest {
            channels.extend((targets.len() + 1..MAX_TARGETS).map(|n| format!("C0{n}")));
            for n in 0..MAX_WEBHOOKS_FOR_ONE {
                let receiver = webhook_name(MAX_WEBHOOKS_FOR_ALL + n);
                let mut webhook = self.webhook(&receiver);
                webhook["service_id"] = json!(id);
                let created = self.request_amid("POST", "/v2/webhooks", webhook).await;
                let id = created["webhook_id"].as_i64().expect("an id");
                self.audiences[0].webhooks.push(Webhook { id, receiver });
            }
        }
        targets.extend(channels.iter().map(|channel| slack(channel)));
        for target in targets {
            self.request_amid("POST", &format!("{service}/notification-targets"), target).await;
        }
        self.audiences[0].channels = channels;
        self.cloud.seed.set_quiet(false);
    }

    /// Returns a webhook whose events a receiver gets.
    fn webhook(&self, receiver: &str) -> Value {
        let address = &self.cloud.receivers.address;
        let url = if receiver == "webhook" { format!("{address}/hook") } else { format!("{address}/hooks/{receiver}") };
        json!({
            "url": url, "max_attempts": observed::MAX_DELIVERY_ATTEMPTS, "retry_delays_seconds": [5, 60, 600],
        })
    }

    /// Sends a request while others are under way, and returns its results.
    async fn request_amid(&mut self, method: &'static str, path: &str, body: Value) -> Value {
        self.requests += 1;
        let number = self.requests;
        let request = ClientRequest { number, method, path: path.to_owned(), body, idempotency_key: None };
        self.cloud.send(&request);
        loop {
            let later = self.cloud.time.now() + TimeDelta::seconds(1);
            match self.cloud.run_until(later).await {
                Some(ended) if ended.number == number => {
                    let Response { status, body } = ended.response.expect("a response");
                    assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
                    return body["results"].clone();
                }
                Some(ended) => self.ended(ended),
                None => {}
            }
        }
    }
}

/// Returns the name of a webhook's receiver.
fn webhook_name(place: usize) -> String {
    if place == 0 { "webhook".to_owned() } else { format!("webhook-{place}") }
}

/// Targets that one service may have.
const MAX_TARGETS: usize = 20;
/// Webhooks that may be for all services, and for one.
const MAX_WEBHOOKS_FOR_ALL: usize = 20;
const MAX_WEBHOOKS_FOR_ONE: usize = 10;
