//! Shows alerts, and lets somebody acknowledge one.

use chrono::{DateTime, Utc};
use domain::{Alert, AlertId, Notification, NotificationKind, NotificationOwner, Outage, RunId};
use store::{AlertFilter, Commit, Page, Writes};

use crate::outbox::Outbox;
use crate::retry::retry_on_conflict;
use crate::{Actor, Error, Medic};

impl Medic {
    pub async fn alert(&self, id: AlertId) -> Result<Alert, Error> {
        self.table.alert(id).await?.ok_or_else(|| Error::NotFound(format!("There is no alert {id}")))
    }

    /// Returns alerts, newest first.
    pub async fn alerts(
        &self,
        filter: AlertFilter,
        after: Option<AlertId>,
        limit: usize,
    ) -> Result<Page<Alert>, Error> {
        Ok(self.table.alerts(filter, after, limit).await?)
    }

    /// Returns the notifications of an alert, each with its outcomes.
    pub async fn notifications(&self, id: AlertId) -> Result<Vec<Notification>, Error> {
        self.alert(id).await?;
        Ok(self.table.notifications(NotificationOwner::Alert(id)).await?)
    }

    /// Acknowledges an open alert: no more reminders, and PagerDuty shows it as acknowledged. Repeating it changes nothing.
    pub async fn acknowledge(&self, id: AlertId, actor: &Actor) -> Result<Alert, Error> {
        retry_on_conflict(id, || async move {
            let alert = self.alert(id).await?;
            if alert.acknowledged_at.is_some() && alert.is_open() {
                return Ok(Some(alert));
            }
            match alert.job() {
                Some(job) => self.acknowledge_run(&alert, &job.run_id, actor).await,
                None => self.acknowledge_service(&alert, actor).await,
            }
        })
        .await
    }

    /// Acknowledges the open alert of a service. None if the service has changed meanwhile.
    async fn acknowledge_service(&self, alert: &Alert, actor: &Actor) -> Result<Option<Alert>, Error> {
        let snapshot = self.table.service_snapshot(alert.service_id).await?;
        let is_of_alert = |outage: &Outage| outage.alert_id == alert.id;
        let snapshot = snapshot.filter(|snapshot| snapshot.service.outage.as_ref().is_some_and(is_of_alert));
        let Some(snapshot) = snapshot.filter(|_| alert.is_open()) else { return Err(closed(alert)) };
        let mut service = snapshot.service.clone();
        service.version += 1;
        let Some(outage) = &mut service.outage else { return Ok(None) };
        outage.acknowledged = true;
        let was_notified = outage.notified;
        let at = service.next_notification_at(actor.at);
        let mut writes = Writes::new();
        writes.transition(&self.table, &snapshot, &service)?;
        let acknowledged = acknowledged(alert, actor);
        let outbox = self.acknowledgement(&acknowledged, was_notified, at).await?;
        self.commit_acknowledgement(writes, alert, acknowledged, outbox, actor).await
    }

    /// Acknowledges the open alert of a run. None if the run has changed meanwhile.
    async fn acknowledge_run(&self, alert: &Alert, run: &RunId, actor: &Actor) -> Result<Option<Alert>, Error> {
        let old = self.table.reported_run(alert.service_id, run, true, actor.at).await?.run;
        let stale = old.stale.filter(|stale| stale.alert_id == alert.id && !stale.closed);
        let Some(stale) = stale.filter(|_| alert.is_open()) else { return Err(closed(alert)) };
        let mut run = old.clone().rested(old.due_at);
        let at = run.next_notification_at(actor.at);
        let mut writes = Writes::new();
        writes.update_run(&self.table, &old, &run)?;
        let acknowledged = acknowledged(alert, actor);
        let outbox = self.acknowledgement(&acknowledged, stale.notified, at).await?;
        self.commit_acknowledgement(writes, alert, acknowledged, outbox, actor).await
    }

    /// Returns what an acknowledgement sends to whoever was notified of the alert.
    async fn acknowledgement(&self, alert: &Alert, was_notified: bool, at: DateTime<Utc>) -> Result<Outbox, Error> {
        let kind = NotificationKind::Acknowledged;
        let outcomes = if was_notified { self.notified_receivers(alert.id, kind).await? } else { Vec::new() };
        Ok(Outbox::of(self.notification_of(kind, alert, outcomes, at)?))
    }

    async fn commit_acknowledgement(
        &self,
        mut writes: Writes,
        alert: &Alert,
        acknowledged: Alert,
        outbox: Outbox,
        actor: &Actor,
    ) -> Result<Option<Alert>, Error> {
        writes.update_alert(&self.table, alert, &acknowledged)?;
        outbox.add_to(&mut writes, &self.table, actor.at)?;
        if self.table.commit(writes).await? == Commit::Conflict {
            return Ok(None);
        }
        self.hand_over(&outbox, actor.at).await;
        Ok(Some(acknowledged))
    }
}

fn acknowledged(alert: &Alert, actor: &Actor) -> Alert {
    Alert { acknowledged_at: Some(actor.at), acknowledged_by: actor.name.clone(), ..alert.clone() }
}

fn closed(alert: &Alert) -> Error {
    Error::Conflict(format!("Alert {} is closed", alert.id))
}
