//! Runs registered scripts, each in a sandbox of its own. It has no access to the table, and sends to the results queue
//! alone.
//!
//! The sandbox limits mistakes; it is no jail. `docs/SANDBOX.md` says what it stops and what it does not.

mod descendants;
mod launcher;
mod leftovers;
mod limits;
mod metadata;
mod order;
mod output;
mod runner;
mod sandbox;
mod seccomp;
mod users;
mod watch;

use std::ffi::OsStr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::parse_parameter;
use operations::error_chain;
use outbound::{QueueError, ScriptJob, ScriptReport, ScriptReports, Seal};
use runtime::sqs::SqsEvent;
use runtime::{Clock, Handling, each_record};
use serde_json::Value;

pub use order::{Ended, Order};
pub use output::OUTPUT_BYTES;
pub use sandbox::{Sandbox, SandboxError};

/// What a handler works with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scripts {
    pub sandbox: Arc<Sandbox>,
    /// What opens a job's sealed variables.
    pub seal: Option<Arc<Seal>>,
    pub reports: Arc<dyn ScriptReports>,
    pub clock: Arc<dyn Clock>,
}

/// Does a part's work, where this process was started as one, and returns how to exit. Each binary that has a sandbox
/// calls it first: a script is run by the same binary, started again with one of two arguments.
pub fn started_as_part() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some(runner::ARGUMENT) => Some(runner::main()),
        Some(launcher::ARGUMENT) => Some(launcher::main(arguments)),
        Some(_) | None => None,
    }
}

/// Handles an event that Lambda hands over.
pub async fn handle(scripts: Scripts, event: Value) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_json::to_value(jobs(&scripts, serde_json::from_value(event)?).await)?)
}

/// Handles jobs. One comes back only if its result could not be reported.
pub fn jobs(scripts: &Scripts, event: SqsEvent) -> Handling<'_> {
    each_record(event, |job: ScriptJob| scripts.run(job))
}

impl Scripts {
    async fn run(&self, job: ScriptJob) -> Result<(), QueueError> {
        let attempt = job.deduplication_id();
        if self.clock.now().timestamp_millis() > job.start_by_ms {
            tracing::warn!(script.attempt = attempt, "a script's attempt came too late to be started");
            return Ok(());
        }
        tracing::info!(script.attempt = attempt, "a script started");
        let began = Instant::now();
        let ended = self.ended(&job).await;
        let took = began.elapsed();
        tracing::info!(
            script.attempt = attempt,
            script.exit = ended.exit,
            duration_ms = milliseconds(took),
            "a script ended"
        );
        self.reports.send_report(&report(&job, ended, took), Duration::ZERO).await
    }

    async fn ended(&self, job: &ScriptJob) -> Ended {
        let order = match self.order(job) {
            Ok(order) => order,
            Err(error) => return Ended::failed(error),
        };
        match self.sandbox.run(&order).await {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "a script was not run");
                Ended::failed(error.to_string())
            }
        }
    }

    /// Returns what the runner is to do for a job, or why the job must not run.
    fn order(&self, job: &ScriptJob) -> Result<Order, String> {
        let sealed =
            job.open(self.seal.as_deref()).map_err(|error| format!("The script's secrets did not open: {error}"))?;
        let mut environment = job.environment.clone();
        environment.extend(sealed.environment);
        for (name, value) in &environment {
            parse_parameter(&format!("The variable {name:?}"), name, value).map_err(|invalid| invalid.to_string())?;
        }
        environment.insert("MEDIC_EXECUTION_ID".to_owned(), job.execution_id.clone());
        environment.insert("MEDIC_PLAYBOOK_ID".to_owned(), job.playbook_id.to_string());
        let service_id = job.service_id.map(|id| id.to_string()).unwrap_or_default();
        environment.insert("MEDIC_SERVICE_ID".to_owned(), service_id);
        Ok(Order {
            interpreter: job.interpreter,
            content: job.content.clone(),
            environment,
            secrets: sealed.secrets,
            timeout_seconds: job.timeout_seconds.clamp(1, MAX_SECONDS),
        })
    }
}

/// The longest that a script may run, whatever its job says.
const MAX_SECONDS: u32 = 600;

fn report(job: &ScriptJob, ended: Ended, took: Duration) -> ScriptReport {
    let Ended { exit, output, error } = ended;
    job.report(exit, output, error, milliseconds(took))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
