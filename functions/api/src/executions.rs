//! `/v2/executions`, and what starts them.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::TimeDelta;
use domain::{
    Condition, Decided, Execution, ExecutionId, ExecutionStatus, Invalid, Origin, Plan, PlannedScript, PlannedStep,
    PlannedWork, PlaybookId, ServiceId, Template, Variables, Verification, WebhookCall, format_time,
};
use operations::NewRun;
use runtime::{ApiError, App, Caller, Envelope, IdPath, Listing, OptionalBody, Params, RateLimited, created, ok};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::ExecutionFilter;
use utoipa::{IntoParams, ToSchema};

use crate::pages::PageView;

/// One run of a playbook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionView {
    execution_id: String,
    playbook_id: i64,
    playbook_name: String,
    /// The playbook's version that runs.
    version: u64,
    /// Null when it is for none, or the service is gone.
    service_id: Option<i64>,
    /// `pending_approval`, `running`, `waiting`, `completed`, `failed` or `cancelled`.
    status: &'static str,
    /// The step that is being done, from 0; the number of steps when all are done.
    current_step: usize,
    started_at: String,
    completed_at: Option<String>,
    /// The alert that started it.
    alert_id: Option<i64>,
    trigger_id: Option<i64>,
    /// Until when it waits for a yes.
    approval_until: Option<String>,
    /// Who said yes or no; null while nobody did.
    decision: Option<DecisionView>,
    /// Who ended it; null while nobody did.
    cancellation: Option<DecisionView>,
    /// `verified` when the service reported again in time, `unverified` when it did not.
    verification: Option<&'static str>,
    /// When the service reported again.
    verified_at: Option<String>,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepView>>,
    /// What is approved and runs. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanView>,
}

/// Somebody's decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionView {
    /// Null when it was automatic.
    actor: Option<String>,
    reason: Option<String>,
    at: String,
}

/// What came of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    step_index: usize,
    step_name: String,
    /// `pending`, `running`, `completed`, `failed` or `skipped`.
    status: &'static str,
    output: String,
    error_message: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
}

/// The rendered plan: variables are filled in, secrets masked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanView {
    /// SHA-256 in hexadecimal.
    digest: String,
    steps: Vec<PlannedStepView>,
}

/// A step as it runs. What does not belong to its type is left out.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct PlannedStepView {
    name: String,
    /// `webhook`, `wait`, `script` or `condition`.
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_codes: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<i64>,
}

impl DecisionView {
    fn of(decided: &Decided) -> Self {
        let Decided { by, reason, at } = decided;
        Self { actor: by.clone(), reason: reason.clone(), at: format_time(*at) }
    }
}

impl PlanView {
    fn of(plan: &Plan) -> Self {
        Self { digest: plan.digest(), steps: plan.steps.iter().map(PlannedStepView::of).collect() }
    }
}

fn shown(texts: &BTreeMap<String, Template>) -> BTreeMap<String, String> {
    texts.iter().map(|(name, text)| (name.clone(), text.shown())).collect()
}

impl PlannedStepView {
    fn of(step: &PlannedStep) -> Self {
        let PlannedStep { name, work } = step;
        let view = Self { name: name.to_string(), r#type: work.kind(), ..Self::default() };
        match work {
            PlannedWork::Webhook(WebhookCall { method, url, headers, body, success_codes, timeout }) => Self {
                method: Some(method.as_str()),
                url: Some(url.shown()),
                headers: Some(shown(headers)),
                body: body.as_ref().and_then(|body| serde_json::from_str(&body.to_json(&Template::shown)).ok()),
                success_codes: Some(success_codes.clone()),
                timeout_seconds: Some(timeout.num_seconds()),
                ..view
            },
            PlannedWork::Wait { duration } => Self { duration_seconds: Some(duration.num_seconds()), ..view },
            PlannedWork::Script(PlannedScript { script_id: _, name, version: _, parameters, timeout }) => Self {
                script: Some(name.clone()),
                parameters: Some(shown(parameters)),
                timeout_seconds: Some(timeout.num_seconds()),
                ..view
            },
            PlannedWork::Condition(Condition { min_count, status, service_id, timeout, on_failure }) => Self {
                check: Some(Condition::CHECK),
                min_count: Some(*min_count),
                status: status.map(domain::Status::as_str),
                service_id: service_id.map(ServiceId::get),
                on_failure: Some(on_failure.as_str()),
                timeout_seconds: Some(timeout.num_seconds()),
                ..view
            },
        }
    }
}

impl ExecutionView {
    /// As lists show it.
    fn listed(execution: &Execution, existing: &[ServiceId]) -> Self {
        let (alert_id, trigger_id) = match &execution.origin {
            Origin::Alert { alert_id, trigger_id } => (Some(alert_id.get()), Some(trigger_id.get())),
            Origin::Key { .. } | Origin::Webhook => (None, None),
        };
        let (verification, verified_at) = match execution.verification {
            Verification::None => (None, None),
            Verification::Verified { at } => (Some("verified"), Some(format_time(at))),
            Verification::Unverified => (Some("unverified"), None),
        };
        Self {
            execution_id: execution.id.to_string(),
            playbook_id: execution.plan.playbook_id.get(),
            playbook_name: execution.playbook_name.clone(),
            version: execution.plan.version,
            service_id: execution.plan.service_id.filter(|id| existing.contains(id)).map(ServiceId::get),
            status: execution.status.as_str(),
            current_step: execution.current_step,
            started_at: format_time(execution.started_at),
            completed_at: execution.completed_at.map(format_time),
            alert_id,
            trigger_id,
            approval_until: execution.awaits_decision().then(|| execution.due_at().map(format_time)).flatten(),
            decision: execution.decision.as_ref().map(DecisionView::of),
            cancellation: execution.cancelled_by.as_ref().map(DecisionView::of),
            verification,
            verified_at,
            steps: None,
            plan: None,
        }
    }

