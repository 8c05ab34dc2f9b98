//! Every key of the table is built here, and read back here.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{AlertId, ApiKeyId, HeartbeatId, HeartbeatName, NoticeId, Receiver, ServiceId};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    Service(ServiceId),
    Notice(AlertId, NoticeId),
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
    pub(crate) fn repeat(service: ServiceId, idempotency_key: &str) -> Self {
        Self::new(heartbeats_pk(service), format!("key#{}", digest(idempotency_key)))
    }

    pub(crate) fn alert(id: AlertId) -> Self {
        Self::new(alert_pk(id), "alert")
    }

    pub(crate) fn notice(alert: AlertId, id: NoticeId) -> Self {
        Self::new(alert_pk(alert), format!("{NOTICE_PREFIX}{id}"))
    }

    pub(crate) fn lane_entry(lane: &Lane, id: NoticeId) -> Self {
        Self::new(lane.to_string(), id.to_string())
    }

    pub(crate) fn api_key(id: ApiKeyId) -> Self {
        Self::new(format!("api-key#{id}"), "api-key")
    }

    /// Holds a service's name: one item a name makes it unique.
    pub(crate) fn service_name(name: &HeartbeatName) -> Self {
        Self::new(format!("name#service#{}", name.folded()), "name")
    }

    pub(crate) fn api_key_name(name: &str) -> Self {
        Self::new(format!("name#api-key#{}", name.to_lowercase()), "name")
    }

    pub(crate) fn counter(of: &str) -> Self {
        Self::new(format!("counter#{of}"), "counter")
    }

    pub(crate) fn stats() -> Self {
        Self::new("stats".to_owned(), "stats")
    }

    /// What a notice said where no receiver is set up (local only).
    pub(crate) fn printed(id: NoticeId) -> Self {
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
        let (entity, id) = self.pk.split_once('#')?;
        match (entity, self.sk.as_str()) {
            ("service", "state") => Some(RowKind::Service(id.parse().ok()?)),
            ("alert", sk) => Some(RowKind::Notice(id.parse().ok()?, sk.strip_prefix(NOTICE_PREFIX)?.parse().ok()?)),
            _ => None,
        }
    }
}

pub(crate) const NOTICE_PREFIX: &str = "notice#";

pub(crate) fn heartbeats_pk(service: ServiceId) -> String {
    format!("heartbeat#{service}")
}

pub(crate) fn alert_pk(id: AlertId) -> String {
    format!("alert#{id}")
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

/// The notices that one receiver is owed, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane(String);

impl Lane {
    pub fn of(receiver: &Receiver) -> Self {
        Self(match receiver {
            Receiver::Slack { channel } => format!("lane#slack#{channel}"),
            Receiver::PagerDuty { service_id } => format!("lane#pagerduty#{service_id}"),
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
}

impl Collection<'_> {
    pub(crate) fn pk(&self) -> String {
        match self {
            Self::Services => "service".to_owned(),
            Self::ServicesNamed(name) => format!("service-name#{}", digest(name)),
            Self::OpenAlerts => "alert#open".to_owned(),
            Self::ClosedAlerts => "alert#closed".to_owned(),
            Self::ApiKeys => "api-key".to_owned(),
        }
    }

    /// Integer ids as texts that sort as numbers do.
    pub(crate) fn sk(id: i64) -> String {
        format!("{id:019}")
    }
}

fn digest(text: &str) -> String {
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

    use domain::from_millis;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/DATA.md");

    /// One example of every key, as `docs/DATA.md` shows it.
    fn layout() -> String {
        let (service, alert, api_key) = (ServiceId::new(7), AlertId::new(3), ApiKeyId::new(1));
        let at = from_millis(1_790_000_000_123);
        let (heartbeat, notice) = (HeartbeatId::at(at, [0; 10]), NoticeId::at(at, [1; 10]));
        let name = HeartbeatName::parse("Nightly-Backup").unwrap();
        let slack = Lane::of(&Receiver::Slack { channel: "C0ALERTS".to_owned() });
        let pagerduty = Lane::of(&Receiver::PagerDuty { service_id: service });
        let items = [
            ("service: state", Key::service(service)),
            ("service: profile", Key::profile(service)),
            ("service's name", Key::service_name(&name)),
            ("heartbeat", Key::heartbeat(service, heartbeat)),
            ("idempotency key", Key::repeat(service, "8f14e45f")),
            ("alert", Key::alert(alert)),
            ("notice", Key::notice(alert, notice)),
            ("lane entry: Slack", Key::lane_entry(&slack, notice)),
            ("lane entry: PagerDuty", Key::lane_entry(&pagerduty, notice)),
            ("printed notice", Key::printed(notice)),
            ("API key", Key::api_key(api_key)),
            ("API key's name", Key::api_key_name("Deploy")),
            ("counter: services", Key::counter("service")),
            ("counter: alerts", Key::counter("alert")),
            ("counter: API keys", Key::counter("api-key")),
            ("gauges", Key::stats()),
        ];
        let collections = [
            ("services", Collection::Services, service.get()),
            ("services of one name", Collection::ServicesNamed("backup"), service.get()),
            ("open alerts", Collection::OpenAlerts, alert.get()),
            ("closed alerts", Collection::ClosedAlerts, alert.get()),
            ("API keys", Collection::ApiKeys, api_key.get()),
        ];
        let mut text = format!("{:<22} {:<46} {SK}\n", "item", PK);
        for (item, Key { pk, sk }) in &items {
            writeln!(text, "{item:<22} {pk:<46} {sk}").unwrap();
        }
        writeln!(text, "\n{:<22} {LIST_PK:<46} {LIST_SK}", format!("index {LIST_INDEX}")).unwrap();
        for (of, collection, id) in &collections {
            writeln!(text, "{of:<22} {:<46} {}", collection.pk(), Collection::sk(*id)).unwrap();
        }
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
        let id = NoticeId::at(from_millis(1_790_000_000_123), [1; 10]);
        assert_eq!(Key::service(ServiceId::new(7)).row_kind(), Some(RowKind::Service(ServiceId::new(7))));
        assert_eq!(Key::notice(AlertId::new(3), id).row_kind(), Some(RowKind::Notice(AlertId::new(3), id)));
        assert_eq!(Key::alert(AlertId::new(3)).row_kind(), None);
    }
}
