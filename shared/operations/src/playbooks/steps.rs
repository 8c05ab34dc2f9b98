//! Does one step of a playbook: calls an address, hands a script over, or looks for heartbeats. Its output is masked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    Condition, Event, Execution, Interpreter, PlannedScript, PlannedWork, Script, StepOutcome, Template, WebhookCall,
    mask, mask_cut, to_millis,
};
use outbound::{ScriptInterpreter, ScriptJob, SealedVariables, StepCall, TRUNCATED};
use store::ExecutionRecord;

use crate::error::error_chain;
use crate::{Error, Medic};

/// One attempt of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) step: usize,
    pub(super) attempt: u32,
    pub(super) began_at: DateTime<Utc>,
    pub(super) deadline: DateTime<Utc>,
}

impl Medic {
    /// Does a step. None if its result comes later.
    pub(super) async fn perform(
        &self,
        record: &ExecutionRecord,
        claim: Claim,
        now: DateTime<Utc>,
    ) -> Result<Option<Event>, Error> {
        let Claim { step, attempt, .. } = claim;
        let execution = &record.execution;
        let Some(planned) = execution.plan.steps.get(step) else { return Ok(None) };
        let done = |outcome| Some(Event::Done { step, attempt, outcome });
        match &planned.work {
            PlannedWork::Webhook(call) => {
                let secrets = match self.secrets_of(&planned.work).await? {
                    Ok(secrets) => secrets,
                    Err(problem) => return Ok(done(failed(problem))),
                };
                Ok(done(self.call(call, &execution.idempotency_key(step), &secrets).await))
            }
            PlannedWork::Script(script) => match self.hand_over_script(record, script, claim).await? {
                Ok(()) => Ok(None),
                Err(problem) => Ok(done(failed(problem))),
            },
            PlannedWork::Condition(condition) => {
                let count = self.heartbeats_of(execution, condition, claim.began_at, now).await?;
                Ok(Some(Event::Looked { step, attempt, count }))
            }
            // A wait is never claimed.
            PlannedWork::Wait { .. } => Ok(None),
        }
    }

