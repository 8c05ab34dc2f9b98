//! Playbooks: the steps that repair a service, and who must approve them. Pure.

mod plan;
mod template;
mod words;

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::TimeDelta;

use crate::{Invalid, Label, PlaybookId, Revision, ServiceId, Status, TriggerId, TriggerTerms};

pub use plan::{Plan, PlannedScript, PlannedStep, PlannedWork};
pub use template::{Piece, Template, Value, Variables};
pub use words::{one_line, whole_units};

/// A playbook as people wrote it, at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playbook {
    pub id: PlaybookId,
    /// Unique whatever the case.
    pub name: Label,
    pub description: Option<String>,
    /// The whole document. It was valid when it was saved.
    pub yaml: String,
    /// The trigger that the document declares, and the id of the row that was created for it.
    pub trigger: Option<(TriggerId, TriggerTerms)>,
    /// Its version is the playbook's: an execution keeps the one that it started with.
    pub revision: Revision,
}

/// What a playbook's document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookDefinition {
    pub name: Label,
    pub description: Option<String>,
    pub trigger: Option<TriggerTerms>,
    pub approval: Approval,
    /// Within what time after it completes the service must report for the repair to count as verified.
    pub verify_within: TimeDelta,
    pub steps: Vec<Step>,
}

impl PlaybookDefinition {
    pub const MAX_NAME_CHARS: usize = 128;
    pub const MAX_DESCRIPTION_CHARS: usize = 2_000;
    pub const MAX_STEPS: usize = 50;
    pub const VERIFY_WITHIN: TimeDelta = TimeDelta::minutes(10);
    pub const MAX_VERIFY_WITHIN: TimeDelta = TimeDelta::hours(24);
}

/// Whether a person must approve an execution before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    None,
    /// Awaits approval, 7 days at most.
    Required,
    /// Awaits approval for this long.
    Timeout {
        after: TimeDelta,
        then: OnTimeout,
    },
}

/// What follows when nobody decided in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimeout {
    Proceed,
    Cancel,
}

impl Approval {
    pub const MAX: TimeDelta = TimeDelta::days(7);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Unique within its playbook.
    pub name: Label,
    pub kind: StepKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    Webhook(WebhookCall),
    Wait {
        duration: TimeDelta,
    },
    Script {
        /// The script's name.
        script: String,
        parameters: BTreeMap<String, Template>,
        /// None leaves it to the script.
        timeout: Option<TimeDelta>,
    },
    Condition(Condition),
}

impl StepKind {
    pub const NAMES: [&str; 4] = ["webhook", "wait", "script", "condition"];

    pub const MAX_WAIT: TimeDelta = TimeDelta::days(30);
    pub const WEBHOOK_TIMEOUT: TimeDelta = TimeDelta::seconds(30);
    pub const MAX_WEBHOOK: TimeDelta = TimeDelta::minutes(5);
    pub const MAX_SCRIPT: TimeDelta = TimeDelta::minutes(10);
    pub const CONDITION_TIMEOUT: TimeDelta = TimeDelta::seconds(300);
    pub const MAX_CONDITION: TimeDelta = TimeDelta::hours(24);

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Wait { .. } => "wait",
            Self::Script { .. } => "script",
            Self::Condition(_) => "condition",
        }
    }
}

/// An HTTP request to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookCall {
    pub method: HttpMethod,
    pub url: Template,
    pub headers: BTreeMap<String, Template>,
    pub body: Option<Value>,
    pub success_codes: Vec<u16>,
    pub timeout: TimeDelta,
}

impl WebhookCall {
    pub const SUCCESS_CODES: [u16; 3] = [200, 201, 202];
    pub const MAX_SUCCESS_CODES: usize = 20;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl HttpMethod {
    const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl FromStr for HttpMethod {
    type Err = Invalid;

    /// In any case.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| Invalid::new("method", "must be GET, HEAD, POST, PUT, PATCH or DELETE"))
    }
}

/// The condition `heartbeat_received`: so many heartbeats must come while the step lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    pub min_count: u32,
    /// Of this status; of any that counts as alive when none is given.
    pub status: Option<Status>,
    /// Of this service; of the execution's when none is given.
    pub service_id: Option<ServiceId>,
    pub timeout: TimeDelta,
    pub on_failure: OnFailure,
}

impl Condition {
    pub const CHECK: &str = "heartbeat_received";
    pub const MAX_HEARTBEATS: u32 = 100;
    /// How often Medic checks whether they came.
    pub const POLL: TimeDelta = TimeDelta::seconds(5);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    Fail,
    /// The step counts as completed.
    Continue,
    /// The step fails, and the on-call is notified.
    Escalate,
}

impl OnFailure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Continue => "continue",
            Self::Escalate => "escalate",
        }
    }
}

impl FromStr for OnFailure {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Fail, Self::Continue, Self::Escalate]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Invalid::new("on_failure", "must be fail, continue or escalate"))
    }
}

/// Reads a duration: `30s`, `5m`, `1h`, or a number that stands for seconds; from a second to `max`.
pub fn read_duration(text: &str, max: TimeDelta) -> Result<TimeDelta, String> {
    let unit = |text: &str| match text {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    let seconds = number.parse::<i64>().ok().zip(unit(rest)).and_then(|(number, unit)| number.checked_mul(unit));
    let Some(seconds) = seconds.or_else(|| (digits > 0 && unit(rest).is_some()).then_some(i64::MAX)) else {
        return Err("must be a duration such as 30s, 5m or 1h, or a number of seconds".to_owned());
    };
    match TimeDelta::try_seconds(seconds) {
        Some(duration) if (TimeDelta::seconds(1)..=max).contains(&duration) => Ok(duration),
        Some(_) | None => Err(format!("must be from 1s to {}", write_duration(max))),
    }
}

/// Writes a duration as a playbook's document does: `30s`, `5m` or `1h`.
fn write_duration(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds();
    match (seconds % 3_600, seconds % 60) {
        (0, _) => format!("{}h", seconds / 3_600),
        (_, 0) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_by_their_unit_and_within_bounds() {
        let read = |text| read_duration(text, StepKind::MAX_WAIT).map(|duration| duration.num_seconds());
        assert_eq!(read("30s"), Ok(30));
        assert_eq!(read("5m"), Ok(300));
        assert_eq!(read("1h"), Ok(3_600));
        assert_eq!(read("45"), Ok(45));
        assert_eq!(read("720h"), Ok(2_592_000));
        for text in ["0", "0s", "721h", "99999999999999999999h", "9223372036854775807h"] {
            assert_eq!(read(text), Err("must be from 1s to 720h".to_owned()), "{text}");
        }
        for text in ["", "s", "-5s", "+5s", "5 s", "1.5h", "5S", "1d", "5sec", "٣s", "1h30m"] {
            assert!(read(text).is_err_and(|problem| problem.contains("such as 30s")), "{text}");
        }
        for (seconds, text) in [(30, "30s"), (90, "90s"), (300, "5m"), (3_600, "1h"), (5_400, "90m")] {
            assert_eq!(write_duration(TimeDelta::seconds(seconds)), text);
        }
    }
}
