//! Every key of the table is built here, and read back here.

mod collection;
mod lane;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::NaiveDate;
use domain::{
    AlertId, ApiKeyId, CircuitOf, DeliveryId, ExecutionId, HeartbeatId, HeartbeatName, KeyId, LogId, NotificationId,
    NotificationOwner, PingKeyId, PlaybookId, PressId, RequestClass, RunId, ScheduleId, ScriptId, SecretId, ServiceId,
    TargetId, TeamId, TriggerId, WebhookId, WindowId,
};
use sha2::{Digest, Sha256};

pub(crate) use collection::Collection;
pub use lane::Lane;

/// Shards of the due index.
pub const SHARDS: u8 = 16;

pub(crate) const PK: &str = "pk";
pub(crate) const SK: &str = "sk";
pub(crate) const DUE_INDEX: &str = "due";
pub(crate) const DUE_SHARD: &str = "due_shard";
pub(crate) const DUE_AT: &str = "due_at";
pub(crate) const LIST_INDEX: &str = "list";
pub(crate) const LIST_PK: &str = "list_pk";
pub(crate) const LIST_SK: &str = "list_sk";
pub(crate) const EXPIRES_AT: &str = "expires_at";

/// An item's primary key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.pk, self.sk)
    }
}

/// The kinds of rows that come due, which their keys distinguish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKind {
    Service(ServiceId),
    Run(ServiceId, RunId),
    Notification(NotificationOwner, NotificationId),
    Window(WindowId),
    Delivery(WebhookId, DeliveryId),
    Execution(ExecutionId),
    Press(ExecutionId, PressId),
    Start(AlertId, TriggerId),
    Alert(AlertId),
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    /// Returns the key of the row of a service that heartbeats and the sweep write.
    pub fn service(id: ServiceId) -> Self {
        Self::new(format!("service#{id}"), "state")
    }

    /// Returns the key of the row of a service that people edit.
    pub(crate) fn profile(id: ServiceId) -> Self {
        Self::new(format!("service#{id}"), "profile")
    }

    pub(crate) fn heartbeat(service: ServiceId, id: HeartbeatId) -> Self {
        Self::new(heartbeats_pk(service), id.to_string())
    }

    /// Returns the key of the row that finds the heartbeat first sent with a client's idempotency key.
    pub(crate) fn repeated_heartbeat(service: ServiceId, idempotency_key: &str) -> Self {
        Self::new(heartbeats_pk(service), format!("key#{}", digest(idempotency_key)))
    }

    /// Returns the key of the row that finds the execution first started with a client's idempotency key.
    pub(crate) fn repeated_execution(playbook: PlaybookId, idempotency_key: &str) -> Self {
        Self::new(format!("execution#of#{playbook}"), format!("key#{}", digest(idempotency_key)))
    }

    /// Returns the key of a ping's body, beside its heartbeat.
    pub(crate) fn ping_body(service: ServiceId, id: HeartbeatId) -> Self {
        Self::new(heartbeats_pk(service), format!("ping-body#{id}"))
    }

    /// Returns the key of the row of a run, which its signals and the sweep write.
    pub fn run(service: ServiceId, id: &RunId) -> Self {
        Self::new(format!("run#{service}"), id.as_str())
    }

    /// Returns the key of the row that points to the unnamed run of a service that began last.
    pub(crate) fn unnamed_run(service: ServiceId) -> Self {
        Self::new(format!("run#{service}#unnamed"), "unnamed")
    }

    /// Returns the key of an alert, which comes due when it has closed and what it started must learn of it.
    pub fn alert(id: AlertId) -> Self {
        Self::new(alert_pk(id), "alert")
    }

    pub(crate) fn notification(owner: NotificationOwner, id: NotificationId) -> Self {
        Self::new(notifications_pk(owner), format!("{NOTIFICATION_PREFIX}{id}"))
    }

    /// Returns the key of a lane's head, which sorts before its entries, so that one query reads both.
    pub(crate) fn lane_head(lane: &Lane) -> Self {
        Self::new(lane.to_string(), LANE_HEAD)
    }

    pub(crate) fn lane_entry(lane: &Lane, id: NotificationId) -> Self {
        Self::new(lane.to_string(), id.to_string())
    }

    /// Returns the key of a delivery's place in its webhook's lane.
    pub(crate) fn delivery_entry(lane: &Lane, id: DeliveryId) -> Self {
        Self::new(lane.to_string(), id.to_string())
    }

    /// Returns the key of a delivery, which comes due at its next attempt.
    pub fn delivery(webhook: WebhookId, id: DeliveryId) -> Self {
        Self::new(deliveries_pk(webhook), id.to_string())
    }

    pub(crate) fn api_key(id: ApiKeyId) -> Self {
        Self::new(format!("api-key#{id}"), "api-key")
    }

    pub(crate) fn ping_key(id: PingKeyId) -> Self {
        Partition::ping_keys().key(id.get())
    }

    /// Returns the key of the row that finds a ping key's record by the key's digest.
    pub(crate) fn ping_key_digest(digest: &str) -> Self {
        Self::new(format!("ping-key#{digest}"), "ping-key")
    }

    /// Returns the key of the row that holds a service's name: one item a name makes it unique.
    pub(crate) fn service_name(name: &HeartbeatName) -> Self {
        Self::new(format!("name#service#{}", name.folded()), "name")
    }

    /// Returns the key of the row that holds the name of an entity of this kind, likewise.
    pub(crate) fn name(of: &str, name: &str) -> Self {
        Self::new(format!("name#{of}#{}", name.to_lowercase()), "name")
    }

    pub(crate) fn team(id: TeamId) -> Self {
        Partition::teams().key(id.get())
    }

    pub(crate) fn schedule(id: ScheduleId) -> Self {
        Partition::schedules().key(id.get())
    }

    pub(crate) fn window(id: WindowId) -> Self {
        Partition::windows().key(id.get())
    }

    pub(crate) fn target(service: ServiceId, id: TargetId) -> Self {
        Partition::targets(service).key(id.get())
    }

    pub(crate) fn webhook(id: WebhookId) -> Self {
        Self::new(format!("webhook#{id}"), "webhook")
    }

    /// Returns the key of the row that puts a webhook on the list of those for one service, or for every service.
    pub(crate) fn webhook_scope(id: WebhookId) -> Self {
        Self::new(format!("webhook#{id}"), "scope")
    }

    pub(crate) fn playbook(id: PlaybookId) -> Self {
        Partition::playbooks().key(id.get())
    }

    /// Returns the key of one version of a playbook, as it was written.
    pub(crate) fn playbook_version(id: PlaybookId, version: u64) -> Self {
        Self::new(format!("playbook#{id}"), format!("version#{version:019}"))
    }

    pub(crate) fn trigger(playbook: PlaybookId, id: TriggerId) -> Self {
        Partition::triggers_of(playbook).key(id.get())
    }

    pub(crate) fn script(id: ScriptId) -> Self {
        Partition::scripts().key(id.get())
    }

    pub(crate) fn secret(id: SecretId) -> Self {
        Partition::secrets().key(id.get())
    }

    /// Returns the key of an execution's state.
    pub fn execution(id: ExecutionId) -> Self {
        Self::new(execution_pk(id), "state")
    }

    pub(crate) fn execution_plan(id: ExecutionId) -> Self {
        Self::new(execution_pk(id), "plan")
    }

    /// Returns the key of one step's result.
    pub(crate) fn execution_step(id: ExecutionId, step: usize) -> Self {
        Self::new(execution_pk(id), format!("step#{step:02}"))
    }

    /// Returns the key of the row that puts an execution on the list of its playbook's.
    pub(crate) fn execution_of_playbook(id: ExecutionId) -> Self {
        Self::new(execution_pk(id), "playbook")
    }

    /// Returns the key of a press of a button in Slack, beside the execution that it decides about.
    pub fn press(execution: ExecutionId, id: PressId) -> Self {
        Self::new(execution_pk(execution), format!("{PRESS_PREFIX}{id}"))
    }

    /// Returns the key of a start: an execution that an alert asks for.
    pub fn start(alert: AlertId, trigger: TriggerId) -> Self {
        Self::new(alert_pk(alert), format!("{START_PREFIX}{trigger}"))
    }

    pub(crate) fn circuit(of: CircuitOf) -> Self {
        Self::new(circuit_pk(of), "circuit")
    }

    /// Returns the key of an audit entry, under the day (UTC) of its id.
    pub(crate) fn audit(id: LogId) -> Self {
        Self::new(audit_day_pk(id.time().date_naive()), id.to_string())
    }

    /// Returns the key of the row that points to an audit entry, from what it is about.
    pub(crate) fn audit_pointer(of: AuditedBy, id: LogId) -> Self {
        Self::new(of.pk(), id.to_string())
    }

    pub(crate) fn counter(of: &str) -> Self {
        Self::new(format!("counter#{of}"), "counter")
    }

    /// Returns the key of the requests of an API key in a minute since 1970. The minute is part of `pk`: each has a
    /// partition of its own, so that load on one is gone with it.
    pub(crate) fn limit(key: KeyId, class: RequestClass, minute: i64) -> Self {
        Self::new(format!("limit#{}#{key}#{minute}", class.as_str()), "limit")
    }

    pub(crate) fn stats() -> Self {
        Self::new("stats".to_owned(), "stats")
    }

    /// Returns the key of the row that proves when Medic heard.
    pub(crate) fn pulse() -> Self {
        Self::new("pulse".to_owned(), "pulse")
    }

    /// Returns the key of the text of a notification where no receiver is configured (local only).
    pub(crate) fn printed(id: NotificationId) -> Self {
        Self::new(printed_pk(), id.to_string())
    }

    /// Returns the shard of the due index in which this row waits: FNV-1a, so that neighbours spread.
    pub fn shard(&self) -> u8 {
        let hash = self
            .pk
            .bytes()
            .chain(self.sk.bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        u8::try_from(hash % u64::from(SHARDS)).unwrap_or_default()
    }

    /// Returns the kind of row, for those that come due.
    pub fn row_kind(&self) -> Option<RowKind> {
        let (entity, id) = self.pk.split_once('#').unwrap_or((&self.pk, ""));
        let notification =
            |owner| Some(RowKind::Notification(owner, self.sk.strip_prefix(NOTIFICATION_PREFIX)?.parse().ok()?));
        match (entity, self.sk.as_str()) {
            ("service", "state") => Some(RowKind::Service(id.parse().ok()?)),
            ("run", sk) => Some(RowKind::Run(id.parse().ok()?, RunId::parse(sk).ok()?)),
            ("alert", sk) if sk.starts_with(START_PREFIX) => Some(RowKind::Start(id.parse().ok()?, id_in(sk)?)),
            ("alert", "alert") => Some(RowKind::Alert(id.parse().ok()?)),
            ("execution", "state") => Some(RowKind::Execution(id.parse().ok()?)),
            ("execution", sk) if sk.starts_with(PRESS_PREFIX) => Some(RowKind::Press(id.parse().ok()?, id_in(sk)?)),
            ("alert", _) => notification(NotificationOwner::Alert(id.parse().ok()?)),
            ("announcement", _) => notification(NotificationOwner::Window(id.parse().ok()?)),
            ("execution", sk) if sk.starts_with(NOTIFICATION_PREFIX) => {
                notification(NotificationOwner::Execution(id.parse().ok()?))
            }
            ("circuit", sk) if sk.starts_with(NOTIFICATION_PREFIX) => {
                notification(NotificationOwner::Circuit(id.parse().ok()?))
            }
            ("window", sk) => Some(RowKind::Window(id_in(sk)?)),
            ("delivery", sk) => Some(RowKind::Delivery(id.parse().ok()?, sk.parse().ok()?)),
            _ => None,
        }
    }
}

