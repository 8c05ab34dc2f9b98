//! PagerDuty's Events API, version 2. <https://developer.pagerduty.com/docs/send-alert-event>

use std::sync::Arc;

use domain::{Alert, NotificationKind, PlaybookEvent, PlaybookNotification, Priority};
use serde_json::{Value, json};

use crate::fit::fit;
use crate::http::post_of_json;
use crate::{Delivery, Http};

/// Sends events for the configured routing key, or for a target's own.
#[derive(Clone)]
pub struct PagerDuty {
    http: Arc<dyn Http>,
    url: String,
    routing_key: Option<String>,
}

impl std::fmt::Debug for PagerDuty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PagerDuty").field("url", &self.url).finish_non_exhaustive()
    }
}

impl PagerDuty {
    pub fn new(http: Arc<dyn Http>, url: String, routing_key: Option<String>) -> Self {
        Self { http, url, routing_key }
    }

    /// Returns whether there is a routing key for services without targets.
    pub const fn has_routing_key(&self) -> bool {
        self.routing_key.is_some()
    }

    /// Sends an alert's notification, under `key` or else the configured one.
    pub async fn send(
        &self,
        kind: NotificationKind,
        alert: &Alert,
        key: Option<&str>,
        base_url: Option<&str>,
    ) -> Delivery {
        let Some(key) = key.or(self.routing_key.as_deref()) else {
            return Delivery::Refused { error: "PagerDuty is not configured".to_owned() };
        };
        self.post(&event(key, kind, alert, base_url)).await
    }

    /// Opens an incident for a playbook that needs attention, under `key` or else the configured one. Only a person
    /// resolves it: that the service reports again does not mean that what the playbook left undone was done.
    pub async fn escalate(
        &self,
        notification: &PlaybookNotification,
        key: Option<&str>,
        base_url: Option<&str>,
    ) -> Delivery {
        let Some(key) = key.or(self.routing_key.as_deref()) else {
            return Delivery::Refused { error: "PagerDuty is not configured".to_owned() };
        };
        match escalation(key, notification, base_url) {
            Some(event) => self.post(&event).await,
            None => Delivery::Refused { error: "it is not notified of this".to_owned() },
        }
    }

    /// Tests a key: sends an incident of low urgency that is resolved at once.
    pub async fn test(&self, key: &str, about: &str) -> Delivery {
        let dedup_key = format!("medic-test-{about}");
        let payload =
            json!({"summary": format!("Test event from Medic for {about}"), "source": about, "severity": "info"});
        let trigger = json!({
            "routing_key": key, "event_action": "trigger", "dedup_key": dedup_key, "client": "Medic", "payload": payload,
        });
        let opened = self.post(&trigger).await;
        if opened != Delivery::Accepted {
            return opened;
        }
        let resolve = json!({"routing_key": key, "event_action": "resolve", "dedup_key": dedup_key});
        self.post(&resolve).await
    }

    async fn post(&self, body: &Value) -> Delivery {
        let Some(request) = post_of_json(&self.url, body) else {
            return Delivery::misconfigured("PagerDuty's address is not a URL");
        };
        match self.http.execute(request).await {
            Ok(response) => Delivery::of_status(response.status(), response.headers()),
            Err(error) => Delivery::unreachable(&error),
        }
    }
}

fn event(routing_key: &str, kind: NotificationKind, alert: &Alert, base_url: Option<&str>) -> Value {
    let dedup_key = alert.dedup_key();
    let action = match kind {
        NotificationKind::Opened
        | NotificationKind::Exceeded
        | NotificationKind::Reminder
        | NotificationKind::Unnotified => "trigger",
        NotificationKind::Acknowledged => "acknowledge",
        NotificationKind::Resolved => "resolve",
    };
    let mut event = json!({"routing_key": routing_key, "event_action": action, "dedup_key": dedup_key});
    if action == "trigger" {
        event["client"] = "Medic".into();
        if let Some(base_url) = base_url {
            event["client_url"] = format!("{base_url}/v2/alerts/{}", alert.id).into();
        }
        event["payload"] = payload(alert);
        // PagerDuty refuses an event whose link is not one.
        if let Some(runbook) = alert.service.runbook.as_deref().filter(|text| is_link(text)) {
            event["links"] = json!([{"href": runbook, "text": "Runbook"}]);
        }
    }
    event
}

fn escalation(routing_key: &str, notification: &PlaybookNotification, base_url: Option<&str>) -> Option<Value> {
    let PlaybookEvent::Escalated { step, problem, at } = &notification.event else { return None };
    let PlaybookNotification { execution_id, playbook_name, service_id, service, event: _ } = notification;
    let service = service.as_ref();
    let source = service.map_or(playbook_name, |service| &service.heartbeat_name);
    let summary = format!("Medic - Playbook {playbook_name} needs attention for {source}: step {step}: {problem}");
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": notification.dedup_key(),
        "client": "Medic",
        "payload": {
            "summary": fit(&summary, MAX_SUMMARY_CHARS),
            "source": source,
            "severity": severity(service.map_or(Priority::P3, |service| service.priority)),
            "timestamp": domain::format_time(*at),
            "component": service.map(|service| &service.service_name),
            "group": service.map(|service| &service.team),
            "class": "playbook",
            "custom_details": {
                "execution_id": execution_id.to_string(),
                "playbook_name": playbook_name,
                "service_id": service_id.map(domain::ServiceId::get),
                "step": step,
                "problem": problem,
                "runbook": service.and_then(|service| service.runbook.as_ref()),
            },
        },
    });
    if let Some(base_url) = base_url {
        event["client_url"] = format!("{base_url}/v2/executions/{execution_id}").into();
    }
    if let Some(runbook) = service.and_then(|service| service.runbook.as_deref()).filter(|text| is_link(text)) {
        event["links"] = json!([{"href": runbook, "text": "Runbook"}]);
    }
    Some(event)
}

fn is_link(text: &str) -> bool {
    let is_web = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    !text.contains(char::is_whitespace) && text.parse().is_ok_and(|url| is_web(&url))
}

/// PagerDuty's limit for a summary.
const MAX_SUMMARY_CHARS: usize = 1024;

fn payload(alert: &Alert) -> Value {
    let service = &alert.service;
    json!({
        "summary": fit(&format!("{}: {}", alert.name(), alert.reason), MAX_SUMMARY_CHARS),
        "source": service.heartbeat_name,
        "severity": severity(service.priority),
        "timestamp": domain::format_time(alert.created_at),
        "component": service.service_name,
        "group": service.team,
        "class": if alert.job().is_some() { "job" } else { "heartbeat" },
        "custom_details": {
            "alert_id": alert.id.get(),
            "heartbeat_name": service.heartbeat_name,
            "service_name": service.service_name,
            "team": service.team,
            "priority": service.priority.as_str(),
            "reason": alert.reason,
            "runbook": service.runbook,
        },
    })
}

const fn severity(priority: Priority) -> &'static str {
    match priority {
        Priority::P1 => "critical",
        Priority::P2 => "error",
        Priority::P3 => "warning",
        Priority::P4 | Priority::P5 => "info",
    }
}