    /// With its steps and its plan.
    async fn of(app: &App, execution: &Execution) -> Result<Self, ApiError> {
        let existing = app.medic.services_of_executions(std::slice::from_ref(execution)).await?;
        let step = |(n, (planned, record)): (usize, (&PlannedStep, &domain::StepRecord))| StepView {
            step_index: n,
            step_name: planned.name.to_string(),
            status: record.status.as_str(),
            output: record.output.clone(),
            error_message: record.error_message.clone(),
            started_at: record.started_at.map(format_time),
            completed_at: record.completed_at.map(format_time),
        };
        let steps = execution.plan.steps.iter().zip(&execution.steps).enumerate().map(step).collect();
        let plan = Some(PlanView::of(&execution.plan));
        Ok(Self { steps: Some(steps), plan, ..Self::listed(execution, &existing) })
    }
}

/// What a playbook is to be run for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewExecutionBody {
    #[schema(minimum = 1)]
    service_id: Option<i64>,
    /// By name: what stands for `${NAME}` in the playbook. Texts, numbers or booleans; at most 50.
    #[schema(value_type = BTreeMap<String, String>)]
    variables: Option<serde_json::Map<String, Value>>,
}

impl NewExecutionBody {
    fn into_run(self, playbook_id: PlaybookId, origin: Origin) -> Result<NewRun, Invalid> {
        let text = |(name, value): (String, Value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Number(number) => Ok((name, number.to_string())),
            Value::Bool(flag) => Ok((name, flag.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(Invalid::new(format!("variables.{name}"), "must be a text, a number or a boolean"))
            }
        };
        let variables = self.variables.unwrap_or_default().into_iter().map(text).collect::<Result<Variables, _>>()?;
        Ok(NewRun { playbook_id, service_id: self.service_id.map(ServiceId::read).transpose()?, variables, origin })
    }
}

/// Runs a playbook. One that needs a yes waits for it first.
#[utoipa::path(
    post,
    path = "/v2/playbooks/{playbook_id}/execute",
    operation_id = "v2_execute_playbook",
    tag = "executions",
    params(("playbook_id" = i64, Path, minimum = 1)),
    request_body = Option<NewExecutionBody>,
    responses(
        (status = 201, description = "The execution", body = Envelope<ExecutionView>),
        (status = 400, description = "A bad field", body = Envelope<String>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
        (status = 409, description = "The playbook is not valid any more", body = Envelope<String>),
    ),
    security(("api_key" = ["write"]))
)]
pub(crate) async fn execute(
    State(app): State<App>,
    Extension(Caller(key)): Extension<Caller>,
    IdPath(id): IdPath<PlaybookId>,
    OptionalBody(body): OptionalBody<NewExecutionBody>,
) -> Result<Response, ApiError> {
    let origin = Origin::Key { name: key.name.to_string() };
    start(&app, body.into_run(id, origin)?).await
}

