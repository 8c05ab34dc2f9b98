//! `/v2/executions`, and what starts them.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::TimeDelta;
use domain::{ApiKey, ExecutionId, ExecutionStatus, Invalid, Origin, PlaybookId, ServiceId, Variables};
use operations::NewRun;
use runtime::{
    ApiError, App, Caller, Envelope, IdPath, IdempotencyKey, Listing, OptionalBody, Params, RateLimited, created, ok,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::ExecutionFilter;
use utoipa::{IntoParams, ToSchema};

use crate::execution_views::ExecutionView;
use crate::pages::PageView;

/// What to run a playbook for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewExecutionBody {
    #[schema(minimum = 1)]
    service_id: Option<i64>,
    /// By name: the value of `${NAME}` in the playbook. Strings, numbers or booleans; at most 50.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    variables: Option<serde_json::Map<String, Value>>,
}

impl NewExecutionBody {
    fn into_run(
        self,
        playbook_id: PlaybookId,
        origin: Origin,
        IdempotencyKey { key }: IdempotencyKey,
    ) -> Result<NewRun, Invalid> {
        let text = |(name, value): (String, Value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Number(number) => Ok((name, number.to_string())),
            Value::Bool(flag) => Ok((name, flag.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(Invalid::new(format!("variables.{name}"), "must be a text, a number or a boolean"))
            }
        };
        let given = self.variables.unwrap_or_default().into_iter().map(text).collect::<Result<Variables, _>>()?;
        let service_id = self.service_id.map(ServiceId::read).transpose()?;
        Ok(NewRun { playbook_id, service_id, given, of_alert: Variables::new(), origin, idempotency_key: key })
    }
}

/// Runs a playbook, once it is approved if it needs approval.
///
/// A request that is repeated with the same `Idempotency-Key` within a day starts one execution.
#[utoipa::path(
    post,
    path = "/v2/playbooks/{playbook_id}/execute",
    operation_id = "v2_execute_playbook",
    tag = "executions",
    params(("playbook_id" = i64, Path, minimum = 1), IdempotencyKey),
    request_body = Option<NewExecutionBody>,
    responses(
        (status = 201, description = "The execution", body = Envelope<ExecutionView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
        (status = 409, description = "The playbook is no longer valid", body = Envelope<String>),
    )
)]
pub(crate) async fn execute(
    State(app): State<App>,
    Extension(Caller(key)): Extension<Caller>,
    IdPath(id): IdPath<PlaybookId>,
    mark: IdempotencyKey,
    OptionalBody(body): OptionalBody<NewExecutionBody>,
) -> Result<Response, ApiError> {
    let origin = Origin::Key { name: key.name.to_string() };
    start(&app, body.into_run(id, origin, mark)?).await
}

/// Runs a playbook, for systems that have no API key: `X-Webhook-Secret` must be what `MEDIC_WEBHOOK_SECRET` is set to.
///
/// A request that is repeated with the same `Idempotency-Key` within a day starts one execution.
#[utoipa::path(
    post,
    path = "/v2/webhooks/playbooks/{playbook_id}/trigger",
    operation_id = "v2_trigger_playbook",
    tag = "executions",
    params(("playbook_id" = i64, Path, minimum = 1), ("X-Webhook-Secret" = String, Header), IdempotencyKey),
    request_body = Option<NewExecutionBody>,
    responses(
        (status = 201, description = "The execution", body = Envelope<ExecutionView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 401, description = "The secret is missing or wrong", body = Envelope<String>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
        (status = 409, description = "The playbook is no longer valid", body = Envelope<String>),
        (status = 429, description = "Too many requests from this address", body = RateLimited),
        (status = 503, description = "No secret is set, or storage is out of reach", body = Envelope<String>),
    )
)]
pub(crate) async fn trigger(
    State(app): State<App>,
    IdPath(id): IdPath<PlaybookId>,
    mark: IdempotencyKey,
    OptionalBody(body): OptionalBody<NewExecutionBody>,
) -> Result<Response, ApiError> {
    start(&app, body.into_run(id, Origin::Webhook, mark)?).await
}

