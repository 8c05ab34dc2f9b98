//! `/v2/ping-keys`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{ApiKey, Label, PingKey, PingKeyId, format_time};
use operations::Actor;
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::PageView;

/// A ping key's record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PingKeyView {
    ping_key_id: i64,
    name: String,
    created_at: String,
}

impl PingKeyView {
    fn of(key: &PingKey) -> Self {
        let PingKey { id, name, digest: _, hash: _, revision } = key;
        Self { ping_key_id: id.get(), name: name.to_string(), created_at: format_time(revision.date_added) }
    }
}

/// A ping key's record with the key itself, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PingKeyWithSecret {
    /// 22 letters and digits, for `/ping/{ping_key}/{slug}`.
    key: String,
    #[serde(flatten)]
    record: PingKeyView,
}

/// A ping key to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPingKey {
    /// Unique: 1 to 128 characters. Without it, one that holds the key's id.
    #[serde(default)]
    #[schema(value_type = Option<schema::Label>)]
    name: Option<String>,
}

/// Creates a ping key, which is valid for pings of every service, and for nothing else.
#[utoipa::path(
    post,
    path = "/v2/ping-keys",
    operation_id = "v2_create_ping_key",
    tag = "ping-keys",
    request_body = NewPingKey,
    responses(
        (status = 201, description = "The key, shown once", body = Envelope<PingKeyWithSecret>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewPingKey>,
) -> Result<Response, ApiError> {
    let name = body.name.map(|name| Label::parse("name", name, ApiKey::MAX_NAME_CHARS)).transpose()?;
    let (key, text) = app.medic.create_ping_key(name, &actor).await?;
    let shown = PingKeyWithSecret { key: text.reveal().to_owned(), record: PingKeyView::of(&key) };
    Ok(created("Ping key created. It is shown this once.", shown))
}

/// Lists ping keys, newest first.
#[utoipa::path(
    get,
    path = "/v2/ping-keys",
    operation_id = "v2_list_ping_keys",
    tag = "ping-keys",
    params(Listing),
    responses((status = 200, description = "Keys", body = Envelope<PageView<PingKeyView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.ping_keys(listing.cursor::<PingKeyId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, |key| PingKeyView::of(&key))))
}

/// Returns a ping key's record.
#[utoipa::path(
    get,
    path = "/v2/ping-keys/{ping_key_id}",
    operation_id = "v2_get_ping_key",
    tag = "ping-keys",
    params(("ping_key_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The record", body = Envelope<PingKeyView>),
        (status = 404, description = "There is no such key", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<PingKeyId>) -> Result<Response, ApiError> {
    Ok(ok(PingKeyView::of(&app.medic.find::<PingKey>(id).await?)))
}

/// Revokes a ping key. It is refused everywhere within 30 s.
#[utoipa::path(
    delete,
    path = "/v2/ping-keys/{ping_key_id}",
    operation_id = "v2_revoke_ping_key",
    tag = "ping-keys",
    params(("ping_key_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Revoked", body = Envelope<String>),
        (status = 404, description = "There is no such key", body = Envelope<String>),
    )
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<PingKeyId>,
) -> Result<Response, ApiError> {
    app.medic.revoke_ping_key(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Ping key revoked.", ""))
}
