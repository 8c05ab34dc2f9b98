//! The envelope of every response, and the one map from errors to HTTP.

use axum::Router;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use domain::RequestClass;
use operations::{AuthFailure, Error, error_chain};

/// `{"success", "message", "results"}`: the shape of every response.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// Whether the request was carried out.
    pub success: bool,
    /// What happened, for people; on an error, the field or thing at fault.
    pub message: String,
    pub results: T,
}

/// The envelope of a response over the limit: `retry_after` is there twice, beside the message and in `results`.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLimited {
    success: bool,
    message: String,
    /// Seconds until a request is let in, if none is made meanwhile.
    retry_after: u32,
    results: RetryAfter,
}

#[derive(Debug, Serialize, ToSchema)]
struct RetryAfter {
    retry_after: u32,
}

/// Returns a response with a message and results.
pub fn reply<T: Serialize>(status: StatusCode, message: impl Into<String>, results: T) -> Response {
    let body = Envelope { success: status.is_success(), message: message.into(), results };
    (status, axum::Json(body)).into_response()
}

/// Returns 200 with results.
pub fn ok<T: Serialize>(results: T) -> Response {
    reply(StatusCode::OK, "", results)
}

/// Returns 201 with the thing that was created.
pub fn created<T: Serialize>(message: &str, results: T) -> Response {
    reply(StatusCode::CREATED, message, results)
}

/// Why a request is refused, in the caller's words.
#[derive(Debug)]
pub enum ApiError {
    /// 400: the body or a parameter is not valid.
    BadRequest(String),
    /// 413: the body is over this.
    TooLarge(&'static str),
    Unauthorized(AuthFailure),
    /// The key is over its limit of requests of this class. The wait is in seconds.
    RateLimited {
        class: RequestClass,
        limit: u32,
        retry_after: u32,
    },
    /// The secret of the trigger route is missing or wrong.
    WrongSecret,
    /// Nothing shows that the request is from Slack, and recent.
    NotSlack,
    /// The sentence says what must be configured first.
    NotSetUp(String),
    NoSuchRoute,
    WrongMethod,
    /// The function's time is up.
    OutOfTime,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl ApiError {
    pub(crate) fn unreadable(rejection: &BytesRejection) -> Self {
        if matches!(rejection, BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) {
            Self::TooLarge("256 KiB")
        } else {
            Self::BadRequest("The body could not be read".to_owned())
        }
    }

    /// Returns the caller's words alone.
    pub fn message(self) -> String {
        self.answer().1
    }

    /// Returns the seconds after which a limit lets its key in again.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        if let Self::RateLimited { retry_after, .. } = self { Some(*retry_after) } else { None }
    }

    /// Returns the status and the caller's words. What is ours alone goes to the log.
    pub(crate) fn answer(self) -> (StatusCode, String) {
        match self {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, message),
            Self::TooLarge(max) => (StatusCode::PAYLOAD_TOO_LARGE, format!("The body is over {max}")),
            Self::Unauthorized(failure) => match failure {
                AuthFailure::MissingKey => {
                    (StatusCode::UNAUTHORIZED, "An API key is needed: Authorization: Bearer mdk_…".to_owned())
                }
                AuthFailure::InvalidKey => (StatusCode::UNAUTHORIZED, "The API key is not valid".to_owned()),
                AuthFailure::ExpiredKey => (StatusCode::UNAUTHORIZED, "The API key has expired".to_owned()),
                AuthFailure::InsufficientScope => {
                    (StatusCode::FORBIDDEN, "The API key lacks the scope for this".to_owned())
                }
            },
            Self::RateLimited { class, limit, retry_after } => {
                let requests = match class {
                    RequestClass::Heartbeats => "heartbeats",
                    RequestClass::Management => "management requests",
                    RequestClass::Executions => "playbook executions",
                    RequestClass::Triggers => "playbook triggers",
                };
                let who = if class == RequestClass::Triggers { "This address" } else { "The API key" };
                let message =
                    format!("{who} is over its limit of {requests}, {limit} a minute; try again in {retry_after} s");
                (StatusCode::TOO_MANY_REQUESTS, message)
            }
            Self::WrongSecret => {
                (StatusCode::UNAUTHORIZED, "X-Webhook-Secret is missing, or not the right one".to_owned())
            }
            Self::NotSlack => (StatusCode::UNAUTHORIZED, "Slack's signature is missing, wrong or too old".to_owned()),
            Self::NotSetUp(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "There is no such route".to_owned()),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "This route does not accept that method".to_owned()),
            Self::OutOfTime => (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE.to_owned()),
            Self::Failed(error) => failed(&error),
        }
    }
}

