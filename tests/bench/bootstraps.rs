//! The functions' bootstraps, as `make build-lambda` leaves them: their size, and how soon they poll for work.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use runtime::DEPLOYMENT_VARIABLES;

use crate::figure::{Figure, percentile};

const FOLDER: &str = "target/lambda";
const STARTS: usize = 15;
/// How long a bootstrap may take to its first poll.
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn figures() -> Vec<Figure> {
    let folders = fs::read_dir(FOLDER).expect("make build-lambda has run").map(|entry| entry.expect("a folder").path());
    let mut functions: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    functions.sort_unstable();
    functions.iter().flat_map(|folder| of_function(folder)).collect()
}

fn of_function(folder: &Path) -> [Figure; 2] {
    let name = folder.file_name().expect("a name").to_string_lossy();
    let bootstrap = folder.join("bootstrap");
    let bytes = u32::try_from(fs::metadata(&bootstrap).expect("a file").len()).expect("less than 4 GB");
    let max = match &*name {
        "ingest" => 10.0,
        "api" => 20.0,
        _ => 14.0,
    };
    let mut starts: Vec<f64> = (0..STARTS).map(|_| first_poll(&bootstrap).as_secs_f64() * 1e3).collect();
    [
        Figure::new(format!("bootstrap of {name}"), f64::from(bytes) / 1e6, "MB").at_most(max),
        Figure::new(format!("start of {name} to its first poll, median"), percentile(&mut starts, 0.5), "ms")
            .at_most(50.0),
    ]
}

/// Returns the time from the start of a bootstrap until it polls Lambda's runtime API for an event.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>
fn first_poll(bootstrap: &Path) -> Duration {
    let api = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = api.local_addr().expect("an address").to_string();
    let lambda_variables = [
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ];
    let began = Instant::now();
    let mut process = Command::new(bootstrap)
        .env_clear()
        .envs(DEPLOYMENT_VARIABLES.into_iter().chain(lambda_variables).map(|name| (name, "measured")))
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "704")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "measured")
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .stdout(Stdio::null())
        .spawn()
        .expect("a process");
    let (sender, accepted) = mpsc::channel();
    std::thread::spawn(move || sender.send(api.accept()));
    let (connection, _) = accepted.recv_timeout(START_TIMEOUT).expect("it polls in time").expect("a connection");
    let mut request = String::new();
    BufReader::new(connection).read_line(&mut request).expect("a request");
    let took = began.elapsed();
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    assert!(request.contains("/runtime/invocation/next"), "it polls for work, not {request}");
    took
}
