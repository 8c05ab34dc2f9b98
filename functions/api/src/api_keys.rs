//! `/v2/api-keys`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{ApiKey, ApiKeyId, Credential, Invalid, RateLimits, Scope, Scopes, format_time, parse_time};
use operations::{Actor, NewApiKey};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, present, reply, schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::pages::PageView;

/// A key's record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKeyView {
    api_key_id: i64,
    name: String,
    scopes: Vec<&'static str>,
    expires_at: Option<String>,
    rate_limit_heartbeats: Option<u32>,
    rate_limit_management: Option<u32>,
    created_at: String,
    rotated_at: Option<String>,
}

impl ApiKeyView {
    fn of(key: &ApiKey) -> Self {
        let ApiKey { id, name, scopes, limits, expires_at, rotated_at, digest: _, hash: _, revision } = key;
        Self {
            api_key_id: id.get(),
            name: name.to_string(),
            scopes: scopes.iter().map(Scope::as_str).collect(),
            expires_at: expires_at.map(format_time),
            rate_limit_heartbeats: limits.heartbeats,
            rate_limit_management: limits.management,
            created_at: format_time(revision.date_added),
            rotated_at: rotated_at.map(format_time),
        }
    }
}

/// A key's record with the key itself, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKeyWithSecret {
    key: String,
    #[serde(flatten)]
    record: ApiKeyView,
}

impl ApiKeyWithSecret {
    fn of((key, credential): &(ApiKey, Credential)) -> Self {
        Self { key: credential.reveal(), record: ApiKeyView::of(key) }
    }
}

/// A key to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// Unique: 1 to 128 characters.
    #[schema(value_type = schema::Label)]
    name: String,
    /// Of `read`, `write`, `admin` and `heartbeat`.
    #[schema(min_items = 1)]
    scopes: Vec<String>,
    #[serde(default)]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Requests a minute, 1 to 1000000.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    rate_limit_heartbeats: Option<i64>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    rate_limit_management: Option<i64>,
}

impl NewKey {
    fn parse(self) -> Result<NewApiKey, Invalid> {
        let Self { name, scopes, expires_at, rate_limit_heartbeats, rate_limit_management } = self;
        let limits = RateLimits {
            heartbeats: limit("rate_limit_heartbeats", rate_limit_heartbeats)?,
            management: limit("rate_limit_management", rate_limit_management)?,
        };
        Ok(NewApiKey {
            name: ApiKey::parse_name(name)?,
            scopes: parse_scopes(&scopes)?,
            limits,
            expires_at: expiry(expires_at)?,
        })
    }
}

fn parse_scopes(scopes: &[String]) -> Result<Scopes, Invalid> {
    Scopes::parse(scopes.iter().map(|scope| scope.parse()).collect::<Result<_, _>>()?)
}

fn expiry(text: Option<String>) -> Result<Option<DateTime<Utc>>, Invalid> {
    text.map(|text| parse_time("expires_at", &text)).transpose()
}

fn limit(field: &str, value: Option<i64>) -> Result<Option<u32>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    let value = u32::try_from(value).ok().filter(|value| (1..=1_000_000).contains(value));
    value.map(Some).ok_or_else(|| Invalid::new(field, "must be from 1 to 1000000"))
}

/// Creates a key.
#[utoipa::path(
    post,
    path = "/v2/api-keys",
    operation_id = "v2_create_api_key",
    tag = "api-keys",
    request_body = NewKey,
    responses(
        (status = 201, description = "The key, shown once", body = Envelope<ApiKeyWithSecret>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewKey>,
) -> Result<Response, ApiError> {
    let new = app.medic.create_api_key(body.parse()?, &actor).await?;
    Ok(created("API key created. It is shown this once.", ApiKeyWithSecret::of(&new)))
}

/// The event that creates the first API key: nobody has a key to ask for it over HTTP, so IAM decides who may invoke the
/// function.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectRequest {
    create_api_key: NewKey,
}

/// Creates a key for whoever invokes the function directly.
pub async fn create_directly(app: App, event: Value) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    let DirectRequest { create_api_key } = serde_json::from_value(event)?;
    let new = app.medic.create_api_key(create_api_key.parse()?, &Actor::medic(app.now())).await?;
    Ok(serde_json::to_value(ApiKeyWithSecret::of(&new))?)
}

/// Lists keys, newest first.
#[utoipa::path(
    get,
    path = "/v2/api-keys",
    operation_id = "v2_list_api_keys",
    tag = "api-keys",
    params(Listing),
    responses((status = 200, description = "Keys", body = Envelope<PageView<ApiKeyView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.api_keys(listing.cursor::<ApiKeyId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, |key| ApiKeyView::of(&key))))
}

