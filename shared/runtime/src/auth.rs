//! Who may ask for what: the one place where keys are checked.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use domain::{ApiKey, Credential, RequestClass, Scope};
use operations::AuthFailure;

use crate::{ApiError, App};

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Public,
    /// A key with any one of these scopes, whose requests count as `class`.
    Key { any_of: &'static [Scope], class: RequestClass },
}

/// What the route `path` (as it is declared) asks for under `method`.
pub(crate) fn access(method: &Method, path: &str) -> Access {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let key = |any_of, class| Access::Key { any_of, class };
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    if path == "/metrics" || begins(&["/health", "/v1/healthcheck/", "/docs"]) {
        Access::Public
    } else if begins(&["/v2/api-keys", "/v2/secrets"]) || (begins(&["/v2/scripts"]) && !is_read) {
        key(&[Scope::Admin], RequestClass::Management)
    } else if is_read {
        key(&[Scope::Read], RequestClass::Management)
    } else if matches!(path, "/heartbeat" | "/v1/heartbeat") || begins(&["/v2/heartbeat"]) {
        key(&[Scope::Heartbeat, Scope::Write], RequestClass::Heartbeats)
    } else {
        key(&[Scope::Write], RequestClass::Management)
    }
}

/// The key that a request came with.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<ApiKey>);

/// Lets a request through that may pass. For `Router::route_layer`.
pub(crate) async fn authenticate(
    State(app): State<App>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Access::Key { any_of, .. } = access(request.method(), path.as_str()) {
        let header = request.headers().get(header::AUTHORIZATION).cloned();
        let key = check(&app, header, any_of).await?;
        request.extensions_mut().insert(Caller(key));
    }
    Ok(next.run(request).await)
}

async fn check(app: &App, header: Option<HeaderValue>, scopes: &[Scope]) -> Result<Arc<ApiKey>, ApiError> {
    let refused = |failure: AuthFailure| {
        metrics::counter!("medic_auth_failures_total", "reason" => failure.reason()).increment(1);
        ApiError::Unauthorized(failure)
    };
    let header = header.ok_or_else(|| refused(AuthFailure::MissingKey))?;
    let credential = header.to_str().ok().and_then(Credential::from_authorization);
    let credential = credential.ok_or_else(|| refused(AuthFailure::InvalidKey))?;
    let medic = &app.medic;
    let key = medic.keyring.verify(&medic.table, &credential, app.now()).await?.map_err(refused)?;
    if key.scopes.allow(scopes) { Ok(key) } else { Err(refused(AuthFailure::InsufficientScope)) }
}
