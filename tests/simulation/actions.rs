//! What clients do, and the requests that they send for it.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::executions::Command;
use crate::jobs;
use crate::model::Service;
use crate::planned_services::{Edit, Expected, PlannedService, Report, SignalKind};
use crate::rules::{Rule, Timing};
use crate::slack;

/// What a client does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Register,
    /// Looks up the service's id.
    FindId,
    Report(Report),
    Edit(Edit),
    /// An operator closes an alert.
    Resolve {
        alert: i64,
    },
    /// The person looks at what playbooks do.
    ListExecutions,
    Command {
        execution: String,
        command: Command,
    },
    /// The same by a button in Slack, which carries a value.
    Press {
        execution: String,
        command: Command,
        value: String,
    },
}

impl Action {
    /// Returns whether it switches or deletes the service. Whether a heartbeat sent meanwhile had to be accepted nobody
    /// could say afterwards, and so the service waits.
    pub(crate) fn switches_service(&self) -> bool {
        matches!(self, Self::Edit(Edit::Switch(_) | Edit::Delete))
    }

    /// Returns whether this status, in response to a second attempt, means that the first one was accepted.
    pub(crate) fn is_done(&self, status: u16) -> bool {
        match self {
            Self::Register | Self::Resolve { .. } => status == 409,
            Self::Edit(Edit::Delete) => status == 404,
            Self::FindId
            | Self::Report(_)
            | Self::Edit(_)
            | Self::ListExecutions
            | Self::Command { .. }
            | Self::Press { .. } => false,
        }
    }
}

/// An action that was sent, perhaps more than once.
pub(crate) struct SentAction {
    /// Who sent it: a service, by its place, the person who decides, or a service's operator.
    pub(crate) client: usize,
    pub(crate) action: Action,
    pub(crate) first: DateTime<Utc>,
    pub(crate) attempts: u32,
}

/// A request to Medic.
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Request {
    fn new(method: &'static str, path: String, body: Value) -> Self {
        Self { method, path, body }
    }
}

impl SentAction {
    /// Returns the request for it. `service` is the one that it is about, if there is one, and `ping_key` the key of those
    /// who ping.
    pub(crate) fn request(&self, service: Option<(&Service, &PlannedService)>, ping_key: &str) -> Request {
        let name = service.map(|(service, _)| service.name.as_str()).unwrap_or_default();
        let id = service.map(|(service, _)| service.id).unwrap_or_default();
        match &self.action {
            Action::Register => {
                let (_, planned) = service.expect("a service");
                let mut body = planned.expected.fields();
                body["heartbeat_name"] = json!(name);
                body["service_name"] = json!(name);
                body["max_duration_ms"] = json!(planned.max_duration_ms);
                if let Some(team) = planned.team {
                    body["team"] = json!(team.name());
                }
                // Clients of version 1 know no schedules.
                let path = if planned.expected.zone.is_some() { "/v2/services" } else { "/service" };
                Request::new("POST", path.to_owned(), body)
            }
            Action::FindId => Request::new("GET", format!("/service/{name}"), Value::Null),
            Action::Report(Report::Status(status)) => {
                Request::new("POST", "/heartbeat".to_owned(), json!({"heartbeat_name": name, "status": status}))
            }
            Action::Report(Report::Signal(kind, run)) => Request::new(
                "POST",
                format!("/v2/heartbeat/{id}/{}", kind.path()),
                json!({"run_id": jobs::name_of(*run)}),
            ),
            Action::Report(Report::Ping(kind)) => {
                let action = match kind {
                    SignalKind::Start => "/start",
                    SignalKind::Complete => "",
                    SignalKind::Fail => "/fail",
                };
                Request::new("GET", format!("/ping/{ping_key}/{name}{action}"), Value::Null)
            }
            Action::Edit(Edit::Resolve) => Request::new("GET", "/v2/alerts?active=1&limit=250".to_owned(), Value::Null),
            Action::Resolve { alert } => Request::new("POST", format!("/v2/alerts/{alert}/resolve"), json!({})),
            Action::Edit(edit) => {
                let (method, body) = match *edit {
                    Edit::Rule(expected) => ("PATCH", expected.fields()),
                    Edit::Switch(is_on) => ("PATCH", json!({"active": is_on})),
                    Edit::Mute(minutes) => {
                        ("PATCH", json!({"muted": true, "muted_until": muted_until(self, minutes).to_rfc3339()}))
                    }
                    Edit::Unmute => ("PATCH", json!({"muted": false})),
                    Edit::Delete => ("DELETE", Value::Null),
                    Edit::MaxDuration(millis) => ("PATCH", json!({"max_duration_ms": millis})),
                    Edit::Resolve => unreachable!("it lists alerts first"),
                };
                Request::new(method, format!("/v2/services/{id}"), body)
            }
            Action::ListExecutions => Request::new("GET", "/v2/executions?limit=50".to_owned(), Value::Null),
            Action::Command { execution, command } => {
                Request::new("POST", format!("/v2/executions/{execution}/{}", command.path()), json!({}))
            }
            Action::Press { command, value, .. } => {
                Request::new("POST", slack::PATH.to_owned(), slack::press(*command, value))
            }
        }
    }
}

/// Returns the rule that the model holds a service to.
pub(crate) fn rule(expected: &Expected) -> Rule {
    let period = TimeDelta::minutes(expected.every_minutes);
    let timing =
        expected.zone.map_or(Timing::Interval(period), |(_, ahead)| Timing::Schedule { period, offset: -ahead });
    let (grace, threshold) = (TimeDelta::seconds(expected.grace_seconds), usize::try_from(expected.threshold).unwrap());
    Rule { timing, grace, threshold }
}

/// Until when a mute of so many minutes lasts.
pub(crate) fn muted_until(sent: &SentAction, minutes: i64) -> DateTime<Utc> {
    sent.first + TimeDelta::minutes(minutes)
}
