//! Sends notices to a receiver, each kind in its own way.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Destination, Endpoint, Notice, Receiver, TargetKind};
use outbound::{Delivery, Slack, UserHeaders, WEBHOOK_HEADERS, WebhookAttempt, WebhookEvent, WebhookOutcome};
use serde_json::Value;

use crate::deliveries::event_data;
use crate::medic::SlackDelivery;
use crate::{Error, Medic};

impl Medic {
    /// Sends notices to their receiver.
    pub(crate) async fn send(
        &self,
        receiver: &Receiver,
        notices: &[Notice],
        now: DateTime<Utc>,
    ) -> Result<Delivery, Error> {
        let base_url = self.settings.base_url.as_deref();
        // One event for each notice: its group is of one where it is no channel's.
        let alert = notices.first().and_then(Notice::alert);
        let key = notices.first().and_then(|notice| notice.outcome(receiver)?.service_key.as_ref());
        match (receiver, alert) {
            (Receiver::Slack { channel }, _) => self.send_to_slack(channel, notices, now).await,
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
                        let id = notices.first().map(|notice| notice.id.to_string()).unwrap_or_default();
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
                Ok(Delivery::Refused { error: "it is not told of this".to_owned() })
            }
        }
    }

    async fn send_to_slack(&self, channel: &str, notices: &[Notice], now: DateTime<Utc>) -> Result<Delivery, Error> {
        match &self.slack {
            SlackDelivery::Post(slack) => {
                let delivery = slack.post(channel, notices, self.settings.base_url.as_deref()).await;
                metrics::counter!("medic_slack_requests_total", "status" => delivery.label()).increment(1);
                Ok(delivery)
            }
            SlackDelivery::Print { keep } => {
                for notice in notices {
                    let line = Slack::line(notice);
                    tracing::info!("notice: {line}");
                    if *keep {
                        self.table.print(notice.id, &line, now + TimeDelta::days(30)).await?;
                    }
                }
                Ok(Delivery::Accepted)
            }
        }
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

fn counted(delivery: Delivery) -> Delivery {
    metrics::counter!("medic_pagerduty_requests_total", "status" => delivery.label()).increment(1);
    delivery
}
