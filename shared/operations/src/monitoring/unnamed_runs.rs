//! Runs that pings do not name: a later start or end supersedes the one before it, so that a job that died leaves none open.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{HeartbeatId, Run, RunId, ServiceId};
use store::Commit;

use super::Named;
use crate::retry::retry_on_conflict;
use crate::{Error, Medic};

/// For how long a start may be under way whose run is not written yet.
const UNDER_WAY: TimeDelta = TimeDelta::minutes(5);

impl Medic {
    /// Returns the id of a run that begins now, after the one before it is superseded. A service's pointer moves from one
    /// to the next, on condition that nobody moved it meanwhile: whatever fails, and however many come at once, no other
    /// than the newest stays open. A start that fails after this is found by the next one.
    pub(super) async fn begin_unnamed_run(&self, service: &Named, now: DateTime<Utc>) -> Result<RunId, Error> {
        let run = RunId::parse(self.next_heartbeat_id(now)?.to_string())?;
        let id = self.active_service(service).await?;
        let new = &run;
        retry_on_conflict(format!("the newest unnamed run of service {id}"), || async move {
            let before = self.table.newest_unnamed_run(id).await?;
            match &before {
                // An earlier try of this very write was committed.
                Some(before) if before == new => return Ok(Some(())),
                Some(before) => self.supersede(id, before, now).await?,
                None => {}
            }
            let commit = self.table.begin_unnamed_run(id, before.as_ref(), new, now).await?;
            Ok((commit == Commit::Done).then_some(()))
        })
        .await?;
        Ok(run)
    }

    /// Returns the run that an end without a name ends: the newest open one. One that nobody named and that began before it
    /// is superseded.
    pub(super) async fn run_to_end(&self, service: ServiceId, now: DateTime<Utc>) -> Result<Option<RunId>, Error> {
        let (newest, unnamed) = self.table.newest_open_runs(service, now).await?;
        if let Some(older) = unnamed {
            self.supersede(service, &older, now).await?;
        }
        Ok(newest)
    }

    /// Supersedes a run that has not ended. The sweep then closes its alert.
    async fn supersede(&self, service: ServiceId, id: &RunId, now: DateTime<Utc>) -> Result<(), Error> {
        retry_on_conflict(format!("run {id}"), || async move {
            let old = self.table.run(service, id, now).await?;
            let mut run = old.clone();
            if run.started_at.is_some() || is_under_way(&run, now) {
                run.supersede(now);
            }
            if run != old && self.table.save_run(&old, &run).await? == Commit::Conflict {
                return Ok(None);
            }
            self.wake_pending_run(&run, now).await;
            Ok(Some(()))
        })
        .await
    }
}

/// Returns whether a run that is not there may yet begin: its ping came a moment ago.
fn is_under_way(run: &Run, now: DateTime<Utc>) -> bool {
    run.id.as_str().parse::<HeartbeatId>().is_ok_and(|id| now - id.time() < UNDER_WAY)
}
