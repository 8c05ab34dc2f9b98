//! Shows alerts, and lets somebody take one.

use chrono::{DateTime, Utc};
use domain::{Alert, AlertId, Notice, NoticeId, NoticeKind, NoticeOwner, RunId, ServiceId};
use store::{AlertFilter, Commit, Page, Writes};

use crate::{Error, Medic};

/// Who did something: an API key's name.
pub type Actor = String;

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
    pub async fn notices(&self, id: AlertId) -> Result<Vec<Notice>, Error> {
        self.alert(id).await?;
        Ok(self.table.notices(NoticeOwner::Alert(id)).await?)
    }

    /// Notices that were printed for want of Slack, newest first.
    pub async fn printed(&self, after: Option<NoticeId>, limit: usize) -> Result<Page<(NoticeId, String)>, Error> {
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
    pub async fn acknowledge(&self, id: AlertId, actor: &Actor, now: DateTime<Utc>) -> Result<Alert, Error> {
        for _ in 0..TRIES {
            let alert = self.alert(id).await?;
            if alert.acknowledged_at.is_some() && alert.is_open() {
                return Ok(alert);
            }
            if let Some(job) = alert.job() {
                if let Some(acknowledged) = self.acknowledge_run(&alert, &job.run_id, actor, now).await? {
                    return Ok(acknowledged);
                }
                continue;
            }
            let seen = self.table.watched(alert.service_id).await?;
            let seen = seen.filter(|seen| seen.service.outage.as_ref().is_some_and(|outage| outage.alert_id == id));
            let Some(seen) = seen.filter(|_| alert.is_open()) else {
                return Err(Error::Conflict(format!("Alert {id} is closed")));
            };
            let mut service = seen.service.clone();
            service.version += 1;
            let Some(outage) = &mut service.outage else { continue };
            outage.acknowledged = true;
            let told = outage.told;
            let notice_at = service.next_notice_at(now);
            let acknowledged =
                Alert { acknowledged_at: Some(now), acknowledged_by: Some(actor.clone()), ..alert.clone() };
            let mut writes = Writes::new();
            writes.transition(&self.table, &seen, &service)?;
            writes.change_alert(&self.table, &alert, &acknowledged)?;
            let kind = NoticeKind::Acknowledged;
            let outcomes = if told { self.who_heard(id, kind).await? } else { Vec::new() };
            let notice = self.notice_of(kind, &acknowledged, outcomes, notice_at)?;
            if let Some(notice) = &notice {
                writes.add_notice(&self.table, notice)?;
            }
            if self.table.commit(writes).await? == Commit::Done {
                self.hand_over(notice.as_ref(), now).await;
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
        now: DateTime<Utc>,
    ) -> Result<Option<Alert>, Error> {
        let seen = self.table.run_heard(alert.service_id, run, true, now).await?.run;
        let stale = seen.stale.filter(|stale| stale.alert_id == alert.id && !stale.closed);
        let Some(stale) = stale.filter(|_| alert.is_open()) else {
            return Err(Error::Conflict(format!("Alert {} is closed", alert.id)));
        };
        let mut run = seen.clone().rested(seen.due_at);
        let notice_at = run.next_notice_at(now);
        let acknowledged = Alert { acknowledged_at: Some(now), acknowledged_by: Some(actor.clone()), ..alert.clone() };
        let mut writes = Writes::new();
        writes.change_run(&self.table, &seen, &run)?;
        writes.change_alert(&self.table, alert, &acknowledged)?;
        let kind = NoticeKind::Acknowledged;
        let outcomes = if stale.told { self.who_heard(alert.id, kind).await? } else { Vec::new() };
        let notice = self.notice_of(kind, &acknowledged, outcomes, notice_at)?;
        if let Some(notice) = &notice {
            writes.add_notice(&self.table, notice)?;
        }
        if self.table.commit(writes).await? == Commit::Refused {
            return Ok(None);
        }
        self.hand_over(notice.as_ref(), now).await;
        Ok(Some(acknowledged))
    }
}
