//! The collections of the `list` index, and the places in them.

use chrono::{DateTime, Utc};
use domain::{CircuitOf, ExecutionStatus, PlaybookId, RunId, ServiceId, Stamp, to_millis};

use super::digest;

/// A partition of the `list` index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Collection<'a> {
    Services,
    /// Services of one `service_name`. By digest: the row is written with each heartbeat and must stay small.
    ServicesNamed(&'a str),
    OpenAlerts,
    ClosedAlerts,
    ApiKeys,
    Webhooks,
    /// Webhooks of one service, or those of every service.
    WebhooksFor(Option<ServiceId>),
    Deliveries,
    /// Runs that have not ended and have no open alert.
    OpenRuns(ServiceId),
    /// Runs of every service whose stale alert is open, by service.
    StaleRuns,
    /// Runs that count in statistics.
    CompletedRuns(ServiceId),
    /// Failed runs, and those of which only the end is known.
    OtherRuns(ServiceId),
    /// Executions awaiting approval.
    PendingExecutions,
    /// Executions that are under way.
    OpenExecutions,
    EndedExecutions,
    ExecutionsOfService(ServiceId),
    ExecutionsOfPlaybook(PlaybookId),
    /// Circuits by when they close.
    OpenCircuits,
}

impl Collection<'_> {
    pub(crate) fn pk(&self) -> String {
        match self {
            Self::Services => "service".to_owned(),
            Self::ServicesNamed(name) => format!("service-name#{}", digest(name)),
            Self::OpenAlerts => "alert#open".to_owned(),
            Self::ClosedAlerts => "alert#closed".to_owned(),
            Self::ApiKeys => "api-key".to_owned(),
            Self::Webhooks => "webhook".to_owned(),
            Self::WebhooksFor(None) => "webhook#all".to_owned(),
            Self::WebhooksFor(Some(service)) => format!("webhook#{service}"),
            Self::Deliveries => "delivery".to_owned(),
            Self::OpenRuns(service) => format!("run#open#{service}"),
            Self::StaleRuns => "run#stale".to_owned(),
            Self::CompletedRuns(service) => format!("run#completed#{service}"),
            Self::OtherRuns(service) => format!("run#other#{service}"),
            Self::PendingExecutions => "execution#pending".to_owned(),
            Self::OpenExecutions => "execution#open".to_owned(),
            Self::EndedExecutions => "execution#ended".to_owned(),
            Self::ExecutionsOfService(service) => format!("execution#service#{service}"),
            Self::ExecutionsOfPlaybook(playbook) => format!("execution#playbook#{playbook}"),
            Self::OpenCircuits => "circuit#open".to_owned(),
        }
    }

    /// Returns the collection of executions of this status.
    pub(crate) const fn of_status(status: ExecutionStatus) -> Self {
        match status {
            ExecutionStatus::PendingApproval => Self::PendingExecutions,
            ExecutionStatus::Running | ExecutionStatus::Waiting => Self::OpenExecutions,
            ExecutionStatus::Completed | ExecutionStatus::Failed | ExecutionStatus::Cancelled => Self::EndedExecutions,
        }
    }

    /// Writes an integer id as a text that sorts as the number does.
    pub(crate) fn sk(id: i64) -> String {
        format!("{id:019}")
    }

    /// Returns the place of a run: by its newest signal, then by its id.
    pub(crate) fn run_place(newest_at: DateTime<Utc>, id: &RunId) -> String {
        format!("{}.{}", Self::instant(newest_at), digest(id.as_str()))
    }

    /// Returns a run's place as a stamp: its time, and the first 20 bits of the digest.
    pub(crate) fn stamp_of_run_place(place: &str) -> Option<Stamp> {
        let (at, digest) = place.split_once('.')?;
        let bits = i64::from_str_radix(digest.get(..5)?, 16).ok()?;
        Some(Stamp::from_raw(at.parse::<i64>().ok()? << 20 | bits))
    }

    /// Returns the upper end of the places of runs with this stamp and before: `~` sorts after every digit.
    pub(crate) fn run_places_up_to(stamp: Stamp) -> String {
        format!("{:013}.{:05x}~", stamp.raw() >> 20, stamp.raw() & 0xf_ffff)
    }

    /// Returns the place of a run in `CompletedRuns`, which ends in its duration.
    pub(crate) fn completed_run_place(newest_at: DateTime<Utc>, id: &RunId, duration_ms: u64) -> String {
        format!("{}#{duration_ms}", Self::run_place(newest_at, id))
    }

    /// Returns what the places of a service's runs in `StaleRuns` begin with.
    pub(crate) fn stale_prefix(service: ServiceId) -> String {
        format!("{}#", Self::sk(service.get()))
    }

    /// Returns the place of a circuit: by when it closes.
    pub(crate) fn circuit_place(closes_at: DateTime<Utc>, of: CircuitOf) -> String {
        format!("{}#{of}", Self::instant(closes_at))
    }

    /// Writes an instant as a text that sorts as time does: its milliseconds since 1970.
    pub(crate) fn instant(at: DateTime<Utc>) -> String {
        format!("{:013}", to_millis(at))
    }
}
