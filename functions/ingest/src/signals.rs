//! `POST /v2/heartbeat/{service_id}/start`, `…/complete` and `…/fail`.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use domain::{Invalid, RunId, ServiceId, SignalKind};
use operations::{Named, Signal, SignalReceipt};
use runtime::{ApiError, App, Envelope, IdPath, IdempotencyKey, WholeBody, created};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Which run a signal is of. A missing or unreadable body names none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalBody {
    /// 1 to 128 characters. Without one the signal is a heartbeat only.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    run_id: Option<String>,
}

/// A signal that was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignalView {
    service_id: i64,
    heartbeat_name: String,
    /// `STARTED`, `COMPLETED` or `FAILED`.
    status: &'static str,
    run_id: Option<String>,
    /// Of a run that has ended: 0 when its start is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// Present when the run ended over its service's `max_duration_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_alert: Option<DurationAlert>,
}

/// Reports that a run exceeded `max_duration_ms`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DurationAlert {
    /// `exceeded`.
    alert_type: &'static str,
    max_duration_ms: u64,
    exceeded_by_ms: u64,
}

impl SignalView {
    fn of(receipt: SignalReceipt) -> Self {
        let SignalReceipt { heartbeat: _, service_id, heartbeat_name, kind, run } = receipt;
        let ended = run.as_ref().filter(|_| kind.is_end());
        let duration_alert = ended.and_then(domain::Run::exceeded).map(|(exceeded_by_ms, max_duration_ms)| {
            DurationAlert { alert_type: "exceeded", max_duration_ms, exceeded_by_ms }
        });
        Self {
            service_id: service_id.get(),
            heartbeat_name: heartbeat_name.as_str().to_owned(),
            status: kind.status().as_str(),
            duration_ms: ended.and_then(domain::Run::duration_ms),
            duration_alert,
            run_id: run.map(|run| run.id.to_string()),
        }
    }
}

/// What the document says of a signal's address and headers.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by `IdPath`")]
struct SignalPath {
    #[param(minimum = 1)]
    service_id: i64,
}

/// Reports that a run of a job has started.
///
/// It is a heartbeat as well. With a `run_id`, the same signal again changes nothing.
#[utoipa::path(
    post,
    path = "/v2/heartbeat/{service_id}/start",
    operation_id = "v2_start_run",
    tag = "runs",
    request_body(content = Option<SignalBody>),
    params(SignalPath, IdempotencyKey),
    responses(
        (status = 201, description = "Recorded", body = Envelope<SignalView>),
        (status = 400, description = "A field is not valid, or the service is inactive", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn start(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    key: IdempotencyKey,
    WholeBody(body): WholeBody,
) -> Result<Response, ApiError> {
    record_signal(&app, id, SignalKind::Start, key, &body).await
}

/// Reports that a run of a job has completed.
///
/// It is a heartbeat as well. A completion without a start is recorded as a run of duration 0.
#[utoipa::path(
    post,
    path = "/v2/heartbeat/{service_id}/complete",
    operation_id = "v2_complete_run",
    tag = "runs",
    request_body(content = Option<SignalBody>),
    params(SignalPath, IdempotencyKey),
    responses(
        (status = 201, description = "Recorded", body = Envelope<SignalView>),
        (status = 400, description = "A field is not valid, or the service is inactive", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn complete(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    key: IdempotencyKey,
    WholeBody(body): WholeBody,
) -> Result<Response, ApiError> {
    record_signal(&app, id, SignalKind::Complete, key, &body).await
}

/// Reports that a run of a job has failed, which opens an alert.
#[utoipa::path(
    post,
    path = "/v2/heartbeat/{service_id}/fail",
    operation_id = "v2_fail_run",
    tag = "runs",
    request_body(content = Option<SignalBody>),
    params(SignalPath, IdempotencyKey),
    responses(
        (status = 201, description = "Recorded", body = Envelope<SignalView>),
        (status = 400, description = "A field is not valid, or the service is inactive", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn fail(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    key: IdempotencyKey,
    WholeBody(body): WholeBody,
) -> Result<Response, ApiError> {
    record_signal(&app, id, SignalKind::Fail, key, &body).await
}

async fn record_signal(
    app: &App,
    id: ServiceId,
    kind: SignalKind,
    IdempotencyKey { key }: IdempotencyKey,
    body: &Bytes,
) -> Result<Response, ApiError> {
    let signal = Signal { service: Named::Id(id), kind, run: run_id(body)?, idempotency_key: key };
    let receipt = app.medic.signal(signal, app.now()).await?;
    let has_recovered = kind.is_end() && receipt.run.as_ref().is_some_and(domain::Run::has_recovered);
    let message = match (kind, has_recovered) {
        (SignalKind::Start, _) => "Run started.",
        (SignalKind::Complete, false) => "Run completed.",
        (SignalKind::Fail, false) => "Run failed.",
        (SignalKind::Complete | SignalKind::Fail, true) => "Run ended. It was reported as stale, and has recovered.",
    };
    Ok(created(message, SignalView::of(receipt)))
}

/// Returns the run that a body names. What is no JSON object names none; an object must be right.
fn run_id(body: &Bytes) -> Result<Option<RunId>, Invalid> {
    let Some(body @ Value::Object(_)) = serde_json::from_slice(body).ok() else { return Ok(None) };
    let field = if body.get("run_id").is_some_and(|id| !id.is_string() && !id.is_null()) { "run_id" } else { "body" };
    let read = serde_json::from_value::<SignalBody>(body);
    let SignalBody { run_id } = read.map_err(|error| Invalid::new(field, format!("cannot be read: {error}")))?;
    run_id.map(RunId::parse).transpose()
}
