//! Looks at a service's open runs, since what decides on them has changed: a part at a time, so that however many there are,
//! the service itself is judged in time.

use chrono::{DateTime, Utc};
use domain::{RunId, ServiceId};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use store::{Commit, Key};

use crate::batch::Batch;
use crate::error::error_chain;
use crate::{Error, Medic};

/// How many runs are looked at in one part: a second's work on AWS.
const PART: usize = 100;

impl Medic {
    /// Judges the next part of a service's open runs, if a look at them is due. Returns whether it was, and nobody else
    /// came between. Then the row's timer is to be moved: to the next part, if there is one.
    pub(super) async fn look_at_runs(&self, id: ServiceId, batch: &Batch, now: DateTime<Utc>) -> Result<bool, Error> {
        let Some(snapshot) = self.table.service_snapshot(id).await? else { return Ok(false) };
        let Some(look) = snapshot.service.due_runs_look(now) else { return Ok(false) };
        let (runs, rest) = self.table.open_runs(id, PART, look.from, now).await?;
        let looks: Vec<_> = runs.iter().map(|run| self.look_at_run(id, run, batch, now)).collect();
        stream::iter(looks).buffer_unordered(8).try_collect::<()>().await?;
        let looked = snapshot.service.clone().looked_at_runs(rest, now);
        Ok(self.table.save_runs_look(&snapshot, &looked).await? == Commit::Done)
    }

    /// Judges one run. One that cannot be judged is left to its own row, and holds up neither the others nor the service.
    async fn look_at_run(
        &self,
        service: ServiceId,
        id: &RunId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        match self.judge_run(service, id, batch, now).await {
            Ok(Some(due_at)) => self.schedule_run_wakeup(service, id, due_at, now).await,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(row = %Key::run(service, id), error = %error_chain(&error), "a run was not judged");
                self.table.make_run_due(service, id, now).await?;
                self.wake_row(Key::run(service, id), now).await;
            }
        }
        Ok(())
    }
}
