//! Finds who is told of a service: the one place, for alerts, reminders, recoveries and announcements.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, AlertId, Notification, NotificationId, NotificationKind, NotificationOwner, Outcome, Period, Profile,
    Receiver, Routing, ServiceId, Subject, Target, TargetKind, Team, Webhook, in_maintenance,
};

use crate::{Error, Medic};

impl Medic {
    /// Who is to be told that a service is down, in order.
    pub(crate) async fn route(
        &self,
        service_id: ServiceId,
        profile: &Profile,
        team: Option<&Team>,
        targets: Vec<Target>,
        kind: NotificationKind,
        now: DateTime<Utc>,
    ) -> Result<Vec<Outcome>, Error> {
        Ok(self.routing(service_id, profile, team, targets, now).await?.outcomes(kind, now))
    }

    /// What the choice of who is told of a service rests on.
    pub(crate) async fn routing(
        &self,
        service_id: ServiceId,
        profile: &Profile,
        team: Option<&Team>,
        targets: Vec<Target>,
        now: DateTime<Utc>,
    ) -> Result<Routing, Error> {
        // Only what the targets ask for is read.
        let period = match profile.schedule_id.filter(|_| !targets.is_empty()) {
            Some(id) => self.table.schedule(id).await?.map_or(Period::DuringHours, |schedule| schedule.period(now)),
            None => Period::DuringHours,
        };
        let channel =
            team.and_then(|team| team.slack_channel_id.clone()).or_else(|| self.settings.slack_channel.clone());
        Ok(Routing {
            service_id,
            mode: profile.notification_mode,
            period,
            targets,
            channel,
            has_pagerduty: self.pagerduty.has_routing_key(),
        })
    }

    /// A service's team, where there is one.
    pub(crate) async fn team_of(&self, profile: &Profile) -> Result<Option<Team>, Error> {
        match profile.team_id {
            Some(id) => Ok(self.table.team(id).await?),
            None => Ok(None),
        }
    }

    /// Who heard of an alert, or is about to: whoever receives of its end.
    pub(crate) async fn notified_receivers(
        &self,
        alert: AlertId,
        kind: NotificationKind,
    ) -> Result<Vec<Outcome>, Error> {
        let mut heard: Vec<Outcome> = Vec::new();
        for notification in self
            .table
            .notifications(NotificationOwner::Alert(alert))
            .await?
            .iter()
            .filter(|notification| raises_alert(notification))
        {
            for outcome in notification.outcomes.iter().filter(|outcome| outcome.is_success() || outcome.is_owed()) {
                let is_new = !heard.iter().any(|known| known.receiver == outcome.receiver);
                if is_new && outcome.receiver.receives(kind) {
                    heard.push(outcome.anew());
                }
            }
        }
        Ok(heard)
    }

    /// Whether a receiver took the news of an alert, or is about to: what is owed goes before the alert's end in its lane.
    pub(crate) async fn was_notified(&self, alert: AlertId, receiver: &Receiver) -> Result<bool, Error> {
        let notifications = self.table.notifications(NotificationOwner::Alert(alert)).await?;
        let receives = |outcome: &Outcome| outcome.is_success() || outcome.is_owed();
        let took = |notification: &Notification| notification.outcome(receiver).is_some_and(receives);
        Ok(notifications.iter().filter(|notification| raises_alert(notification)).any(took))
    }

    /// A notification of an alert, if anybody is to be told.
    pub(crate) fn notification_of(
        &self,
        kind: NotificationKind,
        alert: &Alert,
        outcomes: Vec<Outcome>,
        at: DateTime<Utc>,
    ) -> Result<Option<Notification>, Error> {
        if outcomes.is_empty() {
            return Ok(None);
        }
        let subject = Subject::Alert { kind, alert: Box::new(alert.clone()) };
        Ok(Some(Notification { id: NotificationId::at(at, self.random()?), at, subject, outcomes }))
    }

    /// Until when a service's alerts wait: the end of the maintenance that it is in, where that is known.
    pub(crate) async fn held_until(
        &self,
        service: ServiceId,
        now: DateTime<Utc>,
    ) -> Result<Option<Option<DateTime<Utc>>>, Error> {
        let windows = match self.windows.fresh(now) {
            Some(windows) => windows,
            None => self.windows.keep(self.table.windows().await?, now),
        };
        Ok(in_maintenance(&windows, service, now).map(|(_, occurrence)| occurrence.end))
    }

    /// The webhooks that are to be told of what happens to a service: its own and those of every service, oldest first.
    /// Their lists lag behind the table by moments.
    pub async fn webhooks_for(&self, service: ServiceId, now: DateTime<Utc>) -> Result<Vec<Webhook>, Error> {
        self.webhooks_of(service, true, now).await
    }

    /// The same, where it is known whether the service has webhooks of its own.
    pub(crate) async fn webhooks_of(
        &self,
        service: ServiceId,
        has_own: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<Webhook>, Error> {
        let of_all = self.webhooks_of_all(now).await?;
        let mut webhooks = if has_own { self.table.webhooks_of(Some(service)).await? } else { Vec::new() };
        webhooks.extend(of_all.iter().cloned());
        webhooks.retain(|webhook| webhook.covers(service));
        webhooks.sort_unstable_by_key(|webhook| webhook.id);
        Ok(webhooks)
    }
}

impl Medic {
    /// The webhooks that are to be told of what is of no service, oldest first.
    pub(crate) async fn webhooks_for_all(&self, now: DateTime<Utc>) -> Result<Vec<Webhook>, Error> {
        let of_all = self.webhooks_of_all(now).await?;
        let mut webhooks: Vec<_> = of_all.iter().filter(|webhook| webhook.enabled).cloned().collect();
        webhooks.retain(|webhook| webhook.service_id.is_none());
        webhooks.sort_unstable_by_key(|webhook| webhook.id);
        Ok(webhooks)
    }

    async fn webhooks_of_all(&self, now: DateTime<Utc>) -> Result<Arc<Vec<Webhook>>, Error> {
        Ok(match self.webhooks_of_all.fresh(now) {
            Some(webhooks) => webhooks,
            None => self.webhooks_of_all.keep(self.table.webhooks_of(None).await?, now),
        })
    }
}

fn raises_alert(notification: &Notification) -> bool {
    notification.alert().is_some_and(|(kind, _)| kind.raises_alert())
}

/// What is left of a telling that people are spared.
pub(crate) fn incidents_only(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    outcomes.into_iter().filter(|outcome| outcome.receiver.kind() == TargetKind::PagerDuty).collect()
}

/// What concerns every service, as this process last read it, for a second: many services may fall silent in one.
#[derive(Debug)]
pub(crate) struct TtlCache<T>(Mutex<Option<Kept<T>>>);

type Kept<T> = (DateTime<Utc>, Arc<Vec<T>>);

impl<T> Default for TtlCache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> TtlCache<T> {
    pub(crate) fn fresh(&self, now: DateTime<Utc>) -> Option<Arc<Vec<T>>> {
        let read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.as_ref()
            .filter(|(at, _)| (TimeDelta::zero()..TimeDelta::seconds(1)).contains(&(now - *at)))
            .map(|(_, read)| Arc::clone(read))
    }

    pub(crate) fn keep(&self, read: Vec<T>, now: DateTime<Utc>) -> Arc<Vec<T>> {
        let read = Arc::new(read);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&read)));
        read
    }

    /// Somebody changes one of them.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
