//! Runs of jobs: one row each, found by its id, and listed by the time of its newest signal.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{AlertId, Overrun, Profile, Run, RunEnd, RunId, ServiceId, Stale, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, Item, corrupt, number, text};
use crate::keys::{Collection, Key, LIST_PK, LIST_SK, RowKind};
use crate::requests::Request as _;
use crate::service_items::ProfileItem;
use crate::table::{Commit, EXISTS, IS_NEW, Writes, commit_of, commit_of_put};
use crate::{Error, ServiceSnapshot, Table};

/// How long a run is kept after its newest signal. One that has a timer, or whose alert is open, stays.
pub(crate) const KEPT: TimeDelta = TimeDelta::days(90);
const UNCHANGED: &str = "version = :old_version";

#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute")]
struct RunItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    failed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    superseded_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overrun_max_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    overrun_settled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stale_alert_id: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale_notified: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale_resolved: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale_closed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stale_next_period_at: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    let_go: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_notification_at: Option<i64>,
    #[serde(default, skip_serializing)]
    due_at: Option<i64>,
    version: u64,
    /// None while it has a timer, or its alert is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// A run, and what decides on it of its service.
#[derive(Debug)]
pub struct RunRecord {
    /// As it is kept, or new.
    pub run: Run,
    /// None if the service is gone.
    pub snapshot: Option<ServiceSnapshot>,
    pub profile: Option<Profile>,
}

fn list_entry(run: &Run, newest_at: DateTime<Utc>) -> (String, String) {
    let (service, id) = (run.service_id, &run.id);
    let place = Collection::run_place(newest_at, id);
    let (collection, sk) = match (run.end, run.duration_ms().filter(|_| run.is_measured())) {
        (Some(_), Some(duration)) => {
            (Collection::CompletedRuns(service), Collection::completed_run_place(newest_at, id, duration))
        }
        (Some(_), None) => (Collection::OtherRuns(service), place),
        (None, _) if run.is_over() => (Collection::OtherRuns(service), place),
        (None, _) if run.is_stale_open() => {
            (Collection::StaleRuns, format!("{}{place}", Collection::stale_prefix(service)))
        }
        (None, _) => (Collection::OpenRuns(service), place),
    };
    (collection.pk(), sk)
}

fn run_item(run: &Run) -> Result<Item, Error> {
    let Run {
        service_id,
        id,
        started_at,
        end,
        superseded_at,
        overrun,
        stale,
        let_go,
        last_notification_at,
        due_at,
        version,
    } = run;
    let key = Key::run(*service_id, id);
    let newest_at = run.newest_at().unwrap_or_default();
    let body = RunItem {
        started_at: started_at.map(to_millis),
        ended_at: end.map(|end| to_millis(end.at)),
        failed: end.is_some_and(|end| end.failed),
        superseded_at: superseded_at.map(to_millis),
        overrun_max_ms: overrun.map(|overrun| overrun.max_duration_ms),
        overrun_settled: overrun.is_some_and(|overrun| overrun.settled),
        stale_alert_id: stale.map(|stale| stale.alert_id.get()),
        stale_notified: stale.is_some_and(|stale| stale.notified),
        stale_resolved: stale.is_some_and(|stale| stale.resolved),
        stale_closed: stale.is_some_and(|stale| stale.closed),
        stale_next_period_at: stale.and_then(|stale| stale.next_period_at).map(to_millis),
        let_go: *let_go,
        last_notification_at: last_notification_at.map(to_millis),
        due_at: None,
        version: *version,
        expires_at: (due_at.is_none() && !run.is_stale_open()).then_some((newest_at + KEPT).timestamp()),
    };
    let mut item = item::write(&key, &body)?;
    let (list_pk, list_sk) = list_entry(run, newest_at);
    item.insert(LIST_PK.to_owned(), text(list_pk));
    item.insert(LIST_SK.to_owned(), text(list_sk));
    item::set_due(&mut item, &key, due_at.map(to_millis));
    Ok(item)
}

