//! The messages between a function and its runner: a line of JSON each way.

use std::collections::BTreeMap;

use outbound::ScriptInterpreter;
use serde::{Deserialize, Serialize};

/// What is to be run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    pub interpreter: ScriptInterpreter,
    pub content: String,
    /// The script's environment, besides what every script gets.
    pub environment: BTreeMap<String, String>,
    /// What the output must not show.
    pub secrets: Vec<String>,
    pub timeout_seconds: u32,
}

/// What a runner returns.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) ended: Ended,
    /// Why the script could reach metadata services, if it could.
    pub(crate) gap: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The exit status, if the script ended by itself.
    pub exit: Option<i32>,
    pub output: String,
    /// Why it counts as failed; none on success.
    pub error: Option<String>,
}

impl Ended {
    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self { exit: None, output: String::new(), error: Some(error.into()) }
    }
}
