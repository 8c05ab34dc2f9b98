//! Slack: what a notification says there, and `chat.postMessage`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    Alert, Announcement, Closing, JobAlert, Notification, NotificationKind, PlaybookEvent, SlackMessage, Stage,
    Subject, elapsed, one_line, shorten,
};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::post_of_json;
use crate::playbook_message;
use crate::response::retry_after;
use crate::slack_markup::{context, escape, field, link, message_text, packed, section, slack_time};
use crate::{Delivery, Http};

/// How Slack is reached.
#[derive(Clone)]
pub struct SlackAccess {
    /// Where the Web API is, without a slash at the end.
    pub api_url: String,
    pub token: String,
}

impl std::fmt::Debug for SlackAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlackAccess").field("api_url", &self.api_url).finish_non_exhaustive()
    }
}

/// Posts to Slack channels.
#[derive(Debug, Clone)]
pub struct Slack {
    http: Arc<dyn Http>,
    access: SlackAccess,
}

#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    error: Option<String>,
    channel: Option<String>,
    ts: Option<String>,
}

/// The methods that post and update messages.
const POST: &str = "chat.postMessage";
const UPDATE: &str = "chat.update";
const POST_EPHEMERAL: &str = "chat.postEphemeral";

/// How much is shown of a runbook: escaped, it stays well under Slack's 3,000 characters for a text.
const MAX_RUNBOOK_CHARS: usize = 500;

/// Errors of `chat.postMessage` that pass by themselves. <https://docs.slack.dev/reference/methods/chat.postMessage>
const TRANSIENT: [&str; 7] = [
    "fatal_error",
    "internal_error",
    "rate_limited",
    "ratelimited",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
];

/// Errors of it that do not depend on the message: any other would be refused too.
const CHANNEL_ERRORS: [&str; 14] = [
    "access_denied",
    "account_inactive",
    "channel_not_found",
    "ekm_access_denied",
    "invalid_auth",
    "is_archived",
    "messages_tab_disabled",
    "missing_scope",
    "no_permission",
    "not_authed",
    "not_in_channel",
    "restricted_action",
    "token_expired",
    "token_revoked",
];

impl Slack {
    pub fn new(http: Arc<dyn Http>, access: SlackAccess) -> Self {
        Self { http, access }
    }

    /// Returns whether this error refuses the channel, or who posts to it, and not the message.
    pub fn refuses_channel(error: &str) -> bool {
        CHANNEL_ERRORS.contains(&error)
    }

    /// Posts notifications to one channel as one message.
    pub async fn post(&self, channel: &str, notifications: &[Notification], base_url: Option<&str>) -> Delivery {
        let blocks = message(notifications, base_url);
        self.send(&json!({"channel": channel, "text": text(notifications), "blocks": blocks, "unfurl_links": false}))
            .await
    }

    async fn send(&self, body: &Value) -> Delivery {
        self.call(POST, body).await.0
    }

