//! Checks callers: the one place where keys are verified.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest as _, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use domain::{ApiKey, Credential, PingKeyId, PingKeyText, RequestClass, Scope};
use operations::{Actor, AuthFailure, Guesses};

use crate::access::Access;
use crate::routes::AccessTable;
use crate::source_address::source_address;
use crate::{ApiError, App, ping_refusal};

/// The key that a request came with.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<ApiKey>);

/// The ping key that a request came with.
#[derive(Debug, Clone, Copy)]
pub struct PingCaller(pub PingKeyId);

impl FromRequestParts<App> for Actor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>();
        let Caller(key) = caller.ok_or(ApiError::Unauthorized(AuthFailure::MissingKey))?;
        Ok(Self { name: Some(key.name.to_string()), at: app.now() })
    }
}

/// What authentication works with.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) app: App,
    pub(crate) table: AccessTable,
}

/// Lets a request through that has what its route asks for, and notes what that was. For `Router::route_layer`.
pub(crate) async fn authenticate(
    State(Gate { app, table }): State<Gate>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // A route that declares nothing is served to nobody.
    let access = table.of(request.method(), path.as_str()).ok_or(ApiError::NoSuchRoute)?;
    request.extensions_mut().insert(access);
    match access {
        Access::Public => {}
        Access::Key { any_of, .. } => {
            let header = request.headers().get(header::AUTHORIZATION).cloned();
            let key = check(&app, header, any_of).await?;
            request.extensions_mut().insert(Caller(key));
        }
        Access::WebhookSecret => check_secret(&app, &request)?,
        Access::SlackSignature => request = check_signature(&app, request).await?,
        Access::PingKey => match check_ping_key(&app, request.uri().path()).await {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(error) => return Ok(ping_refusal(error)),
        },
    }
    Ok(next.run(request).await)
}

/// Returns the key in `/ping/{ping_key}/…`.
async fn check_ping_key(app: &App, path: &str) -> Result<PingCaller, ApiError> {
    let text = path.split('/').nth(2).and_then(PingKeyText::parse);
    let found = match text {
        Some(text) => app.medic.verify_ping_key(&text, app.now()).await?,
        None => None,
    };
    found.map(PingCaller).ok_or_else(|| refused(AuthFailure::InvalidKey))
}

fn check_secret(app: &App, request: &Request) -> Result<(), ApiError> {
    let (given, address) = (request.headers().get("x-webhook-secret"), source_address(request));
    if let Some(retry_after) = app.medic.guesses.refuses_for(address, app.now()) {
        return Err(ApiError::RateLimited { class: RequestClass::Triggers, limit: Guesses::MAX, retry_after });
    }
    let Some(is_right) = app.medic.is_webhook_secret(given.map(HeaderValue::as_bytes).unwrap_or_default()) else {
        return Err(ApiError::NotSetUp("MEDIC_WEBHOOK_SECRET is not set: nobody can trigger playbooks".to_owned()));
    };
    if is_right {
        return Ok(());
    }
    let failure = if given.is_some() { AuthFailure::InvalidKey } else { AuthFailure::MissingKey };
    metrics::counter!("medic_auth_failures_total", "reason" => failure.reason()).increment(1);
    app.medic.guesses.count(address, app.now());
    Err(ApiError::WrongSecret)
}

/// Reads a request whole, since all of its body is signed; nothing of it is parsed before.
async fn check_signature(app: &App, request: Request) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (timestamp, signature) = (header("x-slack-request-timestamp"), header("x-slack-signature"));
    let check = |body: &[u8]| app.medic.is_slack_request(timestamp, signature, body, app.now());
    if check(&[]).is_none() {
        return Err(ApiError::NotSetUp("SLACK_SIGNING_SECRET is not set: nobody can decide in Slack".to_owned()));
    }
    let mut whole = Request::new(body);
    // The body's limit is among them.
    whole.extensions_mut().clone_from(&parts.extensions);
    let bytes = Bytes::from_request(whole, app).await.map_err(|rejection| ApiError::unreadable(&rejection))?;
    if check(&bytes) == Some(true) {
        return Ok(Request::from_parts(parts, bytes.into()));
    }
    let failure = if signature.is_empty() { AuthFailure::MissingKey } else { AuthFailure::InvalidKey };
    metrics::counter!("medic_auth_failures_total", "reason" => failure.reason()).increment(1);
    Err(ApiError::NotSlack)
}

fn refused(failure: AuthFailure) -> ApiError {
    metrics::counter!("medic_auth_failures_total", "reason" => failure.reason()).increment(1);
    ApiError::Unauthorized(failure)
}

async fn check(app: &App, header: Option<HeaderValue>, scopes: &[Scope]) -> Result<Arc<ApiKey>, ApiError> {
    let header = header.ok_or_else(|| refused(AuthFailure::MissingKey))?;
    let credential = header.to_str().ok().and_then(Credential::from_authorization);
    let credential = credential.ok_or_else(|| refused(AuthFailure::InvalidKey))?;
    let medic = &app.medic;
    let key = medic.keyring.verify(&medic.table, &credential, app.now()).await?.map_err(refused)?;
    if key.scopes.allow(scopes) { Ok(key) } else { Err(refused(AuthFailure::InsufficientScope)) }
}
