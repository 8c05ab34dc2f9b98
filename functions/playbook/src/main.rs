//! `playbook` on AWS Lambda.

use std::process::ExitCode;

use runtime::lambda::{self, Function};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::exit("playbook", run().await)
}

async fn run() -> Result<(), lambda::Error> {
    Function::start().await?.handle(playbook::handle).await
}
