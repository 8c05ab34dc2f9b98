//! Webhooks, and the secrets that their deliveries are signed with.

use std::collections::BTreeMap;

use domain::{Attempts, Endpoint, Invalid, Revision, SecretText, ServiceId, Webhook, WebhookId, WebhookSecrets};
use outbound::WebhookSecret;
use store::Page;

use crate::{Actor, Error, Medic};

/// A webhook to be created. Its address has been checked.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    pub endpoint: Endpoint,
    pub enabled: bool,
    pub service_id: Option<ServiceId>,
    pub attempts: Attempts,
}

/// An update: what is `None` stays as it is.
#[derive(Clone, Default)]
pub struct WebhookUpdate {
    pub url: Option<String>,
    pub headers: Option<BTreeMap<String, String>>,
    pub enabled: Option<bool>,
    pub service_id: Option<Option<ServiceId>>,
    pub max_attempts: Option<u32>,
    pub retry_delays_seconds: Option<Vec<u32>>,
}

impl Medic {
    pub async fn create_webhook(&self, new: NewWebhook, actor: &Actor) -> Result<Webhook, Error> {
        let NewWebhook { endpoint, enabled, service_id, attempts } = new;
        self.check_service_id(service_id).await?;
        let id = self.table.next_webhook_id().await?;
        let secrets = WebhookSecrets::first(self.new_secret()?);
        let revision = Revision::beginning(actor.at);
        self.create(Webhook { id, endpoint, enabled, service_id, attempts, secrets, revision }, actor).await
    }

    /// Returns webhooks, newest first.
    pub async fn webhooks(&self, after: Option<WebhookId>, limit: usize) -> Result<Page<Webhook>, Error> {
        Ok(self.table.webhooks(after, limit).await?)
    }

    pub async fn update_webhook(&self, id: WebhookId, update: &WebhookUpdate, actor: &Actor) -> Result<Webhook, Error> {
        let WebhookUpdate { url, headers, enabled, service_id, max_attempts, retry_delays_seconds } = update;
        self.check_service_id(service_id.flatten()).await?;
        let decide = |webhook: Webhook| {
            let Endpoint { url: old_url, headers: old_headers } = webhook.endpoint;
            let delays = webhook.attempts.delays_seconds().to_vec();
            Ok(Webhook {
                endpoint: Endpoint {
                    url: url.clone().unwrap_or(old_url),
                    headers: headers.clone().unwrap_or(old_headers),
                },
                enabled: enabled.unwrap_or(webhook.enabled),
                service_id: service_id.unwrap_or(webhook.service_id),
                attempts: Attempts::new(
                    max_attempts.unwrap_or(webhook.attempts.max),
                    retry_delays_seconds.clone().unwrap_or(delays),
                ),
                ..webhook
            })
        };
        self.update(id, actor, decide).await
    }

    /// Gives a webhook a new secret; the one before it stays valid for a day.
    pub async fn rotate_webhook_secret(&self, id: WebhookId, actor: &Actor) -> Result<Webhook, Error> {
        let secret = self.new_secret()?;
        let decide =
            |webhook: Webhook| Ok(Webhook { secrets: webhook.secrets.rotate(secret.clone(), actor.at), ..webhook });
        self.update(id, actor, decide).await
    }

    async fn check_service_id(&self, id: Option<ServiceId>) -> Result<(), Error> {
        match id {
            Some(id) if self.table.existing_services([id]).await?.is_empty() => {
                Err(Invalid::new("service_id", format!("must be a service's: there is no service {id}")).into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn new_secret(&self) -> Result<SecretText, Error> {
        Ok(SecretText::new(WebhookSecret::new(self.random()?).reveal()))
    }
}
