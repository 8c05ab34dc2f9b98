//! `/ping/{ping_key}/{slug}`: addresses as Healthchecks has them, so that its clients work with another base URL.
//! <https://healthchecks.io/docs/http_api/>

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Extension, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use domain::{HeartbeatName, Invalid, PingKeyId, PingKind, RunId};
use futures::StreamExt as _;
use operations::{Error, Ping, Pinged};
use runtime::{ApiError, App, PingCaller, ping_refusal, ping_response};
use utoipa::{IntoParams, IntoResponses};
use uuid::Uuid;

/// Bytes that are kept of a body.
const BODY_LIMIT: usize = 10_000;
/// Bytes that are read of one, so that a client may send it whole: what API Gateway can hand over. Lambda takes requests of
/// up to 6 MB, in which a body that is no text is in base64.
const MAX_READ: usize = 4 * 1024 * 1024;

/// What a ping's address says.
pub(crate) struct Address {
    path: BTreeMap<String, String>,
    query: Vec<(String, String)>,
    key: PingKeyId,
}

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let path = Path::from_request_parts(parts, state).await.map_err(drop);
        let query = Query::from_request_parts(parts, state).await.map_err(drop);
        let key = Extension::from_request_parts(parts, state).await.map_err(drop);
        match (path, query, key) {
            (Ok(Path(path)), Ok(Query(query)), Ok(Extension(PingCaller(key)))) => Ok(Self { path, query, key }),
            _ => Err(ping_response(StatusCode::BAD_REQUEST, BAD_ADDRESS)),
        }
    }
}

const BAD_ADDRESS: &str = "invalid url format";

impl Address {
    fn parse(&self, body: Vec<u8>) -> Result<Ping, &'static str> {
        let Self { path, query, key } = self;
        let last = |name: &str| query.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let slug = path.get("slug").and_then(|slug| HeartbeatName::parse(slug).ok());
        let slug = slug.filter(|slug| slug.folded() == slug.as_str()).ok_or(BAD_ADDRESS)?;
        let kind = path.get("action").map_or(Some(PingKind::Success), |action| PingKind::parse(action));
        let run_id = last("rid").map(run_id).transpose().map_err(|_| "invalid uuid format")?;
        Ok(Ping { slug, kind: kind.ok_or(BAD_ADDRESS)?, run_id, create: last("create") == Some("1"), body, key: *key })
    }
}

/// What the document says of a ping's address, and of the responses.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by `Address`")]
struct PingPath {
    /// 22 letters and digits
    ping_key: String,
    /// The service's `heartbeat_name` in lower case
    slug: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by `Address`")]
struct PingQuery {
    /// The run: a UUID
    rid: Option<String>,
    /// 1: registers the service if it does not exist and the slug is of a-z, 0-9, - and _
    create: Option<u8>,
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "built by `ping_response`")]
enum PingResponses {
    #[response(status = 200, description = "OK", content_type = "text/plain")]
    Ok(String),
    #[response(status = 201, description = "Created", content_type = "text/plain")]
    Created(String),
    #[response(status = 400, description = "invalid url format, or invalid uuid format", content_type = "text/plain")]
    Bad(String),
    #[response(status = 404, description = "not found", content_type = "text/plain")]
    NotFound(String),
    #[response(status = 413, description = "The body is over 4 MiB", content_type = "text/plain")]
    TooLarge(String),
    #[response(status = 429, description = "The key is over its limit of pings a minute", content_type = "text/plain")]
    Limited(String),
    #[response(status = 503, description = "Storage is out of reach", content_type = "text/plain")]
    Unavailable(String),
}

/// Sends a ping: success.
///
/// With `rid` it ends that run, and without it the newest open one. The first 10,000 bytes of the body are kept.
#[utoipa::path(
    get,
    path = "/ping/{ping_key}/{slug}",
    operation_id = "get_ping",
    tag = "pings",
    params(PingPath, PingQuery),
    responses(PingResponses)
)]
pub(crate) async fn get_ping(State(app): State<App>, address: Address, body: Body) -> Response {
    record_ping(&app, address, body).await
}

/// Sends a ping: success, as with GET.
#[utoipa::path(
    post,
    path = "/ping/{ping_key}/{slug}",
    operation_id = "post_ping",
    tag = "pings",
    params(PingPath, PingQuery),
    responses(PingResponses)
)]
pub(crate) async fn post_ping(State(app): State<App>, address: Address, body: Body) -> Response {
    record_ping(&app, address, body).await
}

/// Sends a ping with an action: `start`, `fail`, `log`, or an exit status, of which 0 is success.
///
/// A start without `rid` begins a run that no end can name. It supersedes the one that began so before it, if that has not
/// ended.
#[utoipa::path(
    get,
    path = "/ping/{ping_key}/{slug}/{action}",
    operation_id = "get_ping_action",
    tag = "pings",
    params(
        PingPath,
        ("action" = String, Path, description = "start, fail, log, or a number from 0 to 255"),
        PingQuery,
    ),
    responses(PingResponses)
)]
pub(crate) async fn get_ping_action(State(app): State<App>, address: Address, body: Body) -> Response {
    record_ping(&app, address, body).await
}

/// Sends a ping with an action, as with GET.
#[utoipa::path(
    post,
    path = "/ping/{ping_key}/{slug}/{action}",
    operation_id = "post_ping_action",
    tag = "pings",
    params(
        PingPath,
        ("action" = String, Path, description = "start, fail, log, or a number from 0 to 255"),
        PingQuery,
    ),
    responses(PingResponses)
)]
pub(crate) async fn post_ping_action(State(app): State<App>, address: Address, body: Body) -> Response {
    record_ping(&app, address, body).await
}

/// Responds to what a browser asks before it pings. It does not count as a ping.
pub(crate) async fn preflight() -> Response {
    let mut response = ping_response(StatusCode::NO_CONTENT, "");
    let methods = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    response
}

async fn record_ping(app: &App, address: Address, body: Body) -> Response {
    // The body is read first: a client that gets a response while it sends takes that for a broken connection.
    let ping = match first_bytes(body).await {
        Ok(body) => address.parse(body),
        Err(error) => return ping_refusal(error),
    };
    let pinged = match ping {
        Ok(ping) => app.medic.ping(ping, app.now()).await,
        Err(problem) => return ping_response(StatusCode::BAD_REQUEST, problem),
    };
    match pinged {
        Ok(Pinged::Recorded) => ping_response(StatusCode::OK, "OK"),
        Ok(Pinged::Registered) => ping_response(StatusCode::CREATED, "Created"),
        // The slug of a service that was to be registered.
        Err(Error::Invalid(_)) => ping_response(StatusCode::BAD_REQUEST, BAD_ADDRESS),
        Err(error) => ping_refusal(error.into()),
    }
}

/// Returns a run's UUID in one spelling, however the client wrote it.
fn run_id(text: &str) -> Result<RunId, Invalid> {
    let id = Uuid::parse_str(text).map_err(|_| Invalid::new("rid", "must be a UUID"))?;
    RunId::parse(id.to_string())
}

/// Returns the first bytes of a body, all of which is read.
async fn first_bytes(body: Body) -> Result<Vec<u8>, ApiError> {
    let (mut kept, mut read) = (Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::BadRequest("The body could not be read".to_owned()))?;
        read += chunk.len();
        if read > MAX_READ {
            return Err(ApiError::TooLarge("4 MiB"));
        }
        kept.extend_from_slice(&chunk[..chunk.len().min(BODY_LIMIT - kept.len())]);
    }
    Ok(kept)
}
