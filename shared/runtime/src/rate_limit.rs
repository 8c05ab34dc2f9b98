//! Limits how many requests a key may make: after it is known whose they are, and before they cost anything else.

use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::Ruling;

use crate::auth::{Access, Caller, access};
use crate::{ApiError, App};

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";

/// Lets a request through while its key has room, and says in every answer how much is left. For `Router::route_layer`,
/// within `authenticate`.
pub(crate) async fn limit(
    State(app): State<App>,
    path: MatchedPath,
    caller: Option<Extension<Caller>>,
    request: Request,
    next: Next,
) -> Response {
    let (Some(Extension(Caller(key))), Access::Key { class, .. }) = (caller, access(request.method(), path.as_str()))
    else {
        return next.run(request).await;
    };
    let ruling = app.medic.admit(&key, class, app.now()).await;
    let mut answer = match ruling.retry_after {
        None => next.run(request).await,
        Some(retry_after) => {
            metrics::counter!("medic_rate_limited_total", "class" => class.as_str()).increment(1);
            ApiError::RateLimited { class, limit: ruling.limit, retry_after }.into_response()
        }
    };
    describe(ruling, answer.headers_mut());
    answer
}

fn describe(Ruling { limit, remaining, reset_at, retry_after: _ }: Ruling, headers: &mut HeaderMap) {
    headers.insert(LIMIT, limit.into());
    headers.insert(REMAINING, remaining.into());
    headers.insert(RESET, HeaderValue::from(reset_at));
}
