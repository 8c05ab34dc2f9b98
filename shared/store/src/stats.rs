//! The gauges that outlive a process: one item, kept by those who change what it counts.

use serde::{Deserialize, Serialize};

use crate::item::{self, number};
use crate::keys::{Collection, Key};
use crate::{Error, Table};

/// What exists, as far as metrics ask.
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
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.get(&Key::stats(), false).await?.map_or_else(|| Ok(Stats::default()), item::read)
    }

    /// Counts the open alerts: reads what is open, not what exists.
    pub async fn count_open_alerts(&self) -> Result<i64, Error> {
        self.count(&Collection::OpenAlerts).await
    }

    pub async fn save_open_alerts(&self, count: i64, stale_jobs: i64) -> Result<(), Error> {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::stats().attributes()))
            .update_expression("SET alerts_active = :n, stale_jobs_current = :s")
            .expression_attribute_values(":s", number(stale_jobs))
            .expression_attribute_values(":n", number(count))
            .send()
            .await?;
        Ok(())
    }

    /// Counts services that come, go, or change whether they are watched. Outside their transactions, which would meet
    /// each other in this one item; a crash in between leaves a gauge off by one.
    pub(crate) async fn count_services(&self, registered: i64, active: i64) {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::stats().attributes()))
            .update_expression("ADD registered_services :r, active_services :a")
            .expression_attribute_values(":r", number(registered))
            .expression_attribute_values(":a", number(active))
            .send()
            .await;
        if let Err(error) = sent {
            tracing::warn!(error = %Error::from(error), "a change in the number of services was not counted");
        }
    }
}
