//! What Slack is told of playbooks: lines, questions with their two buttons, and what was decided.

use chrono::{DateTime, Utc};
use domain::{
    ApprovalRequest, OpenCircuit, PlaybookEvent, PlaybookNotification, SlackUser, Verdict, VerdictKind, elapsed,
    format_time, shorten, whole_units,
};
use serde_json::{Value, json};

use crate::slack::{MAX_SECTION_BYTES, escape, slack_time};

/// The buttons of a question.
pub const APPROVE: &str = "approve_playbook";
pub const REJECT: &str = "reject_playbook";

/// Names are shown up to here, so that what is escaped fits in a section.
const MAX_NAME_CHARS: usize = 128;

/// How texts, people and times are written.
struct Hand {
    text: fn(&str) -> String,
    person: fn(&str) -> String,
    time: fn(DateTime<Utc>) -> String,
}

/// For a log.
const PLAIN: Hand = Hand { text: str::to_owned, person: name_of, time: format_time };
/// For a message: nothing that a user wrote is markup.
const MARKUP: Hand = Hand { text: escape, person: mention, time: slack_time };

/// What a notification says, in plain words.
pub(crate) fn line(notification: &PlaybookNotification) -> String {
    write_line(notification, &PLAIN)
}

/// The same as Slack reads it.
pub(crate) fn markup(notification: &PlaybookNotification) -> String {
    write_line(notification, &MARKUP)
}

pub(crate) fn circuit_line(circuit: &OpenCircuit) -> String {
    let OpenCircuit { service_id, heartbeat_name, most, window } = circuit;
    let service = heartbeat_name.clone().unwrap_or_else(|| format!("service {service_id}"));
    let playbooks = if *most == 1 { "playbook" } else { "playbooks" };
    format!(
        ":electric_plug: Alerts of {} start no more playbooks for now: {most} {playbooks} started within {}. People still \
         can start them",
        shorten(&service, MAX_NAME_CHARS),
        whole_units(*window),
    )
}

fn write_line(notification: &PlaybookNotification, hand: &Hand) -> String {
    let text = |text: &str| (hand.text)(text);
    let playbook = format!("Playbook {}", text(&shorten(&notification.playbook_name, MAX_NAME_CHARS)));
    let of = match (&notification.service, notification.service_id) {
        (Some(service), _) => format!(" for {}", text(&shorten(&service.heartbeat_name, MAX_NAME_CHARS))),
        (None, Some(id)) => format!(" for service {id}, which is gone"),
        (None, None) => String::new(),
    };
    let by = |by: &Option<String>| by.as_ref().map(|by| format!(" by {}", (hand.person)(by))).unwrap_or_default();
    let because = |reason: &Option<String>| reason.as_ref().map(|why| format!(": {}", text(why))).unwrap_or_default();
    match &notification.event {
        PlaybookEvent::Started { why } => format!(":robot_face: {playbook} started{of}: {}", text(why)),
        PlaybookEvent::ApprovalRequested(question) => {
            format!(":hourglass: {playbook} waits for a yes{of}: {}", text(&question.why))
        }
        PlaybookEvent::Decided(Verdict { kind, by: who, reason, at }) => {
            let at = (hand.time)(*at);
            match (kind, who) {
                (VerdictKind::Approved, None) => {
                    format!(":+1: {playbook}{of} was approved by timeout, {at}: nobody decided in time")
                }
                (VerdictKind::Approved, Some(_)) => {
                    format!(":+1: {playbook}{of} was approved{}, {at}{}", by(who), because(reason))
                }
                (VerdictKind::Rejected, _) => {
                    format!(":-1: {playbook}{of} was rejected{}, {at}{}", by(who), because(reason))
                }
                (VerdictKind::Cancelled, _) => {
                    format!(":no_entry_sign: {playbook}{of} was cancelled{}, {at}{}", by(who), because(reason))
                }
            }
        }
        PlaybookEvent::Completed { took } => {
            format!(":heavy_check_mark: {playbook} completed{of} after {}", elapsed(*took))
        }
        PlaybookEvent::Failed { step, error } => {
            format!(":x: {playbook} failed{of} at step {}: {}", text(step), text(error))
        }
        PlaybookEvent::Cancelled { by: who, reason } => {
            format!(":no_entry_sign: {playbook} was cancelled{of}{}{}", by(who), because(reason))
        }
        PlaybookEvent::Escalated { step, problem, at: _ } => {
            format!(":sos: {playbook} needs somebody{of}: at step {} there came {}", text(step), text(problem))
        }
    }
}

/// An actor's name.
fn name_of(actor: &str) -> String {
    SlackUser::of_actor(actor).map_or_else(|| actor.to_owned(), |user| user.name.unwrap_or(user.id))
}

