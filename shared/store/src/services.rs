//! Services: a row that heartbeats and the sweep write (`state`, under 1 KB) and one that people edit (`profile`).

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    AlertId, HeartbeatName, Label, Mute, NotificationMode, Outage, Pending, Priority, Profile, Pulse, Rule, Service,
    ServiceId, Stamp, Status, from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

use crate::item::{self, Diff, Item, corrupt, number};
use crate::keys::{Collection, DUE_AT, DUE_SHARD, Key, LIST_PK, LIST_SK, service_id_of};
use crate::names::NameItem;
use crate::table::{Commit, EXISTS, IS_NEW, Page, Writes};
use crate::{Claim, Error, Table};

/// A service's state as it was read: what a write that was decided on it must still find.
#[derive(Debug, Clone)]
pub struct Watched {
    pub service: Service,
    item: Item,
}

/// Both rows of a service.
#[derive(Debug, Clone)]
pub struct ServiceRecord {
    pub watched: Watched,
    pub profile: Profile,
    profile_item: Item,
}

/// What became of a heartbeat written blindly, with nothing read first.
#[derive(Debug)]
pub enum Beat {
    Counted,
    /// It was not written: the service is not as the write supposed. This is how it stands.
    Differs(Box<Watched>),
    /// There is no such service.
    Unknown,
}

impl Table {
    /// Counts a heartbeat for a service that is supposed to be up and active with this threshold: one write unit, and
    /// nothing is read. Any other case is answered with the service as it is.
    pub async fn beat(&self, id: ServiceId, threshold: u32, stamp: Stamp, status: Status) -> Result<Beat, Error> {
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
            .update_expression(format!("SET {}, last_status = :status ADD heard :one", sets.join(", ")))
            .condition_expression(
                "active = :yes AND down = :no AND threshold = :threshold AND h1 < :stamp AND failed < :stamp \
                 AND attribute_not_exists(pending)",
            )
            .expression_attribute_values(":stamp", number(stamp.raw()))
            .expression_attribute_values(":status", item::text(status.as_str()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":no", AttributeValue::Bool(false))
            .expression_attribute_values(":threshold", number(threshold))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = sent else { return Ok(Beat::Counted) };
        let found = match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                refused.item().cloned().map(Watched::read).transpose()?
            }
            // A transition of this very service is being made.
            Some(UpdateItemError::TransactionConflictException(_)) => self.watched(id).await?,
            _ => return Err(error.into()),
        };
        Ok(match found.filter(|watched| !watched.service.deleted) {
            Some(watched) => Beat::Differs(Box::new(watched)),
            None => Beat::Unknown,
        })
    }

    /// Saves a heartbeat that was recorded on what was read.
    pub async fn save_heard(&self, seen: &Watched, heard: &Service) -> Result<Commit, Error> {
        let mut writes = Writes::new();
        writes.transition(self, seen, heard)?;
        self.single_update(writes).await
    }

    /// The state of a service, deleted ones included. Consistent.
    pub async fn watched(&self, id: ServiceId) -> Result<Option<Watched>, Error> {
        self.get(&Key::service(id), true).await?.map(Watched::read).transpose()
    }

    /// Both rows of a service that is not deleted. Consistent.
    pub async fn service(&self, id: ServiceId) -> Result<Option<ServiceRecord>, Error> {
        Ok(self.services_by_id(&[id]).await?.pop())
    }

    /// The services of these ids that are there, in the order of the ids.
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
            .filter(|record| record.as_ref().map_or(true, |record| !record.watched.service.deleted))
            .collect()
    }

    /// Which of these services are there.
    pub async fn existing_services(&self, ids: &[ServiceId]) -> Result<Vec<ServiceId>, Error> {
        let items = self.get_many(ids.iter().map(|id| Key::profile(*id)).collect()).await?;
        Ok(items.iter().filter_map(Key::of).filter_map(|key| service_id_of(&key.pk)).collect())
    }

    /// Services, newest first.
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

    /// Registers a service under its name, which must be free.
    pub async fn register(&self, service: &Service, profile: &Profile) -> Result<Claim, Error> {
        let mut writes = Writes::new();
        let name = Key::service_name(&profile.heartbeat_name);
        writes.table_put(self, item::write(&name, &NameItem { id: service.id.get() })?, Some(IS_NEW))?;
        writes.table_put(self, state_item(service, profile.service_name.as_str())?, Some(IS_NEW))?;
        writes.table_put(self, profile_item(service.id, profile)?, Some(IS_NEW))?;
        match self.commit(writes).await? {
            Commit::Done => {
                self.count_services(1, i64::from(service.active)).await;
                Ok(Claim::Made)
            }
            // An earlier try of this very write may have been made; whose the name is, tells.
            Commit::Refused => match self.service_named(&profile.heartbeat_name, true).await? {
                Some(owner) if owner == service.id => Ok(Claim::Made),
                Some(_) => Ok(Claim::Taken),
                None => Err(Error::Contended { key: name.to_string() }),
            },
        }
    }

    /// Saves an operator's change, unless another change or transition of what is watched came between.
    pub async fn save_edit(&self, seen: &ServiceRecord, service: &Service, profile: &Profile) -> Result<Commit, Error> {
        let mut writes = Writes::new();
        let id = service.id;
        let old = &seen.watched;
        let new = state_item(service, profile.service_name.as_str())?;
        if let Some(diff) = Diff::between(&old.item, &new) {
            let condition = "version = :version";
            writes.table_update(
                self,
                &Key::service(id),
                diff,
                condition,
                [(":version", number(old.service.version))],
            )?;
        }
        if let Some(diff) = Diff::between(&seen.profile_item, &profile_item(id, profile)?) {
            writes.table_update(self, &Key::profile(id), diff, EXISTS, [])?;
        }
        let commit = if writes.is_empty() { Commit::Done } else { self.commit(writes).await? };
        let active = i64::from(service.active) - i64::from(old.service.active);
        if commit == Commit::Done && active != 0 {
            self.count_services(0, active).await;
        }
        Ok(commit)
    }

    /// Hides a service and frees its name. `service` is it with `deleted` set; the sweep removes it.
    pub async fn hide(&self, seen: &ServiceRecord, service: &Service) -> Result<Commit, Error> {
        let mut writes = Writes::new();
        let mut hidden = state_item(service, seen.profile.service_name.as_str())?;
        hidden.remove(LIST_PK);
        hidden.remove(LIST_SK);
        if let Some(diff) = Diff::between(&seen.watched.item, &hidden) {
            let version = number(seen.watched.service.version);
            writes.table_update(
                self,
                &Key::service(service.id),
                diff,
                "version = :version",
                [(":version", version)],
            )?;
        }
        writes.table_delete(self, &Key::profile(service.id), EXISTS)?;
        writes.table_delete(self, &Key::service_name(&seen.profile.heartbeat_name), EXISTS)?;
        let commit = self.commit(writes).await?;
        if commit == Commit::Done {
            self.count_services(-1, -i64::from(seen.watched.service.active)).await;
        }
        Ok(commit)
    }

    /// Removes a deleted service's last row.
    pub async fn remove_service(&self, id: ServiceId) -> Result<(), Error> {
        self.delete(&Key::service(id)).await
    }

    /// Moves a service that is fine to its true deadline: three write units.
    pub async fn rearm(&self, seen: &Watched, due_at: Option<DateTime<Utc>>) -> Result<Commit, Error> {
        let mut rested = seen.item.clone();
        rested.remove(DUE_SHARD);
        rested.remove(DUE_AT);
        item::set_due(&mut rested, &Key::service(seen.service.id), due_at.map(to_millis));
        let Some(diff) = Diff::between(&seen.item, &rested) else {
            return Ok(Commit::Done);
        };
        let mut writes = Writes::new();
        let was_due = seen.item.get(DUE_AT).cloned().unwrap_or_else(|| number(0));
        let decided_on = [(":was_due", was_due), (":version", number(seen.service.version))];
        let condition = "due_at = :was_due AND version = :version AND attribute_not_exists(pending)";
        writes.table_update(self, &Key::service(seen.service.id), diff, condition, decided_on)?;
        self.single_update(writes).await
    }
}

