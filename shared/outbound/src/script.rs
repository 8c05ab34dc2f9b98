//! The messages between the playbook function and the script runner: jobs on a FIFO queue, and reports on the results
//! queue.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::{Seal, SealError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptInterpreter {
    Bash,
    Python,
}

/// One attempt of one step: a registered script, and what reaches it. `Debug` shows no more than which it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptJob {
    pub execution_id: String,
    pub step_index: u32,
    pub attempt: u32,
    /// Random, and new for each attempt; a report without it does not count.
    pub nonce: String,
    pub playbook_id: i64,
    pub service_id: Option<i64>,
    pub interpreter: ScriptInterpreter,
    pub content: String,
    /// Variables and parameters, which reach the script as environment variables.
    pub environment: BTreeMap<String, String>,
    /// `SealedVariables` for this attempt, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    pub timeout_seconds: u32,
    /// It is not started after this, in milliseconds since 1970: the attempt would outlive its claim.
    pub start_by_ms: i64,
}

/// What reaches a script and must not be readable on the way.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedVariables {
    /// Variables whose values hold secrets; they take precedence over the job's.
    pub environment: BTreeMap<String, String>,
    /// The secrets themselves, which the output must not show.
    pub secrets: Vec<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptReport {
    pub execution_id: String,
    pub step_index: u32,
    pub attempt: u32,
    pub nonce: String,
    /// The exit status, if the script ended by itself. 0 is success.
    pub exit: Option<i32>,
    pub output: String,
    /// Why the step failed; none on success.
    pub error: Option<String>,
    pub duration_ms: u64,
    /// How often it arrived and could not be recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A message that a queue did not accept.
#[derive(Debug, thiserror::Error)]
#[error("a message could not be sent")]
pub struct QueueError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Accepts jobs, each attempt once.
#[async_trait]
pub trait ScriptJobs: fmt::Debug + Send + Sync {
    async fn send_job(&self, job: &ScriptJob) -> Result<(), QueueError>;
}

/// Accepts the reports of jobs.
#[async_trait]
pub trait ScriptReports: fmt::Debug + Send + Sync {
    /// Sends a report, which arrives after `delay`: whole seconds, at most 15 minutes.
    async fn send_report(&self, report: &ScriptReport, delay: Duration) -> Result<(), QueueError>;
}

impl ScriptJob {
    /// Returns the id by which a FIFO queue recognises a repetition: the attempt.
    pub fn deduplication_id(&self) -> String {
        format!("{}-{}-{}", self.execution_id, self.step_index, self.attempt)
    }

    /// Returns the group within which a FIFO queue keeps an order: each attempt is alone in its own. A message that was
    /// received and not deleted blocks its group for the queue's visibility timeout, and the attempt after that of a dead
    /// worker must not wait for it. What order there is comes from the execution's state and the nonce.
    pub fn message_group(&self) -> String {
        self.deduplication_id()
    }

    /// Seals variables into this job, for this attempt alone.
    pub fn seal(&mut self, seal: &Seal, variables: &SealedVariables) -> Result<(), SealError> {
        let text = serde_json::to_vec(variables).map_err(|_| SealError::Sealing)?;
        self.sealed = Some(BASE64_STANDARD.encode(seal.seal(&self.purpose(), &text)?));
        Ok(())
    }

    /// Opens the variables that were sealed for this attempt; none, if there are none.
    pub fn open(&self, seal: Option<&Seal>) -> Result<SealedVariables, SealError> {
        let Some(sealed) = &self.sealed else { return Ok(SealedVariables::default()) };
        let sealed = BASE64_STANDARD.decode(sealed).map_err(|_| SealError::Opening)?;
        let text = seal.ok_or(SealError::Opening)?.open(&self.purpose(), &sealed)?;
        serde_json::from_slice(&text).map_err(|_| SealError::Opening)
    }

    /// Returns the report of this attempt.
    pub fn report(&self, exit: Option<i32>, output: String, error: Option<String>, duration_ms: u64) -> ScriptReport {
        let Self { execution_id, step_index, attempt, nonce, .. } = self.clone();
        ScriptReport { execution_id, step_index, attempt, nonce, exit, output, error, duration_ms, failures: 0 }
    }

    fn purpose(&self) -> String {
        format!("script#{}#{}", self.deduplication_id(), self.nonce)
    }
}

impl fmt::Debug for ScriptJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptJob").field("attempt", &self.deduplication_id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedVariables(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> ScriptJob {
        ScriptJob {
            execution_id: "01a0c450-6c7b-7000-8000-000000000000".to_owned(),
            step_index: 2,
            attempt: 1,
            nonce: "first".to_owned(),
            playbook_id: 3,
            service_id: Some(7),
            interpreter: ScriptInterpreter::Bash,
            content: "true".to_owned(),
            environment: BTreeMap::from([("REGION".to_owned(), "eu".to_owned())]),
            sealed: None,
            timeout_seconds: 20,
            start_by_ms: 1_790_000_000_123,
        }
    }

    #[test]
    fn sealed_variables_open_for_their_attempt_alone_and_cannot_be_read_on_the_way() {
        let seal = Seal::new([7; 32]).unwrap();
        let variables = SealedVariables {
            environment: BTreeMap::from([("TOKEN".to_owned(), "Bearer hunter2".to_owned())]),
            secrets: vec!["hunter2".to_owned()],
        };
        let mut job = job();
        assert_eq!(job.open(None).unwrap(), SealedVariables::default());
        job.seal(&seal, &variables).unwrap();
        let sent = serde_json::to_string(&job).unwrap();
        assert!(!sent.contains("hunter2") && !sent.contains("TOKEN"));
        assert!(!format!("{job:?} {variables:?}").contains("hunter2"));
        let mut received: ScriptJob = serde_json::from_str(&sent).unwrap();
        assert_eq!(received, job);
        assert_eq!(received.open(Some(&seal)).unwrap(), variables);
        assert_eq!(received.open(None), Err(SealError::Opening));
        received.nonce = "second".to_owned();
        assert_eq!(received.open(Some(&seal)), Err(SealError::Opening));
    }
}
