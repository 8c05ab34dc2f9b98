//! `POST /heartbeat` and, for up to a hundred at once, `POST /v2/heartbeats`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{HeartbeatName, Invalid, Label, ServiceId, Status};
use operations::{Error, HeartbeatReceipt, Named, Report};
use runtime::{ApiError, App, Body, Envelope, IdempotencyKey, created, read_body, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One heartbeat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatBody {
    /// The service's name, in any case.
    #[schema(value_type = schema::HeartbeatName)]
    heartbeat_name: String,
    /// `UP`, `DOWN`, `STARTED`, `COMPLETED` or `FAILED`, in any case.
    #[schema(value_type = schema::Status)]
    status: String,
    /// Accepted from older clients, and ignored.
    #[serde(default)]
    #[expect(dead_code, reason = "clients send it")]
    service_name: Option<String>,
    /// The run of a job that this belongs to: at most 128 characters.
    #[serde(default)]
    #[schema(value_type = Option<schema::Label>)]
    run_id: Option<String>,
}

/// Sends a heartbeat.
///
/// A request that is repeated with the same `Idempotency-Key` within a day counts once.
#[utoipa::path(
    post,
    path = "/heartbeat",
    tag = "heartbeats",
    request_body = HeartbeatBody,
    params(IdempotencyKey),
    responses(
        (status = 201, description = "Recorded", body = Envelope<String>),
        (status = 400, description = "A field is not valid, or the service is inactive", body = Envelope<String>),
        (status = 404, description = "No service has this name", body = Envelope<String>),
    )
)]
pub(crate) async fn post_heartbeat(
    State(app): State<App>,
    IdempotencyKey { key }: IdempotencyKey,
    Body(body): Body<HeartbeatBody>,
) -> Result<Response, ApiError> {
    let report = body.into_report(key)?;
    app.medic.report(report, app.now()).await?;
    Ok(created("Heartbeat Posted Successfully.", ""))
}

/// Returns the heartbeat in a body of `POST /heartbeat`.
pub fn read_heartbeat(body: &[u8]) -> Result<Report, ApiError> {
    Ok(read_body::<HeartbeatBody>(body)?.into_report(None)?)
}

impl HeartbeatBody {
    fn into_report(self, idempotency_key: Option<String>) -> Result<Report, Invalid> {
        let Self { heartbeat_name, status, service_name: _, run_id } = self;
        Ok(Report {
            service: Named::Name(HeartbeatName::parse(heartbeat_name)?),
            status: status.parse()?,
            run_id: run_id.map(parse_run_id).transpose()?,
            idempotency_key,
        })
    }
}

/// Heartbeats to record together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    #[schema(min_items = 1, max_items = 100)]
    heartbeats: Vec<BatchEntry>,
}

/// One heartbeat of many; `heartbeat_name` or `service_id` names its service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchEntry {
    #[serde(default)]
    #[schema(value_type = Option<schema::HeartbeatName>)]
    heartbeat_name: Option<String>,
    #[serde(default)]
    #[schema(minimum = 1)]
    service_id: Option<i64>,
    #[schema(value_type = schema::Status)]
    status: String,
    #[serde(default)]
    #[schema(value_type = Option<schema::Label>)]
    run_id: Option<String>,
}

/// The outcome of each heartbeat, in the order in which they were sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchOutcome {
    success: bool,
    message: String,
    heartbeat_id: Option<String>,
    service_id: Option<i64>,
}

const MAX_BATCH: usize = 100;

/// Sends up to 100 heartbeats.
///
/// Each is recorded or refused by itself. The response is 201 when all were recorded, and 200 with the outcomes otherwise.
#[utoipa::path(
    post,
    path = "/v2/heartbeats",
    operation_id = "v2_post_heartbeats",
    tag = "heartbeats",
    request_body = BatchBody,
    params(IdempotencyKey),
    responses(
        (status = 201, description = "All were recorded", body = Envelope<Vec<BatchOutcome>>),
        (status = 200, description = "Some were refused", body = Envelope<Vec<BatchOutcome>>),
        (status = 400, description = "The body is not valid, and nothing was recorded", body = Envelope<String>),
    )
)]
pub(crate) async fn post_heartbeats(
    State(app): State<App>,
    IdempotencyKey { key }: IdempotencyKey,
    Body(BatchBody { heartbeats }): Body<BatchBody>,
) -> Result<Response, ApiError> {
    if !(1..=MAX_BATCH).contains(&heartbeats.len()) {
        return Err(Invalid::new("heartbeats", "must hold 1 to 100 heartbeats").into());
    }
    let mut outcomes = Vec::with_capacity(heartbeats.len());
    let mut all_recorded = true;
    // One after the other: two of one service keep their order.
    for (n, entry) in heartbeats.into_iter().enumerate() {
        let recorded = match entry.into_report(key.as_ref().map(|key| format!("{n}#{key}"))) {
            Ok(report) => app.medic.report(report, app.now()).await,
            Err(invalid) => Err(invalid.into()),
        };
        outcomes.push(match recorded {
            Ok(HeartbeatReceipt { id, service_id }) => BatchOutcome {
                success: true,
                message: "Heartbeat Posted Successfully.".to_owned(),
                heartbeat_id: Some(id.to_string()),
                service_id: Some(service_id.get()),
            },
            Err(error) => {
                all_recorded = false;
                // A failure of our own with nothing recorded before it fails the request, which may be repeated.
                let ours = !matches!(error, Error::Invalid(_) | Error::NotFound(_) | Error::Inactive(_));
                if ours && n == 0 {
                    return Err(error.into());
                }
                let message = ApiError::from(error).message();
                BatchOutcome { success: false, message, heartbeat_id: None, service_id: None }
            }
        });
    }
    if all_recorded {
        return Ok(created("Heartbeats Posted Successfully.", outcomes));
    }
    Ok(reply(StatusCode::OK, "Some heartbeats were refused.", outcomes))
}

impl BatchEntry {
    fn into_report(self, idempotency_key: Option<String>) -> Result<Report, Invalid> {
        let Self { heartbeat_name, service_id, status, run_id } = self;
        let service = match (heartbeat_name, service_id) {
            (Some(name), None) => Named::Name(HeartbeatName::parse(name)?),
            (None, Some(id)) => Named::Id(id.to_string().parse::<ServiceId>()?),
            _ => return Err(Invalid::new("heartbeat_name", "or service_id must be given, and not both")),
        };
        let run_id = run_id.map(parse_run_id).transpose()?;
        Ok(Report { service, status: status.parse::<Status>()?, run_id, idempotency_key })
    }
}

fn parse_run_id(text: String) -> Result<Label, Invalid> {
    Label::parse("run_id", text, 128)
}
