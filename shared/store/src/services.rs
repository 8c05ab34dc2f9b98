//! Services: a row that heartbeats and the sweep write (`state`, under 1 KB) and one that people edit (`profile`).

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, Utc};
use domain::{GIVE_UP_AFTER, Profile, Service, ServiceId, Stamp, Status, Target, to_millis};

use crate::entity::{holds_any, read_all};
use crate::item::{self, Diff, Item, corrupt, number};
use crate::keys::{Collection, DUE_AT, DUE_SHARD, Key, LIST_PK, LIST_SK, service_id_of};
use crate::names::NameItem;
use crate::requests::Request as _;
use crate::service_items::{ProfileItem, StateItem, profile_item, state_attributes, state_item};
use crate::table::{Commit, EXISTS, IS_NEW, Page, Writes};
use crate::targets::targets_of;
use crate::webhooks::webhooks_counted;
use crate::{Claim, Error, Table};

/// A service's state as it was read: a write that was decided on it must still find it so.
#[derive(Debug, Clone)]
pub struct ServiceSnapshot {
    pub service: Service,
    item: Item,
}

/// Both rows of a service.
#[derive(Debug, Clone)]
pub struct ServiceRecord {
    pub snapshot: ServiceSnapshot,
    pub profile: Profile,
    profile_item: Item,
}

/// What an alert needs to know of its service.
#[derive(Debug, Clone)]
pub struct AlertContext {
    pub profile: Profile,
    /// Whether it has notification targets.
    pub has_targets: bool,
    /// Whether it has webhooks of its own.
    pub has_webhooks: bool,
}

/// The result of writing a heartbeat blindly, with nothing read first.
#[derive(Debug)]
pub enum HeartbeatWrite {
    Counted,
    /// It was not written: the service is not as the write supposed. This is how it is.
    Differs(Box<ServiceSnapshot>),
    /// There is no such service.
    Unknown,
}

