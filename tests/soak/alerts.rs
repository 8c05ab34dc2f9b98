//! The alerts that Medic opened, as its API lists them when all is over.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::clients::Clients;

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Problem {
    /// The service is down.
    Heartbeat,
    /// A run has not ended in time.
    Stale,
    /// A run ended too late.
    Exceeded,
}

/// An alert.
#[derive(Debug, Clone)]
pub(crate) struct Alert {
    pub(crate) id: i64,
    /// The service, by its place in the plan.
    pub(crate) service: usize,
    pub(crate) problem: Problem,
    pub(crate) run: String,
    pub(crate) opened: DateTime<Utc>,
    pub(crate) closed: Option<DateTime<Utc>>,
    pub(crate) dedup_key: String,
    pub(crate) reason: String,
}

impl Alert {
    fn read(item: &Value, services: &BTreeMap<String, usize>) -> Option<Self> {
        let name = item["alert_name"].as_str()?;
        let problem = if name.contains("Stale job") {
            Problem::Stale
        } else if name.contains("Job exceeded") {
            Problem::Exceeded
        } else {
            Problem::Heartbeat
        };
        let time = |field: &str| item[field].as_str()?.parse::<DateTime<Utc>>().ok();
        let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
        Some(Self {
            id: item["alert_id"].as_i64()?,
            service: *services.get(item["heartbeat_name"].as_str()?)?,
            problem,
            run: text("run_id"),
            opened: time("created_date")?,
            closed: time("closed_date"),
            dedup_key: text("external_reference_id"),
            reason: text("reason"),
        })
    }

    /// Returns the event that tells webhooks of its opening.
    pub(crate) const fn event(&self) -> &'static str {
        match self.problem {
            Problem::Heartbeat => "alert.opened",
            Problem::Stale => "job.stale",
            Problem::Exceeded => "job.exceeded",
        }
    }

    /// Returns whether people are to be notified that it is over.
    pub(crate) const fn is_resolved(&self) -> bool {
        self.closed.is_some() && !matches!(self.problem, Problem::Exceeded)
    }
}

/// Reads all alerts, oldest first. Returns none where Medic does not respond.
pub(crate) async fn read(clients: &Clients, services: &BTreeMap<String, usize>) -> Option<Vec<Alert>> {
    let (mut alerts, mut path) = (Vec::new(), "/v2/alerts?limit=250".to_owned());
    loop {
        let page = clients.read(&path).await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        alerts.extend(items.iter().map(|item| Alert::read(item, services).expect("an alert of the soak")));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v2/alerts?limit=250&cursor={cursor}");
    }
    alerts.sort_by_key(|alert| (alert.opened, alert.id));
    Some(alerts)
}
