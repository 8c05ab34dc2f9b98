//! Limits how many requests a key may make: after it is known whose they are, and before they cost anything else.

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::{KeyId, RateLimits, RequestClass, Ruling};

use crate::access::Access;
use crate::auth::{Caller, PingCaller};
use crate::source_address::source_address;
use crate::{ApiError, App, ping_refusal};

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";

/// Lets a request through while its key has room, and says in every response how much is left. For `Router::route_layer`,
/// within `authenticate`.
pub(crate) async fn limit(
    State(app): State<App>,
    Extension(access): Extension<Access>,
    caller: Option<Extension<Caller>>,
    pinger: Option<Extension<PingCaller>>,
    request: Request,
    next: Next,
) -> Response {
    let (key, limits, class) = match (access, caller, pinger) {
        (Access::Key { class, .. }, Some(Extension(Caller(key))), _) => (KeyId::Api(key.id), key.limits, class),
        (Access::PingKey, _, Some(Extension(PingCaller(id)))) => {
            (KeyId::Ping(id), RateLimits::default(), RequestClass::Heartbeats)
        }
        (Access::WebhookSecret, _, _) => {
            (KeyId::Address(source_address(&request)), RateLimits::default(), RequestClass::Triggers)
        }
        (Access::Public | Access::Key { .. } | Access::PingKey | Access::SlackSignature, _, _) => {
            return next.run(request).await;
        }
    };
    let ruling = app.medic.admit(key, limits, class, app.now()).await;
    let mut response = match ruling.retry_after {
        None => next.run(request).await,
        Some(retry_after) => {
            metrics::counter!("medic_rate_limited_total", "class" => class.as_str()).increment(1);
            let error = ApiError::RateLimited { class, limit: ruling.limit, retry_after };
            if pinger.is_some() { ping_refusal(error) } else { error.into_response() }
        }
    };
    describe(ruling, response.headers_mut());
    response
}

fn describe(Ruling { limit, remaining, reset_at, retry_after: _ }: Ruling, headers: &mut HeaderMap) {
    headers.insert(LIMIT, limit.into());
    headers.insert(REMAINING, remaining.into());
    headers.insert(RESET, HeaderValue::from(reset_at));
}
