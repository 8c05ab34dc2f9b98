//! The audit log: what was done, by whom, and with what result.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::{ExecutionId, Invalid, LogId, ServiceId, Variables};

/// One entry, which is never changed.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Of the instant `at`.
    pub id: LogId,
    pub at: DateTime<Utc>,
    pub action: AuditAction,
    /// The name of a key or a Slack user; none for what Medic did by itself.
    pub actor: Option<String>,
    pub execution_id: Option<ExecutionId>,
    pub service_id: Option<ServiceId>,
    pub details: AuditDetails,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditAction {
    ExecutionStarted,
    StepCompleted,
    StepFailed,
    ApprovalRequested,
    Approved,
    Rejected,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCancelled,
    Created,
    Updated,
    Deleted,
    /// Of an alert.
    Acknowledged,
    /// An alert was closed by hand.
    Resolved,
    /// A notification target got a test.
    Tested,
    /// A delivery to a webhook was sent once more.
    Redelivered,
}

/// What else an entry records, as far as it applies.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditDetails {
    pub playbook_name: Option<String>,
    pub service_name: Option<String>,
    pub step_name: Option<String>,
    pub step_type: Option<String>,
    pub duration_ms: Option<u64>,
    /// Kept to `MAX_OUTPUT` bytes.
    pub output: Option<String>,
    /// Kept to `MAX_ERROR` bytes.
    pub error_message: Option<String>,
    /// Kept to `MAX_REASON` bytes.
    pub reason: Option<String>,
    /// What was configured, or the alert that it is about.
    pub thing: Option<AuditedThing>,
    pub changes: Vec<AuditedChange>,
    /// What an execution was started with, each kept to `AuditedValue::MAX_TEXT` bytes.
    pub variables: Variables,
}

/// A configuration entity, or an alert, that an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedThing {
    pub kind: ThingKind,
    pub id: i64,
    pub name: Option<String>,
}

/// The kinds of configuration entities, and alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThingKind {
    Service,
    Team,
    Schedule,
    MaintenanceWindow,
    NotificationTarget,
    Webhook,
    Playbook,
    Trigger,
    Script,
    Secret,
    ApiKey,
    PingKey,
    Alert,
}

/// One field before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditedChange {
    pub field: String,
    pub old: AuditedValue,
    pub new: AuditedValue,
}

