//! Does one step of a playbook: calls an address, hands a script over, or looks for heartbeats. Its output is masked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    Condition, Event, Execution, Interpreter, PlannedScript, PlannedWork, Script, SecretUses, StepOutcome, Template,
    WebhookCall, to_millis,
};
use outbound::{AllowedHosts, Masks, ScriptInterpreter, ScriptJob, SealedVariables, StepCall, TRUNCATED};
use store::ExecutionRecord;

use super::secrets::RevealedSecret;
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
                Ok(done(self.call(call, &execution.idempotency_key(step), secrets).await))
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

    /// Returns the secrets in a step, by name; or which one is missing.
    async fn secrets_of(&self, work: &PlannedWork) -> Result<Result<BTreeMap<String, RevealedSecret>, String>, Error> {
        let mut secrets = BTreeMap::new();
        for name in work.secrets() {
            match self.reveal_secret(name).await {
                Ok(Some(secret)) => secrets.insert(name.to_owned(), secret),
                Ok(None) => return Ok(Err(format!("There is no secret {name}"))),
                Err(error @ (Error::Secret { .. } | Error::Conflict(_))) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error),
            };
        }
        Ok(Ok(secrets))
    }

    async fn call(
        &self,
        call: &WebhookCall,
        idempotency_key: &str,
        secrets: BTreeMap<String, RevealedSecret>,
    ) -> StepOutcome {
        let WebhookCall { method, url, headers, body, success_codes, timeout } = call;
        let line = format!("{} {}", method.as_str(), url.shown());
        let failed = |error| StepOutcome { succeeded: false, output: line.clone(), error: Some(error) };
        let (values, uses) = parted(secrets);
        // None of them is missing.
        let reveal = |text: &Template| text.reveal(&values).unwrap_or_default();
        let url = reveal(url);
        // An address that the guard refuses is not called, and the response says why.
        if let Ok(url) = self.guard.read(&url)
            && let Some((name, _)) = uses.iter().find(|(_, uses)| !AllowedHosts::list_host_of(&uses.hosts, &url))
        {
            return failed(format!("The secret {name} may not be sent to this host: its allowed_hosts do not list it"));
        }
        let request = StepCall {
            method: method.as_str(),
            url,
            headers: headers.iter().map(|(name, value)| (name.as_str(), reveal(value))).collect(),
            body: body.as_ref().map(|body| body.to_json(&reveal)),
            idempotency_key,
            timeout: timeout.to_std().unwrap_or_default(),
        };
        let masks = Masks::new(values.iter().map(|(name, value)| (value.as_str(), format!("[secret {name}]"))));
        match request.send(&self.outgoing).await {
            Ok(response) => {
                let code = response.status.as_u16();
                let succeeded = success_codes.contains(&code);
                let output = format!("{line}\n{code}\n{}", masked_response(&response.body, &masks));
                let error = (!succeeded).then(|| format!("the status {code} is not one of success_codes"));
                StepOutcome { succeeded, output, error }
            }
            Err(error) => failed(masks.mask_text(&error.to_string())),
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
        let (secrets, uses) = parted(secrets);
        if let Some((secret, _)) = uses.iter().find(|(_, uses)| !uses.allow_script(name)) {
            let problem = "its allowed_scripts do not list it";
            return Ok(Err(format!("The secret {secret} may not be given to the script {name}: {problem}")));
        }
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
fn masked_response(body: &str, masks: &Masks) -> String {
    match body.strip_suffix(TRUNCATED) {
        Some(start) => masks.mask_cut(start) + TRUNCATED,
        None => masks.mask_text(body),
    }
}

/// Returns the values of secrets, and where each may go.
fn parted(secrets: BTreeMap<String, RevealedSecret>) -> (BTreeMap<String, String>, Vec<(String, SecretUses)>) {
    secrets.into_iter().map(|(name, RevealedSecret { value, uses })| ((name.clone(), value), (name, uses))).unzip()
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
