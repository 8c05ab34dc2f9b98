//! Records a heartbeat: counts it for its service and keeps it. The hot path: two writes, nothing read.

use chrono::{DateTime, Utc};
use domain::{Entry, HeartbeatId, HeartbeatName, Invalid, Label, ServiceId, Stamp, Status};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use store::{Commit, Heartbeat, HeartbeatWrite, Page, ServiceRecord, ServiceSnapshot};

use crate::retry::retry_on_conflict;
use crate::{Error, Medic};

/// How a report names its service.
#[derive(Debug, Clone)]
pub enum Named {
    Name(HeartbeatName),
    Id(ServiceId),
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// One heartbeat as it was sent.
#[derive(Debug, Clone)]
pub struct Report {
    pub service: Named,
    pub status: Status,
    pub run_id: Option<Label>,
    /// The client's own key for this request, by which a repetition is known.
    pub idempotency_key: Option<String>,
}

/// A heartbeat that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatReceipt {
    pub id: HeartbeatId,
    pub service_id: ServiceId,
}

/// What counting a heartbeat came to.
#[derive(Clone, Copy)]
enum Counted {
    /// Whether the sweep must judge the service at once.
    Done { judge_now: bool },
    /// There is no such service.
    Unknown,
}

/// The most services over which heartbeats are listed without a name.
const MAX_SERVICES: usize = 200;
/// The most over which they are listed by a `service_name` that these share.
const MAX_SERVICES_OF_A_NAME: usize = 1_000;

impl Medic {
    /// Records a heartbeat.
    pub async fn report(&self, report: Report, now: DateTime<Utc>) -> Result<HeartbeatReceipt, Error> {
        let Heartbeat { id, service_id, .. } = self.report_and_keep(report, now).await?;
        Ok(HeartbeatReceipt { id, service_id })
    }

    /// Records a heartbeat, and returns it as it is kept.
    pub(super) async fn report_and_keep(&self, report: Report, now: DateTime<Utc>) -> Result<Heartbeat, Error> {
        let Report { service, status, run_id, idempotency_key } = report;
        let id = self.next_heartbeat_id(now)?;
        // A name that this process remembers may have moved to another service: then it is looked up once more.
        for remembered in [true, false] {
            let service_id = self.resolve(&service, remembered).await?;
            let id = match &idempotency_key {
                Some(key) => self.table.first_heartbeat(service_id, key, id, now).await?,
                None => id,
            };
            let Counted::Done { judge_now } = self.count(service_id, &service, Stamp::of(id), status, now).await?
            else {
                if let Named::Name(name) = &service {
                    self.names.forget(&name.folded());
                }
                continue;
            };
            let at = Stamp::of(id).time().unwrap_or(now);
            let heartbeat = Heartbeat {
                id,
                service_id,
                at,
                status: Entry::Reported(status),
                run_id: run_id.map(Label::into_string),
                expires_at: at + self.settings.heartbeat_retention,
            };
            if judge_now {
                self.wake_service(service_id, now).await;
            }
            self.table.keep_heartbeat(&heartbeat).await?;
            metrics::counter!("medic_heartbeats_total", "status" => status.as_str()).increment(1);
            return Ok(heartbeat);
        }
        Err(unregistered(&service))
    }

    /// Returns the id of a service that is active.
    pub(super) async fn active_service(&self, named: &Named) -> Result<ServiceId, Error> {
        for remembered in [true, false] {
            let id = self.resolve(named, remembered).await?;
            match self.existing(id).await? {
                Some(snapshot) if !snapshot.service.active => return Err(Error::Inactive(named.to_string())),
                Some(_) => return Ok(id),
                None => {}
            }
        }
        Err(unregistered(named))
    }

    /// Returns the body that came with a ping.
    pub async fn ping_body(&self, service: ServiceId, id: HeartbeatId, now: DateTime<Utc>) -> Result<Vec<u8>, Error> {
        self.require_service(service).await?;
        let not_found = || Error::NotFound(format!("There is no body of heartbeat {id} of service {service}"));
        self.table.ping_body(service, id, now).await?.ok_or_else(not_found)
    }

    pub(super) async fn resolve(&self, service: &Named, remembered: bool) -> Result<ServiceId, Error> {
        let name = match service {
            Named::Id(id) => return Ok(*id),
            Named::Name(name) => name,
        };
        let folded = name.folded();
        if let Some(id) = self.names.id(&folded).filter(|_| remembered) {
            return Ok(id);
        }
        let found = match self.table.service_named(name, !remembered).await? {
            Some(id) => Some(id),
            // A service registered a moment ago may not be everywhere yet.
            None => self.table.service_named(name, true).await?,
        };
        let id = found.ok_or_else(|| unregistered(service))?;
        self.names.remember(folded, id);
        Ok(id)
    }

