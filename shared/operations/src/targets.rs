//! Notification targets of a service.

use chrono::{DateTime, Utc};
use domain::{Destination, NotificationId, Revision, ServiceId, Target, TargetId, TargetPeriod};
use outbound::Delivery;
use serde_json::json;
use store::Page;

use crate::{Actor, Error, Medic, SlackDelivery};

/// What a new target is to be. Its address was checked.
#[derive(Debug, Clone)]
pub struct NewTarget {
    pub destination: Destination,
    pub priority: i32,
    pub enabled: bool,
    pub period: TargetPeriod,
}

/// An edit: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct TargetUpdate {
    pub destination: Option<Destination>,
    pub priority: Option<i32>,
    pub enabled: Option<bool>,
    pub period: Option<TargetPeriod>,
}

impl Medic {
    /// Sends a test to a target. Answers what was wrong, if it was not taken.
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
                Delivery::Refused { error: "Slack is not set up".to_owned() }
            }
            (Destination::PagerDuty { service_key }, _) => self.pagerduty.test(service_key.reveal(), &about).await,
            (Destination::Webhook(endpoint), _) => {
                let data = json!({"service_id": service.get(), "heartbeat_name": about});
                let id = NotificationId::at(now, self.random()?).to_string();
                self.post_to(endpoint, &id, ("test", data), now, now).await
            }
        };
        let error = match delivery {
            Delivery::Accepted => None,
            Delivery::Retry { error, .. } | Delivery::Refused { error } => Some(error),
        };
        Ok((target, error))
    }

    pub async fn create_target(&self, service_id: ServiceId, new: NewTarget, actor: &Actor) -> Result<Target, Error> {
        self.require_service(service_id).await?;
        let NewTarget { destination, priority, enabled, period } = new;
        let id = self.table.next_target_id().await?;
        let revision = Revision::beginning(actor.at);
        self.create(Target { id, service_id, destination, priority, enabled, period, revision }, actor).await
    }

    /// A service's targets, newest first.
    pub async fn targets(
        &self,
        service: ServiceId,
        after: Option<TargetId>,
        limit: usize,
    ) -> Result<Page<Target>, Error> {
        self.require_service(service).await?;
        Ok(self.table.target_page(service, after, limit).await?)
    }

    pub async fn target(&self, service: ServiceId, id: TargetId) -> Result<Target, Error> {
        self.require_service(service).await?;
        self.find((service, id)).await
    }

    pub async fn update_target(
        &self,
        service: ServiceId,
        id: TargetId,
        changes: &TargetUpdate,
        actor: &Actor,
    ) -> Result<Target, Error> {
        self.require_service(service).await?;
        let TargetUpdate { destination, priority, enabled, period } = changes;
        let decide = |target: Target| {
            Ok(Target {
                destination: destination.clone().unwrap_or(target.destination),
                priority: priority.unwrap_or(target.priority),
                enabled: enabled.unwrap_or(target.enabled),
                period: period.unwrap_or(target.period),
                ..target
            })
        };
        self.update((service, id), actor, decide).await
    }

    pub async fn delete_target(&self, service: ServiceId, id: TargetId, actor: &Actor) -> Result<(), Error> {
        self.require_service(service).await?;
        self.delete::<Target>((service, id), actor).await
    }
}
