//! Sends a test message to a notification target.

use domain::{
    AuditAction, AuditDetails, AuditedThing, Destination, NotificationId, ServiceId, Target, TargetId, ThingKind,
};
use outbound::{Delivery, WebhookEvent};
use serde_json::json;
use store::{Commit, Writes};

use crate::{Actor, Error, Medic, SlackDelivery};

impl Medic {
    /// Sends a test to a target. Returns the error, if the target did not accept it. The audit log has it before it is
    /// sent, so that none goes out without an entry.
    pub async fn test_target(
        &self,
        service: ServiceId,
        id: TargetId,
        actor: &Actor,
    ) -> Result<(Target, Option<String>), Error> {
        let now = actor.at;
        let target = self.target(service, id).await?;
        let profile = self.service(service).await?.profile;
        let details = AuditDetails {
            service_name: Some(profile.service_name.to_string()),
            thing: Some(AuditedThing { kind: ThingKind::NotificationTarget, id: id.get(), name: None }),
            ..AuditDetails::default()
        };
        let mut writes = Writes::new();
        self.add_audit_entry(&mut writes, AuditAction::Tested, actor, Some(service), details)?;
        // Its rows are new: there is nothing to conflict with but a first try of this very write.
        let _logged: Commit = self.table.commit(writes).await?;
        let about = profile.heartbeat_name.to_string();
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
