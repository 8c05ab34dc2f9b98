//! An execution as the API shows it.

use std::collections::BTreeMap;

use domain::{
    Condition, Decided, Execution, Origin, Plan, PlannedScript, PlannedStep, PlannedWork, ServiceId, Template,
    Verification, WebhookCall, format_time,
};
use runtime::{ApiError, App};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One run of a playbook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionView {
    pub(crate) execution_id: String,
    playbook_id: i64,
    playbook_name: String,
    /// The playbook's version that runs.
    version: u64,
    /// Null when it is for no service, or the service is deleted.
    service_id: Option<i64>,
    /// `pending_approval`, `running`, `waiting`, `completed`, `failed` or `cancelled`.
    status: &'static str,
    /// The step that is running, from 0; the number of steps when all are done.
    current_step: usize,
    started_at: String,
    completed_at: Option<String>,
    /// The alert that started it.
    alert_id: Option<i64>,
    trigger_id: Option<i64>,
    /// Until when it awaits approval.
    approval_until: Option<String>,
    /// Who approved or rejected it; null while nobody has.
    decision: Option<DecisionView>,
    /// Who cancelled it; null while nobody has.
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

/// An approval or rejection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionView {
    /// Null when it was automatic.
    actor: Option<String>,
    reason: Option<String>,
    at: String,
}

/// The outcome of a step.
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
    /// What scripts receive beside their parameters.
    variables: BTreeMap<String, String>,
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
    /// The script's version; one that is updated meanwhile does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    script_version: Option<u64>,
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
        Self {
            digest: plan.digest(),
            variables: plan.variables.clone(),
            steps: plan.steps.iter().map(PlannedStepView::of).collect(),
        }
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
            PlannedWork::Script(PlannedScript { script_id: _, name, version, parameters, timeout }) => Self {
                script: Some(name.clone()),
                script_version: Some(*version),
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
    /// Returns what lists show.
    pub(crate) fn listed(execution: &Execution, existing: &[ServiceId]) -> Self {
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

    /// Returns it with its steps and its plan.
    pub(crate) async fn of(app: &App, execution: &Execution) -> Result<Self, ApiError> {
        let existing = app.medic.existing_services(execution.plan.service_id).await?;
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
