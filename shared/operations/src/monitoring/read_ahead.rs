//! Reads together what judging many services will ask for.

use chrono::{DateTime, Utc};
use domain::{Decision, ServiceId, Transition};
use store::Key;

use crate::batch::{Batch, ReadAhead};
use crate::{Error, Medic};

impl Medic {
    /// Reads the rows of these services, and what the alerts will show of those that are about to open one.
    pub(crate) async fn read_ahead(
        &self,
        services: Vec<ServiceId>,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let handled: Vec<_> = services.iter().map(|id| self.row_turns.handled_alone(&Key::service(*id))).collect();
        let mut snapshots = self.table.service_snapshots(&services).await?;
        let mut opening = Vec::new();
        for service in services.iter().filter_map(|id| Some(&snapshots.get(id)?.service)) {
            if let Decision::Act(Transition::Open(_)) = self.decide_on_service(service, now).await? {
                opening.push(service.id);
            }
        }
        let alert_contexts = self.table.alert_contexts(&opening).await?;
        let handled = services.into_iter().zip(handled);
        let snapshots = handled.filter_map(|(id, handled)| Some((id, (snapshots.remove(&id)?, handled)))).collect();
        batch.keep(ReadAhead { snapshots, alert_contexts });
        Ok(())
    }
}
