//! Alerts: one item each, in a collection of the open or of the closed ones.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    Alert, AlertCopy, AlertId, AlertKind, Closing, JobAlert, JobProblem, RunId, ServiceId, TriggerId, from_millis,
    to_millis,
};
use serde::{Deserialize, Serialize};

use crate::due::HAND_OVER_AGAIN;
use crate::item::{self, Diff, Item, corrupt, number};
use crate::keys::{Collection, Key, LIST_PK, LIST_SK, alert_id_of};
use crate::table::{Commit, EXISTS, IS_NEW, Page, Writes};
use crate::{Error, Table};

/// Which alerts to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertFilter {
    All,
    Open,
    Closed,
}

/// An alert's attributes, here and in each of its notifications.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AlertItem {
    service_id: i64,
    heartbeat_name: String,
    service_name: String,
    team: String,
    priority: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runbook: Option<String>,
    /// `exceeded` or `stale`, of a run's alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_started_at: Option<i64>,
    cycle: u32,
    reason: String,
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed_at: Option<i64>,
    /// `superseded` or `resolved`, where its service or its run did not report its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledged_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledged_by: Option<String>,
    #[serde(default, skip_serializing_if = "item::is_zero")]
    passed_on: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    due_in_gap: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unnotified: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    triggered: Vec<i64>,
}

const SUPERSEDED: &str = "superseded";
const RESOLVED: &str = "resolved";

impl AlertItem {
    pub(crate) fn of(alert: &Alert) -> Self {
        let Alert {
            id: _,
            service_id,
            service,
            kind: _,
            cycle,
            reason,
            created_at,
            closed_at,
            closing,
            acknowledged_at,
            acknowledged_by,
            passed_on,
            due_in_gap,
            is_unnotified,
            triggered,
        } = alert;
        let (closing, resolved_by, resolved_reason) = match closing.clone() {
            None => (None, None, None),
            Some(Closing::Superseded) => (Some(SUPERSEDED.to_owned()), None, None),
            Some(Closing::Resolved { by, reason }) => (Some(RESOLVED.to_owned()), by, reason),
        };
        let AlertCopy { heartbeat_name, service_name, team, priority, runbook } = service;
        Self {
            service_id: service_id.get(),
            heartbeat_name: heartbeat_name.clone(),
            service_name: service_name.clone(),
            team: team.clone(),
            priority: priority.as_str().to_owned(),
            runbook: runbook.clone(),
            job: alert.job().map(|job| job.problem.as_str().to_owned()),
            run_id: alert.job().map(|job| job.run_id.to_string()),
            run_started_at: alert.job().map(|job| to_millis(job.started_at)),
            cycle: *cycle,
            reason: reason.clone(),
            created_at: to_millis(*created_at),
            closed_at: closed_at.map(to_millis),
            closing,
            resolved_by,
            resolved_reason,
            acknowledged_at: acknowledged_at.map(to_millis),
            acknowledged_by: acknowledged_by.clone(),
            passed_on: *passed_on,
            due_in_gap: *due_in_gap,
            unnotified: *is_unnotified,
            triggered: triggered.iter().map(|id| id.get()).collect(),
        }
    }

    pub(crate) fn into_alert(self, id: AlertId) -> Result<Alert, domain::Invalid> {
        let Self {
            service_id,
            heartbeat_name,
            service_name,
            team,
            priority,
            runbook,
            job,
            run_id,
            run_started_at,
            cycle,
            reason,
            created_at,
            closed_at,
            closing,
            resolved_by,
            resolved_reason,
            acknowledged_at,
            acknowledged_by,
            passed_on,
            due_in_gap,
            unnotified,
            triggered,
        } = self;
        let closing = match closing.as_deref() {
            None => None,
            Some(SUPERSEDED) => Some(Closing::Superseded),
            Some(_) => Some(Closing::Resolved { by: resolved_by, reason: resolved_reason }),
        };
        let service = AlertCopy { heartbeat_name, service_name, team, priority: priority.parse()?, runbook };
        let problem = job.and_then(|job| JobProblem::ALL.into_iter().find(|problem| problem.as_str() == job));
        let kind = match (problem, run_id) {
            (Some(problem), Some(run_id)) => AlertKind::Job(JobAlert {
                problem,
                run_id: RunId::parse(run_id)?,
                started_at: from_millis(run_started_at.unwrap_or(created_at)),
            }),
            (Some(_), None) | (None, _) => AlertKind::Heartbeat,
        };
        Ok(Alert {
            id,
            service_id: ServiceId::new(service_id),
            service,
            kind,
            cycle,
            reason,
            created_at: from_millis(created_at),
            closed_at: closed_at.map(from_millis),
            closing,
            acknowledged_at: acknowledged_at.map(from_millis),
            acknowledged_by,
            passed_on,
            due_in_gap,
            is_unnotified: unnotified,
            triggered: triggered.into_iter().map(TriggerId::new).collect(),
        })
    }
}

fn alert_item(alert: &Alert) -> Result<Item, Error> {
    let mut item = item::write(&Key::alert(alert.id), &AlertItem::of(alert))?;
    let collection = if alert.is_open() { Collection::OpenAlerts } else { Collection::ClosedAlerts };
    item.insert(LIST_PK.to_owned(), item::text(collection.pk()));
    item.insert(LIST_SK.to_owned(), item::text(Collection::sk(alert.id.get())));
    Ok(item)
}

