//! Webhooks. A companion row of each puts it on the list of those for one service, or for every service, so that an alert
//! finds its webhooks by two short lists.

use std::collections::BTreeMap;

use domain::{
    Attempts, Endpoint, Revision, SecretText, ServiceId, Webhook, WebhookId, WebhookSecrets, from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, Limit, RevisionItem, read_all, read_id};
use crate::item::{self, Item};
use crate::keys::{Collection, Key, id_in};
use crate::table::Page;
use crate::{Entity, Error, Table};

#[derive(Serialize, Deserialize)]
struct WebhookItem {
    url: String,
    headers: BTreeMap<String, String>,
    enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    max_attempts: u32,
    retry_delays_seconds: Vec<u32>,
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_secret_until: Option<i64>,
    #[serde(flatten)]
    revision: RevisionItem,
    list_pk: String,
    list_sk: String,
}

#[derive(Serialize)]
struct ScopeItem {
    list_pk: String,
    list_sk: String,
}

impl Entity for Webhook {
    type Id = WebhookId;

    const NOUN: &'static str = "webhook";

    fn identity(&self) -> Identity<'_, WebhookId> {
        Identity::unnamed(self.id, self.revision)
    }

    fn key(id: WebhookId) -> Key {
        Key::webhook(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, endpoint, enabled, service_id, attempts, secrets, revision } = self;
        let Endpoint { url, headers } = endpoint;
        let WebhookSecrets { current, previous } = secrets;
        let body = WebhookItem {
            url: url.clone(),
            headers: headers.clone(),
            enabled: *enabled,
            service_id: service_id.map(ServiceId::get),
            max_attempts: attempts.max,
            retry_delays_seconds: attempts.delays_seconds().to_vec(),
            secret: current.reveal().to_owned(),
            previous_secret: previous.as_ref().map(|(secret, _)| secret.reveal().to_owned()),
            previous_secret_until: previous.as_ref().map(|(_, until)| to_millis(*until)),
            revision: RevisionItem::of(revision),
            list_pk: Collection::Webhooks.pk(),
            list_sk: Collection::sk(id.get()),
        };
        item::write(&Key::webhook(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let WebhookItem {
            url,
            headers,
            enabled,
            service_id,
            max_attempts,
            retry_delays_seconds,
            secret,
            previous_secret,
            previous_secret_until,
            revision,
            list_pk: _,
            list_sk: _,
        } = item::read(item)?;
        let previous = previous_secret.map(SecretText::new).zip(previous_secret_until.map(from_millis));
        Ok(Self {
            id: read_id(key, &key.pk)?,
            endpoint: Endpoint { url, headers },
            enabled,
            service_id: service_id.map(ServiceId::new),
            attempts: Attempts::new(max_attempts, retry_delays_seconds),
            secrets: WebhookSecrets { current: SecretText::new(secret), previous },
            revision: revision.into_revision(),
        })
    }

    fn companion_rows(&self) -> Result<Vec<Item>, Error> {
        let list_pk = Collection::WebhooksFor(self.service_id).pk();
        let scope = ScopeItem { list_pk, list_sk: Collection::sk(self.id.get()) };
        Ok(vec![item::write(&Key::webhook_scope(self.id), &scope)?])
    }

    fn limit(&self) -> Option<Limit> {
        let (max, of) = match self.service_id {
            Some(_) => (Self::MAX_FOR_ONE, "for one service"),
            None => (Self::MAX_FOR_ALL, "for every service"),
        };
        // The counter of those on a list is named as the list is.
        Some(Limit { counter: webhooks_counted(self.service_id), max, of })
    }
}

/// Returns the counter of the webhooks of a service, or of those of every service.
pub(crate) fn webhooks_counted(scope: Option<ServiceId>) -> Key {
    Key::counter(&Collection::WebhooksFor(scope).pk())
}

impl Table {
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, Error> {
        self.find(id).await
    }

    /// Returns webhooks, newest first.
    pub async fn webhooks(&self, after: Option<WebhookId>, limit: usize) -> Result<Page<Webhook>, Error> {
        let after = after.map(|id| Collection::sk(id.get()));
        let page = self.list(&Collection::Webhooks, after.as_deref(), limit).await?;
        let last = page.items.last().and_then(|key| id_in::<WebhookId>(&key.pk));
        let mut items: Vec<Webhook> = read_all(self.get_many(page.items).await?)?;
        items.sort_unstable_by_key(|webhook| std::cmp::Reverse(webhook.id));
        Ok(Page { items, next: page.next.and(last).map(|id| id.to_string()) })
    }

    /// Returns the webhooks of one service, or those of every service, in no order. The list lags behind the table by
    /// moments; each webhook is read consistently.
    pub async fn webhooks_of(&self, scope: Option<ServiceId>) -> Result<Vec<Webhook>, Error> {
        const ALL: usize = (Webhook::MAX_FOR_ALL + Webhook::MAX_FOR_ONE) as usize;
        let page = self.list(&Collection::WebhooksFor(scope), None, ALL).await?;
        let ids: Vec<WebhookId> = page.items.iter().filter_map(|key| id_in(&key.pk)).collect();
        self.find_many(ids).await
    }
}