const UNAVAILABLE: &str = "Storage is out of reach; try again";

fn failed(error: &Error) -> (StatusCode, String) {
    let log = || tracing::error!(error = %error_chain(error), "a request failed");
    match error {
        Error::Invalid(invalid) => (StatusCode::BAD_REQUEST, invalid.to_string()),
        Error::Inactive(_) => (StatusCode::BAD_REQUEST, error.to_string()),
        Error::NotFound(message) => (StatusCode::NOT_FOUND, message.clone()),
        Error::Forbidden(message) => (StatusCode::FORBIDDEN, message.clone()),
        Error::Conflict(message) => (StatusCode::CONFLICT, message.clone()),
        Error::Store(store::Error::Unavailable(_) | store::Error::Contended { .. }) | Error::TimedOut => {
            log();
            (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE.to_owned())
        }
        Error::Store(store::Error::Refused(_) | store::Error::Corrupt { .. })
        | Error::Hash(_)
        | Error::Secret { .. }
        | Error::Panicked
        | Error::Entropy(_) => {
            log();
            (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side".to_owned())
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let limited = self.retry_after();
        let (status, message) = self.answer();
        if let Some(retry_after) = limited {
            let body = RateLimited { success: false, message, retry_after, results: RetryAfter { retry_after } };
            return (status, [(header::RETRY_AFTER, HeaderValue::from(retry_after))], axum::Json(body)).into_response();
        }
        let mut response = reply(status, message, "");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Wraps a router in what every router has: the body's limit, and envelopes for routes and methods that do not exist.
pub(crate) fn envelope_layers<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(|| async { ApiError::NoSuchRoute })
        .method_not_allowed_fallback(|| async { ApiError::WrongMethod })
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(map_response(fitting))
}

/// The largest response, in bytes: Lambda returns at most 6 MB, of which this leaves some for headers.
const MAX_RESPONSE: usize = 6 * 1000 * 1000;

/// Returns how many bytes a text takes in the response of a function, where it is a string in JSON.
pub fn bytes_in_response(text: &[u8]) -> usize {
    let bytes = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.iter().map(bytes).sum()
}

/// Replaces a response that Lambda would not return, and whose caller would get a 5xx.
async fn fitting(response: Response) -> Response {
    // In a string each byte takes six at most.
    let is_small = response.body().size_hint().exact().is_some_and(|size| size <= (MAX_RESPONSE / 6) as u64);
    if is_small {
        return response;
    }
    let (parts, body) = response.into_parts();
    match to_bytes(body, MAX_RESPONSE).await {
        Ok(bytes) if bytes_in_response(&bytes) <= MAX_RESPONSE => Response::from_parts(parts, Body::from(bytes)),
        Ok(_) | Err(_) => {
            tracing::error!("a response is over what Lambda returns");
            let problem = "The response would be over 6 MB: ask for fewer by limit, or for one by its name";
            ApiError::BadRequest(problem.to_owned()).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_response_that_lambda_would_not_return_is_refused_in_words() {
        let text = |path: &str| match path {
            "/as-long-as-it-may-be" => "x".repeat(MAX_RESPONSE),
            "/too-long" => "x".repeat(MAX_RESPONSE + 1),
            // Each of these takes two bytes.
            _ => "\"".repeat(MAX_RESPONSE / 2 + 1),
        };
        let router =
            envelope_layers(Router::<()>::new().route("/{path}", get(async move |uri: http::Uri| text(uri.path()))));
        for (path, status) in [("/as-long-as-it-may-be", 200), ("/too-long", 400), ("/too-long-when-escaped", 400)] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path}");
        }
    }

    #[test]
    fn a_text_is_counted_as_json_writes_it() {
        let text: String = (0..0x180).filter_map(char::from_u32).collect();
        assert_eq!(bytes_in_response(text.as_bytes()) + 2, serde_json::to_string(&text).unwrap().len());
    }
}