fn read(item: Item) -> Result<Alert, Error> {
    let key = Key::of(&item);
    let id = key.as_ref().and_then(|key| alert_id_of(&key.pk));
    let id = id.ok_or_else(|| corrupt(key.as_ref(), "not an alert's key"))?;
    item::read::<AlertItem>(item)?.into_alert(id).map_err(|source| corrupt(key.as_ref(), source))
}

impl Table {
    /// Finds an alert. Consistent.
    pub async fn alert(&self, id: AlertId) -> Result<Option<Alert>, Error> {
        self.get(&Key::alert(id), true).await?.map(read).transpose()
    }

    /// Returns the alerts of these ids that exist, in no order. Consistent.
    pub async fn alerts_by_id(&self, ids: impl IntoIterator<Item = AlertId>) -> Result<Vec<Alert>, Error> {
        let items = self.get_many(ids.into_iter().map(Key::alert).collect()).await?;
        items.into_iter().map(read).collect()
    }

    /// Returns alerts, newest first.
    pub async fn alerts(
        &self,
        filter: AlertFilter,
        after: Option<AlertId>,
        limit: usize,
    ) -> Result<Page<Alert>, Error> {
        let after = after.map(|id| Collection::sk(id.get()));
        let collections: &[Collection<'_>] = match filter {
            AlertFilter::All => &[Collection::OpenAlerts, Collection::ClosedAlerts],
            AlertFilter::Open => &[Collection::OpenAlerts],
            AlertFilter::Closed => &[Collection::ClosedAlerts],
        };
        let mut ids = Vec::new();
        let mut more = false;
        for collection in collections {
            let page = self.list(collection, after.as_deref(), limit).await?;
            more |= page.next.is_some();
            ids.extend(page.items.iter().filter_map(|key| alert_id_of(&key.pk)));
        }
        // An alert that closes between the two queries may be in both.
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        ids.dedup();
        more |= ids.len() > limit;
        ids.truncate(limit);
        let mut items = self.alerts_by_id(ids.iter().copied()).await?;
        // The index may lag behind.
        items.retain(|alert| match filter {
            AlertFilter::All => true,
            AlertFilter::Open => alert.is_open(),
            AlertFilter::Closed => !alert.is_open(),
        });
        items.sort_unstable_by_key(|alert| std::cmp::Reverse(alert.id));
        let next = if more { ids.last().map(ToString::to_string) } else { None };
        Ok(Page { items, next })
    }

    /// Ends the timer of an alert that has closed: its starts know.
    pub async fn end_alert(&self, id: AlertId) -> Result<(), Error> {
        let diff = Diff { expression: item::END_TIMER.to_owned(), ..Diff::default() };
        let mut writes = Writes::new();
        writes.table_update(self, &Key::alert(id), diff, EXISTS, [])?;
        // On a conflict a notification is being passed on: the row falls due once more.
        let _ended: Commit = self.single_update(writes).await?;
        Ok(())
    }
}

impl Writes {
    /// Adds a new alert.
    pub fn open_alert(&mut self, table: &Table, alert: &Alert) -> Result<(), Error> {
        self.table_put(table, alert_item(alert)?, Some(IS_NEW))
    }

    /// Updates an alert from what was read to `new`, if no notification of it was passed on since. Its service's row,
    /// written in the same transaction, guards the rest. One that closes is due until its starts have learnt of it.
    pub fn update_alert(&mut self, table: &Table, old: &Alert, new: &Alert) -> Result<(), Error> {
        let key = Key::alert(new.id);
        let mut item = alert_item(new)?;
        if let Some(closed_at) = new.closed_at.filter(|_| old.is_open() && new.has_starts()) {
            item::set_due(&mut item, &key, Some(to_millis(closed_at + HAND_OVER_AGAIN)));
        }
        let Some(diff) = Diff::between(&alert_item(old)?, &item) else { return Ok(()) };
        if old.passed_on == 0 {
            return self.table_update(
                table,
                &key,
                diff,
                "attribute_exists(pk) AND attribute_not_exists(passed_on)",
                [],
            );
        }
        self.table_update(table, &key, diff, "passed_on = :passed_on", [(":passed_on", number(old.passed_on))])
    }

    /// Counts that a notification of an alert is passed on to the next target. The alert must be open, unless it closed as
    /// it opened.
    pub(crate) fn pass_on_alert(&mut self, table: &Table, id: AlertId) -> Result<(), Error> {
        let diff = Diff {
            expression: "ADD passed_on :one".to_owned(),
            values: Item::from([
                (":one".to_owned(), number(1)),
                (":exceeded".to_owned(), item::text(JobProblem::Exceeded.as_str())),
            ]),
            ..Diff::default()
        };
        let is_open = "attribute_exists(pk) AND (attribute_not_exists(closed_at) OR job = :exceeded)";
        self.table_update(table, &Key::alert(id), diff, is_open, [])
    }

    /// Marks an alert of which every receiver refused to be notified, once. That is passed on to the default channel, which
    /// is then notified of its end as well.
    pub fn mark_unnotified(&mut self, table: &Table, id: AlertId) -> Result<(), Error> {
        let diff = Diff {
            expression: "SET unnotified = :yes ADD passed_on :one".to_owned(),
            values: Item::from([(":one".to_owned(), number(1)), (":yes".to_owned(), AttributeValue::Bool(true))]),
            ..Diff::default()
        };
        let is_first = "attribute_exists(pk) AND attribute_not_exists(unnotified)";
        self.table_update(table, &Key::alert(id), diff, is_first, [])
    }
}