pub(crate) fn read(item: Item, now: DateTime<Utc>) -> Result<Run, Error> {
    let key = Key::of(&item);
    let Some(RowKind::Run(service_id, id)) = key.as_ref().and_then(Key::row_kind) else {
        return Err(corrupt(key.as_ref(), "not a run's key"));
    };
    let RunItem {
        started_at,
        ended_at,
        failed,
        superseded_at,
        overrun_max_ms,
        overrun_settled,
        stale_alert_id,
        stale_notified,
        stale_resolved,
        stale_closed,
        stale_next_period_at,
        let_go,
        last_notification_at,
        due_at,
        version,
        expires_at,
    } = item::read(item)?;
    if expires_at.is_some_and(|at| at <= now.timestamp()) {
        // Another run of this id takes the row.
        return Ok(Run { version, ..Run::new(service_id, id) });
    }
    Ok(Run {
        service_id,
        id,
        started_at: started_at.map(from_millis),
        end: ended_at.map(|at| RunEnd { at: from_millis(at), failed }),
        superseded_at: superseded_at.map(from_millis),
        overrun: overrun_max_ms.map(|max_duration_ms| Overrun { max_duration_ms, settled: overrun_settled }),
        stale: stale_alert_id.map(|id| Stale {
            alert_id: AlertId::new(id),
            notified: stale_notified,
            resolved: stale_resolved,
            closed: stale_closed,
            next_period_at: stale_next_period_at.map(from_millis),
        }),
        let_go,
        last_notification_at: last_notification_at.map(from_millis),
        due_at: due_at.map(from_millis),
        version,
    })
}

impl Writes {
    /// Updates a run from what was read to `run`.
    pub fn update_run(&mut self, table: &Table, old: &Run, run: &Run) -> Result<(), Error> {
        self.table_put_if(table, run_item(run)?, UNCHANGED, [(":old_version", number(old.version))])
    }

    /// Commits the other writes only if a service is as it was read, but for heartbeats.
    pub fn check_snapshot(&mut self, table: &Table, old: &ServiceSnapshot) -> Result<(), Error> {
        let version = [(":old_version", number(old.service.version))];
        self.table_check_if(table, &Key::service(old.service.id), UNCHANGED, [], version)
    }
}

impl Table {
    /// Reads a run and its service's profile. Consistent: two read units.
    pub async fn reported_run(&self, service: ServiceId, id: &RunId, now: DateTime<Utc>) -> Result<RunRecord, Error> {
        self.run_record(service, id, &[Key::profile(service)], now).await
    }

    /// Reads a run and both rows of its service. Consistent.
    pub async fn run_to_judge(&self, service: ServiceId, id: &RunId, now: DateTime<Utc>) -> Result<RunRecord, Error> {
        self.run_record(service, id, &[Key::service(service), Key::profile(service)], now).await
    }

    /// Reads a run alone, or a new one where there is none. Consistent.
    pub async fn run(&self, service: ServiceId, id: &RunId, now: DateTime<Utc>) -> Result<Run, Error> {
        Ok(self.run_record(service, id, &[], now).await?.run)
    }

    async fn run_record(
        &self,
        service: ServiceId,
        id: &RunId,
        more: &[Key],
        now: DateTime<Utc>,
    ) -> Result<RunRecord, Error> {
        let run_key = Key::run(service, id);
        let keys = more.iter().chain([&run_key]).cloned().collect();
        let mut record = RunRecord { run: Run::new(service, id.clone()), snapshot: None, profile: None };
        for item in self.get_many(keys).await? {
            let key = Key::of(&item);
            if key.as_ref() == Some(&run_key) {
                record.run = read(item, now)?;
            } else if key == Some(Key::profile(service)) {
                let profile = item::read::<ProfileItem>(item)?.into_profile();
                record.profile = Some(profile.map_err(|source| corrupt(key.as_ref(), source))?);
            } else {
                record.snapshot = Some(ServiceSnapshot::read(item)?);
            }
        }
        Ok(record)
    }

