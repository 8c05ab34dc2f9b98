//! What clients want of Medic, and how they ask for it.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::jobs;
use crate::model::Service;
use crate::plan::{Edit, Expected, Planned, Said};
use crate::repairs::Word;
use crate::rules::{Every, Rule};

/// What a client wants of Medic.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Register,
    /// Asks for its id.
    Find,
    Say(Said),
    Edit(Edit),
    /// The person looks at what playbooks do.
    Look,
    Word {
        execution: String,
        word: Word,
    },
}

impl Wish {
    /// Of a heartbeat that meets such an end nobody can say afterwards whether it was to be taken: the service waits.
    pub(crate) fn ends_a_watch(&self) -> bool {
        matches!(self, Self::Edit(Edit::Switch(_) | Edit::Delete))
    }

    /// Whether a second try hears by this that the first one was taken.
    pub(crate) fn is_done(&self, status: u16) -> bool {
        match self {
            Self::Register => status == 409,
            Self::Edit(Edit::Delete) => status == 404,
            Self::Find | Self::Say(_) | Self::Edit(_) | Self::Look | Self::Word { .. } => false,
        }
    }
}

/// A wish that was sent, perhaps more than once.
pub(crate) struct Sent {
    /// Whose it is: a service's, by its place, that of the person who decides, or that of a service's operator.
    pub(crate) client: usize,
    pub(crate) wish: Wish,
    pub(crate) first: DateTime<Utc>,
    pub(crate) tries: u32,
}

impl Sent {
    /// The request for it; what is about a service knows that one.
    pub(crate) fn request(&self, about: Option<(&Service, &Planned)>) -> (&'static str, String, Value) {
        let name = about.map(|(service, _)| service.name.as_str()).unwrap_or_default();
        let id = about.map(|(service, _)| service.id).unwrap_or_default();
        match &self.wish {
            Wish::Register => {
                let (_, planned) = about.expect("a service");
                let mut body = planned.expected.fields();
                body["heartbeat_name"] = json!(name);
                body["service_name"] = json!(name);
                body["max_duration_ms"] = json!(planned.max_duration_ms);
                // Clients of the Python service know no timetables.
                let path = if planned.expected.zone.is_some() { "/v2/services" } else { "/service" };
                ("POST", path.to_owned(), body)
            }
            Wish::Find => ("GET", format!("/service/{name}"), Value::Null),
            Wish::Say(Said::Status(status)) => {
                ("POST", "/heartbeat".to_owned(), json!({"heartbeat_name": name, "status": status}))
            }
            Wish::Say(Said::Signal(kind, run)) => {
                ("POST", format!("/v2/heartbeat/{id}/{}", kind.path()), json!({"run_id": jobs::name_of(*run)}))
            }
            Wish::Edit(edit) => {
                let (method, body) = match *edit {
                    Edit::Rule(expected) => ("PATCH", expected.fields()),
                    Edit::Switch(is_on) => ("PATCH", json!({"active": is_on})),
                    Edit::Mute(minutes) => {
                        ("PATCH", json!({"muted": true, "muted_until": until(self, minutes).to_rfc3339()}))
                    }
                    Edit::Unmute => ("PATCH", json!({"muted": false})),
                    Edit::Delete => ("DELETE", Value::Null),
                };
                (method, format!("/v2/services/{id}"), body)
            }
            Wish::Look => ("GET", "/v2/executions?limit=50".to_owned(), Value::Null),
            Wish::Word { execution, word } => {
                ("POST", format!("/v2/executions/{execution}/{}", word.path()), json!({}))
            }
        }
    }
}

pub(crate) fn rule(expected: &Expected) -> Rule {
    let period = TimeDelta::minutes(expected.every_minutes);
    let every = expected.zone.map_or(Every::Interval(period), |(_, ahead)| Every::Time { of: period, after: -ahead });
    let (grace, threshold) = (TimeDelta::seconds(expected.grace_seconds), usize::try_from(expected.threshold).unwrap());
    Rule { every, grace, threshold }
}

/// Until when a mute lasts that was asked for so.
pub(crate) fn until(sent: &Sent, minutes: i64) -> DateTime<Utc> {
    sent.first + TimeDelta::minutes(minutes)
}