/// An actor, as a mention of whom Slack knows.
fn mention(actor: &str) -> String {
    SlackUser::of_actor(actor).map_or_else(|| escape(actor), |user| format!("<@{}>", user.id))
}

/// Block Kit of what is told in passing: the line, and where to read on.
pub(crate) fn blocks(notification: &PlaybookNotification, base_url: Option<&str>) -> Vec<Value> {
    let mut blocks = vec![section(&markup(notification))];
    blocks.extend(details(notification, base_url).map(|link| context(&link)));
    blocks
}

/// Block Kit of a question: what, for whom, why, the steps, until when, and two buttons.
pub(crate) fn approval_blocks(
    notification: &PlaybookNotification,
    question: &ApprovalRequest,
    base_url: Option<&str>,
) -> Vec<Value> {
    let value =
        DecisionValue { execution_id: &notification.execution_id.to_string(), digest: &question.digest }.to_text();
    let button = |action_id: &str, style: &str, label: &str| {
        json!({
            "type": "button",
            "action_id": action_id,
            "style": style,
            "text": {"type": "plain_text", "text": label},
            "value": value,
        })
    };
    let buttons = [button(APPROVE, "primary", "Approve"), button(REJECT, "danger", "Reject")];
    let mut blocks = vec![section(&markup(notification))];
    blocks.extend(plan_blocks(notification, question, base_url));
    blocks.push(json!({"type": "actions", "elements": buttons}));
    blocks
}

/// Block Kit of a question that is answered: the answer, and what was asked.
pub(crate) fn decided_blocks(
    asked: &PlaybookNotification,
    question: &ApprovalRequest,
    decided: &PlaybookNotification,
    base_url: Option<&str>,
) -> Vec<Value> {
    let mut blocks = vec![section(&markup(decided))];
    blocks.extend(plan_blocks(asked, question, base_url));
    blocks
}

fn plan_blocks(notification: &PlaybookNotification, question: &ApprovalRequest, base_url: Option<&str>) -> Vec<Value> {
    let fact = |name: &str, value: &str| json!({"type": "mrkdwn", "text": format!("*{name}*\n{value}")});
    let playbook = format!("{} (version {})", shorten(&notification.playbook_name, MAX_NAME_CHARS), question.version);
    let mut facts = vec![fact("Playbook", &escape(&playbook))];
    if let Some(service) = &notification.service {
        facts.push(fact("Service", &escape(&shorten(&service.service_name, MAX_NAME_CHARS))));
        facts.push(fact("Team", &escape(&shorten(&service.team, MAX_NAME_CHARS))));
    }
    let then = if question.proceeds { "then it goes on by itself" } else { "then it expires" };
    facts.push(fact("Until", &format!("{}, {then}", slack_time(question.until))));
    let mut blocks = vec![json!({"type": "section", "fields": facts})];
    let mut lines: Vec<_> =
        question.steps.iter().enumerate().map(|(n, step)| format!("{}. {}", n + 1, escape(step))).collect();
    if question.more_steps > 0 {
        lines.push(format!("and {} more", question.more_steps));
    }
    blocks.extend(packed(lines).iter().map(|text| section(text)));
    let digest = format!("Plan `{}`", escape(&question.digest));
    blocks.push(context(
        &details(notification, base_url).map_or_else(|| digest.clone(), |link| format!("{digest} · {link}")),
    ));
    blocks
}

/// Lines in as few sections as hold them.
pub(crate) fn packed(lines: Vec<String>) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in lines {
        match sections.last_mut() {
            Some(section) if section.len() + line.len() < MAX_SECTION_BYTES => {
                section.push('\n');
                section.push_str(&line);
            }
            _ => sections.push(line.chars().take(MAX_SECTION_BYTES).collect()),
        }
    }
    sections
}

fn details(notification: &PlaybookNotification, base_url: Option<&str>) -> Option<String> {
    base_url.map(|base_url| format!("<{base_url}/v2/executions/{}|Details>", notification.execution_id))
}

fn section(markup: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": markup}})
}

fn context(markup: &str) -> Value {
    json!({"type": "context", "elements": [{"type": "mrkdwn", "text": markup}]})
}

/// What a button stands for: an execution, and the plan that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionValue<'a> {
    pub execution_id: &'a str,
    pub digest: &'a str,
}

impl<'a> DecisionValue<'a> {
    fn to_text(self) -> String {
        format!("{} {}", self.execution_id, self.digest)
    }

    pub fn parse(text: &'a str) -> Option<Self> {
        let (execution_id, digest) = text.split_once(' ')?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then_some(Self { execution_id, digest })
    }
}
