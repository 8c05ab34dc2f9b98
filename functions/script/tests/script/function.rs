//! The function whole, as Lambda starts it: its own bootstrap, with an environment full of what no script may see.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use outbound::{ScriptInterpreter, ScriptJob, ScriptReport, Seal, SealedVariables};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::sandboxes::{BINARY, as_user};

const KEY: [u8; 32] = [7; 32];
/// What is in the function's environment and must not be found by a script.
const PRECIOUS: [&str; 2] = ["AKIAPRECIOUSKEY", "precious-session-token"];

/// Lambda's runtime API, which hands out these events, and SQS.
#[derive(Clone)]
struct Aws {
    events: Arc<Mutex<Vec<Value>>>,
    received: mpsc::UnboundedSender<Received>,
}

#[derive(Debug)]
enum Received {
    Report(Box<ScriptReport>),
    Answer(Value),
}

impl Aws {
    async fn start(events: Vec<Value>) -> (String, mpsc::UnboundedReceiver<Received>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let aws = Self { events: Arc::new(Mutex::new(events)), received: sender };
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
            .route("/", post(send_message))
            .with_state(aws);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        #[expect(clippy::disallowed_methods, reason = "it answers for as long as the test runs")]
        drop(tokio::spawn(async move { axum::serve(listener, routes).await }));
        (address, receiver)
    }
}

async fn next(State(aws): State<Aws>) -> Response {
    let event = aws.events.lock().unwrap().pop();
    let Some(event) = event else { return std::future::pending().await };
    let headers = [
        ("lambda-runtime-aws-request-id", "request"),
        ("lambda-runtime-deadline-ms", "4102444800000"),
        ("lambda-runtime-invoked-function-arn", "arn"),
    ];
    (headers, event.to_string()).into_response()
}

async fn answer(State(aws): State<Aws>, Path(_): Path<String>, body: Bytes) -> StatusCode {
    aws.received.send(Received::Answer(serde_json::from_slice(&body).unwrap())).unwrap();
    StatusCode::ACCEPTED
}

async fn send_message(State(aws): State<Aws>, body: Bytes) -> Response {
    let sent: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(sent["QueueUrl"], "http://sqs/results");
    let report = serde_json::from_str(sent["MessageBody"].as_str().unwrap()).unwrap();
    aws.received.send(Received::Report(report)).unwrap();
    ([("content-type", "application/x-amz-json-1.0")], json!({"MessageId": "1"}).to_string()).into_response()
}

/// The bootstrap, ended with the test.
struct Function(Child);

impl Function {
    /// As an unprivileged user, as on Lambda.
    fn start(address: &str) -> Self {
        let user = 61_191 + std::process::id() % 1_000;
        let command: Vec<_> = as_user(user).into_iter().chain([BINARY.into(), "bootstrap.py".into()]).collect();
        let child = Command::new(&command[0])
            .args(&command[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "script")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
            .env("AWS_ACCESS_KEY_ID", PRECIOUS[0])
            .env("AWS_SECRET_ACCESS_KEY", "precious")
            .env("AWS_SESSION_TOKEN", PRECIOUS[1])
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL", format!("http://{address}"))
            .env("MEDIC_SCRIPT_RESULTS_QUEUE_URL", "http://sqs/results")
            .env("MEDIC_SECRETS_KEY", BASE64_STANDARD.encode(KEY))
            .env("RUST_LOG", "error")
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn job(content: &str, interpreter: ScriptInterpreter) -> ScriptJob {
    ScriptJob {
        execution_id: "execution".to_owned(),
        step_index: 2,
        attempt: 1,
        nonce: "of this attempt".to_owned(),
        playbook_id: 3,
        service_id: Some(7),
        interpreter,
        content: content.to_owned(),
        environment: BTreeMap::from([("REGION".to_owned(), "eu".to_owned())]),
        sealed: None,
        timeout_seconds: 20,
        start_by_ms: 4_102_444_800_000,
    }
}

fn event(jobs: &[ScriptJob]) -> Value {
    let record = |job| json!({"messageId": "message", "body": serde_json::to_string(job).unwrap(), "attributes": {}});
    json!({"Records": jobs.iter().map(record).collect::<Vec<_>>()})
}

/// Returns what the function reported and answered for one event.
async fn handled(event: Value) -> (Vec<ScriptReport>, Value) {
    let (address, mut receiver) = Aws::start(vec![event]).await;
    let _function = Function::start(&address);
    let mut reports = Vec::new();
    loop {
        match receiver.recv().await.unwrap() {
            Received::Report(report) => reports.push(*report),
            Received::Answer(answer) => return (reports, answer),
        }
    }
}

#[tokio::test]
async fn a_job_is_run_and_reported_with_its_nonce() {
    let script = "echo $REGION $MEDIC_EXECUTION_ID $MEDIC_PLAYBOOK_ID $MEDIC_SERVICE_ID; echo \"<$TOKEN>\"";
    let mut job = job(script, ScriptInterpreter::Bash);
    let variables = SealedVariables {
        environment: BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]),
        secrets: vec!["hunter2".to_owned()],
    };
    job.seal(&Seal::new(KEY).unwrap(), &variables).unwrap();
    let (reports, answer) = handled(event(&[job])).await;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let [report] = &reports[..] else { panic!("one report: {reports:?}") };
    assert_eq!((report.execution_id.as_str(), report.step_index, report.attempt), ("execution", 2, 1));
    assert_eq!((report.nonce.as_str(), report.exit, report.error.as_deref()), ("of this attempt", Some(0), None));
    assert_eq!(report.output, "eu execution 3 7\n<***>\n");
}

#[tokio::test]
async fn no_script_finds_the_functions_environment_memory_or_files() {
    let script = r"
import os
found, pids = [], [pid for pid in os.listdir('/proc') if pid.isdigit()]
for pid in pids:
    try:
        found.append(open(f'/proc/{pid}/environ', 'rb').read())
    except OSError:
        pass
text = b''.join(found).decode(errors='replace')
print(len(found) > 0, 'PRECIOUS' in text, 'precious' in text, 'MEDIC_SECRETS_KEY' in text)
pid = os.getpid()
while pid > 1:
    pid = int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1])
    if pid and 'bootstrap.py' in open(f'/proc/{pid}/cmdline').read():
        for file in ['environ', 'mem', 'maps', 'fd/0', 'fd/1']:
            try:
                open(f'/proc/{pid}/{file}', 'rb').read(1)
                print(file, 'opens')
            except OSError as error:
                print(file, type(error).__name__)
        break
