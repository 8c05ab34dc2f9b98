//! `api` on AWS Lambda.

use std::process::ExitCode;

use runtime::lambda::{self, Function};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::exit("api", run().await)
}

async fn run() -> Result<(), lambda::Error> {
    let function = Function::start().await?;
    let routes = api::on_lambda(&function.app);
    function.serve(routes, api::create_directly).await
}
