//! Drains a webhook's lane: each delivery is attempted a few times, one at a time, and stays readable.

use chrono::{DateTime, Utc};
use domain::{Delivery, DeliveryStatus, Webhook, WebhookId};
use outbound::{
    UserHeaders, WEBHOOK_HEADERS, WebhookAttempt, WebhookEvent, WebhookOutcome, WebhookReport, WebhookSecret,
};
use serde_json::Value;
use store::{Commit, Key, Queued};

use super::drain::{Drained, ReceiverLane};
use super::leases::Lease;
use crate::{Actor, Error, Medic, Now};

/// A delivery as it is after an attempt.
struct Attempted {
    delivery: Delivery,
    /// Why the attempt failed.
    error: Option<String>,
}

impl Medic {
    /// Attempts the first delivery in a webhook's lane. Only what can be attempted now is there: what waits for its next
    /// attempt comes back when its row falls due.
    pub(super) async fn drain_webhook(
        &self,
        at: ReceiverLane<'_>,
        webhook_id: WebhookId,
        now: Now<'_>,
    ) -> Result<Drained, Error> {
        let (Lease::Held(mut leased), started) = (self.lease(at, now()).await?, now()) else {
            return Ok(Drained::Done);
        };
        let Some(entry) = leased.entries.drain(..).next() else { return Ok(Drained::Done) };
        let Queued::Delivery(id) = entry.queued else {
            return Err(Error::NotFound(format!("There is no delivery {} in {}", entry.place, at.lane)));
        };
        let delivery = self.table.delivery(webhook_id, id).await?.filter(|delivery| delivery.status.is_open());
        // Else its last attempt was recorded, and its entry did not leave: whoever was to do that died in between. It was
        // put here once it was due, be it by a clock that is ahead of this one.
        let latest = entry.queued_at.map_or(started, |queued| queued.max(started));
        let is_to_be_attempted =
            |delivery: &Delivery| delivery.attempts == 0 || delivery.next_attempt_at.is_none_or(|at| at <= latest);
        if let Some(delivery) = delivery.filter(is_to_be_attempted) {
            let webhook = self.table.webhook(webhook_id).await?;
            let report = self.attempt(webhook.as_ref(), &delivery, now()).await;
            let attempted = self.attempted(webhook.as_ref(), &delivery, report, now()).await?;
            if !self.conclude(&delivery, attempted, now()).await? {
                return Ok(Drained::More);
            }
        }
        // The hold ends with it. Should the delivery have been ordered again meanwhile, its row brings it back.
        self.table.leave_lane(at.lane, &entry).await?;
        Ok(Drained::More)
    }

    async fn attempt(&self, webhook: Option<&Webhook>, delivery: &Delivery, now: DateTime<Utc>) -> WebhookReport {
        let refused = |error: &str| WebhookReport {
            outcome: WebhookOutcome::Refused { error: error.to_owned() },
            response: None,
        };
        let Some(webhook) = webhook else { return refused("the webhook is gone") };
        if !webhook.enabled {
            return refused("the webhook is disabled");
        }
        let pairs = webhook.endpoint.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = UserHeaders::parse("headers", pairs, &WEBHOOK_HEADERS);
        let secrets: Result<Vec<_>, _> =
            webhook.secrets.valid_at(now).map(|secret| WebhookSecret::parse("secret", secret.reveal())).collect();
        let data = serde_json::from_str::<Value>(&delivery.data);
        let (Ok(headers), Ok(secrets), Ok(data)) = (headers, secrets, data) else {
            return refused("the webhook cannot be read");
        };
        let id = delivery.id.to_string();
        let event = WebhookEvent { kind: &delivery.event_type, at: delivery.created_at, data: &data };
        let attempt = WebhookAttempt {
            url: &webhook.endpoint.url,
            headers: &headers,
            secrets: &secrets,
            id: &id,
            at: now,
            event,
        };
        attempt.post(&self.outgoing).await
    }

    /// Returns a delivery as it is after an attempt. Its webhook is disabled when its receiver is gone.
    async fn attempted(
        &self,
        webhook: Option<&Webhook>,
        delivery: &Delivery,
        report: WebhookReport,
        now: DateTime<Utc>,
    ) -> Result<Attempted, Error> {
        let attempts = delivery.attempts + 1;
        let (status, error, next_attempt_at) = match report.outcome {
            WebhookOutcome::Success => (DeliveryStatus::Success, None, None),
            WebhookOutcome::Retry { error, after } => {
                let delay = webhook.and_then(|webhook| webhook.attempts.delay_after(attempts));
                let next = delay.map(|delay| now + delay.max(after.unwrap_or_default()));
                let status = if next.is_some() { DeliveryStatus::Retrying } else { DeliveryStatus::Failed };
                (status, Some(error), next)
            }
            WebhookOutcome::Gone { error } => {
                if let Some(webhook) = webhook {
                    self.disable_webhook(webhook.id, now).await?;
                }
                (DeliveryStatus::Failed, Some(error), None)
            }
            WebhookOutcome::Refused { error } => (DeliveryStatus::Failed, Some(error), None),
        };
        let (response_status, response_body) = report.response.unzip();
        let response_body = response_body.or_else(|| error.clone());
        let delivery =
            Delivery { status, attempts, response_status, response_body, next_attempt_at, ..delivery.clone() };
        Ok(Attempted { delivery, error })
    }

    /// Records an attempt, before its entry leaves the lane: the next sender sees a crash between the two. Returns whether
    /// this attempt is what was recorded.
    async fn conclude(&self, delivery: &Delivery, attempted: Attempted, now: DateTime<Utc>) -> Result<bool, Error> {
        let Attempted { delivery: attempted, error } = attempted;
        metrics::counter!("medic_webhook_deliveries_total", "status" => attempted.status.as_str()).increment(1);
        if self.table.record_attempt(delivery, &attempted).await? == Commit::Conflict {
            // Another sender was here after this one's lease ran out; or this very write was made, and its response lost.
            let found = self.table.delivery(delivery.webhook_id, delivery.id).await?;
            if found.as_ref() != Some(&attempted) {
                return Ok(false);
            }
        }
        if let (DeliveryStatus::Failed, Some(error)) = (attempted.status, error) {
            tracing::warn!(webhook.id = %delivery.webhook_id, delivery.id = %delivery.id, error, "a delivery failed");
        }
        if let Some(next) = attempted.next_attempt_at {
            self.schedule_written_wakeup(Key::delivery(delivery.webhook_id, delivery.id), next, now).await;
        }
        Ok(true)
    }

    /// Disables a webhook whose receiver wants no more (410).
    async fn disable_webhook(&self, id: WebhookId, now: DateTime<Utc>) -> Result<(), Error> {
        match self.update(id, &Actor::medic(now), |webhook: Webhook| Ok(Webhook { enabled: false, ..webhook })).await {
            Ok(_) => {
                tracing::warn!(webhook.id = %id, "a webhook's receiver says that it is gone; the webhook was disabled");
                Ok(())
            }
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
