//! Sends a test message to a notification target.

use chrono::{DateTime, Utc};
use domain::{Destination, NotificationId, ServiceId, Target, TargetId};
use outbound::{Delivery, WebhookEvent};
use serde_json::json;

use crate::{Error, Medic, SlackDelivery};

impl Medic {
    /// Sends a test to a target. Returns the error, if the target did not accept it.
    pub async fn test_target(
        &self,
        service: ServiceId,
        id: TargetId,
        now: DateTime<Utc>,
    ) -> Result<(Target, Option<String>), Error> {
        let target = self.target(service, id).await?;
        let about = self.service(service).await?.profile.heartbeat_name.to_string();
        let delivery = match (&target.destination, &self.slack) {
            (Destination::Slack { channel_id }, SlackDelivery::Post(slack)) => slack.test(channel_id, &about).await,
            (Destination::Slack { .. }, SlackDelivery::Print { .. }) => {
                Delivery::Refused { error: "Slack is not configured".to_owned() }
            }
            (Destination::PagerDuty { service_key }, _) => self.pagerduty.test(service_key.reveal(), &about).await,
            (Destination::Webhook(endpoint), _) => {
                let data = json!({"service_id": service.get(), "heartbeat_name": about});
                let id = NotificationId::at(now, self.random()?).to_string();
                let event = WebhookEvent { kind: "test", at: now, data: &data };
                self.post_to(endpoint, &id, event, now).await
            }
        };
        let error = match delivery {
            Delivery::Accepted => None,
            Delivery::Retry { error, .. } | Delivery::Refused { error } => Some(error),
        };
        Ok((target, error))
    }
}