    /// Calls a method. Returns the outcome, and where the message is then.
    async fn call(&self, method: &str, body: &Value) -> (Delivery, Option<SlackMessage>) {
        let Some(mut request) = post_of_json(&format!("{}/{method}", self.access.api_url), body) else {
            return (Delivery::misconfigured("Slack's address is not a URL"), None);
        };
        let Ok(mut token) = HeaderValue::try_from(format!("Bearer {}", self.access.token)) else {
            return (Delivery::misconfigured("Slack's token has characters that a header cannot have"), None);
        };
        token.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, token);
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return (Delivery::unreachable(&error), None),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            return (Delivery::of_status(status, &headers), None);
        }
        let delivery = match response.json::<Answer>().await {
            Ok(Answer { ok: true, channel, ts, .. }) => {
                let message = channel.zip(ts).map(|(channel, ts)| SlackMessage { channel, ts });
                return (Delivery::Accepted, message);
            }
            Ok(Answer { error, .. }) => {
                let error = error.unwrap_or_else(|| "a response without an error".to_owned());
                if TRANSIENT.contains(&error.as_str()) {
                    Delivery::Retry { error, after: retry_after(&headers) }
                } else {
                    Delivery::Refused { error }
                }
            }
            Err(_) => Delivery::Retry { error: "a response that is not Slack's".to_owned(), after: None },
        };
        (delivery, None)
    }

    /// Posts a notification in a message of its own, which may have to be updated. Returns where it is.
    pub async fn post_alone(
        &self,
        channel: &str,
        notification: &Notification,
        base_url: Option<&str>,
    ) -> (Delivery, Option<SlackMessage>) {
        let blocks = blocks(notification, base_url);
        self.call(
            POST,
            &json!({
                "channel": channel,
                "text": message_text(&markup(notification)),
                "blocks": blocks,
                "unfurl_links": false,
            }),
        )
        .await
    }

    /// Replaces an approval request by the decision.
    pub async fn update(
        &self,
        message: &SlackMessage,
        requested: Option<&Notification>,
        decided: &Notification,
        base_url: Option<&str>,
    ) -> Delivery {
        let requested = requested.and_then(Notification::playbook).and_then(|requested| match &requested.event {
            PlaybookEvent::ApprovalRequested(request) => Some((requested, request)),
            PlaybookEvent::Started { .. }
            | PlaybookEvent::Decided(_)
            | PlaybookEvent::Completed { .. }
            | PlaybookEvent::Failed { .. }
            | PlaybookEvent::Cancelled { .. }
            | PlaybookEvent::Escalated { .. } => None,
        });
        let blocks = match (requested, decided.playbook()) {
            (Some((requested, request)), Some(decided)) => {
                playbook_message::decided_blocks(requested, request, decided, base_url)
            }
            (None, _) | (Some(_), None) => blocks(decided, base_url),
        };
        let SlackMessage { channel, ts } = message;
        let text = message_text(&markup(decided));
        self.call(UPDATE, &json!({"channel": channel, "ts": ts, "text": text, "blocks": blocks})).await.0
    }

    /// Posts a text that one person alone sees.
    pub async fn post_ephemeral(&self, channel: &str, user: &str, text: &str) -> Delivery {
        self.call(POST_EPHEMERAL, &json!({"channel": channel, "user": user, "text": message_text(&escape(text))}))
            .await
            .0
    }
}

impl Slack {
    /// Posts a test message to a channel.
    pub async fn test(&self, channel: &str, about: &str) -> Delivery {
        let text = escape(&format!(":wave: Test message from Medic: alerts of {about} are posted in this channel."));
        self.send(&json!({"channel": channel, "text": text, "blocks": [section(&text)]})).await
    }

    /// Returns a notification as one line of plain text, which is printed where there is no Slack.
    pub fn line(notification: &Notification) -> String {
        one_line(&match &notification.subject {
            Subject::Alert { kind, alert } => alert_line(*kind, alert, notification.at),
            Subject::Maintenance(announcement) => announcement_line(announcement),
            Subject::Playbook(playbook) => playbook_message::line(playbook),
            Subject::Circuit(circuit) => playbook_message::circuit_line(circuit),
        })
    }
}

fn alert_line(kind: NotificationKind, alert: &Alert, at: DateTime<Utc>) -> String {
    let service = &alert.service;
    match (kind, alert.job()) {
        (NotificationKind::Unnotified, _) => format!(
            ":no_bell: [{}] Nobody was notified of this, as every receiver refused it: {} {}: {}{}",
            service.priority,
            alert.title(),
            service.heartbeat_name,
            alert.reason,
            if alert.may_still_notify() { "" } else { "; it has ended since" }
        ),
        (NotificationKind::Opened | NotificationKind::Exceeded | NotificationKind::Reminder, Some(_)) => {
            format!(":hourglass: [{}] {} {}: {}", service.priority, alert.title(), service.heartbeat_name, alert.reason)
        }
        (NotificationKind::Resolved, Some(job)) => recovery_line_of_run(alert, job, at),
        (NotificationKind::Opened | NotificationKind::Exceeded, None) => {
            format!(":rotating_light: [{}] {} is down: {}", service.priority, service.heartbeat_name, alert.reason)
        }
        (NotificationKind::Reminder, None) => format!(
            ":bell: [{}] {} is still down after {} (reminder {})",
            service.priority,
            service.heartbeat_name,
            elapsed(at - alert.created_at),
            alert.cycle.saturating_sub(1),
        ),
        (NotificationKind::Acknowledged, _) => format!(
            ":eyes: {} was acknowledged by {}",
            service.heartbeat_name,
            alert.acknowledged_by.as_deref().unwrap_or("somebody")
        ),
        (NotificationKind::Resolved, None) => {
            let (name, took) = (&service.heartbeat_name, elapsed(alert.closed_at.unwrap_or(at) - alert.created_at));
            match &alert.closing {
                Some(Closing::Resolved { .. }) => format!(":white_check_mark: {name} {}", resolved(alert, &took)),
                Some(Closing::Superseded) | None => format!(":white_check_mark: {name} has recovered after {took}"),
            }
        }
    }
}

