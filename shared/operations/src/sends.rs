//! Sends notifications to a receiver, each kind in its own way.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Destination, Endpoint, Notification, Outcome, PlaybookEvent, Receiver, ServiceKey, TargetKind};
use outbound::{Delivery, Slack, UserHeaders, WEBHOOK_HEADERS, WebhookAttempt, WebhookEvent, WebhookOutcome};
use serde_json::Value;
use store::Lane;

use crate::deliveries::event_data;
use crate::medic::SlackDelivery;
use crate::{Error, Medic};

impl Medic {
    /// Sends notifications to their receiver.
    pub(crate) async fn send(
        &self,
        receiver: &Receiver,
        notifications: &[Notification],
        now: DateTime<Utc>,
    ) -> Result<Delivery, Error> {
        let base_url = self.settings.base_url.as_deref();
        // One event for each notification: its group is of one where it is no channel's.
        let alert = notifications.first().and_then(Notification::alert);
        let key = notifications.first().and_then(|notification| notification.outcome(receiver)?.service_key.as_ref());
        if let (Some(playbook), TargetKind::PagerDuty) =
            (notifications.first().and_then(Notification::playbook), receiver.kind())
        {
            if key.is_none() && matches!(receiver, Receiver::Target { .. }) {
                return Ok(Delivery::Refused { error: "the target has no key".to_owned() });
            }
            return Ok(counted(self.pagerduty.escalate(playbook, key.map(ServiceKey::reveal), base_url).await));
        }
        match (receiver, alert) {
            (Receiver::Slack { channel }, _) => match notifications {
                [alone] if alone.stands_alone() => self.send_alone(receiver, channel, alone, now).await,
                _ => self.send_to_slack(channel, notifications, now).await,
            },
            (Receiver::PagerDuty { .. }, Some((kind, alert))) => {
                Ok(counted(self.pagerduty.send(kind, alert, None, base_url).await))
            }
            (Receiver::Target { kind: TargetKind::PagerDuty, .. }, Some((kind, alert))) => match key {
                Some(key) => Ok(counted(self.pagerduty.send(kind, alert, Some(key.reveal()), base_url).await)),
                None => Ok(Delivery::Refused { error: "the target has no key".to_owned() }),
            },
            (Receiver::Target { service_id, target_id, .. }, Some((kind, alert))) => {
                let destination = self.table.target(*service_id, *target_id).await?.map(|target| target.destination);
                match destination {
                    Some(Destination::Webhook(endpoint)) => {
                        let id =
                            notifications.first().map(|notification| notification.id.to_string()).unwrap_or_default();
                        let event = (alert.event_type(kind).unwrap_or_default(), event_data(alert));
                        Ok(self.post_to(&endpoint, &id, event, alert.created_at, now).await)
                    }
                    // Its kind may have been changed.
                    Some(Destination::Slack { .. } | Destination::PagerDuty { .. }) | None => {
                        Ok(Delivery::Refused { error: "the target is gone".to_owned() })
                    }
                }
            }
            (Receiver::PagerDuty { .. } | Receiver::Target { .. }, None) | (Receiver::Webhook { .. }, _) => {
                Ok(Delivery::Refused { error: "it is not notified of this".to_owned() })
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
                        self.table.print(notification.id, &line, now + TimeDelta::days(30)).await?;
                    }
                }
                Ok(Delivery::Accepted)
            }
        }
    }

    /// Posts a question, and keeps where it is; or puts what was decided in its place.
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
        let asked =
            if is_approval_request(notification) { None } else { self.approval_request_before(notification).await? };
        let place = asked.as_ref().and_then(|asked| asked.outcome(receiver)?.message.clone());
        let delivery = if let Some(place) = place {
            slack.update(&place, asked.as_ref(), notification, base_url).await
        } else {
            let (delivery, place) = slack.post_alone(channel, notification, base_url).await;
            if let Some(place) = place.filter(|_| is_approval_request(notification)) {
                // Should this be lost, the question is asked again: better than one whose buttons stay.
                self.table.keep_message(notification, &Lane::of(receiver), &place).await?;
            }
            delivery
        };
        metrics::counter!("medic_slack_requests_total", "status" => delivery.label()).increment(1);
        Ok(delivery)
    }

    /// The question that a decision answers.
    pub(crate) async fn approval_request_before(&self, decided: &Notification) -> Result<Option<Notification>, Error> {
        Ok(self.table.notifications(decided.owner()).await?.into_iter().rfind(is_approval_request))
    }

    /// Why a question or what was decided of it need not be sent to a receiver any more.
    pub(crate) async fn is_answered(
        &self,
        notification: &Notification,
        receiver: &Receiver,
    ) -> Result<Option<&'static str>, Error> {
        if !notification.stands_alone() {
            return Ok(None);
        }
        if !is_approval_request(notification) {
            let asked = self.approval_request_before(notification).await?;
            let was_asked = asked.is_some_and(|asked| asked.outcome(receiver).is_some_and(Outcome::is_success));
            return Ok((!was_asked).then_some("not asked, and so not told of the answer"));
        }
        let notifications = self.table.notifications(notification.owner()).await?;
        let is_decision = |other: &Notification| other.stands_alone() && !is_approval_request(other);
        Ok(notifications.iter().any(is_decision).then_some("overtaken by the answer"))
    }

    /// Posts an event to a target's own address, unsigned: what it needs to be trusted is among its headers.
    pub(crate) async fn post_to(
        &self,
        endpoint: &Endpoint,
        id: &str,
        (kind, data): (&str, Value),
        happened_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Delivery {
        let pairs = endpoint.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = match UserHeaders::parse("config.headers", pairs, &WEBHOOK_HEADERS) {
            Ok(headers) => headers,
            Err(error) => return Delivery::Refused { error: error.to_string() },
        };
        let event = WebhookEvent { kind, at: happened_at, data: &data };
        let attempt = WebhookAttempt { url: &endpoint.url, headers: &headers, secrets: &[], id, at: now, event };
        match attempt.post(&self.outgoing).await.outcome {
            WebhookOutcome::Success => Delivery::Accepted,
            WebhookOutcome::Retry { error, after } => Delivery::Retry { error, after },
            WebhookOutcome::Gone { error } | WebhookOutcome::Refused { error } => Delivery::Refused { error },
        }
    }
}

fn is_approval_request(notification: &Notification) -> bool {
    notification.playbook().is_some_and(|playbook| matches!(playbook.event, PlaybookEvent::ApprovalRequested(_)))
}

fn counted(delivery: Delivery) -> Delivery {
    metrics::counter!("medic_pagerduty_requests_total", "status" => delivery.label()).increment(1);
    delivery
}
