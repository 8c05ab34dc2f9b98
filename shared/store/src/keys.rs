//! Every key of the table is built here, and read back here.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::NaiveDate;
use domain::{
    AlertId, ApiKeyId, DeliveryId, ExecutionId, ExecutionStatus, HeartbeatId, HeartbeatName, KeyId, LogId,
    NotificationId, NotificationOwner, PingKeyId, PlaybookId, Receiver, RequestClass, RunId, ScheduleId, ScriptId,
    SecretId, ServiceId, TargetId, TargetKind, TeamId, TriggerId, WebhookId, WindowId,
};
use sha2::{Digest, Sha256};

use crate::item::Item;

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

/// The rows that can come due, told apart by their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKind {
    Service(ServiceId),
    Run(ServiceId, RunId),
    Notification(NotificationOwner, NotificationId),
    Window(WindowId),
    Delivery(WebhookId, DeliveryId),
    Execution(ExecutionId),
    Start(AlertId, TriggerId),
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    /// What heartbeats and the sweep write of a service.
    pub fn service(id: ServiceId) -> Self {
        Self::new(format!("service#{id}"), "state")
    }

    /// What people edit of a service.
    pub(crate) fn profile(id: ServiceId) -> Self {
        Self::new(format!("service#{id}"), "profile")
    }

    pub(crate) fn heartbeat(service: ServiceId, id: HeartbeatId) -> Self {
        Self::new(heartbeats_pk(service), id.to_string())
    }

    /// The heartbeat that a client's idempotency key stands for.
    pub(crate) fn repeated_heartbeat(service: ServiceId, idempotency_key: &str) -> Self {
        Self::new(heartbeats_pk(service), format!("key#{}", digest(idempotency_key)))
    }

    /// The execution that a client's idempotency key stands for.
    pub(crate) fn repeated_execution(playbook: PlaybookId, idempotency_key: &str) -> Self {
        Self::new(format!("execution#of#{playbook}"), format!("key#{}", digest(idempotency_key)))
    }

    /// What came with a ping, beside its heartbeat.
    pub(crate) fn ping_body(service: ServiceId, id: HeartbeatId) -> Self {
        Self::new(heartbeats_pk(service), format!("ping-body#{id}"))
    }

    /// What the signals of a run and the sweep write of it.
    pub fn run(service: ServiceId, id: &RunId) -> Self {
        Self::new(format!("run#{service}"), id.as_str())
    }

    /// The run of a service that began last of those that nobody named.
    pub(crate) fn unnamed_run(service: ServiceId) -> Self {
        Self::new(format!("run#{service}#unnamed"), "unnamed")
    }

    pub(crate) fn alert(id: AlertId) -> Self {
        Self::new(alert_pk(id), "alert")
    }

    pub(crate) fn notification(owner: NotificationOwner, id: NotificationId) -> Self {
        Self::new(notifications_pk(owner), format!("{NOTIFICATION_PREFIX}{id}"))
    }

    /// Before every entry of its lane, so that whoever reads those has it too.
    pub(crate) fn lane_head(lane: &Lane) -> Self {
        Self::new(lane.to_string(), LANE_HEAD)
    }

    pub(crate) fn lane_entry(lane: &Lane, id: NotificationId) -> Self {
        Self::new(lane.to_string(), id.to_string())
    }

    /// A delivery's place in its webhook's lane.
    pub(crate) fn delivery_entry(lane: &Lane, id: DeliveryId) -> Self {
        Self::new(lane.to_string(), id.to_string())
    }

    pub(crate) fn delivery(webhook: WebhookId, id: DeliveryId) -> Self {
        Self::new(deliveries_pk(webhook), id.to_string())
    }

    pub(crate) fn api_key(id: ApiKeyId) -> Self {
        Self::new(format!("api-key#{id}"), "api-key")
    }

    pub(crate) fn ping_key(id: PingKeyId) -> Self {
        Partition::ping_keys().key(id.get())
    }

    /// Finds a ping key's record by the key's digest.
    pub(crate) fn ping_key_digest(digest: &str) -> Self {
        Self::new(format!("ping-key#{digest}"), "ping-key")
    }

    /// Holds a service's name: one item a name makes it unique.
    pub(crate) fn service_name(name: &HeartbeatName) -> Self {
        Self::new(format!("name#service#{}", name.folded()), "name")
    }

    /// Holds the name of a thing of this kind, likewise.
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

    /// Puts a webhook on the list of those that hear of one service, or of every service.
    pub(crate) fn webhook_scope(id: WebhookId) -> Self {
        Self::new(format!("webhook#{id}"), "scope")
    }

    pub(crate) fn playbook(id: PlaybookId) -> Self {
        Partition::playbooks().key(id.get())
    }

    /// One version of a playbook, as it was written.
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

    /// How far an execution is.
    pub fn execution(id: ExecutionId) -> Self {
        Self::new(execution_pk(id), "state")
    }

    pub(crate) fn execution_plan(id: ExecutionId) -> Self {
        Self::new(execution_pk(id), "plan")
    }

    /// What came of one step.
    pub(crate) fn execution_step(id: ExecutionId, step: usize) -> Self {
        Self::new(execution_pk(id), format!("step#{step:02}"))
    }

    /// Puts an execution on the list of its playbook's.
    pub(crate) fn execution_of_playbook(id: ExecutionId) -> Self {
        Self::new(execution_pk(id), "playbook")
    }

    /// A playbook that an alert starts.
    pub fn start(alert: AlertId, trigger: TriggerId) -> Self {
        Self::new(alert_pk(alert), format!("{START_PREFIX}{trigger}"))
    }

    pub(crate) fn circuit(service: ServiceId) -> Self {
        Self::new(circuit_pk(service), "circuit")
    }

    /// An entry of the audit log, by the day (UTC) that its id tells.
    pub(crate) fn audit(id: LogId) -> Self {
        Self::new(audit_day_pk(id.time().date_naive()), id.to_string())
    }

    /// Points to an entry, from what it is about.
    pub(crate) fn audit_pointer(of: AuditedBy, id: LogId) -> Self {
        Self::new(of.pk(), id.to_string())
    }

    pub(crate) fn counter(of: &str) -> Self {
        Self::new(format!("counter#{of}"), "counter")
    }

    /// Requests of a key in a minute since 1970. The minute is part of `pk`: each has a partition of its own, so that
    /// load on one is gone with it.
    pub(crate) fn limit(key: KeyId, class: RequestClass, minute: i64) -> Self {
        Self::new(format!("limit#{}#{key}#{minute}", class.as_str()), "limit")
    }

    pub(crate) fn stats() -> Self {
        Self::new("stats".to_owned(), "stats")
    }

    /// What a notification said where no receiver is set up (local only).
    pub(crate) fn printed(id: NotificationId) -> Self {
        Self::new(printed_pk(), id.to_string())
    }

    pub(crate) fn attributes(&self) -> Item {
        [(PK, &self.pk), (SK, &self.sk)]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), AttributeValue::S(v.clone())))
            .collect()
    }

    pub(crate) fn of(item: &Item) -> Option<Self> {
        let text = |name| item.get(name)?.as_s().ok().cloned();
        Some(Self { pk: text(PK)?, sk: text(SK)? })
    }

    /// The shard of the due index in which this row waits: FNV-1a, so that neighbours spread.
    pub(crate) fn shard(&self) -> u8 {
        let hash = self
            .pk
            .bytes()
            .chain(self.sk.bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        u8::try_from(hash % u64::from(SHARDS)).unwrap_or_default()
    }

    /// Which kind of row this is, for those that can come due.
    pub fn row_kind(&self) -> Option<RowKind> {
        let (entity, id) = self.pk.split_once('#').unwrap_or((&self.pk, ""));
        let notification =
            |owner| Some(RowKind::Notification(owner, self.sk.strip_prefix(NOTIFICATION_PREFIX)?.parse().ok()?));
        match (entity, self.sk.as_str()) {
            ("service", "state") => Some(RowKind::Service(id.parse().ok()?)),
            ("run", sk) => Some(RowKind::Run(id.parse().ok()?, RunId::parse(sk).ok()?)),
            ("alert", sk) if sk.starts_with(START_PREFIX) => Some(RowKind::Start(id.parse().ok()?, id_in(sk)?)),
            ("execution", "state") => Some(RowKind::Execution(id.parse().ok()?)),
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

    /// All triggers, by their playbooks.
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

    /// The lowest and the highest `sk` of those that are older than `before`.
    pub(crate) fn range(&self, before: Option<i64>) -> (String, String) {
        let highest = before.map_or(i64::MAX, |id| id - 1);
        (self.key(0).sk, self.key(highest).sk)
    }
}

/// The id at the end of a part of a key.
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

fn circuit_pk(service: ServiceId) -> String {
    format!("circuit#{service}")
}

/// Where an owner's notifications are.
pub(crate) fn notifications_pk(owner: NotificationOwner) -> String {
    match owner {
        NotificationOwner::Alert(id) => alert_pk(id),
        NotificationOwner::Window(id) => format!("announcement#{id}"),
        NotificationOwner::Execution(id) => execution_pk(id),
        NotificationOwner::Circuit(id) => circuit_pk(id),
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

pub(crate) fn api_key_id_of(pk: &str) -> Option<ApiKeyId> {
    pk.strip_prefix("api-key#")?.parse().ok()
}

/// The notifications that one receiver is owed, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane(String);

impl Lane {
    pub fn of(receiver: &Receiver) -> Self {
        Self(match receiver {
            Receiver::Slack { channel } => format!("lane#slack#{channel}"),
            Receiver::PagerDuty { service_id } => format!("lane#pagerduty#{service_id}"),
            Receiver::Target { kind, service_id, target_id } => {
                format!("lane#target#{}#{service_id}#{target_id}", kind.as_str())
            }
            Receiver::Webhook { webhook_id } => format!("lane#webhook#{webhook_id}"),
        })
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self(text.to_owned()).receiver().map(|_| Self(text.to_owned()))
    }

    pub fn receiver(&self) -> Option<Receiver> {
        let (kind, address) = self.0.strip_prefix("lane#")?.split_once('#')?;
        match kind {
            "slack" => Some(Receiver::Slack { channel: address.to_owned() }),
            "pagerduty" => Some(Receiver::PagerDuty { service_id: address.parse().ok()? }),
            "target" => {
                let (kind, ids) = address.split_once('#')?;
                let (service_id, target_id) = ids.split_once('#')?;
                let kind = kind.parse::<TargetKind>().ok()?;
                Some(Receiver::Target {
                    kind,
                    service_id: service_id.parse().ok()?,
                    target_id: target_id.parse().ok()?,
                })
            }
            "webhook" => Some(Receiver::Webhook { webhook_id: address.parse().ok()? }),
            _ => None,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A partition of the `list` index, and a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Collection<'a> {
    Services,
    /// Services of one `service_name`. By digest: the row is written with each heartbeat and must stay small.
    ServicesNamed(&'a str),
    OpenAlerts,
    ClosedAlerts,
    ApiKeys,
    Webhooks,
    /// Webhooks of one service, or those of every service.
    WebhooksFor(Option<ServiceId>),
    Deliveries,
    /// Runs that go on and whose service has heard of no delay.
    OpenRuns(ServiceId),
    /// Runs of every service whose stale alert is open, by service.
    StaleRuns,
    /// Runs that count in statistics.
    CompletedRuns(ServiceId),
    /// Failed runs, and those of which only the end is known.
    OtherRuns(ServiceId),
    /// Executions that wait for a yes.
    PendingExecutions,
    /// Executions that go on.
    OpenExecutions,
    EndedExecutions,
    ExecutionsOfService(ServiceId),
    ExecutionsOfPlaybook(PlaybookId),
    /// Circuits by when they close.
    OpenCircuits,
}

impl Collection<'_> {
    pub(crate) fn pk(&self) -> String {
        match self {
            Self::Services => "service".to_owned(),
            Self::ServicesNamed(name) => format!("service-name#{}", digest(name)),
            Self::OpenAlerts => "alert#open".to_owned(),
            Self::ClosedAlerts => "alert#closed".to_owned(),
            Self::ApiKeys => "api-key".to_owned(),
            Self::Webhooks => "webhook".to_owned(),
            Self::WebhooksFor(None) => "webhook#all".to_owned(),
            Self::WebhooksFor(Some(service)) => format!("webhook#{service}"),
            Self::Deliveries => "delivery".to_owned(),
            Self::OpenRuns(service) => format!("run#open#{service}"),
            Self::StaleRuns => "run#stale".to_owned(),
            Self::CompletedRuns(service) => format!("run#completed#{service}"),
            Self::OtherRuns(service) => format!("run#other#{service}"),
            Self::PendingExecutions => "execution#pending".to_owned(),
            Self::OpenExecutions => "execution#open".to_owned(),
            Self::EndedExecutions => "execution#ended".to_owned(),
            Self::ExecutionsOfService(service) => format!("execution#service#{service}"),
            Self::ExecutionsOfPlaybook(playbook) => format!("execution#playbook#{playbook}"),
            Self::OpenCircuits => "circuit#open".to_owned(),
        }
    }

    /// Where executions of this status are.
    pub(crate) const fn of_status(status: ExecutionStatus) -> Self {
        match status {
            ExecutionStatus::PendingApproval => Self::PendingExecutions,
            ExecutionStatus::Running | ExecutionStatus::Waiting => Self::OpenExecutions,
            ExecutionStatus::Completed | ExecutionStatus::Failed | ExecutionStatus::Cancelled => Self::EndedExecutions,
        }
    }

    /// Integer ids as texts that sort as numbers do.
    pub(crate) fn sk(id: i64) -> String {
        format!("{id:019}")
    }
}

/// The first 128 bits of a text's SHA-256, in hex.
pub fn digest(text: &str) -> String {
    use fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use domain::{RateWindow, from_millis};

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/DATA.md");

    /// One example of every key, as `docs/DATA.md` shows it.
    #[expect(clippy::too_many_lines, reason = "a line for each key")]
    fn layout() -> String {
        let (service, alert, api_key) = (ServiceId::new(7), AlertId::new(3), ApiKeyId::new(1));
        let at = from_millis(1_790_000_000_123);
        let (heartbeat, notification) = (HeartbeatId::at(at, [0; 10]), NotificationId::at(at, [1; 10]));
        let name = HeartbeatName::parse("Nightly-Backup").unwrap();
        let slack = Lane::of(&Receiver::Slack { channel: "C0ALERTS".to_owned() });
        let pagerduty = Lane::of(&Receiver::PagerDuty { service_id: service });
        let target_id = TargetId::new(6);
        let target = Lane::of(&Receiver::Target { kind: TargetKind::Webhook, service_id: service, target_id });
        let webhook = Lane::of(&Receiver::Webhook { webhook_id: WebhookId::new(8) });
        let (delivery, log) = (DeliveryId::at(at, [2; 10]), LogId::at(at, [4; 10]));
        let execution = ExecutionId::at(at, [3; 10]);
        let limit = |key| Key::limit(key, RequestClass::Heartbeats, RateWindow::minute_of(at));
        let items = [
            ("service: state", Key::service(service)),
            ("service: profile", Key::profile(service)),
            ("service's name", Key::service_name(&name)),
            ("heartbeat", Key::heartbeat(service, heartbeat)),
            ("idempotency key", Key::repeated_heartbeat(service, "8f14e45f")),
            ("body of a ping", Key::ping_body(service, heartbeat)),
            ("run", Key::run(service, &RunId::parse("2026-01-31T08").unwrap())),
            ("newest unnamed run", Key::unnamed_run(service)),
            ("alert", Key::alert(alert)),
            ("notification", Key::notification(NotificationOwner::Alert(alert), notification)),
            ("announcement", Key::notification(NotificationOwner::Window(WindowId::new(5)), notification)),
            ("notification of a playbook", Key::notification(NotificationOwner::Execution(execution), notification)),
            ("notification of a circuit", Key::notification(NotificationOwner::Circuit(service), notification)),
            ("lane's head", Key::lane_head(&slack)),
            ("lane entry: Slack", Key::lane_entry(&slack, notification)),
            ("lane entry: PagerDuty", Key::lane_entry(&pagerduty, notification)),
            ("lane entry: target", Key::lane_entry(&target, notification)),
            ("lane entry: webhook", Key::delivery_entry(&webhook, delivery)),
            ("delivery", Key::delivery(WebhookId::new(8), delivery)),
            ("printed notification", Key::printed(notification)),
            ("API key", Key::api_key(api_key)),
            ("API key's name", Key::name("api-key", "Deploy")),
            ("ping key", Key::ping_key(PingKeyId::new(9))),
            ("ping key's name", Key::name("ping-key", "Cron")),
            ("ping key's digest", Key::ping_key_digest(&digest("0123456789ABCDEFGHIJKL"))),
            ("team", Key::team(TeamId::new(2))),
            ("team's name", Key::name("team", "Platform")),
            ("schedule", Key::schedule(ScheduleId::new(4))),
            ("schedule's name", Key::name("schedule", "Office")),
            ("maintenance window", Key::window(WindowId::new(5))),
            ("window's name", Key::name("window", "Upgrade")),
            ("notification target", Key::target(service, TargetId::new(6))),
            ("webhook", Key::webhook(WebhookId::new(8))),
            ("webhook's scope", Key::webhook_scope(WebhookId::new(8))),
            ("playbook", Key::playbook(PlaybookId::new(9))),
            ("playbook's name", Key::name("playbook", "Restart")),
            ("playbook's version", Key::playbook_version(PlaybookId::new(9), 1)),
            ("trigger", Key::trigger(PlaybookId::new(9), TriggerId::new(10))),
            ("script", Key::script(ScriptId::new(11))),
            ("script's name", Key::name("script", "Clear-Cache")),
            ("secret", Key::secret(SecretId::new(12))),
            ("secret's name", Key::name("secret", "TOKEN")),
            ("repeated start", Key::repeated_execution(PlaybookId::new(9), "8f14e45f")),
            ("execution", Key::execution(execution)),
            ("execution's plan", Key::execution_plan(execution)),
            ("execution's step", Key::execution_step(execution, 0)),
            ("execution's playbook", Key::execution_of_playbook(execution)),
            ("start", Key::start(alert, TriggerId::new(10))),
            ("circuit", Key::circuit(service)),
            ("audit entry", Key::audit(log)),
            ("audit: execution", Key::audit_pointer(AuditedBy::Execution(execution), log)),
            ("audit: service", Key::audit_pointer(AuditedBy::Service(service), log)),
            ("counter: services", Key::counter("service")),
            ("counter: alerts", Key::counter("alert")),
            ("counter: API keys", Key::counter("api-key")),
            ("counter: ping keys", Key::counter("ping-key")),
            ("counter: teams", Key::counter("team")),
            ("counter: schedules", Key::counter("schedule")),
            ("counter: windows", Key::counter("window")),
            ("counter: targets", Key::counter("target")),
            ("counter: webhooks", Key::counter("webhook")),
            ("counter: playbooks", Key::counter("playbook")),
            ("counter: triggers", Key::counter("trigger")),
            ("counter: scripts", Key::counter("script")),
            ("counter: secrets", Key::counter("secret")),
            ("targets of a service", Key::counter("target#7")),
            ("webhooks of a service", Key::counter("webhook#7")),
            ("webhooks of all", Key::counter("webhook#all")),
            ("requests in a minute", limit(KeyId::Api(api_key))),
            ("pings in a minute", limit(KeyId::Ping(PingKeyId::new(9)))),
            ("gauges", Key::stats()),
        ];
        let collections = [
            ("services", Collection::Services, service.get()),
            ("services of one name", Collection::ServicesNamed("backup"), service.get()),
            ("open alerts", Collection::OpenAlerts, alert.get()),
            ("closed alerts", Collection::ClosedAlerts, alert.get()),
            ("API keys", Collection::ApiKeys, api_key.get()),
            ("webhooks", Collection::Webhooks, 8),
            ("webhooks of a service", Collection::WebhooksFor(Some(service)), 8),
            ("webhooks of all", Collection::WebhooksFor(None), 8),
        ];
        let mut text = format!("{:<22} {:<46} {SK}\n", "item", PK);
        for (item, Key { pk, sk }) in &items {
            writeln!(text, "{item:<22} {pk:<46} {sk}").unwrap();
        }
        writeln!(text, "\n{:<22} {LIST_PK:<46} {LIST_SK}", format!("index {LIST_INDEX}")).unwrap();
        for (of, collection, id) in &collections {
            writeln!(text, "{of:<22} {:<46} {}", collection.pk(), Collection::sk(*id)).unwrap();
        }
        for (of, collection) in [
            ("waiting executions", Collection::PendingExecutions),
            ("open executions", Collection::OpenExecutions),
            ("ended executions", Collection::EndedExecutions),
            ("... of a service", Collection::ExecutionsOfService(service)),
            ("... of a playbook", Collection::ExecutionsOfPlaybook(PlaybookId::new(9))),
        ] {
            writeln!(text, "{of:<22} {:<46} {execution}", collection.pk()).unwrap();
        }
        writeln!(text, "{:<22} {:<46} 1790000000123#7", "open circuits", Collection::OpenCircuits.pk()).unwrap();
        writeln!(text, "\n{:<22} {DUE_SHARD:<46} {DUE_AT}", format!("index {DUE_INDEX}")).unwrap();
        for (item, key) in items.iter().filter(|(_, key)| key.row_kind().is_some()) {
            writeln!(text, "{item:<22} {:<46} 1790000000123", key.shard()).unwrap();
        }
        text
    }

    #[test]
    fn the_document_shows_every_key() {
        let layout = layout();
        let shown = DOCUMENT.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
        assert!(shown == Some(layout.as_str()), "docs/DATA.md must show this in its first fenced block:\n{layout}");
    }

    #[test]
    fn a_row_that_can_come_due_reads_back_from_its_key() {
        let id = NotificationId::at(from_millis(1_790_000_000_123), [1; 10]);
        assert_eq!(Key::service(ServiceId::new(7)).row_kind(), Some(RowKind::Service(ServiceId::new(7))));
        let execution = NotificationOwner::Execution(ExecutionId::at(from_millis(1_790_000_000_123), [3; 10]));
        let (alert, window) = (NotificationOwner::Alert(AlertId::new(3)), NotificationOwner::Window(WindowId::new(5)));
        for owner in [alert, window, execution, NotificationOwner::Circuit(ServiceId::new(7))] {
            assert_eq!(Key::notification(owner, id).row_kind(), Some(RowKind::Notification(owner, id)));
        }
        let (window, webhook) = (WindowId::new(5), WebhookId::new(8));
        assert_eq!(Key::window(window).row_kind(), Some(RowKind::Window(window)));
        let delivery = DeliveryId::at(from_millis(1_790_000_000_123), [2; 10]);
        assert_eq!(Key::delivery(webhook, delivery).row_kind(), Some(RowKind::Delivery(webhook, delivery)));
        assert_eq!(Key::alert(AlertId::new(3)).row_kind(), None);
    }

    #[test]
    fn a_partition_holds_its_rows_in_the_order_of_their_ids_and_nothing_else() {
        let targets = Partition::targets(ServiceId::new(7));
        let (low, high) = targets.range(None);
        for id in [1, 9, 10, i64::MAX] {
            let Key { pk, sk } = Key::target(ServiceId::new(7), TargetId::new(id));
            assert_eq!((pk, id_in(&sk)), (targets.pk.clone(), Some(id)));
            assert!((low.clone()..=high.clone()).contains(&sk), "{sk}");
        }
        for other in ["profile", "state"] {
            assert!(!(low.clone()..=high.clone()).contains(&other.to_owned()));
        }
        let older = targets.range(Some(10)).1;
        assert!(older < Key::target(ServiceId::new(7), TargetId::new(10)).sk);
        assert_eq!(older, Key::target(ServiceId::new(7), TargetId::new(9)).sk);
    }
}