    /// Counts a heartbeat once.
    async fn count(
        &self,
        id: ServiceId,
        named: &Named,
        stamp: Stamp,
        status: Status,
        now: DateTime<Utc>,
    ) -> Result<Counted, Error> {
        if status.counts_as_alive() {
            match self.table.write_heartbeat(id, self.names.threshold(id), stamp, status).await? {
                HeartbeatWrite::Counted => return Ok(Counted::Done { judge_now: false }),
                HeartbeatWrite::Unknown => return Ok(Counted::Unknown),
                HeartbeatWrite::Differs(snapshot) => {
                    if let Some(counted) = self.count_as_read(&snapshot, named, stamp, status, now).await? {
                        return Ok(counted);
                    }
                }
            }
        }
        retry_on_conflict(id, || async move {
            match self.existing(id).await? {
                Some(snapshot) => self.count_as_read(&snapshot, named, stamp, status, now).await,
                None => Ok(Some(Counted::Unknown)),
            }
        })
        .await
    }

    /// Counts a heartbeat for a service as it was read. None if that has changed meanwhile.
    async fn count_as_read(
        &self,
        snapshot: &ServiceSnapshot,
        named: &Named,
        stamp: Stamp,
        status: Status,
        now: DateTime<Utc>,
    ) -> Result<Option<Counted>, Error> {
        if !snapshot.service.active {
            return Err(Error::Inactive(named.to_string()));
        }
        self.names.remember_threshold(snapshot.service.id, snapshot.service.rule.threshold);
        let mut service = snapshot.service.clone();
        let judge_now = service.record_heartbeat(stamp, status, now);
        if service == snapshot.service {
            // Counted before, or too old to count.
            let judge_now = service.outage.is_some() || service.pending.is_some();
            return Ok(Some(Counted::Done { judge_now }));
        }
        let commit = self.table.save_state(snapshot, &service).await?;
        Ok((commit == Commit::Done).then_some(Counted::Done { judge_now }))
    }

    /// Returns a service's state, unless it is deleted.
    async fn existing(&self, id: ServiceId) -> Result<Option<ServiceSnapshot>, Error> {
        Ok(self.table.service_snapshot(id).await?.filter(|snapshot| !snapshot.service.deleted))
    }

    /// Returns one service's heartbeats, newest first.
    pub async fn heartbeats(
        &self,
        service: ServiceId,
        run_id: Option<&str>,
        after: Option<HeartbeatId>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<(ServiceRecord, Page<Heartbeat>), Error> {
        let record = self.service(service).await?;
        Ok((record, self.table.heartbeats(service, run_id, after, limit, now).await?))
    }

    /// Returns the newest heartbeats of the services with these names; without any, of all services, if they are few.
    pub async fn heartbeats_named(
        &self,
        heartbeat_name: Option<&str>,
        service_name: Option<&str>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<(Heartbeat, ServiceRecord)>, Error> {
        let services = match heartbeat_name {
            Some(name) => self.service_by_name(name).await?.into_iter().collect(),
            None => self.services_to_list(service_name).await?,
        };
        let wanted = services
            .into_iter()
            .filter(|record| service_name.is_none_or(|wanted| record.profile.service_name.as_str() == wanted));
        let histories: Vec<Vec<_>> = stream::iter(wanted)
            .map(|record| async move {
                let id = record.snapshot.service.id;
                let page = self.table.heartbeats(id, None, None, limit, now).await?;
                Ok::<_, Error>(page.items.into_iter().map(|heartbeat| (heartbeat, record.clone())).collect())
            })
            .buffer_unordered(16)
            .try_collect()
            .await?;
        let mut all: Vec<_> = histories.into_iter().flatten().collect();
        all.sort_unstable_by_key(|(heartbeat, _)| std::cmp::Reverse(heartbeat.id));
        all.truncate(limit);
        Ok(all)
    }

    /// Returns the services over which heartbeats are listed without the name of one.
    async fn services_to_list(&self, service_name: Option<&str>) -> Result<Vec<ServiceRecord>, Error> {
        let max = if service_name.is_some() { MAX_SERVICES_OF_A_NAME } else { MAX_SERVICES };
        let too_many = || {
            let problem = format!("must be given: there are more than {max} services to look through");
            Invalid::new("heartbeat_name", problem)
        };
        Ok(self.services_up_to(max, service_name).await?.ok_or_else(too_many)?)
    }
}

fn unregistered(service: &Named) -> Error {
    Error::NotFound(format!("Heartbeat is not registered: {service}"))
}
