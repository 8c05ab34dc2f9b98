//! Decides who is notified: the one place, for alerts, reminders, recoveries and playbooks.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{
    Alert, AlertId, Notification, NotificationId, NotificationKind, NotificationOwner, Outcome, Period, Profile,
    Receiver, Routing, ServiceId, Subject, Target, TargetKind, Team, Webhook,
};

use crate::{Error, Medic};

/// A service as far as it matters to who is notified about it.
pub(crate) struct RoutedService {
    pub(crate) service_id: ServiceId,
    /// With the present name of its team.
    pub(crate) profile: Profile,
    pub(crate) team: Option<Team>,
    pub(crate) targets: Vec<Target>,
}

impl Medic {
    /// Finds the team of a service that somebody may be notified about.
    pub(crate) async fn routed(
        &self,
        service_id: ServiceId,
        mut profile: Profile,
        targets: Vec<Target>,
    ) -> Result<RoutedService, Error> {
        let team = match profile.team_id {
            Some(id) => self.table.team(id).await?,
            None => None,
        };
        if let Some(team) = &team {
            profile.team = team.name.clone();
        }
        Ok(RoutedService { service_id, profile, team, targets })
    }

    /// Returns what decides who is notified about a service.
    pub(crate) async fn routing(&self, service: RoutedService, now: DateTime<Utc>) -> Result<Routing, Error> {
        let RoutedService { service_id, profile, team, targets } = service;
        // Only what the targets ask for is read.
        let schedule = match profile.schedule_id.filter(|_| !targets.is_empty()) {
            Some(id) => self.table.schedule(id).await?,
            None => None,
        };
        let channel = team.and_then(|team| team.slack_channel_id).or_else(|| self.settings.slack_channel.clone());
        Ok(Routing {
            service_id,
            mode: profile.notification_mode,
            period: schedule.as_ref().map_or(Period::DuringHours, |schedule| schedule.period(now)),
            period_end: schedule.and_then(|schedule| schedule.period_end(now)),
            targets,
            channel,
            has_pagerduty: self.pagerduty.has_routing_key(),
        })
    }

    /// Returns who was notified of an alert, or is about to be: they are notified of its end.
    pub(crate) async fn notified_receivers(
        &self,
        alert: AlertId,
        kind: NotificationKind,
    ) -> Result<Vec<Outcome>, Error> {
        let mut notified: Vec<Outcome> = Vec::new();
        let notifications = self.table.notifications(NotificationOwner::Alert(alert)).await?;
        for notification in notifications.iter().filter(|notification| raises_alert(notification)) {
            for outcome in notification.outcomes.iter().filter(|outcome| outcome.is_success() || outcome.is_pending()) {
                let is_new = !notified.iter().any(|known| known.receiver == outcome.receiver);
                if is_new && outcome.receiver.receives(kind) {
                    notified.push(outcome.to_same_receiver());
                }
            }
        }
        Ok(notified)
    }

    /// Returns whether a receiver was notified of an alert, or is about to be: what is pending goes before the alert's
    /// end in its lane.
    pub(crate) async fn was_notified(&self, alert: AlertId, receiver: &Receiver) -> Result<bool, Error> {
        let notifications = self.table.notifications(NotificationOwner::Alert(alert)).await?;
        let accepts = |outcome: &Outcome| outcome.is_success() || outcome.is_pending();
        let is_notified = |notification: &Notification| notification.outcome(receiver).is_some_and(accepts);
        Ok(notifications.iter().filter(|notification| raises_alert(notification)).any(is_notified))
    }

    /// Returns a notification of an alert, if there is anybody to be notified.
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

    /// Returns the webhooks that are notified of a service's events: its own and those for every service, oldest first.
    /// Their lists lag behind the table by moments.
    pub async fn webhooks_for(&self, service: ServiceId, now: DateTime<Utc>) -> Result<Vec<Webhook>, Error> {
        self.webhooks_of(service, true, now).await
    }

    /// Does the same, where it is known whether the service has webhooks of its own.
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

    /// Returns the webhooks that are notified of what belongs to no service, oldest first.
    pub(crate) async fn webhooks_for_all(&self, now: DateTime<Utc>) -> Result<Vec<Webhook>, Error> {
        let of_all = self.webhooks_of_all(now).await?;
        let mut webhooks: Vec<_> = of_all.iter().filter(|webhook| webhook.enabled).cloned().collect();
        webhooks.retain(|webhook| webhook.service_id.is_none());
        webhooks.sort_unstable_by_key(|webhook| webhook.id);
        Ok(webhooks)
    }

    async fn webhooks_of_all(&self, now: DateTime<Utc>) -> Result<Arc<Vec<Webhook>>, Error> {
        Ok(match self.webhooks_of_all.get(now) {
            Some(webhooks) => webhooks,
            None => self.webhooks_of_all.keep(self.table.webhooks_of(None).await?, now),
        })
    }
}

fn raises_alert(notification: &Notification) -> bool {
    notification.alert().is_some_and(|(kind, _)| kind.raises_alert())
}

/// Returns those of the outcomes that resolve incidents, where people are not to be notified.
pub(crate) fn incidents_only(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    outcomes.into_iter().filter(|outcome| outcome.receiver.kind() == TargetKind::PagerDuty).collect()
}