/// Returns a key's record.
#[utoipa::path(
    get,
    path = "/v2/api-keys/{api_key_id}",
    operation_id = "v2_get_api_key",
    tag = "api-keys",
    params(("api_key_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The record", body = Envelope<ApiKeyView>),
        (status = 404, description = "There is no such key", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<ApiKeyId>) -> Result<Response, ApiError> {
    Ok(ok(ApiKeyView::of(&app.medic.find(id).await?)))
}

/// Changes to a key; fields that are left out stay as they are. Null takes a limit or the expiry away.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyPatchBody {
    /// Unique: 1 to 128 characters.
    #[schema(value_type = Option<schema::Label>)]
    name: Option<String>,
    /// Of `read`, `write`, `admin` and `heartbeat`.
    #[schema(min_items = 1)]
    scopes: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<String>>,
    /// Requests a minute, 1 to 1000000.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000)]
    rate_limit_heartbeats: Option<Option<i64>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000)]
    rate_limit_management: Option<Option<i64>>,
}

impl KeyPatchBody {
    /// Returns what these changes make of a key.
    fn parse(self) -> Result<impl Fn(ApiKey) -> ApiKey, Invalid> {
        let Self { name, scopes, expires_at, rate_limit_heartbeats, rate_limit_management } = self;
        let name = name.map(ApiKey::parse_name).transpose()?;
        let scopes = scopes.map(|scopes| parse_scopes(&scopes)).transpose()?;
        let expires_at = expires_at.map(expiry).transpose()?;
        let heartbeats = rate_limit_heartbeats.map(|n| limit("rate_limit_heartbeats", n)).transpose()?;
        let management = rate_limit_management.map(|n| limit("rate_limit_management", n)).transpose()?;
        Ok(move |key: ApiKey| ApiKey {
            name: name.clone().unwrap_or(key.name),
            scopes: scopes.clone().unwrap_or(key.scopes),
            expires_at: expires_at.unwrap_or(key.expires_at),
            limits: RateLimits {
                heartbeats: heartbeats.unwrap_or(key.limits.heartbeats),
                management: management.unwrap_or(key.limits.management),
            },
            ..key
        })
    }
}

/// Updates a key. What it may no longer do is refused everywhere within 30 s. The last key with `admin` that does not expire
/// stays one.
#[utoipa::path(
    patch,
    path = "/v2/api-keys/{api_key_id}",
    operation_id = "v2_update_api_key",
    tag = "api-keys",
    params(("api_key_id" = i64, Path, minimum = 1)),
    request_body = KeyPatchBody,
    responses(
        (status = 200, description = "The record", body = Envelope<ApiKeyView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such key", body = Envelope<String>),
        (status = 409, description = "The name is taken, or it is the last key with `admin`", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ApiKeyId>,
    Body(body): Body<KeyPatchBody>,
) -> Result<Response, ApiError> {
    let change = body.parse()?;
    let key = app.medic.update_api_key(id, |key| Ok(change(key)), &actor).await?;
    Ok(reply(StatusCode::OK, "API key updated.", ApiKeyView::of(&key)))
}

/// Gives a key a new secret. The old one is refused everywhere within 30 s.
#[utoipa::path(
    post,
    path = "/v2/api-keys/{api_key_id}/rotate",
    operation_id = "v2_rotate_api_key",
    tag = "api-keys",
    params(("api_key_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The key, shown once", body = Envelope<ApiKeyWithSecret>),
        (status = 404, description = "There is no such key", body = Envelope<String>),
    )
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ApiKeyId>,
) -> Result<Response, ApiError> {
    let new = app.medic.rotate_api_key(id, &actor).await?;
    Ok(reply(StatusCode::OK, "API key rotated. It is shown this once.", ApiKeyWithSecret::of(&new)))
}

/// Revokes a key. It is refused everywhere within 30 s.
#[utoipa::path(
    delete,
    path = "/v2/api-keys/{api_key_id}",
    operation_id = "v2_revoke_api_key",
    tag = "api-keys",
    params(("api_key_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Revoked", body = Envelope<String>),
        (status = 404, description = "There is no such key", body = Envelope<String>),
        (status = 409, description = "It is the last key with `admin` that does not expire", body = Envelope<String>),
    )
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ApiKeyId>,
) -> Result<Response, ApiError> {
    app.medic.revoke_api_key(id, &actor).await?;
    Ok(reply(StatusCode::OK, "API key revoked.", ""))
}
