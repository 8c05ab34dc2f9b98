//! Sends notifications to a receiver, each kind in its own way.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Destination, Endpoint, Notification, NotificationId, Receiver, ServiceId, ServiceKey, TargetId, TargetKind,
};
use outbound::{Delivery, Slack, UserHeaders, WEBHOOK_HEADERS, WebhookAttempt, WebhookEvent, WebhookOutcome};
use store::{Lane, Page};

use super::payload::event_data;
use super::superseded::is_approval_request;
use crate::medic::SlackDelivery;
use crate::{Error, Medic};

/// How long what was printed can be read back.
const PRINTED_FOR: TimeDelta = TimeDelta::days(30);

impl Medic {
    /// Sends notifications to their receiver. Only Slack takes more than one at once.
    pub(super) async fn send(
        &self,
        receiver: &Receiver,
        notifications: &[Notification],
        now: DateTime<Utc>,
    ) -> Result<Delivery, Error> {
        let Some(first) = notifications.first() else { return Ok(Delivery::Accepted) };
        match receiver {
            Receiver::Slack { channel } => match notifications {
                [alone] if alone.stands_alone() => self.send_alone(receiver, channel, alone, now).await,
                _ => self.send_to_slack(channel, notifications, now).await,
            },
            Receiver::PagerDuty { .. } | Receiver::Target { kind: TargetKind::PagerDuty, .. } => {
                Ok(self.send_to_pagerduty(receiver, first).await)
            }
            Receiver::Target { service_id, target_id, kind: TargetKind::Slack | TargetKind::Webhook } => {
                self.send_to_target(*service_id, *target_id, first, now).await
            }
            Receiver::Webhook { .. } => Ok(not_for_this_receiver()),
        }
    }

    async fn send_to_pagerduty(&self, receiver: &Receiver, notification: &Notification) -> Delivery {
        let base_url = self.settings.base_url.as_deref();
        let key = notification.outcome(receiver).and_then(|outcome| outcome.service_key.as_ref());
        if key.is_none() && matches!(receiver, Receiver::Target { .. }) {
            return Delivery::Refused { error: "the target has no key".to_owned() };
        }
        let key = key.map(ServiceKey::reveal);
        let delivery = match (notification.alert(), notification.playbook()) {
            (Some((kind, alert)), _) => self.pagerduty.send(kind, alert, key, base_url).await,
            (None, Some(playbook)) => self.pagerduty.escalate(playbook, key, base_url).await,
            (None, None) => return not_for_this_receiver(),
        };
        metrics::counter!("medic_pagerduty_requests_total", "status" => delivery.label()).increment(1);
        delivery
    }

    async fn send_to_target(
        &self,
        service: ServiceId,
        target: TargetId,
        notification: &Notification,
        now: DateTime<Utc>,
    ) -> Result<Delivery, Error> {
        let Some((kind, alert)) = notification.alert() else { return Ok(not_for_this_receiver()) };
        match self.table.target(service, target).await?.map(|target| target.destination) {
            Some(Destination::Webhook(endpoint)) => {
                let id = notification.id.to_string();
                let data = event_data(alert);
                let event_type = kind.event_type(alert).unwrap_or_default();
                let event = WebhookEvent { kind: event_type, at: alert.created_at, data: &data };
                Ok(self.post_to(&endpoint, &id, event, now).await)
            }
            // Its kind may have been changed.
            Some(Destination::Slack { .. } | Destination::PagerDuty { .. }) | None => {
                Ok(Delivery::Refused { error: "the target is gone".to_owned() })
            }
        }
    }

    async fn send_to_slack(
        &self,
        channel: &str,
        notifications: &[Notification],
        now: DateTime<Utc>,
    ) -> Result<Delivery, Error> {
        match &self.slack {
            SlackDelivery::Post(slack) => {
                let delivery = slack.post(channel, notifications, self.settings.base_url.as_deref()).await;
                metrics::counter!("medic_slack_requests_total", "status" => delivery.label()).increment(1);
                Ok(delivery)
            }
            SlackDelivery::Print { keep } => {
                for notification in notifications {
                    let line = Slack::line(notification);
                    tracing::info!("notification: {line}");
                    if *keep {
                        self.table.print(notification.id, &line, now + PRINTED_FOR).await?;
                    }
                }
                Ok(Delivery::Accepted)
            }
        }
    }

    /// Posts an approval request, and keeps where it is; or replaces it with what was decided.
    async fn send_alone(
        &self,
        receiver: &Receiver,
        channel: &str,
        notification: &Notification,
        now: DateTime<Utc>,
    ) -> Result<Delivery, Error> {
        let SlackDelivery::Post(slack) = &self.slack else {
            return self.send_to_slack(channel, std::slice::from_ref(notification), now).await;
        };
        let base_url = self.settings.base_url.as_deref();
        let is_request = is_approval_request(notification);
        let request = if is_request { None } else { self.approval_request_before(notification).await? };
        let place = request.as_ref().and_then(|request| request.outcome(receiver)?.message.clone());
        let delivery = if let Some(place) = place {
            slack.update(&place, request.as_ref(), notification, base_url).await
        } else {
            let (delivery, place) = slack.post_alone(channel, notification, base_url).await;
            if let Some(place) = place.filter(|_| is_request) {
                // Should this be lost, the request is posted again: better than one whose buttons stay.
                self.table.keep_message(notification, &Lane::of(receiver), &place).await?;
            }
            delivery
        };
        metrics::counter!("medic_slack_requests_total", "status" => delivery.label()).increment(1);
        Ok(delivery)
    }

    /// Posts an event to a target's own address, unsigned: what it needs to be trusted is among its headers.
    pub(super) async fn post_to(
        &self,
        endpoint: &Endpoint,
        id: &str,
        event: WebhookEvent<'_>,
        now: DateTime<Utc>,
    ) -> Delivery {
        let pairs = endpoint.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = match UserHeaders::parse("config.headers", pairs, &WEBHOOK_HEADERS) {
            Ok(headers) => headers,
            Err(error) => return Delivery::Refused { error: error.to_string() },
        };
        let attempt = WebhookAttempt { url: &endpoint.url, headers: &headers, secrets: &[], id, at: now, event };
        match attempt.post(&self.outgoing).await.outcome {
            WebhookOutcome::Success => Delivery::Accepted,
            WebhookOutcome::Retry { error, after } => Delivery::Retry { error, after },
            WebhookOutcome::Gone { error } | WebhookOutcome::Refused { error } => Delivery::Refused { error },
        }
    }

    /// Returns the notifications that were printed for want of Slack, newest first.
    pub async fn printed(
        &self,
        after: Option<NotificationId>,
        limit: usize,
    ) -> Result<Page<(NotificationId, String)>, Error> {
        Ok(self.table.printed(after, limit).await?)
    }
}

fn not_for_this_receiver() -> Delivery {
    Delivery::Refused { error: "it is not notified of this".to_owned() }
}