async fn start(app: &App, run: NewRun) -> Result<Response, ApiError> {
    let execution = app.medic.execute(run, app.now()).await?;
    Ok(created("Playbook execution started.", ExecutionView::of(app, &execution).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExecutionsFilter {
    #[param(minimum = 1)]
    service_id: Option<i64>,
    #[param(minimum = 1)]
    playbook_id: Option<i64>,
    /// `pending_approval`, `running`, `waiting`, `completed`, `failed` or `cancelled`.
    #[param(pattern = "^(pending_approval|running|waiting|completed|failed|cancelled|)$")]
    status: Option<String>,
}

impl ExecutionsFilter {
    fn read(&self) -> Result<ExecutionFilter, Invalid> {
        let status = |text: &String| {
            ExecutionStatus::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
                let all = ExecutionStatus::ALL.map(ExecutionStatus::as_str).join(", ");
                Invalid::new("status", format!("must be one of {all}"))
            })
        };
        Ok(ExecutionFilter {
            service: self.service_id.map(ServiceId::read).transpose()?,
            playbook: self.playbook_id.map(PlaybookId::read).transpose()?,
            status: self.status.as_ref().filter(|text| !text.is_empty()).map(status).transpose()?,
        })
    }
}

/// Lists executions, newest first. With more than one filter a page may hold fewer than there are.
#[utoipa::path(
    get,
    path = "/v2/executions",
    operation_id = "v2_list_executions",
    tag = "executions",
    params(ExecutionsFilter, Listing),
    responses((status = 200, description = "Executions", body = Envelope<PageView<ExecutionView>>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Params(filter): Params<ExecutionsFilter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let page = app.medic.executions(filter.read()?, listing.cursor::<ExecutionId>()?, listing.limit()?).await?;
    let services = page.items.iter().filter_map(|execution| execution.plan.service_id);
    let existing = app.medic.existing_services(services).await?;
    let listed = |execution| ExecutionView::listed(&execution, &existing);
    Ok(ok(PageView::fitting(page, listed, |execution| execution.execution_id.clone())))
}

/// Returns an execution with its steps and its plan.
#[utoipa::path(
    get,
    path = "/v2/executions/{execution_id}",
    operation_id = "v2_get_execution",
    tag = "executions",
    params(("execution_id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The execution", body = Envelope<ExecutionView>),
        (status = 404, description = "There is no such execution", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<ExecutionId>) -> Result<Response, ApiError> {
    show(&app, id).await
}

async fn show(app: &App, id: ExecutionId) -> Result<Response, ApiError> {
    Ok(ok(ExecutionView::of(app, &app.medic.execution(id).await?).await?))
}

/// Why somebody decided so.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DecisionBody {
    /// One line of at most 500 characters.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

impl DecisionBody {
    pub(crate) fn reason(self) -> Result<Option<String>, Invalid> {
        match self.reason.filter(|reason| !reason.trim().is_empty()) {
            Some(reason) if reason.chars().count() > 500 => {
                Err(Invalid::new("reason", "must be at most 500 characters long"))
            }
            Some(reason) if reason.chars().any(char::is_control) => {
                Err(Invalid::new("reason", "must be one line, without control characters"))
            }
            reason => Ok(reason),
        }
    }
}

/// Approves an execution that awaits approval. The first decision stands.
///
/// The key that started it cannot, unless `MEDIC_ALLOW_SELF_APPROVAL` is `true`.
#[utoipa::path(
    post,
    path = "/v2/executions/{execution_id}/approve",
    operation_id = "v2_approve_execution",
    tag = "executions",
    params(("execution_id" = String, Path, format = "uuid")),
    request_body = Option<DecisionBody>,
    responses(
        (status = 200, description = "The execution as it is now", body = Envelope<ExecutionView>),
        (status = 403, description = "Whoever started it cannot approve it", body = Envelope<String>),
        (status = 404, description = "There is no such execution", body = Envelope<String>),
        (status = 409, description = "It does not await approval", body = Envelope<String>),
    )
)]
pub(crate) async fn approve(
    State(app): State<App>,
    Extension(Caller(key)): Extension<Caller>,
    IdPath(id): IdPath<ExecutionId>,
    OptionalBody(body): OptionalBody<DecisionBody>,
) -> Result<Response, ApiError> {
    decide(&app, id, true, &key, body).await
}

/// Rejects an execution that awaits approval: it is cancelled.
#[utoipa::path(
    post,
    path = "/v2/executions/{execution_id}/reject",
    operation_id = "v2_reject_execution",
    tag = "executions",
    params(("execution_id" = String, Path, format = "uuid")),
    request_body = Option<DecisionBody>,
    responses(
        (status = 200, description = "The execution as it is now", body = Envelope<ExecutionView>),
        (status = 404, description = "There is no such execution", body = Envelope<String>),
        (status = 409, description = "It does not await approval", body = Envelope<String>),
    )
)]
pub(crate) async fn reject(
    State(app): State<App>,
    Extension(Caller(key)): Extension<Caller>,
    IdPath(id): IdPath<ExecutionId>,
    OptionalBody(body): OptionalBody<DecisionBody>,
) -> Result<Response, ApiError> {
    decide(&app, id, false, &key, body).await
}

