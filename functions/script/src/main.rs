//! `script` on AWS Lambda.

use std::process::ExitCode;
use std::sync::Arc;

use runtime::SystemClock;
use runtime::lambda::{self, ScriptFunction};
use script::{Sandbox, Scripts, started_as_part};

fn main() -> ExitCode {
    started_as_part().unwrap_or_else(|| lambda::exit("script", run()))
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> Result<(), lambda::Error> {
    let sandbox = Arc::new(Sandbox::of_this_process()?);
    let ScriptFunction { seal, reports, .. } = ScriptFunction::start().await?;
    let scripts = Scripts { sandbox, seal, reports: Arc::new(reports), clock: Arc::new(SystemClock) };
    lambda::handle_events(|event| script::handle(scripts.clone(), event)).await
}