";
    let (reports, _) = handled(event(&[job(script, ScriptInterpreter::Python)])).await;
    let expected = "True False False False\nenviron PermissionError\nmem PermissionError\nmaps PermissionError\n\
                    fd/0 PermissionError\nfd/1 PermissionError\n";
    assert_eq!(reports[0].output, expected);
}

#[tokio::test]
async fn a_job_that_must_not_run_is_reported_as_failed() {
    let touched = tempfile::tempdir().unwrap();
    let script = format!("touch {}/ran", touched.path().display());
    for (name, value) in [
        ("BASH_ENV", "/tmp/x"),
        ("LD_PRELOAD", "x"),
        ("PYTHONPATH", "x"),
        ("PATH", "x"),
        ("TAR_OPTIONS", "x"),
        ("A", "\0"),
    ] {
        let mut job = job(&script, ScriptInterpreter::Bash);
        job.environment.insert(name.to_owned(), value.to_owned());
        let (reports, answer) = handled(event(&[job])).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
        assert!(reports[0].error.as_ref().unwrap().starts_with(&format!("The variable {name:?} must ")));
    }
    let mut job = job(&script, ScriptInterpreter::Bash);
    job.seal(&Seal::new([8; 32]).unwrap(), &SealedVariables::default()).unwrap();
    let (reports, _) = handled(event(&[job])).await;
    let message = "The script's secrets did not open: it was not sealed by this key for this purpose";
    assert_eq!(reports[0].error.as_deref(), Some(message));
    assert!(!touched.path().join("ran").exists());
}

#[tokio::test]
async fn a_job_that_came_too_late_is_not_started() {
    let mut job = job("true", ScriptInterpreter::Bash);
    job.start_by_ms = 1_790_000_000_000;
    let (reports, answer) = handled(event(&[job])).await;
    assert_eq!((reports, answer), (vec![], json!({"batchItemFailures": []})));
}

#[tokio::test]
async fn a_message_that_is_no_job_comes_back() {
    let event = json!({"Records": [{"messageId": "bad", "body": "{}", "attributes": {}}]});
    let (reports, answer) = handled(event).await;
    assert_eq!((reports, answer), (vec![], json!({"batchItemFailures": [{"itemIdentifier": "bad"}]})));
}

/// A script that kills its runner leaves nothing behind: the function detects it, and ends what was left.
#[tokio::test]
async fn what_is_left_of_a_script_that_killed_its_runner_is_ended() {
    let script = "
import os, signal, time
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(1000)
# left behind
";
    let (reports, _) = handled(event(&[job(script, ScriptInterpreter::Python)])).await;
    let message = "The script's runner was killed before it could report how the script ended";
    assert_eq!((reports[0].exit, reports[0].error.as_deref()), (None, Some(message)));
    let left = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let file = command.split('\0').find(|argument| argument.contains("medic-script-"));
        file.is_some_and(|file| std::fs::read_to_string(file).is_ok_and(|text| text == script))
    });
    assert_eq!(left.count(), 0);
}