impl Table {
    /// Counts a heartbeat for a service that is supposed to be up and active with this threshold: one write unit, and
    /// nothing is read. In any other case it returns the service as it is.
    pub async fn write_heartbeat(
        &self,
        id: ServiceId,
        threshold: u32,
        stamp: Stamp,
        status: Status,
    ) -> Result<HeartbeatWrite, Error> {
        let newest_first = (1..=threshold).rev().map(|n| match n {
            1 => "h1 = :stamp".to_owned(),
            n => format!("h{n} = h{}", n - 1),
        });
        let sets: Vec<String> = newest_first.collect();
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::service(id).attributes()))
            .update_expression(format!("SET {}, last_status = :status ADD heartbeat_count :one", sets.join(", ")))
            .condition_expression(
                "active = :true AND down = :false AND threshold = :threshold AND h1 < :stamp AND failed < :stamp \
                 AND attribute_not_exists(pending)",
            )
            .expression_attribute_values(":stamp", number(stamp.raw()))
            .expression_attribute_values(":status", item::text(status.as_str()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":false", AttributeValue::Bool(false))
            .expression_attribute_values(":threshold", number(threshold))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send_boxed()
            .await;
        let Err(error) = sent else { return Ok(HeartbeatWrite::Counted) };
        let found = match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(differs)) => {
                differs.item().cloned().map(ServiceSnapshot::read).transpose()?
            }
            // A transition of this very service is being committed.
            Some(UpdateItemError::TransactionConflictException(_)) => self.service_snapshot(id).await?,
            _ => return Err(error.into()),
        };
        Ok(match found.filter(|snapshot| !snapshot.service.deleted) {
            Some(snapshot) => HeartbeatWrite::Differs(Box::new(snapshot)),
            None => HeartbeatWrite::Unknown,
        })
    }

    /// Saves a heartbeat or another change that was applied to what was read.
    pub async fn save_state(&self, old: &ServiceSnapshot, service: &Service) -> Result<Commit, Error> {
        let mut writes = Writes::new();
        writes.transition(self, old, service)?;
        self.single_update(writes).await
    }

    /// Saves a part of a look at a service's runs, which leaves its timer alone: one write unit. Heartbeats that came
    /// between do not matter.
    pub async fn save_runs_look(&self, old: &ServiceSnapshot, looked: &Service) -> Result<Commit, Error> {
        let Some(diff) = old.diff(looked)? else { return Ok(Commit::Done) };
        let (mut writes, version) = (Writes::new(), [(":old_version", number(old.service.version))]);
        writes.table_update(self, &Key::service(looked.id), diff, "version = :old_version", version)?;
        self.single_update(writes).await
    }

    /// Reads the state of a service, deleted ones included. Consistent.
    pub async fn service_snapshot(&self, id: ServiceId) -> Result<Option<ServiceSnapshot>, Error> {
        self.get(&Key::service(id), true).await?.map(ServiceSnapshot::read).transpose()
    }

    /// Reads the states of these services that exist and can be read. Consistent.
    pub async fn service_snapshots(&self, ids: &[ServiceId]) -> Result<HashMap<ServiceId, ServiceSnapshot>, Error> {
        let items = self.get_many(ids.iter().copied().map(Key::service).collect()).await?;
        let read = items.into_iter().filter_map(|item| ServiceSnapshot::read(item).ok());
        Ok(read.map(|snapshot| (snapshot.service.id, snapshot)).collect())
    }

    /// Reads what an alert of each of these services needs to know, where that exists and can be read. Consistent.
    pub async fn alert_contexts(&self, ids: &[ServiceId]) -> Result<HashMap<ServiceId, AlertContext>, Error> {
        let keys = |id: &ServiceId| [Key::profile(*id), targets_of(*id), webhooks_counted(Some(*id))];
        let mut items: HashMap<Key, Item> = self
            .get_many(ids.iter().flat_map(keys).collect())
            .await?
            .into_iter()
            .filter_map(|item| Some((Key::of(&item)?, item)))
            .collect();
        let mut take = |id: &ServiceId| {
            let [profile, targets, webhooks] = keys(id).map(|key| items.remove(&key));
            let context = AlertContext {
                profile: read_profile(profile?).ok()?,
                has_targets: targets.is_some_and(|counter| holds_any(counter).unwrap_or(true)),
                has_webhooks: webhooks.is_some_and(|counter| holds_any(counter).unwrap_or(true)),
            };
            Some((*id, context))
        };
        Ok(ids.iter().filter_map(&mut take).collect())
    }

    /// Finds both rows of a service that is not deleted. Consistent.
    pub async fn service(&self, id: ServiceId) -> Result<Option<ServiceRecord>, Error> {
        Ok(self.services_by_id(&[id]).await?.pop())
    }

    /// Finds both rows of a service that is not deleted, and its targets in the order in which they are notified: one query
    /// of its partition. Consistent.
    pub async fn service_and_targets(&self, id: ServiceId) -> Result<Option<(ServiceRecord, Vec<Target>)>, Error> {
        let mut items = self.partition(&Key::service(id).pk).await?;
        let mut take = |key: Key| {
            let place = items.iter().position(|item| Key::of(item).as_ref() == Some(&key))?;
            Some(items.swap_remove(place))
        };
        let (Some(state), Some(profile)) = (take(Key::service(id)), take(Key::profile(id))) else { return Ok(None) };
        let record = ServiceRecord::read(state, profile)?;
        let mut targets: Vec<Target> = read_all(items)?;
        targets.sort_unstable_by_key(Target::order);
        Ok(Some((record, targets)).filter(|(record, _)| !record.snapshot.service.deleted))
    }

    /// Returns the services of these ids that exist, in the order of the ids.
    pub async fn services_by_id(&self, ids: &[ServiceId]) -> Result<Vec<ServiceRecord>, Error> {
        let keys = ids.iter().flat_map(|id| [Key::service(*id), Key::profile(*id)]).collect();
        let mut items: HashMap<Key, Item> =
            self.get_many(keys).await?.into_iter().filter_map(|item| Some((Key::of(&item)?, item))).collect();
        ids.iter()
            .filter_map(|id| {
                let state = items.remove(&Key::service(*id))?;
                let profile = items.remove(&Key::profile(*id))?;
                Some(ServiceRecord::read(state, profile))
            })
            .filter(|record| record.as_ref().map_or(true, |record| !record.snapshot.service.deleted))
            .collect()
    }

    /// Returns which of these services exist. An id may come more than once.
    pub async fn existing_services(&self, ids: impl IntoIterator<Item = ServiceId>) -> Result<Vec<ServiceId>, Error> {
        let items = self.get_many(ids.into_iter().map(Key::profile).collect()).await?;
        Ok(items.iter().filter_map(Key::of).filter_map(|key| service_id_of(&key.pk)).collect())
    }

    /// Returns services, newest first.
    pub async fn services(
        &self,
        named: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ServiceRecord>, Error> {
        let collection = named.map_or(Collection::Services, Collection::ServicesNamed);
        let page = self.list(&collection, after, limit).await?;
        let ids: Vec<_> = page.items.iter().filter_map(|key| service_id_of(&key.pk)).collect();
        Ok(Page { items: self.services_by_id(&ids).await?, next: page.next })
    }

    /// Registers a service under its name, which must be free, together with what `writes` holds.
    pub async fn register(&self, service: &Service, profile: &Profile, mut writes: Writes) -> Result<Claim, Error> {
        let name = Key::service_name(&profile.heartbeat_name);
        writes.table_put(self, item::write(&name, &NameItem { id: service.id.get() })?, Some(IS_NEW))?;
        writes.table_put(self, state_item(service, profile.service_name.as_str())?, Some(IS_NEW))?;
        writes.table_put(self, profile_item(service.id, profile)?, Some(IS_NEW))?;
        match self.commit(writes).await? {
            Commit::Done => {
                self.count_services(1, i64::from(service.active)).await;
                Ok(Claim::Created)
            }
            // An earlier try of this very write may have been committed; who has the name shows it.
            Commit::Conflict => match self.service_named(&profile.heartbeat_name, true).await? {
                Some(owner) if owner == service.id => Ok(Claim::Created),
                Some(_) => Ok(Claim::Taken),
                None => Err(Error::Contended { key: name.to_string() }),
            },
        }
    }

    /// Saves an operator's update together with what `writes` holds, unless another update or transition came between.
    pub async fn save_edit(
        &self,
        old: &ServiceRecord,
        service: &Service,
        profile: &Profile,
        mut writes: Writes,
    ) -> Result<Commit, Error> {
        let id = service.id;
        let snapshot = &old.snapshot;
        let new = state_item(service, profile.service_name.as_str())?;
        if let Some(diff) = Diff::between(&snapshot.item, &new) {
            let version = [(":version", number(snapshot.service.version))];
            writes.table_update(self, &Key::service(id), diff, "version = :version", version)?;
        }
        if let Some(diff) = Diff::between(&old.profile_item, &profile_item(id, profile)?) {
            let (condition, values) = as_read(&old.profile);
            writes.table_update(self, &Key::profile(id), diff, condition, values)?;
        }
        let commit = if writes.is_empty() { Commit::Done } else { self.commit(writes).await? };
        let active = i64::from(service.active) - i64::from(snapshot.service.active);
        if commit == Commit::Done && active != 0 {
            self.count_services(0, active).await;
        }
        Ok(commit)
    }

    /// Hides a service and frees its name, together with what `writes` holds. `service` is the service with `deleted` set;
    /// the sweep removes it.
    pub async fn mark_deleted(
        &self,
        old: &ServiceRecord,
        service: &Service,
        mut writes: Writes,
    ) -> Result<Commit, Error> {
        let mut hidden = state_item(service, old.profile.service_name.as_str())?;
        hidden.remove(LIST_PK);
        hidden.remove(LIST_SK);
        if let Some(diff) = Diff::between(&old.snapshot.item, &hidden) {
            let version = number(old.snapshot.service.version);
            writes.table_update(
                self,
                &Key::service(service.id),
                diff,
                "version = :version",
                [(":version", version)],
            )?;
        }
        let (condition, values) = as_read(&old.profile);
        writes.table_delete_if(self, &Key::profile(service.id), condition, values)?;
        writes.table_delete(self, &Key::service_name(&old.profile.heartbeat_name), EXISTS)?;
        let commit = self.commit(writes).await?;
        if commit == Commit::Done {
            self.count_services(-1, -i64::from(old.snapshot.service.active)).await;
        }
        Ok(commit)
    }

    /// Removes a deleted service's last row. Its targets expire once no notification can be on its way to them.
    pub async fn delete_service(&self, id: ServiceId, now: DateTime<Utc>) -> Result<(), Error> {
        self.expire_targets(id, now + GIVE_UP_AFTER * 2).await?;
        self.delete_item(&Key::service(id)).await
    }

    /// Moves a service that is fine to its true deadline: three write units.
    pub async fn rearm(&self, old: &ServiceSnapshot, due_at: Option<DateTime<Utc>>) -> Result<Commit, Error> {
        let mut rearmed = old.item.clone();
        rearmed.remove(DUE_SHARD);
        rearmed.remove(DUE_AT);
        item::set_due(&mut rearmed, &Key::service(old.service.id), due_at.map(to_millis));
        let Some(diff) = Diff::between(&old.item, &rearmed) else {
            return Ok(Commit::Done);
        };
        let mut writes = Writes::new();
        let was_due = old.item.get(DUE_AT).cloned().unwrap_or_else(|| number(0));
        let decided_on = [(":was_due", was_due), (":version", number(old.service.version))];
        let condition = "due_at = :was_due AND version = :version AND attribute_not_exists(pending)";
        writes.table_update(self, &Key::service(old.service.id), diff, condition, decided_on)?;
        self.single_update(writes).await
    }
}