fn recovery_line_of_run(alert: &Alert, job: &JobAlert, at: DateTime<Utc>) -> String {
    let JobAlert { run_id, started_at, .. } = job;
    let (name, took) = (&alert.service.heartbeat_name, elapsed(alert.closed_at.unwrap_or(at) - *started_at));
    let recovered = format!(":white_check_mark: {name} has recovered: run {run_id}");
    match &alert.closing {
        None => format!("{recovered} ended after {took}"),
        Some(Closing::Superseded) => format!("{recovered} was superseded by a later one after {took}"),
        Some(Closing::Resolved { .. }) => {
            format!(":white_check_mark: {name}: the alert of run {run_id} {}", resolved(alert, &took))
        }
    }
}

/// Returns by whom an alert was closed by hand, after how long, and why if they said so.
fn resolved(alert: &Alert, took: &str) -> String {
    let by = alert.resolved_by().unwrap_or("somebody");
    let why = alert.resolution().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("was resolved by {by} after {took}{why}")
}

fn announcement_line(announcement: &Announcement) -> String {
    let Announcement { window_id: _, name, services, stage } = announcement;
    let of = match services {
        0 => "all services".to_owned(),
        1 => "1 service".to_owned(),
        many => format!("{many} services"),
    };
    match stage {
        Stage::Began { until: Some(until) } => {
            format!(":construction: Maintenance has begun: {name} ({of}), until {}", domain::format_time(*until))
        }
        Stage::Began { until: None } => format!(":construction: Maintenance has begun: {name} ({of})"),
        Stage::Ended => format!(":checkered_flag: Maintenance has ended: {name} ({of})"),
    }
}

/// Returns a notification's line as markup: what users wrote is escaped.
fn markup(notification: &Notification) -> String {
    notification.playbook().map_or_else(|| escape(&Slack::line(notification)), playbook_message::markup)
}

/// Returns a line for each notification while they are few; of many their number and the first names.
fn text(notifications: &[Notification]) -> String {
    let lines = if notifications.len() <= MAX_LINES {
        notifications.iter().map(markup).collect()
    } else {
        summary(notifications)
    };
    message_text(&lines.join("\n"))
}

/// Returns a line for each kind of notification: how many there are, and the first names of them.
fn summary(notifications: &[Notification]) -> Vec<String> {
    let kinds = [
        (":rotating_light:", "services are down"),
        (":bell:", "services are still down"),
        (":no_bell:", "alerts of which nobody was notified"),
        (":white_check_mark:", "services have recovered"),
        (":hourglass:", "jobs took too long"),
        (":robot_face:", "playbooks started or ended"),
        (":information_source:", "other notifications"),
    ];
    let line = |(emoji, what): (&str, &str)| {
        let is_of_kind = |notification: &&Notification| emoji_of(notification) == emoji;
        let of_kind: Vec<_> = notifications.iter().filter(is_of_kind).collect();
        let names: Vec<_> =
            of_kind.iter().take(MAX_NAMES).filter_map(|notification| name_of(notification)).map(escape).collect();
        let rest = of_kind.len().saturating_sub(names.len());
        let more = if rest > 0 && !names.is_empty() { format!(" and {rest} more") } else { String::new() };
        let colon = if names.is_empty() { "" } else { ": " };
        (!of_kind.is_empty()).then(|| format!("{emoji} {} {what}{colon}{}{more}", of_kind.len(), names.join(", ")))
    };
    kinds.into_iter().filter_map(line).collect()
}

