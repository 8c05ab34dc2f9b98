//! An alert: one outage of one service, from its opening to its close.

use chrono::{DateTime, Utc};

use crate::{AlertId, Priority, Profile, ServiceId};

/// What an alert keeps of its service, so that it reads the same when the service is renamed or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertCopy {
    pub heartbeat_name: String,
    pub service_name: String,
    pub team: String,
    pub priority: Priority,
    pub runbook: Option<String>,
}

impl AlertCopy {
    pub fn of(profile: &Profile) -> Self {
        Self {
            heartbeat_name: profile.heartbeat_name.as_str().to_owned(),
            service_name: profile.service_name.as_str().to_owned(),
            team: profile.team.as_str().to_owned(),
            priority: profile.priority,
            runbook: profile.runbook.clone(),
        }
    }
}

/// One outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub id: AlertId,
    pub service_id: ServiceId,
    pub service: AlertCopy,
    /// 1 at the opening, and 1 more for each further interval.
    pub cycle: u32,
    /// Why it opened, for people.
    pub reason: String,
    pub created_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub acknowledged_by: Option<String>,
    /// How often its news went on to a next target, because one before could not be told.
    pub passed_on: u32,
}

impl Alert {
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    pub fn name(&self) -> String {
        format!("Medic - Heartbeat failure for {}", self.service.heartbeat_name)
    }

    /// What tells receivers that two notices speak of one incident. It holds the alert's id, so that a resolve that
    /// comes late cannot close a later incident.
    pub fn dedup_key(&self) -> String {
        format!("medic-{}-{}", self.service.heartbeat_name, self.id)
    }
}
