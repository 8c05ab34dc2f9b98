//! The gauges that outlive a process: one item, updated by whoever changes what it counts.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::item::{self, number};
use crate::keys::{Collection, Key};
use crate::requests::Request as _;
use crate::{Error, Table};

/// The counts that metrics show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    pub registered_services: i64,
    pub active_services: i64,
    pub alerts_active: i64,
    pub stale_jobs_current: i64,
    pub executions_pending_approval: i64,
    pub circuits_open: i64,
}

impl Table {
    /// Reads the gauges.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.get(&Key::stats(), false).await?.map_or_else(|| Ok(Stats::default()), item::read)
    }

    /// Counts again what is open: it reads that, and not what exists.
    pub async fn recount(&self, stats: Stats, now: DateTime<Utc>) -> Result<Stats, Error> {
        let (alerts_active, stale_jobs_current, executions_pending_approval, circuits) = futures::try_join!(
            self.count(&Collection::OpenAlerts),
            self.count_stale_runs(),
            self.count(&Collection::PendingExecutions),
            self.open_circuits(now)
        )?;
        let circuits_open = i64::try_from(circuits.len()).unwrap_or(i64::MAX);
        Ok(Stats { alerts_active, stale_jobs_current, executions_pending_approval, circuits_open, ..stats })
    }

    /// Saves what `recount` counted.
    pub async fn save_recount(&self, stats: &Stats) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::stats().attributes()))
            .update_expression(
                "SET alerts_active = :a, stale_jobs_current = :s, executions_pending_approval = :e, circuits_open = :c",
            )
            .expression_attribute_values(":a", number(stats.alerts_active))
            .expression_attribute_values(":s", number(stats.stale_jobs_current))
            .expression_attribute_values(":e", number(stats.executions_pending_approval))
            .expression_attribute_values(":c", number(stats.circuits_open))
            .send_boxed()
            .await?;
        Ok(())
    }

    /// Counts services that are registered, deleted or switched on or off. Outside their transactions, which would all
    /// conflict on this one item; a crash in between leaves a gauge off by one.
    pub(crate) async fn count_services(&self, registered: i64, active: i64) {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::stats().attributes()))
            .update_expression("ADD registered_services :r, active_services :a")
            .expression_attribute_values(":r", number(registered))
            .expression_attribute_values(":a", number(active))
            .send_boxed()
            .await;
        if let Err(error) = sent {
            tracing::warn!(error = %Error::from(error), "a change in the number of services was not counted");
        }
    }
}
