//! Shows alerts, and lets somebody acknowledge one or close it by hand.

use chrono::{DateTime, Utc};
use domain::{
    Alert, AlertId, AuditAction, AuditDetails, AuditedThing, Closing, Notification, NotificationId, NotificationKind,
    NotificationOwner, PendingEvent, Run, RunId, ServicePatch, ThingKind,
};
use store::{AlertFilter, Commit, Key, Page, ServiceSnapshot, Writes};

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

    /// Returns the notifications of an alert, each with its outcomes, oldest first.
    pub async fn notifications(
        &self,
        id: AlertId,
        after: Option<NotificationId>,
        limit: usize,
    ) -> Result<Page<Notification>, Error> {
        self.alert(id).await?;
        Ok(self.table.notifications_after(NotificationOwner::Alert(id), after, limit).await?)
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

    /// Closes an open alert by hand: the sweep does, since only it makes transitions. Repeating it meanwhile changes nothing.
    pub async fn resolve_alert(&self, id: AlertId, reason: Option<String>, actor: &Actor) -> Result<Alert, Error> {
        let reason = &reason;
        retry_on_conflict(id, || async move {
            let alert = self.alert(id).await?;
            let closing = Closing::Resolved { by: actor.name.clone(), reason: reason.clone() };
            let resolved = Alert { closing: Some(closing), ..alert.clone() };
            match alert.job() {
                Some(job) => self.resolve_run(&alert, resolved, &job.run_id, actor).await,
                None => self.resolve_service(&alert, resolved, actor).await,
            }
        })
        .await
    }

    /// Acknowledges the open alert of a service. None if the service has changed meanwhile.
    async fn acknowledge_service(&self, alert: &Alert, actor: &Actor) -> Result<Option<Alert>, Error> {
        let snapshot = self.service_of(alert).await?;
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
        let old = self.stale_run_of(alert, run, actor).await?;
        let was_notified = old.stale.is_some_and(|stale| stale.notified);
        let mut run = old.clone().acknowledged();
        let at = run.next_notification_at(actor.at);
        let mut writes = Writes::new();
        writes.update_run(&self.table, &old, &run)?;
        let acknowledged = acknowledged(alert, actor);
        let outbox = self.acknowledgement(&acknowledged, was_notified, at).await?;
        self.commit_acknowledgement(writes, alert, acknowledged, outbox, actor).await
    }

    /// Asks the sweep to close the alert of a service, as an operator does who clears `down`. None if the service has
    /// changed meanwhile.
    async fn resolve_service(&self, alert: &Alert, resolved: Alert, actor: &Actor) -> Result<Option<Alert>, Error> {
        let snapshot = self.service_of(alert).await?;
        if snapshot.service.pending == Some(PendingEvent::SetUp) && alert.closing.is_some() {
            return Ok(Some(alert.clone()));
        }
        let mut service = snapshot.service.clone();
        service.edit(&ServicePatch { down: Some(false), ..ServicePatch::default() }, actor.at);
        let mut writes = Writes::new();
        writes.transition(&self.table, &snapshot, &service)?;
        self.commit_resolution(writes, alert, resolved, Key::service(alert.service_id), actor).await
    }

    /// Asks the sweep to close the alert of a run. None if the run has changed meanwhile.
    async fn resolve_run(
        &self,
        alert: &Alert,
        resolved: Alert,
        run: &RunId,
        actor: &Actor,
    ) -> Result<Option<Alert>, Error> {
        let old = self.stale_run_of(alert, run, actor).await?;
        if old.stale.is_some_and(|stale| stale.resolved) {
            return Ok(Some(alert.clone()));
        }
        let mut run = old.clone();
        run.resolve(actor.at);
        let mut writes = Writes::new();
        writes.update_run(&self.table, &old, &run)?;
        self.commit_resolution(writes, alert, resolved, Key::run(run.service_id, &run.id), actor).await
    }

    /// Returns the service whose open alert this is.
    async fn service_of(&self, alert: &Alert) -> Result<ServiceSnapshot, Error> {
        let snapshot = self.table.service_snapshot(alert.service_id).await?.filter(|_| alert.is_open());
        let is_of_alert = |snapshot: &ServiceSnapshot| {
            snapshot.service.outage.as_ref().is_some_and(|outage| outage.alert_id == alert.id)
        };
        snapshot.filter(is_of_alert).ok_or_else(|| closed(alert))
    }

    /// Returns the run whose open alert this is.
    async fn stale_run_of(&self, alert: &Alert, run: &RunId, actor: &Actor) -> Result<Run, Error> {
        let run = self.table.run(alert.service_id, run, actor.at).await?;
        let stale = run.stale.filter(|stale| stale.alert_id == alert.id && !stale.closed);
        if stale.is_some() && alert.is_open() { Ok(run) } else { Err(closed(alert)) }
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
        self.audit_alert(&mut writes, AuditAction::Acknowledged, &acknowledged, actor)?;
        outbox.add_to(&mut writes, &self.table)?;
        if self.table.commit(writes).await? == Commit::Conflict {
            return Ok(None);
        }
        self.hand_over(&outbox, actor.at).await;
        Ok(Some(acknowledged))
    }

    /// Commits that somebody closes an alert, and wakes the sweep for the row that says so.
    async fn commit_resolution(
        &self,
        mut writes: Writes,
        alert: &Alert,
        resolved: Alert,
        row: Key,
        actor: &Actor,
    ) -> Result<Option<Alert>, Error> {
        writes.update_alert(&self.table, alert, &resolved)?;
        self.audit_alert(&mut writes, AuditAction::Resolved, &resolved, actor)?;
        if self.table.commit(writes).await? == Commit::Conflict {
            return Ok(None);
        }
        self.wake_row(row, actor.at).await;
        Ok(Some(resolved))
    }

    /// Adds the entry in the audit log for what somebody does with an alert.
    fn audit_alert(&self, writes: &mut Writes, action: AuditAction, alert: &Alert, actor: &Actor) -> Result<(), Error> {
        let details = AuditDetails {
            service_name: Some(alert.service.service_name.clone()),
            reason: alert.resolution().map(ToOwned::to_owned),
            thing: Some(AuditedThing { kind: ThingKind::Alert, id: alert.id.get(), name: Some(alert.name()) }),
            ..AuditDetails::default()
        };
        self.add_audit_entry(writes, action, actor, Some(alert.service_id), details)
    }
}

fn acknowledged(alert: &Alert, actor: &Actor) -> Alert {
    Alert { acknowledged_at: Some(actor.at), acknowledged_by: actor.name.clone(), ..alert.clone() }
}

fn closed(alert: &Alert) -> Error {
    Error::Conflict(format!("Alert {} is closed", alert.id))
}
