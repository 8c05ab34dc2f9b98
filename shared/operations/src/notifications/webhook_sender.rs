//! Drains a webhook's lane: each delivery is attempted a few times, one at a time, and stays readable.

use chrono::{DateTime, Utc};
use domain::{Delivery, DeliveryStatus, Webhook, WebhookId};
use outbound::{
    UserHeaders, WEBHOOK_HEADERS, Wake, WebhookAttempt, WebhookEvent, WebhookOutcome, WebhookReport, WebhookSecret,
};
use serde_json::Value;
use store::{Commit, HAND_OVER_AGAIN, Lane, LaneEntry, Queued};

use super::drain::{Drained, Now};
use super::leases::LEASE;
use crate::{Actor, Error, Medic};

/// Entries of a lane that are read: those that wait for another attempt hold up none behind them.
const PAGE: i32 = 1_001;

/// An entry of a webhook's lane that this sender holds.
#[derive(Clone, Copy)]
struct HeldEntry<'a> {
    lane: &'a Lane,
    entry: &'a LaneEntry,
    /// When the lease ends.
    until: DateTime<Utc>,
}

/// A delivery as it is after an attempt.
struct Attempted {
    delivery: Delivery,
    /// Why the attempt failed.
    error: Option<String>,
}

impl Medic {
    /// Attempts the first delivery of a webhook whose time has come.
    pub(super) async fn drain_webhook(
        &self,
        lane: &Lane,
        webhook_id: WebhookId,
        now: Now<'_>,
    ) -> Result<Drained, Error> {
        let entries = self.table.lane(lane, PAGE).await?;
        let leased = entries.iter().filter(|entry| self.is_leased(entry, now()));
        if let Some(until) = leased.filter_map(|entry| entry.held_until).max() {
            self.watch_lane(lane, until, now()).await;
            return Ok(Drained::Done);
        }
        // One that waits for its next attempt holds up no other.
        let waits = |entry: &&LaneEntry| entry.held_until.is_some_and(|until| until > now());
        let Some(first) = entries.iter().find(|entry| !waits(entry)) else { return Ok(Drained::Done) };
        let Queued::Delivery(id) = first.queued else {
            return Err(Error::NotFound(format!("There is no delivery {} in {lane}", first.place)));
        };
        let held = HeldEntry { lane, entry: first, until: now() + LEASE };
        if self.table.hold(lane, first, &self.instance, held.until).await? == Commit::Conflict {
            self.wake(Wake::Lane { lane: lane.to_string() }, held.until).await;
            return Ok(Drained::Done);
        }
        let others = self.table.lane(lane, PAGE).await?;
        if others.iter().any(|entry| entry.place != first.place && self.is_leased(entry, now())) {
            // On a conflict the lease ran out before.
            let _released: Commit = self.table.back_off(lane, first, held.until, now(), now(), first.attempts).await?;
            return Ok(Drained::More);
        }
        let delivery = self.table.delivery(webhook_id, id).await?.filter(|delivery| delivery.status.is_open());
        let Some(delivery) = delivery else {
            self.table.leave_lane_leased(lane, first, held.until).await?;
            return Ok(Drained::More);
        };
        // Its last attempt was recorded, and its entry not postponed: whoever was to do that died in between.
        if let Some(at) = delivery.next_attempt_at.filter(|at| *at > now()) {
            self.postpone_attempt(held, at, delivery.attempts, now()).await?;
            return Ok(Drained::More);
        }
        let webhook = self.table.webhook(webhook_id).await?;
        let report = self.attempt(webhook.as_ref(), &delivery, now()).await;
        let attempted = self.attempted(webhook.as_ref(), &delivery, report, now()).await?;
        self.conclude(held, &delivery, attempted, now()).await?;
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

    /// Records an attempt, and then takes the entry out of its lane or postpones it: the next sender sees a crash
    /// between the two.
    async fn conclude(
        &self,
        held: HeldEntry<'_>,
        delivery: &Delivery,
        attempted: Attempted,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let Attempted { delivery: attempted, error } = attempted;
        metrics::counter!("medic_webhook_deliveries_total", "status" => attempted.status.as_str()).increment(1);
        let next = attempted.next_attempt_at;
        let due_at = next.map(|next| next + HAND_OVER_AGAIN);
        if self.table.record_attempt(delivery, &attempted, due_at).await? == Commit::Conflict {
            // Another sender was here after this one's lease ran out; or this very write was made, and its response lost.
            let found = self.table.delivery(delivery.webhook_id, delivery.id).await?;
            if found.as_ref() != Some(&attempted) {
                return Ok(());
            }
        }
        if let (DeliveryStatus::Failed, Some(error)) = (attempted.status, error) {
            tracing::warn!(webhook.id = %delivery.webhook_id, delivery.id = %delivery.id, error, "a delivery failed");
        }
        match next {
            Some(next) => self.postpone_attempt(held, next, attempted.attempts, now).await,
            None => Ok(self.table.leave_lane_leased(held.lane, held.entry, held.until).await?),
        }
    }

    /// Lets an entry that this sender holds wait for its next attempt.
    async fn postpone_attempt(
        &self,
        held: HeldEntry<'_>,
        next: DateTime<Utc>,
        attempts: u32,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let HeldEntry { lane, entry, until } = held;
        if self.table.back_off(lane, entry, until, now, next, attempts).await? == Commit::Done {
            self.wake(Wake::Lane { lane: lane.to_string() }, next).await;
        }
        Ok(())
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