/// Rows of one partition of the table under integer ids, so that they can be read whole and consistently.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) pk: String,
    prefix: String,
}

impl Partition {
    pub(crate) fn teams() -> Self {
        Self { pk: "team".to_owned(), prefix: String::new() }
    }

    pub(crate) fn ping_keys() -> Self {
        Self { pk: "ping-key".to_owned(), prefix: String::new() }
    }

    pub(crate) fn schedules() -> Self {
        Self { pk: "schedule".to_owned(), prefix: String::new() }
    }

    pub(crate) fn windows() -> Self {
        Self { pk: "window".to_owned(), prefix: String::new() }
    }

    pub(crate) fn targets(service: ServiceId) -> Self {
        Self { pk: format!("service#{service}"), prefix: "target#".to_owned() }
    }

    pub(crate) fn playbooks() -> Self {
        Self { pk: "playbook".to_owned(), prefix: String::new() }
    }

    /// Returns the partition of all triggers, by their playbooks.
    pub(crate) fn triggers() -> Self {
        Self { pk: "trigger".to_owned(), prefix: String::new() }
    }

    pub(crate) fn triggers_of(playbook: PlaybookId) -> Self {
        Self { prefix: format!("{:019}#", playbook.get()), ..Self::triggers() }
    }

    pub(crate) fn scripts() -> Self {
        Self { pk: "script".to_owned(), prefix: String::new() }
    }