impl Writes {
    /// Turns the service that was seen into `service`, if no heartbeat, operator or other transition came between.
    pub fn transition(&mut self, table: &Table, seen: &Watched, service: &Service) -> Result<(), Error> {
        let mut new = state_attributes(service)?;
        for kept in [LIST_PK, LIST_SK] {
            if let Some(value) = seen.item.get(kept) {
                new.insert(kept.to_owned(), value.clone());
            }
        }
        let Some(diff) = Diff::between(&seen.item, &new) else {
            return Ok(());
        };
        let decided_on = [(":version", number(seen.service.version)), (":heard", number(seen.service.heard))];
        let condition = "version = :version AND heard = :heard";
        self.table_update(table, &Key::service(service.id), diff, condition, decided_on)
    }
}

impl Watched {
    fn read(item: Item) -> Result<Self, Error> {
        let key = Key::of(&item);
        let id = key.as_ref().and_then(|key| service_id_of(&key.pk));
        let id = id.ok_or_else(|| corrupt(key.as_ref(), "not a service's key"))?;
        let state: StateItem = item::read(item.clone())?;
        let beats = (1..=state.threshold)
            .map(|n| item.get(&format!("h{n}")).and_then(|value| value.as_n().ok()?.parse().ok()))
            .map(|raw| raw.map(Stamp::from_raw).unwrap_or_default())
            .collect();
        let service = state.into_service(id, beats).map_err(|source| corrupt(key.as_ref(), source))?;
        Ok(Self { service, item })
    }
}