/// Returns the name by which a notification of many is listed.
fn name_of(notification: &Notification) -> Option<&str> {
    match &notification.subject {
        Subject::Alert { alert, .. } => Some(&alert.service.heartbeat_name),
        Subject::Playbook(playbook) => Some(&playbook.playbook_name),
        Subject::Maintenance(_) | Subject::Circuit(_) => None,
    }
}

/// Returns the emoji of a notification's kind, which begins its line.
fn emoji_of(notification: &Notification) -> &'static str {
    if notification.playbook().is_some() {
        return ":robot_face:";
    }
    let Some((kind, alert)) = notification.alert() else { return ":information_source:" };
    match kind {
        NotificationKind::Exceeded => ":hourglass:",
        NotificationKind::Opened if alert.job().is_some() => ":hourglass:",
        NotificationKind::Opened => ":rotating_light:",
        NotificationKind::Reminder => ":bell:",
        NotificationKind::Resolved => ":white_check_mark:",
        NotificationKind::Unnotified => ":no_bell:",
        NotificationKind::Acknowledged => ":information_source:",
    }
}

/// How many notifications a message lists one by one; of more it gives their number.
const MAX_LINES: usize = 20;
/// How many names the summary of many gives.
const MAX_NAMES: usize = 20;

fn message(notifications: &[Notification], base_url: Option<&str>) -> Vec<Value> {
    const MAX_WHOLE: usize = 5;
    if notifications.len() <= MAX_WHOLE {
        return notifications.iter().flat_map(|notification| blocks(notification, base_url)).collect();
    }
    let lines = if notifications.len() <= MAX_LINES {
        notifications.iter().map(markup).collect()
    } else {
        summary(notifications)
    };
    packed(lines).iter().map(|text| section(text)).collect()
}

fn headline(notification: &Notification) -> Value {
    section(&markup(notification))
}

/// Returns a headline, the facts, and the runbook.
fn blocks(notification: &Notification, base_url: Option<&str>) -> Vec<Value> {
    if let Some(playbook) = notification.playbook() {
        return match &playbook.event {
            PlaybookEvent::ApprovalRequested(request) => playbook_message::approval_blocks(playbook, request, base_url),
            PlaybookEvent::Started { .. }
            | PlaybookEvent::Decided(_)
            | PlaybookEvent::Completed { .. }
            | PlaybookEvent::Failed { .. }
            | PlaybookEvent::Cancelled { .. }
            | PlaybookEvent::Escalated { .. } => playbook_message::blocks(playbook, base_url),
        };
    }
    let Some((_, alert)) = notification.alert() else { return vec![headline(notification)] };
    let service = &alert.service;
    let mut facts = vec![
        field("Service", &escape(&service.service_name)),
        field("Team", &escape(&service.team)),
        field("Since", &slack_time(alert.created_at)),
        field("Alert", &alert.id.to_string()),
    ];
    if let Some(closed_at) = alert.closed_at {
        facts.push(field("Recovered", &slack_time(closed_at)));
    }
    let mut blocks = vec![headline(notification), json!({"type": "section", "fields": facts})];
    let mut links = Vec::new();
    if let (Some(runbook), true) = (&service.runbook, alert.is_open()) {
        let whole = runbook.chars().count() <= MAX_RUNBOOK_CHARS;
        let shown = if whole { link(runbook) } else { escape(&shorten(runbook, MAX_RUNBOOK_CHARS)) };
        links.push(format!("Runbook: {shown}"));
    }
    if let Some(base_url) = base_url {
        links.push(format!("<{base_url}/v2/alerts/{}|Details>", alert.id));
    }
    if !links.is_empty() {
        blocks.push(context(&links.join(" · ")));
    }
    blocks
}