    pub(crate) fn secrets() -> Self {
        Self { pk: "secret".to_owned(), prefix: String::new() }
    }

    fn key(&self, id: i64) -> Key {
        Key::new(self.pk.clone(), format!("{}{id:019}", self.prefix))
    }

    /// Returns the lowest and the highest `sk` of those that are older than `before`.
    pub(crate) fn range(&self, before: Option<i64>) -> (String, String) {
        let highest = before.map_or(i64::MAX, |id| id - 1);
        (self.key(0).sk, self.key(highest).sk)
    }
}

/// Reads the id at the end of a part of a key.
pub(crate) fn id_in<T: std::str::FromStr>(part: &str) -> Option<T> {
    part.rsplit('#').next()?.parse().ok()
}

/// What entries of the audit log are found by, other than by their day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditedBy {
    Execution(ExecutionId),
    Service(ServiceId),
}

impl AuditedBy {
    pub(crate) fn pk(self) -> String {
        match self {
            Self::Execution(id) => format!("audit#execution#{id}"),
            Self::Service(id) => format!("audit#service#{id}"),
        }
    }
}

pub(crate) fn audit_day_pk(day: NaiveDate) -> String {
    format!("audit#day#{}", day.format("%Y-%m-%d"))
}

pub(crate) const NOTIFICATION_PREFIX: &str = "notification#";
pub(crate) const PRESS_PREFIX: &str = "press#";
const START_PREFIX: &str = "start#";
pub(crate) const LANE_HEAD: &str = "#head";