impl ServiceRecord {
    fn read(state: Item, profile_item: Item) -> Result<Self, Error> {
        let key = Key::of(&profile_item);
        let profile: ProfileItem = item::read(profile_item.clone())?;
        let profile = profile.into_profile().map_err(|source| corrupt(key.as_ref(), source))?;
        Ok(Self { watched: Watched::read(state)?, profile, profile_item })
    }
}

/// The `state` row but for its beats (`h1` … `h20`), its key and the due index.
#[derive(Debug, Serialize, Deserialize)]
struct StateItem {
    active: bool,
    down: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    interval_ms: i64,
    grace_ms: i64,
    threshold: u32,
    counts_from: i64,
    failed: i64,
    heard: u64,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    muted_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    muted_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_notice_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outage: Option<OutageItem>,
    #[serde(default, skip_serializing)]
    due_at: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OutageItem {
    alert_id: i64,
    known: i64,
    next_reminder_at: i64,
    cycled_at: i64,
    cycle: u32,
    told: bool,
    acknowledged: bool,
}

impl StateItem {
    fn into_service(self, id: ServiceId, beats: Vec<Stamp>) -> Result<Service, domain::Invalid> {
        let Self {
            active,
            down: _,
            deleted,
            interval_ms,
            grace_ms,
            threshold,
            counts_from,
            failed,
            heard,
            version,
            last_status,
            pending,
            muted_since,
            muted_until,
            last_notice_at,
            outage,
            due_at,
        } = self;
        let last_status = last_status.map(|text| text.parse::<Status>()).transpose()?;
        Ok(Service {
            id,
            rule: Rule {
                interval: TimeDelta::milliseconds(interval_ms),
                grace: TimeDelta::milliseconds(grace_ms),
                threshold,
            },
            active,
            deleted,
            counts_from: from_millis(counts_from),
            pulse: Pulse { beats, failed: Stamp::from_raw(failed), last_status },
            heard,
            pending: pending.map(|text| read_pending(&text)).transpose()?,
            outage: outage.map(OutageItem::into_outage),
            mute: muted_since
                .zip(muted_until)
                .map(|(since, until)| Mute { since: from_millis(since), until: from_millis(until) }),
            last_notice_at: last_notice_at.map(from_millis),
            due_at: due_at.map(from_millis),
            version,
        })
    }
}

impl OutageItem {
    fn into_outage(self) -> Outage {
        let Self { alert_id, known, next_reminder_at, cycled_at, cycle, told, acknowledged } = self;
        Outage {
            alert_id: AlertId::new(alert_id),
            known: Stamp::from_raw(known),
            next_reminder_at: from_millis(next_reminder_at),
            cycled_at: from_millis(cycled_at),
            cycle,
            told,
            acknowledged,
        }
    }

    fn of(outage: &Outage) -> Self {
        let Outage { alert_id, known, next_reminder_at, cycled_at, cycle, told, acknowledged } = outage;
        Self {
            alert_id: alert_id.get(),
            known: known.raw(),
            next_reminder_at: to_millis(*next_reminder_at),
            cycled_at: to_millis(*cycled_at),
            cycle: *cycle,
            told: *told,
            acknowledged: *acknowledged,
        }
    }
}

const SET_DOWN: &str = "SET_DOWN";
const SET_UP: &str = "SET_UP";
const SWITCHED_OFF: &str = "SWITCHED_OFF";

fn read_pending(text: &str) -> Result<Pending, domain::Invalid> {
    Ok(match text {
        SET_DOWN => Pending::SetDown,
        SET_UP => Pending::SetUp,
        SWITCHED_OFF => Pending::SwitchedOff,
        said => Pending::Said(said.parse()?),
    })
}

fn write_pending(pending: Pending) -> &'static str {
    match pending {
        Pending::Said(status) => status.as_str(),
        Pending::SetDown => SET_DOWN,
        Pending::SetUp => SET_UP,
        Pending::SwitchedOff => SWITCHED_OFF,
    }
}

/// The whole `state` row, with its place among the services of one `service_name`.
fn state_item(service: &Service, service_name: &str) -> Result<Item, Error> {
    let mut item = state_attributes(service)?;
    item.insert(LIST_PK.to_owned(), item::text(Collection::ServicesNamed(service_name).pk()));
    item.insert(LIST_SK.to_owned(), item::text(Collection::sk(service.id.get())));
    Ok(item)
}

