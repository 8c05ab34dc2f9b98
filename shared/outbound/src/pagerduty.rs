//! PagerDuty's Events API, version 2. <https://developer.pagerduty.com/docs/send-alert-event>

use domain::{Alert, Notice, NoticeKind, Priority};
use serde_json::{Value, json};

use crate::Delivery;

/// Sends events for one routing key.
#[derive(Clone)]
pub struct PagerDuty {
    http: reqwest::Client,
    url: String,
    routing_key: String,
}

impl std::fmt::Debug for PagerDuty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PagerDuty").field("url", &self.url).finish_non_exhaustive()
    }
}

impl PagerDuty {
    pub fn new(http: reqwest::Client, url: String, routing_key: String) -> Self {
        Self { http, url, routing_key }
    }

    pub async fn send(&self, notice: &Notice, base_url: Option<&str>) -> Delivery {
        let body = event(&self.routing_key, notice, base_url);
        match self.http.post(&self.url).json(&body).send().await {
            Ok(response) => Delivery::of_status(response.status(), response.headers()),
            Err(error) => Delivery::unreachable(&error),
        }
    }
}

fn event(routing_key: &str, notice: &Notice, base_url: Option<&str>) -> Value {
    let alert = &notice.alert;
    let dedup_key = alert.dedup_key();
    let action = match notice.kind {
        NoticeKind::Opened | NoticeKind::Reminder => "trigger",
        NoticeKind::Acknowledged => "acknowledge",
        NoticeKind::Resolved => "resolve",
    };
    let mut event = json!({"routing_key": routing_key, "event_action": action, "dedup_key": dedup_key});
    if action == "trigger" {
        event["client"] = "Medic".into();
        if let Some(base_url) = base_url {
            event["client_url"] = format!("{base_url}/v2/alerts/{}", alert.id).into();
        }
        event["payload"] = payload(alert);
        // PagerDuty refuses an event with a link that is none.
        if let Some(runbook) = alert.service.runbook.as_deref().filter(|text| is_link(text)) {
            event["links"] = json!([{"href": runbook, "text": "Runbook"}]);
        }
    }
    event
}

fn is_link(text: &str) -> bool {
    let is_web = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    !text.contains(char::is_whitespace) && text.parse().is_ok_and(|url| is_web(&url))
}

fn payload(alert: &Alert) -> Value {
    /// PagerDuty's limit for a summary.
    const MAX_SUMMARY_CHARS: usize = 1024;
    let service = &alert.service;
    let summary: String = format!("{}: {}", alert.name(), alert.reason).chars().take(MAX_SUMMARY_CHARS).collect();
    json!({
        "summary": summary,
        "source": service.heartbeat_name,
        "severity": severity(service.priority),
        "timestamp": domain::format_time(alert.created_at),
        "component": service.service_name,
        "group": service.team,
        "class": "heartbeat",
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
