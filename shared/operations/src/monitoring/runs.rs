//! Records the signals of jobs, and shows how long their runs took. A signal is a heartbeat and one conditional write.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{HeartbeatId, HeartbeatName, Run, RunId, RunStatistics, RunStatus, ServiceId, SignalKind};
use store::{Commit, Page, RunRecord};

use super::{HeartbeatReceipt, Named, Report};
use crate::retry::retry_on_conflict;
use crate::{Error, Medic};

/// A signal as a job sent it.
#[derive(Debug, Clone)]
pub struct Signal {
    pub service: Named,
    pub kind: SignalKind,
    /// Without one it is a heartbeat only.
    pub run: Option<RunId>,
    /// The client's own key for this request, by which a repetition is known.
    pub idempotency_key: Option<String>,
}

/// A signal that was recorded.
#[derive(Debug, Clone)]
pub struct SignalReceipt {
    /// None for a repetition, which is no heartbeat.
    pub heartbeat: Option<HeartbeatId>,
    pub service_id: ServiceId,
    pub heartbeat_name: HeartbeatName,
    pub kind: SignalKind,
    /// As it stands after the signal.
    pub run: Option<Run>,
}

/// A signal that comes again within this is a repetition; later the run stays as it is, but its job is alive.
const REPEATS_KNOWN_FOR: TimeDelta = TimeDelta::hours(1);
/// Pages that a list with a filter reads before it returns what it has.
const MAX_PAGES: usize = 10;

impl Medic {
    /// Records a signal. The heartbeat goes first: a crash before the run's write is a signal that was not acknowledged.
    pub async fn signal(&self, signal: Signal, now: DateTime<Utc>) -> Result<SignalReceipt, Error> {
        let Signal { service, kind, run, idempotency_key } = signal;
        let report = |run_id| Report { service: service.clone(), status: kind.status(), run_id, idempotency_key };
        let Some(run_id) = run else {
            let receipt = self.report(report(None), now).await?;
            let heartbeat_name = self.heartbeat_name(receipt.service_id).await?;
            let (heartbeat, service_id) = (Some(receipt.id), receipt.service_id);
            return Ok(SignalReceipt { heartbeat, service_id, heartbeat_name, kind, run: None });
        };
        let service_id = self.resolve(&service, true).await?;
        // Consistent: a repetition that looks new would be a heartbeat, and after a recovery a failure.
        let record = self.table.reported_run(service_id, &run_id, now).await?;
        if record.run.signal_at(kind).is_some_and(|at| now - at < REPEATS_KNOWN_FOR)
            && let Some(profile) = record.profile
        {
            self.wake_pending_run(&record.run, now).await;
            let heartbeat_name = profile.heartbeat_name;
            return Ok(SignalReceipt { heartbeat: None, service_id, heartbeat_name, kind, run: Some(record.run) });
        }
        let receipt = self.report(report(Some(run_id.clone().into_label())), now).await?;
        let first = (receipt.service_id == service_id).then_some(record);
        let recorded = match first {
            Some(record) => self.record_signal(&service, kind, receipt, record, now).await?,
            // Its name has moved to another service.
            None => None,
        };
        if let Some(recorded) = recorded {
            return Ok(recorded);
        }
        let (service, run_id) = (&service, &run_id);
        retry_on_conflict(format!("run {run_id}"), || async move {
            let record = self.table.reported_run(receipt.service_id, run_id, now).await?;
            self.record_signal(service, kind, receipt, record, now).await
        })
        .await
    }

    /// Records a signal for a run as it was read. None if that has changed meanwhile.
    async fn record_signal(
        &self,
        service: &Named,
        kind: SignalKind,
        receipt: HeartbeatReceipt,
        record: RunRecord,
        now: DateTime<Utc>,
    ) -> Result<Option<SignalReceipt>, Error> {
        let Some(profile) = record.profile else {
            return Err(Error::NotFound(format!("Heartbeat is not registered: {service}")));
        };
        let mut run = record.run.clone();
        run.record_signal(kind, receipt.id.time(), profile.max_duration_ms, now);
        if run != record.run && self.table.save_run(&record.run, &run).await? == Commit::Conflict {
            return Ok(None);
        }
        self.wake_pending_run(&run, now).await;
        let (heartbeat, service_id) = (Some(receipt.id), receipt.service_id);
        let heartbeat_name = profile.heartbeat_name;
        Ok(Some(SignalReceipt { heartbeat, service_id, heartbeat_name, kind, run: Some(run) }))
    }

    async fn heartbeat_name(&self, id: ServiceId) -> Result<HeartbeatName, Error> {
        if let Some(name) = self.names.name(id) {
            return Ok(name);
        }
        let record = self.table.service(id).await?;
        let record = record.ok_or_else(|| Error::NotFound(format!("There is no service {id}")))?;
        self.names.remember_name(id, record.profile.heartbeat_name.clone());
        Ok(record.profile.heartbeat_name)
    }

    /// Returns a service's runs by their newest signal, newest first.
    pub async fn runs(
        &self,
        service: ServiceId,
        status: Option<RunStatus>,
        after: Option<String>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page<Run>, Error> {
        self.require_service(service).await?;
        let mut found = Page { items: Vec::new(), next: after };
        for _ in 0..MAX_PAGES {
            // A page is filled from pages no longer than what it lacks, so that none of its runs is passed over.
            let page = self.table.runs(service, status, found.next.as_deref(), limit - found.items.len(), now).await?;
            found.items.extend(page.items);
            found.next = page.next;
            if found.next.is_none() || found.items.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Returns how long a service's last completed runs took.
    pub async fn run_statistics(&self, service: ServiceId, now: DateTime<Utc>) -> Result<RunStatistics, Error> {
        self.require_service(service).await?;
        Ok(RunStatistics::of(&self.table.durations(service, RunStatistics::MAX_RUNS, now).await?))
    }
}