/// Runs a playbook, for systems that have no key. They give the secret that `MEDIC_WEBHOOK_SECRET` sets as
/// `X-Webhook-Secret`.
#[utoipa::path(
    post,
    path = "/v2/webhooks/playbooks/{playbook_id}/trigger",
    operation_id = "v2_trigger_playbook",
    tag = "executions",
    params(("playbook_id" = i64, Path, minimum = 1), ("X-Webhook-Secret" = String, Header)),
    request_body = Option<NewExecutionBody>,
    responses(
        (status = 201, description = "The execution", body = Envelope<ExecutionView>),
        (status = 400, description = "A bad field", body = Envelope<String>),
        (status = 401, description = "No secret, or not this one", body = Envelope<String>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
        (status = 409, description = "The playbook is not valid any more", body = Envelope<String>),
        (status = 429, description = "Too many from this address", body = RateLimited),
        (status = 503, description = "No secret is set, or storage is out of reach", body = Envelope<String>),
    ),
    security(())
)]
pub(crate) async fn trigger(
    State(app): State<App>,
    IdPath(id): IdPath<PlaybookId>,
    OptionalBody(body): OptionalBody<NewExecutionBody>,
) -> Result<Response, ApiError> {
    start(&app, body.into_run(id, Origin::Webhook)?).await
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

/// Lists executions, newest first. A page of more than one filter may hold less than there is.
#[utoipa::path(
    get,
    path = "/v2/executions",
    operation_id = "v2_list_executions",
    tag = "executions",
    params(ExecutionsFilter, Listing),
    responses((status = 200, description = "Executions", body = Envelope<PageView<ExecutionView>>)),
    security(("api_key" = ["read"]))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Params(filter): Params<ExecutionsFilter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let page = app.medic.executions(filter.read()?, listing.cursor::<ExecutionId>()?, listing.limit()?).await?;
    let existing = app.medic.services_of_executions(&page.items).await?;
    Ok(ok(PageView::of(page, |execution| ExecutionView::listed(&execution, &existing))))
}

/// Shows an execution with its steps and its plan.
#[utoipa::path(
    get,
    path = "/v2/executions/{execution_id}",
    operation_id = "v2_get_execution",
    tag = "executions",
    params(("execution_id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The execution", body = Envelope<ExecutionView>),
        (status = 404, description = "There is no such execution", body = Envelope<String>),
    ),
    security(("api_key" = ["read"]))
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<ExecutionId>) -> Result<Response, ApiError> {
    show(&app, id).await
}

async fn show(app: &App, id: ExecutionId) -> Result<Response, ApiError> {
    Ok(ok(ExecutionView::of(app, &app.medic.execution(id).await?).await?))
}

/// Why something was decided.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DecisionBody {
    /// At most 500 characters.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

impl DecisionBody {
    fn reason(self) -> Result<Option<String>, Invalid> {
        match self.reason.filter(|reason| !reason.trim().is_empty()) {
            Some(reason) if reason.chars().count() > 500 => {
                Err(Invalid::new("reason", "must be at most 500 characters long"))
            }
            reason => Ok(reason),
        }
    }
}

/// Says yes to an execution that waits for it. The first decision stands.
#[utoipa::path(
    post,
    path = "/v2/executions/{execution_id}/approve",
    operation_id = "v2_approve_execution",
    tag = "executions",
    params(("execution_id" = String, Path, format = "uuid")),
    request_body = Option<DecisionBody>,
    responses(
        (status = 200, description = "The execution as it is now", body = Envelope<ExecutionView>),
        (status = 404, description = "There is no such execution", body = Envelope<String>),
        (status = 409, description = "It does not wait for a yes", body = Envelope<String>),
    ),
    security(("api_key" = ["write"]))
)]
pub(crate) async fn approve(
    State(app): State<App>,
    Extension(Caller(key)): Extension<Caller>,
    IdPath(id): IdPath<ExecutionId>,
    OptionalBody(body): OptionalBody<DecisionBody>,
) -> Result<Response, ApiError> {
    app.medic.decide(id, true, Some(key.name.to_string()), body.reason()?, app.now()).await?;
    show(&app, id).await
}

/// Says no to an execution that waits for a yes: it is cancelled.
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
        (status = 409, description = "It does not wait for a yes", body = Envelope<String>),
    ),
    security(("api_key" = ["write"]))
)]
pub(crate) async fn reject(
    State(app): State<App>,
    Extension(Caller(key)): Extension<Caller>,
    IdPath(id): IdPath<ExecutionId>,
    OptionalBody(body): OptionalBody<DecisionBody>,
) -> Result<Response, ApiError> {
    app.medic.decide(id, false, Some(key.name.to_string()), body.reason()?, app.now()).await?;
    show(&app, id).await
}

/// Ends an execution. A step that is being done is recorded, and no other begins.
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
    ),
    security(("api_key" = ["write"]))
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

/// How a playbook's runs of the last 30 days went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EffectivenessView {
    /// Those that completed, for a service, and whose verification is known.
    runs: usize,
    verified: usize,
    /// From 0 to 1; null without runs.
    verified_share: Option<f64>,
    /// From the start of a run to its service's report; null when none was verified.
    median_seconds_to_recovery: Option<f64>,
}

/// Shows whether a playbook's runs helped.
#[utoipa::path(
    get,
    path = "/v2/playbooks/{playbook_id}/effectiveness",
    operation_id = "v2_playbook_effectiveness",
    tag = "playbooks",
    params(("playbook_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Over the last 30 days", body = Envelope<EffectivenessView>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
    ),
    security(("api_key" = ["read"]))
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