fn state_attributes(service: &Service) -> Result<Item, Error> {
    let Service {
        id,
        rule,
        active,
        deleted,
        counts_from,
        pulse,
        heard,
        pending,
        outage,
        mute,
        last_notice_at,
        due_at,
        version,
    } = service;
    let key = Key::service(*id);
    let state = StateItem {
        active: *active,
        down: outage.is_some(),
        deleted: *deleted,
        interval_ms: rule.interval.num_milliseconds(),
        grace_ms: rule.grace.num_milliseconds(),
        threshold: rule.threshold,
        counts_from: to_millis(*counts_from),
        failed: pulse.failed.raw(),
        heard: *heard,
        version: *version,
        last_status: pulse.last_status.map(|status| status.as_str().to_owned()),
        pending: pending.map(|pending| write_pending(pending).to_owned()),
        muted_since: mute.map(|mute| to_millis(mute.since)),
        muted_until: mute.map(|mute| to_millis(mute.until)),
        last_notice_at: last_notice_at.map(to_millis),
        outage: outage.as_ref().map(OutageItem::of),
        due_at: None,
    };
    let mut item = item::write(&key, &state)?;
    for (n, beat) in (1..).zip(&pulse.beats) {
        item.insert(format!("h{n}"), number(beat.raw()));
    }
    item::set_due(&mut item, &key, due_at.map(to_millis));
    Ok(item)
}

/// The `profile` row.
#[derive(Debug, Serialize, Deserialize)]
struct ProfileItem {
    heartbeat_name: String,
    service_name: String,
    team: String,
    priority: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runbook: Option<String>,
    notification_mode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_duration_ms: Option<u64>,
    date_added: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date_modified: Option<i64>,
    list_pk: String,
    list_sk: String,
}

fn profile_item(id: ServiceId, profile: &Profile) -> Result<Item, Error> {
    let Profile {
        heartbeat_name,
        service_name,
        team,
        priority,
        runbook,
        notification_mode,
        max_duration_ms,
        date_added,
        date_modified,
    } = profile;
    let body = ProfileItem {
        heartbeat_name: heartbeat_name.as_str().to_owned(),
        service_name: service_name.as_str().to_owned(),
        team: team.as_str().to_owned(),
        priority: priority.as_str().to_owned(),
        runbook: runbook.clone(),
        notification_mode: notification_mode.as_str().to_owned(),
        max_duration_ms: *max_duration_ms,
        date_added: to_millis(*date_added),
        date_modified: date_modified.map(to_millis),
        list_pk: Collection::Services.pk(),
        list_sk: Collection::sk(id.get()),
    };
    item::write(&Key::profile(id), &body)
}

impl ProfileItem {
    fn into_profile(self) -> Result<Profile, domain::Invalid> {
        let Self {
            heartbeat_name,
            service_name,
            team,
            priority,
            runbook,
            notification_mode,
            max_duration_ms,
            date_added,
            date_modified,
            list_pk: _,
            list_sk: _,
        } = self;
        Ok(Profile {
            heartbeat_name: HeartbeatName::parse(heartbeat_name)?,
            service_name: Label::parse("service_name", service_name, Profile::MAX_LABEL_CHARS)?,
            team: Label::parse("team", team, Profile::MAX_LABEL_CHARS)?,
            priority: priority.parse::<Priority>()?,
            runbook,
            notification_mode: notification_mode.parse::<NotificationMode>()?,
            max_duration_ms,
            date_added: from_millis(date_added),
            date_modified: date_modified.map(from_millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute value's size as DynamoDB counts it.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
    fn size(value: &AttributeValue) -> usize {
        if let Ok(text) = value.as_s() {
            return text.len();
        }
        if let Ok(digits) = value.as_n() {
            return digits.len().div_ceil(2) + 1;
        }
        let fields = value.as_m().into_iter().flatten();
        1 + fields.map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>() + 2
    }

    #[test]
    fn the_largest_state_row_costs_one_unit() {
        let rule = Rule::parse(527_040.0, 31_622_400, 20).unwrap();
        let far = from_millis(9_999_999_999_999);
        let most = i64::MAX;
        let mut service = Service::register(ServiceId::new(most), rule, far);
        service.pulse.beats.fill(Stamp::from_raw(most));
        service.pulse.failed = Stamp::from_raw(most);
        service.pulse.last_status = Some(Status::Completed);
        service.pending = Some(Pending::SwitchedOff);
        service.mute = Some(Mute { since: far, until: far });
        service.last_notice_at = Some(far);
        (service.heard, service.version, service.deleted) = (u64::MAX, u64::MAX, true);
        service.outage = Some(Outage {
            alert_id: AlertId::new(most),
            known: Stamp::from_raw(most),
            next_reminder_at: far,
            cycled_at: far,
            cycle: u32::MAX,
            told: true,
            acknowledged: true,
        });
        let item = state_item(&service, "worker").unwrap();
        let bytes: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
        assert!(bytes <= 1_024, "{bytes} bytes");
    }
}
