//! `/v2/webhooks`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{Attempts, Endpoint, Revision, ServiceId, Webhook, WebhookId, format_time};
use operations::{Actor, NewWebhook, WebhookUpdate, read_headers};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, present, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::masks::masked_headers;
use crate::pages::PageView;
use crate::services::yes;

/// A receiver of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookView {
    webhook_id: i64,
    url: String,
    /// By name in lower case; the values are masked: `…` and the last four characters, or `…` alone.
    headers: BTreeMap<String, String>,
    enabled: bool,
    /// The service whose events it receives; null for every service. It stays when the service is deleted.
    service_id: Option<i64>,
    max_attempts: u32,
    retry_delays_seconds: Vec<u32>,
    /// Until when deliveries are signed with the previous secret as well; null when only one is valid.
    previous_secret_valid_until: Option<String>,
    date_added: String,
    date_modified: Option<String>,
}

impl WebhookView {
    fn of(webhook: &Webhook, now: DateTime<Utc>) -> Self {
        let Webhook { id, endpoint, enabled, service_id, attempts, secrets, revision } = webhook;
        let Endpoint { url, headers } = endpoint;
        let Revision { version: _, date_added, date_modified } = revision;
        Self {
            webhook_id: id.get(),
            url: url.clone(),
            headers: masked_headers(headers),
            enabled: *enabled,
            service_id: service_id.map(ServiceId::get),
            max_attempts: attempts.max,
            retry_delays_seconds: attempts.delays_seconds().to_vec(),
            previous_secret_valid_until: secrets.previous_valid_until(now).map(format_time),
            date_added: format_time(*date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

/// A webhook with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookWithSecret {
    /// `whsec_…`, as Standard Webhooks has it.
    secret: String,
    #[serde(flatten)]
    webhook: WebhookView,
}

impl WebhookWithSecret {
    fn of(webhook: &Webhook, now: DateTime<Utc>) -> Self {
        Self { secret: webhook.secrets.current.reveal().to_owned(), webhook: WebhookView::of(webhook, now) }
    }
}

/// A webhook to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhookBody {
    /// http or https, and to no internal address.
    #[schema(value_type = schema::HttpUrl)]
    url: String,
    /// At most 20; not `content-type`, `webhook-*` or headers that frame a request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "yes")]
    enabled: bool,
    /// Null: every service.
    #[serde(default)]
    #[schema(minimum = 1)]
    service_id: Option<i64>,
    /// 1 to 4; 3 unless given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4)]
    max_attempts: Option<i64>,
    /// How long to wait before the second attempt, the third, and so on: 1 to 10 of them, each 1 to 3600; the last one
    /// applies to all further attempts. `[1, 5, 30]` unless given.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 10)]
    retry_delays_seconds: Option<Vec<i64>>,
}

impl NewWebhookBody {
    async fn parse(self, app: &App) -> Result<NewWebhook, ApiError> {
        let Self { url, headers, enabled, service_id, max_attempts, retry_delays_seconds } = self;
        let usual = Attempts::default();
        let max = max_attempts.map_or(Ok(usual.max), Attempts::parse_max)?;
        let delays = retry_delays_seconds
            .map_or_else(|| Ok(usual.delays_seconds().to_vec()), |seconds| Attempts::parse_delays(&seconds))?;
        let headers = read_headers("headers", &headers)?;
        let service_id = service_id.map(ServiceId::read).transpose()?;
        app.medic.check_url("url", &url).await?;
        Ok(NewWebhook {
            endpoint: Endpoint { url, headers },
            enabled,
            service_id,
            attempts: Attempts::new(max, delays),
        })
    }
}

/// Creates a webhook: at most 10 for one service, and at most 20 that receive the events of all services.
#[utoipa::path(
    post,
    path = "/v2/webhooks",
    operation_id = "v2_create_webhook",
    tag = "webhooks",
    request_body = NewWebhookBody,
    responses(
        (status = 201, description = "The webhook with its secret, shown once", body = Envelope<WebhookWithSecret>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The limit of webhooks is reached", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewWebhookBody>,
) -> Result<Response, ApiError> {
    let now = actor.at;
    let webhook = app.medic.create_webhook(body.parse(&app).await?, &actor).await?;
    Ok(created("Webhook created. Its secret is shown this once.", WebhookWithSecret::of(&webhook, now)))
}

/// Lists webhooks, newest first.
#[utoipa::path(
    get,
    path = "/v2/webhooks",
    operation_id = "v2_list_webhooks",
    tag = "webhooks",
    params(Listing),
    responses((status = 200, description = "Webhooks", body = Envelope<PageView<WebhookView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.webhooks(listing.cursor::<WebhookId>()?, listing.limit()?).await?;
    let now = app.now();
    Ok(ok(PageView::of(page, |webhook| WebhookView::of(&webhook, now))))
}

/// Returns a webhook.
#[utoipa::path(
    get,
    path = "/v2/webhooks/{webhook_id}",
    operation_id = "v2_get_webhook",
    tag = "webhooks",
    params(("webhook_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The webhook", body = Envelope<WebhookView>),
        (status = 404, description = "There is no such webhook", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<WebhookId>) -> Result<Response, ApiError> {
    Ok(ok(WebhookView::of(&app.medic.find(id).await?, app.now())))
}

/// Changes to a webhook; fields that are left out stay as they are. `headers` are replaced whole.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebhookPatchBody {
    #[schema(value_type = Option<schema::HttpUrl>)]
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    enabled: Option<bool>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    service_id: Option<Option<i64>>,
    #[schema(minimum = 1, maximum = 4)]
    max_attempts: Option<i64>,
    #[schema(min_items = 1, max_items = 10)]
    retry_delays_seconds: Option<Vec<i64>>,
}

impl WebhookPatchBody {
    async fn parse(self, app: &App) -> Result<WebhookUpdate, ApiError> {
        let Self { url, headers, enabled, service_id, max_attempts, retry_delays_seconds } = self;
        let changes = WebhookUpdate {
            headers: headers.map(|headers| read_headers("headers", &headers)).transpose()?,
            enabled,
            service_id: service_id.map(|id| id.map(ServiceId::read).transpose()).transpose()?,
            max_attempts: max_attempts.map(Attempts::parse_max).transpose()?,
            retry_delays_seconds: retry_delays_seconds.map(|seconds| Attempts::parse_delays(&seconds)).transpose()?,
            url: None,
        };
        if let Some(url) = &url {
            app.medic.check_url("url", url).await?;
        }
        Ok(WebhookUpdate { url, ..changes })
    }
}

/// Updates a webhook.
#[utoipa::path(
    patch,
    path = "/v2/webhooks/{webhook_id}",
    operation_id = "v2_update_webhook",
    tag = "webhooks",
    params(("webhook_id" = i64, Path, minimum = 1)),
    request_body = WebhookPatchBody,
    responses(
        (status = 200, description = "The webhook as it is now", body = Envelope<WebhookView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such webhook", body = Envelope<String>),
        (status = 409, description = "The limit of webhooks for that service is reached", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<WebhookId>,
    Body(body): Body<WebhookPatchBody>,
) -> Result<Response, ApiError> {
    let now = actor.at;
    let webhook = app.medic.update_webhook(id, &body.parse(&app).await?, &actor).await?;
    Ok(ok(WebhookView::of(&webhook, now)))
}

/// Gives a webhook a new secret. The previous one stays valid for 24 h: until then deliveries carry both signatures.
#[utoipa::path(
    post,
    path = "/v2/webhooks/{webhook_id}/rotate-secret",
    operation_id = "v2_rotate_webhook_secret",
    tag = "webhooks",
    params(("webhook_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The webhook with its new secret, shown once", body = Envelope<WebhookWithSecret>),
        (status = 404, description = "There is no such webhook", body = Envelope<String>),
    )
)]
pub(crate) async fn rotate_secret(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<WebhookId>,
) -> Result<Response, ApiError> {
    let now = actor.at;
    let webhook = app.medic.rotate_webhook_secret(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Secret rotated. It is shown this once.", WebhookWithSecret::of(&webhook, now)))
}

/// Deletes a webhook.
#[utoipa::path(
    delete,
    path = "/v2/webhooks/{webhook_id}",
    operation_id = "v2_delete_webhook",
    tag = "webhooks",
    params(("webhook_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such webhook", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<WebhookId>,
) -> Result<Response, ApiError> {
    app.medic.delete::<Webhook>(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Webhook deleted.", ""))
}
