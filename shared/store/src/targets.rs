//! Notification targets: in the partition of their service.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{Destination, Endpoint, Revision, ServiceId, ServiceKey, Target, TargetId};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, Limit, RevisionItem, read_id};
use crate::item::{self, Item, corrupt, number};
use crate::keys::{EXPIRES_AT, Key, Partition};
use crate::requests::Request as _;
use crate::table::{Commit, EXISTS, Page, commit_of};
use crate::{Entity, Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct TargetItem {
    destination: DestinationItem,
    priority: i32,
    enabled: bool,
    period: String,
    #[serde(flatten)]
    revision: RevisionItem,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum DestinationItem {
    Slack { channel_id: String },
    PagerDuty { service_key: String },
    Webhook { url: String, headers: BTreeMap<String, String> },
}

impl std::fmt::Debug for DestinationItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DestinationItem(..)")
    }
}

impl DestinationItem {
    fn of(destination: &Destination) -> Self {
        match destination.clone() {
            Destination::Slack { channel_id } => Self::Slack { channel_id },
            Destination::PagerDuty { service_key } => Self::PagerDuty { service_key: service_key.reveal().to_owned() },
            Destination::Webhook(Endpoint { url, headers }) => Self::Webhook { url, headers },
        }
    }

    fn into_destination(self) -> Result<Destination, domain::Invalid> {
        Ok(match self {
            Self::Slack { channel_id } => Destination::Slack { channel_id },
            Self::PagerDuty { service_key } => Destination::PagerDuty { service_key: ServiceKey::parse(service_key)? },
            Self::Webhook { url, headers } => Destination::Webhook(Endpoint { url, headers }),
        })
    }
}

impl Entity for Target {
    type Id = (ServiceId, TargetId);

    const NOUN: &'static str = "notification target";
    const KIND: &'static str = "target";

    fn identity(&self) -> Identity<'_, Self::Id> {
        Identity::unnamed((self.service_id, self.id), self.revision)
    }

    fn key((service, id): Self::Id) -> Key {
        Key::target(service, id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, service_id, destination, priority, enabled, period, revision } = self;
        let body = TargetItem {
            destination: DestinationItem::of(destination),
            priority: *priority,
            enabled: *enabled,
            period: period.as_str().to_owned(),
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::target(*service_id, *id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let TargetItem { destination, priority, enabled, period, revision } = item::read(item)?;
        let invalid = |source: domain::Invalid| corrupt(Some(key), source);
        Ok(Self {
            id: read_id(key, &key.sk)?,
            service_id: read_id(key, &key.pk)?,
            destination: destination.into_destination().map_err(invalid)?,
            priority,
            enabled,
            period: period.parse().map_err(invalid)?,
            revision: revision.into_revision(),
        })
    }

    fn needs(&self) -> Option<Key> {
        Some(Key::profile(self.service_id))
    }

    fn limit(&self) -> Option<Limit> {
        Some(Limit { counter: targets_of(self.service_id), max: Self::MAX, of: "for one service" })
    }
}

/// Returns the counter of a service's targets.
pub(crate) fn targets_of(service: ServiceId) -> Key {
    Key::counter(&format!("target#{service}"))
}

impl Table {
    /// Finds a target, also one of a service that was deleted a while ago.
    pub async fn target(&self, service: ServiceId, id: TargetId) -> Result<Option<Target>, Error> {
        self.find((service, id)).await
    }

    /// Returns all targets of a service, in the order in which they are notified. Consistent.
    pub async fn targets(&self, service: ServiceId) -> Result<Vec<Target>, Error> {
        let mut targets = self.page(&Partition::targets(service), None, usize::MAX).await?.items;
        targets.sort_unstable_by_key(Target::order);
        Ok(targets)
    }

    /// Returns targets of a service, newest first.
    pub async fn target_page(
        &self,
        service: ServiceId,
        after: Option<TargetId>,
        limit: usize,
    ) -> Result<Page<Target>, Error> {
        self.page(&Partition::targets(service), after.map(TargetId::get), limit).await
    }

    /// Lets the targets of a deleted service expire at `at`: until then whoever still sends to them can read them.
    pub(crate) async fn expire_targets(&self, service: ServiceId, at: DateTime<Utc>) -> Result<(), Error> {
        for target in self.targets(service).await? {
            let sent = self
                .client
                .update_item()
                .table_name(&self.name)
                .set_key(Some(Target::key(target.id()).attributes()))
                .update_expression("SET #e = :at")
                .condition_expression(EXISTS)
                .expression_attribute_names("#e", EXPIRES_AT)
                .expression_attribute_values(":at", number(at.timestamp()))
                .send_boxed()
                .await;
            // On a conflict it was deleted meanwhile.
            let _expiring: Commit = commit_of(sent)?;
        }
        self.delete_item(&targets_of(service)).await
    }
}