async fn decide(
    app: &App,
    id: ExecutionId,
    approve: bool,
    key: &ApiKey,
    body: DecisionBody,
) -> Result<Response, ApiError> {
    app.medic.decide(id, approve, Some(key.name.to_string()), body.reason()?, app.now()).await?;
    show(app, id).await
}

/// Cancels an execution. A step that is running is recorded, and no other begins.
#[utoipa::path(
    post,
    path = "/v2/executions/{execution_id}/cancel",
    operation_id = "v2_cancel_execution",
    tag = "executions",
    params(("execution_id" = String, Path, format = "uuid")),
    request_body = Option<DecisionBody>,
    responses(
        (status = 200, description = "The execution as it is now", body = Envelope<ExecutionView>),
        (status = 404, description = "There is no such execution", body = Envelope<String>),
        (status = 409, description = "It has ended, or was cancelled", body = Envelope<String>),
    )
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(Caller(key)): Extension<Caller>,
    IdPath(id): IdPath<ExecutionId>,
    OptionalBody(body): OptionalBody<DecisionBody>,
) -> Result<Response, ApiError> {
    app.medic.cancel(id, Some(key.name.to_string()), body.reason()?, app.now()).await?;
    show(&app, id).await
}

/// The outcomes of a playbook's executions of the last 30 days.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EffectivenessView {
    /// Executions for a service that completed, and whose verification is known.
    runs: usize,
    verified: usize,
    /// From 0 to 1; null without executions.
    verified_share: Option<f64>,
    /// From the start of an execution to the service's next report; null when none was verified.
    median_seconds_to_recovery: Option<f64>,
}

/// Returns how often a playbook's executions helped.
#[utoipa::path(
    get,
    path = "/v2/playbooks/{playbook_id}/effectiveness",
    operation_id = "v2_playbook_effectiveness",
    tag = "playbooks",
    params(("playbook_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Over the last 30 days", body = Envelope<EffectivenessView>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
    )
)]
pub(crate) async fn effectiveness(
    State(app): State<App>,
    IdPath(id): IdPath<PlaybookId>,
) -> Result<Response, ApiError> {
    let found = app.medic.effectiveness(id, app.now()).await?;
    Ok(ok(EffectivenessView {
        runs: found.runs,
        verified: found.verified(),
        verified_share: found.verified_share(),
        median_seconds_to_recovery: found.median_to_recovery().map(TimeDelta::as_seconds_f64),
    }))
}
