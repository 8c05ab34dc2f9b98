//! Starts the playbooks that alerts trigger. The transition that meets a trigger owes the start in its own transaction;
//! whoever starts playbooks settles it, once.

use chrono::{DateTime, Utc};
use domain::{
    Admission, Alert, AlertId, Event, ExecutionId, Origin, Playbook, ServiceId, TriggerId, Variables, winner,
};
use store::{Commit, ExecutionRecord, Start, Writes};

use crate::batch::Batch;
use crate::configuration::TRIES;
use crate::executions::NewRun;
use crate::{Error, Medic};

impl Medic {
    /// What an alert starts when its service has failed so often: the playbook of the trigger that wins, unless that has
    /// been started for this alert.
    pub(crate) async fn triggered(
        &self,
        alert: &Alert,
        consecutive_failures: u32,
        now: DateTime<Utc>,
    ) -> Result<Option<Start>, Error> {
        let triggers = match self.triggers.fresh(now) {
            Some(triggers) => triggers,
            None => self.triggers.keep(self.table.triggers().await?, now),
        };
        let (service_name, heartbeat_name) = (&alert.service.service_name, &alert.service.heartbeat_name);
        let won = winner(triggers.iter(), service_name, heartbeat_name, consecutive_failures);
        Ok(won.filter(|trigger| !alert.triggered.contains(&trigger.id)).map(|trigger| Start {
            alert_id: alert.id,
            trigger_id: trigger.id,
            playbook_id: trigger.playbook_id,
            consecutive_failures,
            at: now,
            execution_id: None,
            is_refused: false,
            is_closed: false,
        }))
    }

    /// Adds to the transaction that closes an alert that what it started is to hear of it.
    pub(crate) fn close_starts(&self, writes: &mut Writes, alert: &Alert, now: DateTime<Utc>) -> Result<(), Error> {
        for trigger in &alert.triggered {
            writes.close_start(&self.table, alert.id, *trigger, now)?;
        }
        Ok(())
    }

    /// Starts what an alert triggered, if that was not done; and when the alert has closed, ends what still waits for a yes.
    pub async fn start_triggered(
        &self,
        alert_id: AlertId,
        trigger_id: TriggerId,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some(start) = self.table.start(alert_id, trigger_id).await? else { return Ok(()) };
            if start.execution_id.is_none() && !start.is_refused {
                self.settle_start(start, now).await?;
                continue;
            }
            if let Some(id) = start.execution_id.filter(|_| start.is_closed) {
                let closed = |_: &ExecutionRecord| Ok(Some(Event::AlertClosed));
                match self.apply(id, closed, now).await {
                    Ok(_) | Err(Error::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.table.end_start(&start).await? == Commit::Done {
                return Ok(());
            }
        }
        Err(Error::contended(format!("the playbook of trigger {trigger_id} for alert {alert_id}")))
    }

    /// Starts a playbook, or records that it is not to be. Refused by others' writes, it is looked at again.
    async fn settle_start(&self, start: Start, now: DateTime<Utc>) -> Result<(), Error> {
        let alert = self.table.alert(start.alert_id).await?;
        let playbook: Option<Playbook> = self.table.find(start.playbook_id).await?;
        let (Some(alert), Some(playbook)) = (alert, playbook) else {
            return self.refuse_start(start, Writes::new()).await;
        };
        let service_id = alert.service_id;
        let seen = self.table.circuit(service_id).await?;
        let limit = self.settings.circuit;
        let (circuit, admission) = seen.circuit.admit(false, now, limit.most, limit.window);
        let mut writes = Writes::new();
        if let Admission::Refuse { is_first } = admission {
            tracing::warn!(service.id = %service_id, alert.id = %alert.id, "the circuit is open: no playbook starts");
            if !is_first {
                return self.refuse_start(start, writes).await;
            }
            writes.update_circuit(&self.table, service_id, &seen, &circuit, limit)?;
            return self.refuse_and_tell(start, writes, service_id, now).await;
        }
        writes.update_circuit(&self.table, service_id, &seen, &circuit, limit)?;
        let service = self.table.service(service_id).await?;
        let new = NewRun {
            playbook_id: playbook.id,
            service_id: Some(service_id),
            variables: variables(&alert, &start),
            origin: Origin::Alert { alert_id: alert.id, trigger_id: start.trigger_id },
            // The start that this settles is the mark.
            idempotency_key: None,
        };
        let id = ExecutionId::at(now, self.random()?);
        let begun = match self.plan(&playbook, service.as_ref(), (id, &new), now).await {
            Ok(begun) => begun,
            Err(Error::Invalid(problem)) => {
                return self.refuse_as_unplanned(start, (&playbook, &alert), &problem.to_string(), now).await;
            }
            Err(Error::Conflict(problem)) => {
                return self.refuse_as_unplanned(start, (&playbook, &alert), &problem, now).await;
            }
            Err(error) => return Err(error),
        };
        let settled = Start { execution_id: Some(begun.execution.id), ..start };
        writes.settle_start(&self.table, &settled)?;
        if let Some(applied) = self.begin(begun, writes, now).await? {
            self.wake_execution(&applied.record.execution, now).await;
        }
        Ok(())
    }

    async fn refuse_start(&self, start: Start, mut writes: Writes) -> Result<(), Error> {
        writes.settle_start(&self.table, &Start { is_refused: true, ..start })?;
        // Refused, it is looked at again.
        let _settled: Commit = self.table.commit(writes).await?;
        Ok(())
    }

    /// Tells people that the circuit of a service is open.
    async fn refuse_and_tell(
        &self,
        start: Start,
        mut writes: Writes,
        service_id: ServiceId,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let batch = Batch::default();
        self.add_circuit_notifications(&mut writes, service_id, &batch, now).await?;
        writes.settle_start(&self.table, &Start { is_refused: true, ..start })?;
        if self.table.commit(writes).await? == Commit::Done {
            metrics::counter!("medic_circuit_breaker_trips_total", "service_id" => service_id.to_string()).increment(1);
            self.wake_lanes(&batch, now).await;
        }
        Ok(())
    }

    /// Records why a playbook cannot be started.
    async fn refuse_as_unplanned(
        &self,
        start: Start,
        (playbook, alert): (&Playbook, &Alert),
        problem: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        tracing::error!(playbook.id = %playbook.id, alert.id = %alert.id, problem, "a playbook cannot be started");
        let mut writes = Writes::new();
        self.audit_unplanned(&mut writes, (playbook, alert), problem, now)?;
        self.refuse_start(start, writes).await
    }
}

/// What an alert says to its playbook.
fn variables(alert: &Alert, start: &Start) -> Variables {
    let mut variables = Variables::from([
        ("ALERT_ID".to_owned(), alert.id.to_string()),
        ("ALERT_CYCLE".to_owned(), alert.cycle.to_string()),
        ("CONSECUTIVE_FAILURES".to_owned(), start.consecutive_failures.to_string()),
        ("TRIGGER_ID".to_owned(), start.trigger_id.to_string()),
    ]);
    if let Some(job) = alert.job() {
        variables.insert("RUN_ID".to_owned(), job.run_id.to_string());
    }
    variables
}