    /// Saves a run, if it is as it was read.
    pub async fn save_run(&self, old: &Run, run: &Run) -> Result<Commit, Error> {
        let mut put = self.client.put_item().table_name(&self.name).set_item(Some(run_item(run)?));
        put = if old.version == 0 {
            put.condition_expression(IS_NEW)
        } else {
            put.condition_expression(UNCHANGED).expression_attribute_values(":old_version", number(old.version))
        };
        commit_of_put(put.send_boxed().await)
    }

    /// Makes a run due that could not be judged, so that its own row is handled, and postponed if that fails too.
    pub async fn make_run_due(&self, service: ServiceId, id: &RunId, at: DateTime<Utc>) -> Result<(), Error> {
        let key = Key::run(service, id);
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .update_expression("SET due_shard = :shard, due_at = :at")
            .condition_expression(EXISTS)
            .expression_attribute_values(":shard", text(key.shard().to_string()))
            .expression_attribute_values(":at", number(to_millis(at)))
            .send_boxed()
            .await;
        // One that is gone, or is being written, needs no other look.
        commit_of(sent).map(|_: Commit| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_run_costs_one_unit() {
        let id = RunId::parse("\u{1f600}".repeat(RunId::MAX_CHARS)).unwrap();
        let far = from_millis(9_999_999_999_999);
        let run = Run {
            started_at: Some(far),
            end: Some(RunEnd { at: far, failed: true }),
            superseded_at: Some(far),
            overrun: Some(Overrun { max_duration_ms: 31_622_400_000, settled: true }),
            stale: Some(Stale {
                alert_id: AlertId::new(i64::MAX),
                notified: true,
                resolved: true,
                closed: true,
                next_period_at: Some(far),
            }),
            let_go: true,
            last_notification_at: Some(far),
            due_at: None,
            version: u64::MAX,
            ..Run::new(ServiceId::new(i64::MAX), id)
        };
        let item = run_item(&run).unwrap();
        let size = |value: &aws_sdk_dynamodb::types::AttributeValue| {
            let number = if value.is_bool() { 1 } else { 21 };
            value.as_s().map_or(number, String::len)
        };
        let bytes: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
        assert!(bytes <= 1_024, "{bytes} bytes");
        assert!(item.contains_key(crate::keys::EXPIRES_AT));
    }

    #[test]
    fn a_run_reads_back_as_it_was_kept_until_it_expires() {
        let at = from_millis(1_790_000_000_123);
        let run = Run {
            started_at: Some(at),
            stale: Some(Stale {
                alert_id: AlertId::new(3),
                notified: true,
                resolved: true,
                closed: false,
                next_period_at: Some(at),
            }),
            last_notification_at: Some(at),
            due_at: Some(at),
            version: 4,
            ..Run::new(ServiceId::new(7), RunId::parse("a#b run").unwrap())
        };
        let item = run_item(&run).unwrap();
        assert_eq!(read(item.clone(), at).unwrap(), run);
        assert_eq!(read(item, at + KEPT).unwrap(), run, "its alert is open");
        let closed = Run { stale: run.stale.map(|stale| Stale { closed: true, ..stale }), ..run };
        assert_eq!(read(run_item(&closed).unwrap(), at + KEPT).unwrap(), closed, "it has a timer");
        let ended = Run { superseded_at: Some(at), due_at: None, ..closed };
        let item = run_item(&ended).unwrap();
        assert_eq!(read(item.clone(), at).unwrap(), ended);
        let new = Run { version: 4, ..Run::new(ended.service_id, ended.id) };
        assert_eq!(read(item, at + KEPT).unwrap(), new);
    }
}
