//! `ingest` on AWS Lambda.

use std::process::ExitCode;

use runtime::lambda::{self, Function};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::exit("ingest", run().await)
}

async fn run() -> Result<(), lambda::Error> {
    let function = Function::start().await?;
    let routes = ingest::on_lambda(&function.app);
    function.serve(routes, async |_, _| Err("the event is no request".into())).await
}
