//! Shows alerts, and lets somebody take one.

use domain::{Alert, AlertId, Notification, NotificationId, NotificationKind, NotificationOwner, RunId, ServiceId};
use store::{AlertFilter, Commit, Page, Writes};

use crate::{Actor, Error, Medic};

const TRIES: usize = 10;

impl Medic {
    pub async fn alert(&self, id: AlertId) -> Result<Alert, Error> {
        self.table.alert(id).await?.ok_or_else(|| Error::NotFound(format!("There is no alert {id}")))
    }

    /// Alerts, newest first.
    pub async fn alerts(
        &self,
        filter: AlertFilter,
        after: Option<AlertId>,
        limit: usize,
    ) -> Result<Page<Alert>, Error> {
        Ok(self.table.alerts(filter, after, limit).await?)
    }

    /// What was told of an alert, and to whom.
    pub async fn notifications(&self, id: AlertId) -> Result<Vec<Notification>, Error> {
        self.alert(id).await?;
        Ok(self.table.notifications(NotificationOwner::Alert(id)).await?)
    }

    /// Notifications that were printed for want of Slack, newest first.
    pub async fn printed(
        &self,
        after: Option<NotificationId>,
        limit: usize,
    ) -> Result<Page<(NotificationId, String)>, Error> {
        Ok(self.table.printed(after, limit).await?)
    }

    /// Which of the services of these alerts still exist.
    pub async fn services_of(&self, alerts: &[Alert]) -> Result<Vec<ServiceId>, Error> {
        let mut ids: Vec<_> = alerts.iter().map(|alert| alert.service_id).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(self.table.existing_services(&ids).await?)
    }

    /// Takes an open alert: no more reminders, and PagerDuty shows it as acknowledged. Again changes nothing.
    pub async fn acknowledge(&self, id: AlertId, actor: &Actor) -> Result<Alert, Error> {
        let now = actor.at;
        for _ in 0..TRIES {
            let alert = self.alert(id).await?;
            if alert.acknowledged_at.is_some() && alert.is_open() {
                return Ok(alert);
            }
            if let Some(job) = alert.job() {
                if let Some(acknowledged) = self.acknowledge_run(&alert, &job.run_id, actor).await? {
                    return Ok(acknowledged);
                }
                continue;
            }
            let seen = self.table.service_snapshot(alert.service_id).await?;
            let seen = seen.filter(|seen| seen.service.outage.as_ref().is_some_and(|outage| outage.alert_id == id));
            let Some(seen) = seen.filter(|_| alert.is_open()) else {
                return Err(Error::Conflict(format!("Alert {id} is closed")));
            };
            let mut service = seen.service.clone();
            service.version += 1;
            let Some(outage) = &mut service.outage else { continue };
            outage.acknowledged = true;
            let told = outage.notified;
            let notification_at = service.next_notification_at(now);
            let acknowledged =
                Alert { acknowledged_at: Some(now), acknowledged_by: actor.name.clone(), ..alert.clone() };
            let mut writes = Writes::new();
            writes.transition(&self.table, &seen, &service)?;
            writes.update_alert(&self.table, &alert, &acknowledged)?;
            let kind = NotificationKind::Acknowledged;
            let outcomes = if told { self.notified_receivers(id, kind).await? } else { Vec::new() };
            let notification = self.notification_of(kind, &acknowledged, outcomes, notification_at)?;
            if let Some(notification) = &notification {
                writes.add_notification(&self.table, notification)?;
            }
            if self.table.commit(writes).await? == Commit::Done {
                self.hand_over(notification.as_ref(), now).await;
                return Ok(acknowledged);
            }
        }
        Err(Error::contended(id))
    }

    /// Takes the open alert of a run. None if the run has moved meanwhile.
    async fn acknowledge_run(
        &self,
        alert: &Alert,
        run: &RunId,
        actor: &Actor,
    ) -> Result<Option<Alert>, Error> {
        let now = actor.at;
        let seen = self.table.reported_run(alert.service_id, run, true, now).await?.run;
        let stale = seen.stale.filter(|stale| stale.alert_id == alert.id && !stale.closed);
        let Some(stale) = stale.filter(|_| alert.is_open()) else {
            return Err(Error::Conflict(format!("Alert {} is closed", alert.id)));
        };
        let mut run = seen.clone().rested(seen.due_at);
        let notification_at = run.next_notification_at(now);
        let acknowledged = Alert { acknowledged_at: Some(now), acknowledged_by: actor.name.clone(), ..alert.clone() };
        let mut writes = Writes::new();
        writes.update_run(&self.table, &seen, &run)?;
        writes.update_alert(&self.table, alert, &acknowledged)?;
        let kind = NotificationKind::Acknowledged;
        let outcomes = if stale.notified { self.notified_receivers(alert.id, kind).await? } else { Vec::new() };
        let notification = self.notification_of(kind, &acknowledged, outcomes, notification_at)?;
        if let Some(notification) = &notification {
            writes.add_notification(&self.table, notification)?;
        }
        if self.table.commit(writes).await? == Commit::Conflict {
            return Ok(None);
        }
        self.hand_over(notification.as_ref(), now).await;
        Ok(Some(acknowledged))
    }
}