pub(crate) fn heartbeats_pk(service: ServiceId) -> String {
    format!("heartbeat#{service}")
}

pub(crate) fn alert_pk(id: AlertId) -> String {
    format!("alert#{id}")
}

pub(crate) fn execution_pk(id: ExecutionId) -> String {
    format!("execution#{id}")
}

fn circuit_pk(of: CircuitOf) -> String {
    format!("circuit#{of}")
}

/// Returns where an owner's notifications are.
pub(crate) fn notifications_pk(owner: NotificationOwner) -> String {
    match owner {
        NotificationOwner::Alert(id) => alert_pk(id),
        NotificationOwner::Window(id) => format!("announcement#{id}"),
        NotificationOwner::Execution(id) => execution_pk(id),
        NotificationOwner::Circuit(of) => circuit_pk(of),
    }
}

pub(crate) fn execution_id_of(pk: &str) -> Option<ExecutionId> {
    pk.strip_prefix("execution#")?.parse().ok()
}

pub(crate) fn deliveries_pk(webhook: WebhookId) -> String {
    format!("delivery#{webhook}")
}

pub(crate) fn printed_pk() -> String {
    "printed".to_owned()
}

pub(crate) fn service_id_of(pk: &str) -> Option<ServiceId> {
    pk.strip_prefix("service#")?.parse().ok()
}

pub(crate) fn alert_id_of(pk: &str) -> Option<AlertId> {
    pk.strip_prefix("alert#")?.parse().ok()
}

/// Returns the first 128 bits of a text's SHA-256, in hex.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text).first_chunk::<16>().copied().unwrap_or_default())
}