/// Returns the condition that a profile is as it was read, since the audit log says what it was.
fn as_read(profile: &Profile) -> (&'static str, Option<(&'static str, AttributeValue)>) {
    match profile.date_modified {
        Some(at) => ("date_modified = :modified", Some((":modified", number(to_millis(at))))),
        None => ("attribute_exists(pk) AND attribute_not_exists(date_modified)", None),
    }
}

impl Writes {
    /// Updates a service from what was read to `service`, if no heartbeat, operator or other transition came between.
    pub fn transition(&mut self, table: &Table, old: &ServiceSnapshot, service: &Service) -> Result<(), Error> {
        let Some(diff) = old.diff(service)? else { return Ok(()) };
        let decided_on =
            [(":version", number(old.service.version)), (":heartbeat_count", number(old.service.heartbeat_count))];
        let condition = "version = :version AND heartbeat_count = :heartbeat_count";
        self.table_update(table, &Key::service(service.id), diff, condition, decided_on)
    }
}

impl ServiceSnapshot {
    /// Returns what differs between what was read and `service`.
    fn diff(&self, service: &Service) -> Result<Option<Diff>, Error> {
        let mut new = state_attributes(service)?;
        for kept in [LIST_PK, LIST_SK] {
            if let Some(value) = self.item.get(kept) {
                new.insert(kept.to_owned(), value.clone());
            }
        }
        Ok(Diff::between(&self.item, &new))
    }

    pub(crate) fn read(item: Item) -> Result<Self, Error> {
        let key = Key::of(&item);
        let id = key.as_ref().and_then(|key| service_id_of(&key.pk));
        let id = id.ok_or_else(|| corrupt(key.as_ref(), "not a service's key"))?;
        let state: StateItem = item::read(item.clone())?;
        let stamps = (1..=state.threshold)
            .map(|n| item.get(&format!("h{n}")).and_then(|value| value.as_n().ok()?.parse().ok()))
            .map(|raw| raw.map(Stamp::from_raw).unwrap_or_default())
            .collect();
        let service = state.into_service(id, stamps).map_err(|source| corrupt(key.as_ref(), source))?;
        Ok(Self { service, item })
    }
}

impl ServiceRecord {
    fn read(state: Item, profile_item: Item) -> Result<Self, Error> {
        let profile = read_profile(profile_item.clone())?;
        Ok(Self { snapshot: ServiceSnapshot::read(state)?, profile, profile_item })
    }
}

fn read_profile(item: Item) -> Result<Profile, Error> {
    let key = Key::of(&item);
    let profile: ProfileItem = item::read(item)?;
    profile.into_profile().map_err(|source| corrupt(key.as_ref(), source))
}
