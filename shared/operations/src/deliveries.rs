//! Tells webhooks of events: each delivery is tried a few times, one at a time for each webhook, and stays readable.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, Delivery, DeliveryId, DeliveryStatus, NotificationKind, Receiver, ServiceId, Webhook, WebhookId, format_time,
};
use outbound::{
    UserHeaders, WEBHOOK_HEADERS, Wake, WebhookAttempt, WebhookEvent, WebhookOutcome, WebhookReport, WebhookSecret,
};
use serde_json::{Value, json};
use store::{Commit, Lane, LaneEntry, Owed, Page};

use crate::leases::LEASE;
use crate::notify::{Drained, Now};
use crate::{Actor, Error, Medic};

/// How long a row that is not settled waits until the sweep hands it over again.
const HAND_OVER_AGAIN: TimeDelta = TimeDelta::seconds(60);
/// Pages that a list with a filter reads before it answers what it has.
const MAX_PAGES: usize = 10;
const TRIES: usize = 10;
/// Entries of a lane that are looked at: those that wait for another attempt hold up none behind them.
const PAGE: i32 = 1_001;

impl Medic {
    /// What webhooks are owed of a notification of an alert.
    pub(crate) fn deliveries_of(
        &self,
        kind: NotificationKind,
        alert: &Alert,
        webhooks: Vec<Webhook>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Delivery>, Error> {
        let Some(event_type) = alert.event_type(kind) else { return Ok(Vec::new()) };
        let data = if webhooks.is_empty() { String::new() } else { event_data(alert).to_string() };
        let service_id = Some(alert.service_id);
        webhooks
            .into_iter()
            .map(|webhook| self.new_delivery(webhook.id, service_id, (event_type, &data), now))
            .collect()
    }

    /// An event that a webhook is owed.
    pub(crate) fn new_delivery(
        &self,
        webhook_id: WebhookId,
        service_id: Option<ServiceId>,
        (event_type, data): (&str, &str),
        now: DateTime<Utc>,
    ) -> Result<Delivery, Error> {
        Ok(Delivery {
            id: DeliveryId::at(now, self.random()?),
            webhook_id,
            service_id,
            event_type: event_type.to_owned(),
            data: data.to_owned(),
            status: DeliveryStatus::Pending,
            attempts: 0,
            response_status: None,
            response_body: None,
            created_at: now,
            next_attempt_at: Some(now),
        })
    }

    async fn wake_webhook(&self, webhook_id: WebhookId, at: DateTime<Utc>) {
        let lane = Lane::of(&Receiver::Webhook { webhook_id }).to_string();
        self.wake(Wake::Lane { lane }, at).await;
    }

    /// A delivery that is not settled: its hand-over was lost, or it is being tried.
    pub(crate) async fn hand_over_delivery_again(
        &self,
        webhook_id: WebhookId,
        id: DeliveryId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(delivery) = self.table.delivery(webhook_id, id).await? else { return Ok(None) };
        if !delivery.status.is_open() {
            return Ok(None);
        }
        let next = now + HAND_OVER_AGAIN;
        self.table.postpone_delivery(&delivery, next).await?;
        self.table.queue_again(&delivery).await?;
        self.wake_webhook(webhook_id, now).await;
        Ok(Some(next))
    }

    /// Tries the first delivery of a webhook whose time has come.
    pub(crate) async fn drain_webhook(
        &self,
        lane: &Lane,
        webhook_id: WebhookId,
        now: Now<'_>,
    ) -> Result<Drained, Error> {
        let entries = self.table.lane(lane, PAGE).await?;
        let lease =
            entries.iter().filter(|entry| self.is_leased(entry, now())).filter_map(|entry| entry.held_until).max();
        if let Some(until) = lease {
            self.watch_lane(lane, until, now()).await;
            return Ok(Drained::Done);
        }
        // One that waits for its next attempt holds up no other.
        let waits = |entry: &&LaneEntry| entry.held_until.is_some_and(|until| until > now());
        let Some(first) = entries.iter().find(|entry| !waits(entry)) else { return Ok(Drained::Done) };
        let Owed::Delivery(id) = first.owed else {
            return Err(Error::NotFound(format!("There is no delivery {} in {lane}", first.place)));
        };
        let until = now() + LEASE;
        if self.table.hold(lane, first, &self.instance, until).await? == Commit::Conflict {
            self.wake(Wake::Lane { lane: lane.to_string() }, until).await;
            return Ok(Drained::Done);
        }
        let others = self.table.lane(lane, PAGE).await?;
        if others.iter().any(|entry| entry.place != first.place && self.is_leased(entry, now())) {
            // Refused, the lease ran out before.
            let _released: Commit = self.table.back_off(lane, first, until, now(), now(), first.attempts).await?;
            return Ok(Drained::More);
        }
        let delivery = self.table.delivery(webhook_id, id).await?.filter(|delivery| delivery.status.is_open());
        let Some(delivery) = delivery else {
            self.table.leave_lane_leased(lane, first, until).await?;
            return Ok(Drained::More);
        };
        // Its last attempt was recorded, and its entry not put off: who was to do that died in between.
        if let Some(at) = delivery.next_attempt_at.filter(|at| *at > now()) {
            self.postpone(lane, first, until, at, delivery.attempts, now()).await?;
            return Ok(Drained::More);
        }
        let webhook = self.table.webhook(webhook_id).await?;
        let report = self.attempt(webhook.as_ref(), &delivery, now()).await;
        self.conclude(lane, first, until, (webhook.as_ref(), delivery), report, now()).await?;
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

    /// Records an attempt, and then takes the entry out of its lane or puts it off: a crash between the two is seen by the
    /// next sender.
    async fn conclude(
        &self,
        lane: &Lane,
        entry: &LaneEntry,
        lease: DateTime<Utc>,
        (webhook, delivery): (Option<&Webhook>, Delivery),
        report: WebhookReport,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let attempts = delivery.attempts + 1;
        let (status, error, again) = match report.outcome {
            WebhookOutcome::Success => (DeliveryStatus::Success, None, None),
            WebhookOutcome::Retry { error, after } => {
                let delay = webhook.and_then(|webhook| webhook.attempts.delay_after(attempts));
                let again = delay.map(|delay| now + delay.max(after.unwrap_or_default()));
                let status = if again.is_some() { DeliveryStatus::Retrying } else { DeliveryStatus::Failed };
                (status, Some(error), again)
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
        let settled = Delivery {
            status,
            attempts,
            response_status,
            response_body: response_body.or_else(|| error.clone()),
            next_attempt_at: again,
            ..delivery.clone()
        };
        metrics::counter!("medic_webhook_deliveries_total", "status" => status.as_str()).increment(1);
        let due_at = again.map(|again| again + HAND_OVER_AGAIN);
        if self.table.record_attempt(&delivery, &settled, due_at).await? == Commit::Conflict {
            // Another sender was here after this one's lease ran out; or this very write was made, and its answer lost.
            let seen = self.table.delivery(delivery.webhook_id, delivery.id).await?;
            if seen.as_ref() != Some(&settled) {
                return Ok(());
            }
        }
        if let Some(again) = again {
            return self.postpone(lane, entry, lease, again, attempts, now).await;
        }
        if let Some(error) = error {
            tracing::warn!(webhook.id = %delivery.webhook_id, delivery.id = %delivery.id, error, "a delivery failed");
        }
        Ok(self.table.leave_lane_leased(lane, entry, lease).await?)
    }

    /// Lets an entry that this lease holds wait for its next attempt.
    async fn postpone(
        &self,
        lane: &Lane,
        entry: &LaneEntry,
        lease: DateTime<Utc>,
        at: DateTime<Utc>,
        attempts: u32,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if self.table.back_off(lane, entry, lease, now, at, attempts).await? == Commit::Done {
            self.wake(Wake::Lane { lane: lane.to_string() }, at).await;
        }
        Ok(())
    }

    /// Its receiver wants no more (410).
    async fn disable_webhook(&self, id: WebhookId, now: DateTime<Utc>) -> Result<(), Error> {
        match self.update(id, &Actor::medic(now), |webhook: Webhook| Ok(Webhook { enabled: false, ..webhook })).await {
            Ok(_) => {
                tracing::warn!(webhook.id = %id, "a webhook answered that it is gone, and was disabled");
                Ok(())
            }
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub async fn delivery(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Delivery, Error> {
        let found = self.table.find_delivery(id, now).await?;
        found.ok_or_else(|| Error::NotFound(format!("There is no webhook delivery {id}")))
    }

    /// Deliveries, newest first. With a status, a page may hold less than there is: its cursor leads on.
    pub async fn deliveries(
        &self,
        webhook: Option<WebhookId>,
        status: Option<DeliveryStatus>,
        mut after: Option<DeliveryId>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page<Delivery>, Error> {
        let mut found = Page { items: Vec::new(), next: None };
        for _ in 0..MAX_PAGES {
            let page = self.table.deliveries(webhook, after, limit, now).await?;
            found.next = page.next;
            for delivery in page.items {
                if status.is_none_or(|status| delivery.status == status) {
                    if found.items.len() == limit {
                        found.next = found.items.last().map(|last: &Delivery| last.id.to_string());
                        return Ok(found);
                    }
                    found.items.push(delivery);
                }
            }
            match &found.next {
                Some(next) if found.items.len() < limit => after = next.parse().ok(),
                Some(_) | None => break,
            }
        }
        Ok(found)
    }

    /// Sends a delivery once more, under the same id. One that is under way is left to that.
    pub async fn redeliver(&self, id: DeliveryId, now: DateTime<Utc>) -> Result<Delivery, Error> {
        for _ in 0..TRIES {
            let old = self.delivery(id, now).await?;
            if old.status.is_open() {
                return Err(Error::Conflict(format!("The webhook delivery {id} is still being tried")));
            }
            let new = Delivery {
                status: DeliveryStatus::Pending,
                attempts: 0,
                response_status: None,
                response_body: None,
                next_attempt_at: Some(now),
                ..old.clone()
            };
            if self.table.redeliver(&old, &new, now).await? == Commit::Done {
                self.wake_webhook(new.webhook_id, now).await;
                return Ok(new);
            }
        }
        Err(Error::contended(format!("delivery {id}")))
    }
}

/// What an event says of its alert.
pub(crate) fn event_data(alert: &Alert) -> Value {
    let service = &alert.service;
    let mut data = json!({
        "alert_id": alert.id.get(),
        "alert_name": alert.name(),
        "alert_cycle": alert.cycle,
        "active": alert.is_open(),
        "reason": alert.reason,
        "external_reference_id": alert.dedup_key(),
        "created_date": format_time(alert.created_at),
        "closed_date": alert.closed_at.map(format_time),
        "service_id": alert.service_id.get(),
        "heartbeat_name": service.heartbeat_name,
        "service_name": service.service_name,
        "team": service.team,
        "priority": service.priority.as_str(),
        "runbook": service.runbook,
    });
    if let Some(job) = alert.job() {
        data["run_id"] = job.run_id.as_str().into();
    }
    data
}