    /// Returns the values of the secrets in a step, by name; or which one is missing.
    async fn secrets_of(&self, work: &PlannedWork) -> Result<Result<BTreeMap<String, String>, String>, Error> {
        let mut values = BTreeMap::new();
        for name in work.secrets() {
            match self.reveal_secret(name).await {
                Ok(Some(value)) => values.insert(name.to_owned(), value),
                Ok(None) => return Ok(Err(format!("There is no secret {name}"))),
                Err(error @ (Error::Secret { .. } | Error::Conflict(_))) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error),
            };
        }
        Ok(Ok(values))
    }

    async fn call(&self, call: &WebhookCall, idempotency_key: &str, secrets: &BTreeMap<String, String>) -> StepOutcome {
        let WebhookCall { method, url, headers, body, success_codes, timeout } = call;
        let line = format!("{} {}", method.as_str(), url.shown());
        // None of them is missing.
        let reveal = |text: &Template| text.reveal(secrets).unwrap_or_default();
        let request = StepCall {
            method: method.as_str(),
            url: reveal(url),
            headers: headers.iter().map(|(name, value)| (name.as_str(), reveal(value))).collect(),
            body: body.as_ref().map(|body| body.to_json(&reveal)),
            idempotency_key,
            timeout: timeout.to_std().unwrap_or_default(),
        };
        match request.send(&self.outgoing).await {
            Ok(response) => {
                let code = response.status.as_u16();
                let succeeded = success_codes.contains(&code);
                let output = format!("{line}\n{code}\n{}", masked_response(&response.body, secrets));
                let error = (!succeeded).then(|| format!("the status {code} is not one of success_codes"));
                StepOutcome { succeeded, output, error }
            }
            Err(error) => {
                StepOutcome { succeeded: false, output: line, error: Some(mask(&error.to_string(), secrets)) }
            }
        }
    }

    /// Hands a script to the runner; or says why it must not run.
    async fn hand_over_script(
        &self,
        record: &ExecutionRecord,
        planned: &PlannedScript,
        claim: Claim,
    ) -> Result<Result<(), String>, Error> {
        let PlannedScript { script_id, name, version, parameters, timeout } = planned;
        let script: Option<Script> = self.table.find(*script_id).await?;
        let Some(script) = script else { return Ok(Err(format!("The script {name} is gone"))) };
        if script.revision.version != *version {
            return Ok(Err(format!("The script {name} has changed since this was planned")));
        }
        let work = PlannedWork::Script(planned.clone());
        let secrets = match self.secrets_of(&work).await? {
            Ok(secrets) => secrets,
            Err(problem) => return Ok(Err(problem)),
        };
        let (environment, sealed) = variables_of(record.execution.plan.variables.clone(), parameters, secrets);
        let execution = &record.execution;
        let mut job = ScriptJob {
            execution_id: execution.id.to_string(),
            step_index: u32::try_from(claim.step).unwrap_or_default(),
            attempt: claim.attempt,
            nonce: record.nonce.clone().unwrap_or_default(),
            playbook_id: execution.plan.playbook_id.get(),
            service_id: execution.plan.service_id.map(domain::ServiceId::get),
            interpreter: match script.interpreter {
                Interpreter::Bash => ScriptInterpreter::Bash,
                Interpreter::Python => ScriptInterpreter::Python,
            },
            content: script.content,
            environment,
            sealed: None,
            timeout_seconds: u32::try_from(timeout.num_seconds()).unwrap_or(Script::MAX_SECONDS),
            start_by_ms: to_millis(claim.deadline - *timeout),
        };
        if !sealed.secrets.is_empty() {
            let Some(seal) = self.settings.seal.as_deref() else {
                return Ok(Err("Secrets cannot be opened: MEDIC_SECRETS_KEY is not set".to_owned()));
            };
            if job.seal(seal, &sealed).is_err() {
                return Ok(Err("The script's secrets cannot be sealed".to_owned()));
            }
        }
        if let Err(error) = self.script_jobs.send_job(&job).await {
            // The attempt is lost; its claim ends, and there is another.
            tracing::warn!(error = %error_chain(&error), "a script was not handed over; it will be tried again");
        }
        Ok(Ok(()))
    }

    async fn heartbeats_of(
        &self,
        execution: &Execution,
        condition: &Condition,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u32, Error> {
        let Some(service) = condition.service_id.or(execution.plan.service_id) else { return Ok(0) };
        Ok(self.table.count_reports(service, condition.status, since, condition.min_count, now).await?)
    }
}

/// Returns a response without what it repeats of secrets.
fn masked_response(body: &str, secrets: &BTreeMap<String, String>) -> String {
    match body.strip_suffix(TRUNCATED) {
        Some(start) => mask_cut(start, secrets) + TRUNCATED,
        None => mask(body, secrets),
    }
}

fn failed(problem: String) -> StepOutcome {
    StepOutcome { succeeded: false, output: String::new(), error: Some(problem) }
}

/// Returns the variables that a script gets: those that hold secrets are sealed on their way.
fn variables_of(
    mut environment: BTreeMap<String, String>,
    parameters: &BTreeMap<String, Template>,
    secrets: BTreeMap<String, String>,
) -> (BTreeMap<String, String>, SealedVariables) {
    let mut sealed = SealedVariables::default();
    for (parameter, template) in parameters {
        let value = template.reveal(&secrets).unwrap_or_default();
        if template.secrets().next().is_some() {
            environment.remove(parameter);
            sealed.environment.insert(parameter.clone(), value);
        } else {
            environment.insert(parameter.clone(), value);
        }
    }
    sealed.secrets = secrets.into_values().collect();
    (environment, sealed)
}
