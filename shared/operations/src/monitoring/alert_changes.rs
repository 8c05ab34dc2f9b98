//! What opening, changing and closing an alert has in common, for services and for runs of jobs.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Alert, AlertCopy, AlertId, AlertKind, Deadline, NotificationKind, Outcome, Profile, ServiceId, Webhook};

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
        Ok(Audience { outcomes: self.route(service, kind, now).await?, webhooks })
    }

    /// Returns what a change of an alert sends. `at` is the notification's instant in the alert's own order; none where
    /// people are not notified.
    pub(super) fn outbox(
        &self,
        kind: NotificationKind,
        alert: &Alert,
        audience: Audience,
        at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Outbox, Error> {
        let Audience { outcomes, webhooks } = audience;
        let notification = match at {
            Some(at) => self.notification_of(kind, alert, outcomes, at)?,
            None => None,
        };
        Ok(Outbox { deliveries: self.deliveries_of(kind, alert, &webhooks, now)?, ..Outbox::of(notification) })
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
