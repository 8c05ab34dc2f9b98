//! Responses to pings, as clients of Healthchecks expect them: one line of plain text.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::ApiError;

const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (HeaderName::from_static("ping-body-limit"), HeaderValue::from_static("10000")),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
];

/// Returns a response to a ping.
pub fn ping_response(status: StatusCode, text: impl Into<String>) -> Response {
    (status, HEADERS, text.into()).into_response()
}

/// Returns the response to a ping that was refused.
pub fn ping_refusal(error: ApiError) -> Response {
    let retry_after = error.retry_after();
    let (status, message) = error.answer();
    let mut response = match status {
        // A key that is not valid finds nothing, as a slug that nobody has.
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED => ping_response(StatusCode::NOT_FOUND, "not found"),
        status => ping_response(status, message),
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
