//! Starts the playbooks that alerts trigger. The transition that meets a trigger commits the start with it; whoever starts
//! playbooks settles it, once.

use chrono::{DateTime, Utc};
use domain::{Advance, Alert, AlertId, CircuitOf, Event, ExecutionId, Origin, Playbook, TriggerId, Variables, winner};
use store::{Commit, ExecutionRecord, Start, Writes};

use super::circuits::Refusal;
use super::planning::NewRun;
use crate::retry::retry_on_conflict;
use crate::{Error, Medic};

impl Medic {
    /// Finds what an alert starts when its service has failed so often: the playbook of the trigger that wins, unless
    /// that has been started for this alert. The trigger is recorded on the alert. One that was due while Medic could not
    /// hear starts nothing as long as it is open: what is silent after Medic's own outage is as likely cut off as broken,
    /// and people can start a playbook themselves.
    pub(crate) async fn start_for(
        &self,
        alert: &mut Alert,
        consecutive_failures: u32,
        now: DateTime<Utc>,
    ) -> Result<Option<Start>, Error> {
        if alert.due_in_gap {
            return Ok(None);
        }
        let triggers = match self.triggers.get(now) {
            Some(triggers) => triggers,
            None => self.triggers.keep(self.table.triggers().await?, now),
        };
        let (service_name, heartbeat_name) = (&alert.service.service_name, &alert.service.heartbeat_name);
        let won = winner(triggers.iter(), service_name, heartbeat_name, consecutive_failures);
        let won = won.filter(|trigger| !alert.triggered.contains(&trigger.id));
        // What only a ping key stands behind starts nothing: whoever has one can name any service, and fail it.
        if won.is_some() && self.table.service(alert.service_id).await?.is_some_and(|found| found.profile.is_unedited) {
            return Ok(None);
        }
        let start = won.map(|trigger| Start {
            alert_id: alert.id,
            trigger_id: trigger.id,
            playbook_id: trigger.playbook_id,
            consecutive_failures,
            at: now,
            execution_id: None,
            is_refused: false,
            is_closed: false,
        });
        alert.triggered.extend(start.as_ref().map(|start| start.trigger_id));
        Ok(start)
    }

    /// Starts what an alert triggered, if that was not done; and when the alert has closed, ends what still awaits
    /// approval.
    pub async fn start_triggered(
        &self,
        alert_id: AlertId,
        trigger_id: TriggerId,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        retry_on_conflict(format!("the playbook of trigger {trigger_id} for alert {alert_id}"), || async move {
            let Some(start) = self.table.start(alert_id, trigger_id).await? else { return Ok(Some(())) };
            if start.execution_id.is_none() && !start.is_refused {
                self.settle_start(start, now).await?;
                return Ok(None);
            }
            if let Some(id) = start.execution_id.filter(|_| start.is_closed) {
                let closed = |_: &ExecutionRecord| Ok(Some(Event::AlertClosed));
                match self.apply(id, closed, now).await {
                    Ok(_) | Err(Error::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            let commit = self.table.end_start(&start).await?;
            Ok((commit == Commit::Done).then_some(()))
        })
        .await
    }

    /// Starts a playbook, or records that it is not started. After a conflict it is looked at again.
    async fn settle_start(&self, start: Start, now: DateTime<Utc>) -> Result<(), Error> {
        let alert = self.table.alert(start.alert_id).await?;
        let playbook: Option<Playbook> = self.table.find(start.playbook_id).await?;
        let (Some(alert), Some(playbook)) = (alert, playbook) else {
            return self.refuse_start(start, Writes::new()).await;
        };
        let service_id = alert.service_id;
        let mut writes = Writes::new();
        if let Some(Refusal { of, is_first }) = self.pass_circuits(Some(service_id), false, &mut writes, now).await? {
            tracing::warn!(circuit = %of, alert.id = %alert.id, "the circuit is open: no playbook starts");
            return if is_first {
                self.refuse_and_notify(start, writes, of, now).await
            } else {
                self.refuse_start(start, writes).await
            };
        }
        let begun = match self.plan_start(&start, &playbook, &alert, now).await {
            Ok(begun) => begun,
            Err(Error::Invalid(problem)) => {
                return self.refuse_as_unplanned(start, &playbook, &alert, &problem.to_string(), now).await;
            }
            Err(Error::Conflict(problem)) => {
                return self.refuse_as_unplanned(start, &playbook, &alert, &problem, now).await;
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

    /// Plans the execution that an alert starts.
    async fn plan_start(
        &self,
        start: &Start,
        playbook: &Playbook,
        alert: &Alert,
        now: DateTime<Utc>,
    ) -> Result<Advance, Error> {
        let service = self.table.service(alert.service_id).await?;
        let new = NewRun {
            playbook_id: playbook.id,
            service_id: Some(alert.service_id),
            given: Variables::new(),
            of_alert: variables(alert, start),
            origin: Origin::Alert { alert_id: alert.id, trigger_id: start.trigger_id },
            // The start that this settles is the key.
            idempotency_key: None,
        };
        let id = ExecutionId::at(now, self.random()?);
        self.plan(playbook, service.as_ref(), id, &new, now).await
    }

    async fn refuse_start(&self, start: Start, mut writes: Writes) -> Result<(), Error> {
        writes.settle_start(&self.table, &Start { is_refused: true, ..start })?;
        // After a conflict it is looked at again.
        let _settled: Commit = self.table.commit(writes).await?;
        Ok(())
    }

    /// Refuses a start because a circuit has just opened, and notifies people of that.
    async fn refuse_and_notify(
        &self,
        start: Start,
        mut writes: Writes,
        of: CircuitOf,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let outbox = self.circuit_outbox(of, now).await?;
        outbox.add_to(&mut writes, &self.table)?;
        writes.settle_start(&self.table, &Start { is_refused: true, ..start })?;
        if self.table.commit(writes).await? == Commit::Done {
            metrics::counter!("medic_circuit_breaker_trips_total", "service_id" => of.to_string()).increment(1);
            self.hand_over(&outbox, now).await;
        }
        Ok(())
    }

    /// Refuses a start whose execution cannot be planned, and records why in the audit log.
    async fn refuse_as_unplanned(
        &self,
        start: Start,
        playbook: &Playbook,
        alert: &Alert,
        problem: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        tracing::error!(playbook.id = %playbook.id, alert.id = %alert.id, problem, "a playbook cannot be started");
        let mut writes = Writes::new();
        self.audit_unplanned(&mut writes, playbook, alert, problem, now)?;
        self.refuse_start(start, writes).await
    }
}

/// Returns the variables that an alert gives to its playbook.
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
