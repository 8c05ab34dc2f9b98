//! What opening, changing and closing an alert has in common, for services and for runs of jobs.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, AlertCopy, AlertId, AlertKind, Deadline, NotificationKind, Outcome, Profile, Receiver, Routing, ServiceId,
    Webhook,
};

use crate::batch::Batch;
use crate::notifications::RoutedService;
use crate::outbox::Outbox;
use crate::{Error, Medic};

/// One judgement, which may make several transitions in a row.
pub(super) struct Judgement<'a> {
    pub(super) batch: &'a Batch,
    pub(super) now: DateTime<Utc>,
    /// An id that was taken and that a lost race did not use.
    spare_alert_id: Option<AlertId>,
}

impl<'a> Judgement<'a> {
    /// More transitions than one judgement can find, and then some lost races.
    pub(super) const ROUNDS: usize = 16;

    pub(super) const fn new(batch: &'a Batch, now: DateTime<Utc>) -> Self {
        Self { batch, now, spare_alert_id: None }
    }

    /// Records that an alert was opened with the id.
    pub(super) const fn use_alert_id(&mut self) {
        self.spare_alert_id = None;
    }
}

/// Who is notified of a change of an alert.
#[derive(Default)]
pub(super) struct Audience {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) webhooks: Vec<Webhook>,
    /// When others may have to be notified, because the period changes.
    pub(super) next_period_at: Option<DateTime<Utc>>,
    /// Nothing is configured that could be notified.
    pub(super) is_nobody: bool,
}

impl Medic {
    /// Returns an id for an alert. Many are taken at once where many alerts open together.
    pub(super) async fn alert_id(&self, judgement: &mut Judgement<'_>) -> Result<AlertId, Error> {
        if let Some(id) = judgement.spare_alert_id {
            return Ok(id);
        }
        let mut ids = judgement.batch.alert_ids.lock().await;
        if let Some(count) = ids.to_take() {
            let first = self.table.next_alert_ids(count).await?;
            ids.take(first, count);
        }
        Ok(*judgement.spare_alert_id.insert(ids.next()))
    }

    /// Returns who is notified that a service's alert is open. `has_webhooks` is false where it is known that the
    /// service has none of its own.
    pub(super) async fn audience(
        &self,
        service: RoutedService,
        kind: NotificationKind,
        has_webhooks: bool,
        now: DateTime<Utc>,
    ) -> Result<Audience, Error> {
        let webhooks = self.webhooks_of(service.service_id, has_webhooks, now).await?;
        let routing = self.routing(service, now).await?;
        let (outcomes, next_period_at) = (routing.outcomes(kind, now), routing.next_period_at());
        // Targets of the other period are notified when it comes.
        let has_none = outcomes.is_empty() && webhooks.is_empty() && next_period_at.is_none();
        Ok(Audience { outcomes, webhooks, next_period_at, is_nobody: kind == NotificationKind::Opened && has_none })
    }

    /// Returns who is notified of an open alert only now, because its period has come.
    pub(super) async fn audience_of_period(
        &self,
        alert: AlertId,
        service: RoutedService,
        now: DateTime<Utc>,
    ) -> Result<Audience, Error> {
        let routing = self.routing(service, now).await?;
        let outcomes = self.missed_in_period(alert, &routing, now).await?;
        Ok(Audience { outcomes, next_period_at: routing.next_period_at(), ..Audience::default() })
    }

    /// Returns who is reminded of an open alert. `known` is when its period was to end: where it ends at another time now,
    /// the schedule or the targets were edited, and the period counts as changed; who was not notified is not reminded.
    pub(super) async fn audience_of_reminder(
        &self,
        alert: AlertId,
        service: RoutedService,
        known: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Audience, Error> {
        let routing = self.routing(service, now).await?;
        let mut outcomes = routing.outcomes(NotificationKind::Reminder, now);
        let mut next_period_at = routing.next_period_at();
        if next_period_at.is_some() && next_period_at != known {
            let missed = self.missed_in_period(alert, &routing, now).await?;
            outcomes.retain(|outcome| !missed.iter().any(|other| other.receiver == outcome.receiver));
            next_period_at = if missed.is_empty() { next_period_at } else { Some(now) };
        }
        Ok(Audience { outcomes, next_period_at, ..Audience::default() })
    }

    /// Returns who is to be notified of an open alert only now, because its period has come. Reads all its notifications.
    async fn missed_in_period(
        &self,
        alert: AlertId,
        routing: &Routing,
        now: DateTime<Utc>,
    ) -> Result<Vec<Outcome>, Error> {
        let notified = self.notified_receivers(alert, NotificationKind::Opened).await?;
        let was_notified = |receiver: &Receiver| notified.iter().any(|known| known.receiver == *receiver);
        Ok(routing.outcomes_of_period(was_notified, now))
    }

    /// Returns what a change of an alert sends. `at` is the notification's instant in the alert's own order; none where
    /// people are not notified. Where all of its receivers are disabled, or there are none, that is reported.
    pub(super) fn outbox(
        &self,
        kind: NotificationKind,
        alert: &mut Alert,
        audience: Audience,
        at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Outbox, Error> {
        let Audience { outcomes, webhooks, next_period_at: _, is_nobody } = audience;
        let all_failed = at.is_some() && !outcomes.is_empty() && outcomes.iter().all(Outcome::is_failure);
        let report = if kind.raises_alert() && !alert.is_unnotified && (all_failed || is_nobody) {
            self.report_unnotified(alert, &outcomes, at.unwrap_or(now))?
        } else {
            None
        };
        let notification = match at {
            Some(at) => self.notification_of(kind, alert, outcomes, at)?,
            None => None,
        };
        let notifications = notification.into_iter().chain(report).collect();
        Ok(Outbox { notifications, deliveries: self.deliveries_of(kind, alert, &webhooks, now)?, ..Outbox::default() })
    }
}

/// Returns an alert that opens now.
pub(super) fn new_alert(
    id: AlertId,
    service_id: ServiceId,
    profile: &Profile,
    kind: AlertKind,
    now: DateTime<Utc>,
) -> Alert {
    Alert {
        id,
        service_id,
        service: AlertCopy::of(profile),
        kind,
        cycle: 1,
        reason: String::new(),
        created_at: now,
        closed_at: None,
        closing: None,
        acknowledged_at: None,
        acknowledged_by: None,
        passed_on: 0,
        due_in_gap: false,
        is_unnotified: false,
        triggered: Vec::new(),
    }
}

/// Returns what the reason of an alert says of the gap that postponed it.
pub(super) fn unheard(deadline: Deadline) -> String {
    deadline.gap.map_or_else(String::new, |gap| format!("; Medic could not hear {gap}"))
}

/// Counts an alert that opened.
pub(super) fn count_opened(alert: &Alert) {
    let (priority, team) = (alert.service.priority.as_str(), alert.service.team.clone());
    metrics::counter!("medic_alerts_total", "priority" => priority, "team" => team).increment(1);
}

/// Records how late Medic detected what was due so long ago.
pub(super) fn record_lag(lag: TimeDelta) {
    metrics::histogram!("medic_detection_lag_seconds").record(lag.as_seconds_f64().max(0.0));
}