/// A field's value as everybody may see it.
#[derive(Debug, Clone, PartialEq)]
pub enum AuditedValue {
    Null,
    Flag(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

/// A field of a configuration entity: how it is shown, and what shows whether it has changed.
#[derive(Clone, PartialEq)]
pub struct AuditedField {
    name: &'static str,
    shown: AuditedValue,
    /// What `shown` hides.
    hidden: Vec<u8>,
}

impl fmt::Debug for AuditedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditedField").field("name", &self.name).field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// How a secret is shown.
const MASK: &str = "…";

impl AuditDetails {
    pub const MAX_OUTPUT: usize = 8_192;
    pub const MAX_ERROR: usize = 4_096;
    pub const MAX_REASON: usize = 2_048;

    /// Cuts texts between characters to the lengths that are kept.
    #[must_use]
    pub fn kept(self) -> Self {
        let cut = |text: Option<String>, max_bytes| text.map(|text| cut(text, max_bytes));
        Self {
            output: cut(self.output, Self::MAX_OUTPUT),
            error_message: cut(self.error_message, Self::MAX_ERROR),
            reason: cut(self.reason, Self::MAX_REASON),
            variables: self.variables.into_iter().map(|(name, value)| (name, shown(value))).collect(),
            ..self
        }
    }
}

/// Returns a text as far as it is shown.
fn shown(text: String) -> String {
    if text.len() <= AuditedValue::MAX_TEXT { text } else { format!("{}…", cut(text, AuditedValue::MAX_TEXT)) }
}

/// Returns the first `max_bytes` of a text, less a character that would be cut in two.
fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

impl AuditedValue {
    /// Longer texts are cut.
    const MAX_TEXT: usize = 1_024;

    pub fn text(text: impl fmt::Display) -> Self {
        Self::Text(shown(text.to_string()))
    }

    pub fn optional(text: Option<impl fmt::Display>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    pub fn list(texts: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }
}

impl From<bool> for AuditedValue {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<i64> for AuditedValue {
    fn from(value: i64) -> Self {
        Self::Whole(value)
    }
}

impl From<u64> for AuditedValue {
    fn from(value: u64) -> Self {
        Self::Whole(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u32> for AuditedValue {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<i32> for AuditedValue {
    fn from(value: i32) -> Self {
        Self::Whole(value.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for AuditedValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Self>> From<Vec<T>> for AuditedValue {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl AuditedField {
    pub fn new(name: &'static str, value: impl Into<AuditedValue>) -> Self {
        Self { name, shown: value.into(), hidden: Vec::new() }
    }

    /// Creates a field that is shown to nobody: an entry shows that it has changed, and no more.
    pub fn secret(name: &'static str, value: &[u8]) -> Self {
        Self { name, shown: AuditedValue::text(MASK), hidden: Sha256::digest(value).to_vec() }
    }

    /// Creates a field of headers, whose values are shown to nobody.
    pub fn headers(name: &'static str, headers: &BTreeMap<String, String>) -> Self {
        let shown = headers.keys().map(|header| (header.clone(), AuditedValue::text(MASK))).collect();
        let hidden = headers.iter().fold(Sha256::new(), |hash, (header, value)| {
            hash.chain_update(header).chain_update([0]).chain_update(value).chain_update([0])
        });
        Self { name, shown: AuditedValue::Map(shown), hidden: hidden.finalize().to_vec() }
    }

    /// Creates a field of a text too long to be shown: it shows the length and the SHA-256.
    pub fn document(name: &'static str, text: &str) -> Self {
        let shown = format!("{} bytes, SHA-256 {}", text.len(), hex::encode(Sha256::digest(text)));
        Self::new(name, AuditedValue::Text(shown))
    }
}

impl AuditedChange {
    /// Returns what differs between the fields of an entity before and after; one that is created has none before, one
    /// that is deleted none after.
    pub fn between(before: &[AuditedField], after: &[AuditedField]) -> Vec<Self> {
        let find = |fields: &[AuditedField], name| fields.iter().find(|field| field.name == name).cloned();
        let is_new = |field: &&AuditedField| before.iter().all(|other| other.name != field.name);
        let mut changes = Vec::new();
        for name in before.iter().chain(after.iter().filter(is_new)).map(|field| field.name) {
            let (old, new) = (find(before, name), find(after, name));
            if old == new {
                continue;
            }
            let shown = |field: Option<AuditedField>| field.map_or(AuditedValue::Null, |field| field.shown);
            let (old, new) = (shown(old), shown(new));
            if [&old, &new] != [&AuditedValue::Null; 2] {
                changes.push(Self { field: name.to_owned(), old, new });
            }
        }
        changes
    }
}

impl AuditAction {
    pub const ALL: [Self; 16] = [
        Self::ExecutionStarted,
        Self::StepCompleted,
        Self::StepFailed,
        Self::ApprovalRequested,
        Self::Approved,
        Self::Rejected,
        Self::ExecutionCompleted,
        Self::ExecutionFailed,
        Self::ExecutionCancelled,
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::Acknowledged,
        Self::Resolved,
        Self::Tested,
        Self::Redelivered,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExecutionStarted => "execution_started",
            Self::StepCompleted => "step_completed",
            Self::StepFailed => "step_failed",
            Self::ApprovalRequested => "approval_requested",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::ExecutionCompleted => "execution_completed",
            Self::ExecutionFailed => "execution_failed",
            Self::ExecutionCancelled => "execution_cancelled",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Tested => "tested",
            Self::Redelivered => "redelivered",
        }
    }
}

impl FromStr for AuditAction {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.into_iter().map(Self::as_str).collect();
            Invalid::new("action_type", format!("must be one of {}", all.join(", ")))
        })
    }
}

impl ThingKind {
    pub const ALL: [Self; 13] = [
        Self::Service,
        Self::Team,
        Self::Schedule,
        Self::MaintenanceWindow,
        Self::NotificationTarget,
        Self::Webhook,
        Self::Playbook,
        Self::Trigger,
        Self::Script,
        Self::Secret,
        Self::ApiKey,
        Self::PingKey,
        Self::Alert,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Team => "team",
            Self::Schedule => "schedule",
            Self::MaintenanceWindow => "maintenance_window",
            Self::NotificationTarget => "notification_target",
            Self::Webhook => "webhook",
            Self::Playbook => "playbook",
            Self::Trigger => "trigger",
            Self::Script => "script",
            Self::Secret => "secret",
            Self::ApiKey => "api_key",
            Self::PingKey => "ping_key",
            Self::Alert => "alert",
        }
    }
}

impl FromStr for ThingKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| Invalid::new("kind", "must be a kind of configuration entity"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(field: &str, old: AuditedValue, new: AuditedValue) -> AuditedChange {
        AuditedChange { field: field.to_owned(), old, new }
    }

    #[test]
    fn a_change_shows_both_values_and_of_a_secret_only_that_it_changed() {
        let fields = |name: &str, secret: &str, header: &str| {
            [
                AuditedField::new("name", AuditedValue::text(name)),
                AuditedField::new("limit", None::<i64>),
                AuditedField::secret("secret", secret.as_bytes()),
                AuditedField::headers("headers", &[("x-key".to_owned(), header.to_owned())].into()),
            ]
        };
        let (a, b) = (fields("a", "s3cret-1", "h3ader-1"), fields("b", "s3cret-2", "h3ader-2"));
        let mask = || AuditedValue::text("…");
        let headers = || AuditedValue::Map([("x-key".to_owned(), mask())].into());
        let name = |name: &str| AuditedValue::text(name);
        assert_eq!(
            AuditedChange::between(&a, &b),
            [
                change("name", name("a"), name("b")),
                change("secret", mask(), mask()),
                change("headers", headers(), headers())
            ]
        );
        assert_eq!(AuditedChange::between(&a, &a), []);
        let created = AuditedChange::between(&[], &a);
        assert_eq!(
            created,
            [
                change("name", AuditedValue::Null, name("a")),
                change("secret", AuditedValue::Null, mask()),
                change("headers", AuditedValue::Null, headers())
            ]
        );
        assert_eq!(AuditedChange::between(&a, &[]).len(), 3);
        assert!(!format!("{a:?}{created:?}").contains("3cret"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = || Some("é".repeat(10_000));
        let details = AuditDetails { output: long(), error_message: long(), reason: long(), ..AuditDetails::default() };
        let AuditDetails { output, error_message, reason, .. } = details.kept();
        assert_eq!([output, error_message, reason].map(|text| text.unwrap().len()), [8_192, 4_096, 2_048]);
        let odd = AuditDetails { output: Some(format!("a{}", "é".repeat(5_000))), ..AuditDetails::default() };
        assert_eq!(odd.kept().output.unwrap().len(), 8_191);
    }

    #[test]
    fn names_read_back() {
        for action in AuditAction::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        for kind in ThingKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("altered".parse::<AuditAction>().unwrap_err().field, "action_type");
    }
}
