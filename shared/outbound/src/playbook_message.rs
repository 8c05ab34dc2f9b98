//! Notifications of playbooks in Slack: lines, approval requests with their two buttons, and decisions.

use chrono::{DateTime, Utc};
use domain::{
    ApprovalRequest, CircuitOf, OpenCircuit, PlaybookEvent, PlaybookNotification, ShownPlan, SlackUser, Verdict,
    VerdictKind, elapsed, format_time, one_line, shorten, whole_units,
};
use serde_json::{Value, json};

use crate::slack_markup::{context, escape, field, packed, section, slack_time};

/// The buttons of an approval request.
pub const APPROVE: &str = "approve_playbook";
pub const REJECT: &str = "reject_playbook";

/// Names are shown up to here, so that what is escaped fits in a section.
const MAX_NAME_CHARS: usize = 128;

/// How texts, people and times are written.
struct Style {
    text: fn(&str) -> String,
    person: fn(&str) -> String,
    time: fn(DateTime<Utc>) -> String,
}

/// For a log.
const PLAIN: Style = Style { text: one_line, person: SlackUser::plain_name, time: format_time };
/// For a message: nothing that a user wrote is markup.
const MARKUP: Style = Style { text: escape, person: mention, time: slack_time };

/// Returns a notification as plain text.
pub(crate) fn line(notification: &PlaybookNotification) -> String {
    write_line(notification, &PLAIN)
}

/// Returns the same as markup.
pub(crate) fn markup(notification: &PlaybookNotification) -> String {
    write_line(notification, &MARKUP)
}

pub(crate) fn circuit_line(circuit: &OpenCircuit) -> String {
    let OpenCircuit { of, heartbeat_name, max, window } = circuit;
    let whose = match (of, heartbeat_name) {
        (CircuitOf::All, _) => String::new(),
        (CircuitOf::Service(_), Some(name)) => format!(" of {}", shorten(name, MAX_NAME_CHARS)),
        (CircuitOf::Service(id), None) => format!(" of service {id}"),
    };
    let playbooks = if *max == 1 { "playbook" } else { "playbooks" };
    format!(
        ":electric_plug: Alerts{whose} start no playbooks for now: {max} {playbooks} started within {}. People can still \
         start them",
        whole_units(*window),
    )
}

fn write_line(notification: &PlaybookNotification, style: &Style) -> String {
    let text = |text: &str| (style.text)(text);
    let playbook = format!("Playbook {}", text(&shorten(&notification.playbook_name, MAX_NAME_CHARS)));
    let of = match (&notification.service, notification.service_id) {
        (Some(service), _) => format!(" for {}", text(&shorten(&service.heartbeat_name, MAX_NAME_CHARS))),
        (None, Some(id)) => format!(" for service {id}, which was deleted"),
        (None, None) => String::new(),
    };
    let by = |by: &Option<String>| by.as_ref().map(|by| format!(" by {}", (style.person)(by))).unwrap_or_default();
    let because = |reason: &Option<String>| reason.as_ref().map(|why| format!(": {}", text(why))).unwrap_or_default();
    match &notification.event {
        PlaybookEvent::Started { why } => format!(":robot_face: {playbook} started{of}: {}", text(why)),
        PlaybookEvent::ApprovalRequested(request) => {
            format!(":hourglass: {playbook} is awaiting approval{of}: {}", text(&request.why))
        }
        PlaybookEvent::Decided(Verdict { kind, by: who, reason, at }) => {
            let at = (style.time)(*at);
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
            format!(":sos: {playbook} needs attention{of}: step {}: {}", text(step), text(problem))
        }
    }
}

/// Returns an actor, as a mention where Slack knows them.
fn mention(actor: &str) -> String {
    SlackUser::of_actor(actor).map_or_else(|| escape(actor), |user| format!("<@{}>", user.id))
}

/// Returns the blocks of a notification that asks for nothing: the line, and where to read on.
pub(crate) fn blocks(notification: &PlaybookNotification, base_url: Option<&str>) -> Vec<Value> {
    let mut blocks = vec![section(&markup(notification))];
    blocks.extend(details(notification, base_url).map(|link| context(&link)));
    blocks
}

/// Returns the blocks of an approval request: what, for which service, why, the steps, until when, and two buttons.
pub(crate) fn approval_blocks(
    notification: &PlaybookNotification,
    request: &ApprovalRequest,
    base_url: Option<&str>,
) -> Vec<Value> {
    let value =
        DecisionValue { execution_id: &notification.execution_id.to_string(), digest: &request.digest }.to_text();
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
    blocks.extend(plan_blocks(notification, request, base_url));
    blocks.push(json!({"type": "actions", "elements": buttons}));
    blocks
}

/// Returns the blocks of an approval request that was decided: the decision, and what was requested.
pub(crate) fn decided_blocks(
    requested: &PlaybookNotification,
    request: &ApprovalRequest,
    decided: &PlaybookNotification,
    base_url: Option<&str>,
) -> Vec<Value> {
    let mut blocks = vec![section(&markup(decided))];
    blocks.extend(plan_blocks(requested, request, base_url));
    blocks
}

fn plan_blocks(notification: &PlaybookNotification, request: &ApprovalRequest, base_url: Option<&str>) -> Vec<Value> {
    let playbook = format!("{} (version {})", shorten(&notification.playbook_name, MAX_NAME_CHARS), request.version);
    let mut facts = vec![field("Playbook", &escape(&playbook))];
    if let Some(service) = &notification.service {
        facts.push(field("Service", &escape(&shorten(&service.service_name, MAX_NAME_CHARS))));
        facts.push(field("Team", &escape(&shorten(&service.team, MAX_NAME_CHARS))));
    }
    let then = if request.proceeds { "then it is approved automatically" } else { "then it expires" };
    facts.push(field("Until", &format!("{}, {then}", slack_time(request.until))));
    let mut blocks = vec![json!({"type": "section", "fields": facts})];
    let ShownPlan { steps, more_steps, more_chars, variables } = &request.shown;
    let mut lines: Vec<_> = steps.iter().enumerate().map(|(n, step)| format!("{}. {}", n + 1, escape(step))).collect();
    lines.extend(variables.as_deref().map(escape));
    blocks.extend(packed(lines).iter().map(|text| section(text)));
    if *more_steps > 0 || *more_chars > 0 {
        let mut left_out = Vec::new();
        left_out.extend(
            (*more_chars > 0).then(|| counted(*more_chars, "character of these steps", "characters of these steps")),
        );
        left_out.extend((*more_steps > 0).then(|| counted(*more_steps, "more step", "more steps")));
        let whole = details(notification, base_url)
            .unwrap_or_else(|| format!("`GET /v2/executions/{}` shows them", notification.execution_id));
        blocks.push(section(&format!(":warning: Not shown here: {}. {whole}", left_out.join(" and "))));
    }
    let digest = format!("Plan `{}`", escape(&request.digest));
    blocks.push(context(
        &details(notification, base_url).map_or_else(|| digest.clone(), |link| format!("{digest} · {link}")),
    ));
    blocks
}

fn counted(many: usize, one: &str, more: &str) -> String {
    if many == 1 { format!("1 {one}") } else { format!("{many} {more}") }
}

fn details(notification: &PlaybookNotification, base_url: Option<&str>) -> Option<String> {
    base_url.map(|base_url| format!("<{base_url}/v2/executions/{}|Details>", notification.execution_id))
}

/// The value of a button: an execution, and the plan that was shown.
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
