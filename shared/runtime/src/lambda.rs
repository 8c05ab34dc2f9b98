//! A function on AWS Lambda: its start, and the loop that hands it requests or events.

mod deployment;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use lambda_http::Adapter;
use lambda_http::lambda_runtime::{Context, LambdaEvent, Runtime, service_fn};
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::tower::ServiceExt as _;
use operations::{QueuePorts, error_chain};
use outbound::{AwsScriptQueue, AwsWakes, Seal};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use store::Table;

use crate::config::{Config, Environment, from_env};
use crate::emf::EmbeddedMetrics;
use crate::{ApiError, App, Clock as _, SystemClock, medic, telemetry};
use deployment::{Deployment, ScriptDeployment};

/// Why a function could not start or go on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A function that has started: its dependencies, and where its metrics go.
#[derive(Clone)]
pub struct Function {
    pub app: App,
    metrics: EmbeddedMetrics,
}

impl Function {
    /// Reads the environment and creates the clients. Nothing is requested from AWS yet.
    pub async fn start() -> Result<Self, Error> {
        let read = |env: &Environment<'_>| Ok((Config::read_from(env)?, Deployment::read(env)?));
        let (config, deployment) = from_env(read)?;
        telemetry::init_json_logging(config.log_filter.clone());
        let metrics = EmbeddedMetrics::new(std::io::stdout());
        metrics::set_global_recorder(metrics.clone())?;
        let aws = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let table = Table::new(aws_sdk_dynamodb::config::Builder::from(&aws), deployment.table);
        let wakes = AwsWakes::new(&aws, deployment.addresses, || SystemClock.now());
        let scripts = AwsScriptQueue::new(&aws, deployment.script_queue_url);
        let reports = AwsScriptQueue::new(&aws, deployment.script_results_queue_url);
        let queues =
            QueuePorts { wakes: Arc::new(wakes), script_jobs: Arc::new(scripts), script_reports: Arc::new(reports) };
        let medic = medic(&config, table, queues, false)?;
        let app = App { medic: Arc::new(medic), clock: Arc::new(SystemClock), prometheus: None };
        Ok(Self { app, metrics })
    }

    /// Serves requests from API Gateway, for as long as the instance lives. `handle` serves whoever invokes the
    /// function with anything else, which IAM must allow.
    pub async fn serve<F>(self, routes: Router<App>, handle: impl Fn(App, Value) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<Value, Error>>,
    {
        let app = self.app.clone();
        let routes = routes.layer(from_fn_with_state(self, within_time)).with_state(app.clone());
        let (app, handle, requests) = (&app, &handle, &Adapter::from(routes));
        let service = service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
            let LambdaEvent { payload, context, .. } = event;
            let Ok(mut request) = serde_json::from_str(payload.get()) else {
                let event = serde_json::from_str(payload.get())?;
                return logged(handle(app.clone(), event).await).map(Answer::Direct);
            };
            make_address(&mut request);
            Ok::<_, Error>(Answer::Request(requests.clone().oneshot(LambdaEvent::new(request, context)).await?))
        });
        Runtime::new(service).run().await
    }

    /// Hands events to `handle`, for as long as the instance lives. One that fails is logged; Lambda retries it and
    /// then keeps it as a dead letter.
    pub async fn handle<F>(self, handle: impl Fn(App, Value) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<Value, Error>>,
    {
        let (function, handle) = (&self, &handle);
        let service = service_fn(|event: LambdaEvent<Value>| async move {
            let handled = handle(function.app.clone(), event.payload).await;
            function.metrics.write_if_due(function.app.now());
            logged(handled)
        });
        Runtime::new(service).run().await
    }
}

/// The function that runs scripts, which has started. It has no access to the table.
pub struct ScriptFunction {
    pub seal: Option<Arc<Seal>>,
    /// The results queue.
    pub reports: AwsScriptQueue,
}

impl ScriptFunction {
    /// Reads the environment and creates the client. Nothing is requested from AWS yet.
    pub async fn start() -> Result<Self, Error> {
        let read = |env: &Environment<'_>| Ok((Config::read_from(env)?, ScriptDeployment::read(env)?));
        let (config, deployment) = from_env(read)?;
        telemetry::init_json_logging(config.log_filter.clone());
        let aws = aws_config::load_defaults(BehaviorVersion::latest()).await;
        Ok(Self { seal: config.seal, reports: AwsScriptQueue::new(&aws, deployment.results_queue_url) })
    }
}

/// Hands events to `handle`, for as long as the instance lives, in a function that counts nothing.
pub async fn handle_events<F>(handle: impl Fn(Value) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<Value, Error>>,
{
    let handle = &handle;
    let service = service_fn(|event: LambdaEvent<Value>| async move { logged(handle(event.payload).await) });
    Runtime::new(service).run().await
}

/// What a function returns: to API Gateway, or to whoever invoked it directly.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<T> {
    Request(T),
    Direct(Value),
}

fn logged(handled: Result<Value, Error>) -> Result<Value, Error> {
    handled.inspect_err(|error| tracing::error!(error = %error_chain(error.as_ref()), "an event was not handled"))
}

/// Makes a request's path an address again: API Gateway hands it over decoded, and a space or an umlaut is no part of
/// one.
fn make_address(request: &mut LambdaRequest) {
    if let LambdaRequest::ApiGatewayV2(request) = request {
        request.raw_path = request.raw_path.as_deref().map(|path| encode(path, PATH));
        request.raw_query_string = request.raw_query_string.as_deref().map(|query| encode(query, QUERY));
    }
}

/// Ends a bootstrap. Prints in one line why it could not start, whatever `RUST_LOG` says.
pub fn exit(name: &str, ended: Result<(), Error>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "why the start failed, whatever RUST_LOG says")]
            {
                eprintln!("{name}: {}", error_chain(error.as_ref()));
            }
            ExitCode::FAILURE
        }
    }
}

/// How much of a function's time is left for the response when the work is given up.
const TO_ANSWER: Duration = Duration::from_millis(500);

/// Gives each request the time that Lambda has left for it; then writes metrics. The source address is the one that API
/// Gateway reports, as a connection has it elsewhere.
async fn within_time(State(function): State<Function>, mut request: Request, next: Next) -> Response {
    if let Some(address) = request.extensions().get().and_then(source_address) {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 0)));
    }
    let now = function.app.now();
    let deadline = request.extensions().get::<Context>().map(Context::deadline);
    let left = deadline.and_then(|deadline| deadline.duration_since(now.into()).ok()).unwrap_or_default();
    let answer = in_time(left, next.run(request)).await;
    function.metrics.write_if_due(function.app.now());
    answer
}

fn source_address(context: &RequestContext) -> Option<IpAddr> {
    let RequestContext::ApiGatewayV2(context) = context else { return None };
    context.http.source_ip.as_deref()?.parse().ok()
}

/// Responds with 503 before Lambda ends the function, so that the caller knows to try again.
async fn in_time(left: Duration, answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(left.saturating_sub(TO_ANSWER), answer).await.unwrap_or_else(|_| {
        tracing::error!("a request took all of the function's time");
        ApiError::OutOfTime.into_response()
    })
}

/// What must be encoded in a path (RFC 3986, 3.3), except `%`, which API Gateway leaves encoded.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'^')
    .add(b'|')
    .add(b'\\')
    .add(b'?')
    .add(b'#')
    .add(b'{')
    .add(b'}')
    .add(b'[')
    .add(b']');
/// What must be encoded in a query (RFC 3986, 3.4).
const QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'^')
    .add(b'|')
    .add(b'\\')
    .add(b'#')
    .add(b'{')
    .add(b'}');

fn encode(text: &str, set: &'static AsciiSet) -> String {
    utf8_percent_encode(text, set).to_string()
}

#[cfg(test)]
mod tests {
    use axum::http::{StatusCode, header};

    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_answered_before_the_function_ends() {
        let answer = in_time(TO_ANSWER + Duration::from_millis(10), std::future::pending()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        let answer = in_time(Duration::from_secs(15), async { StatusCode::OK.into_response() }).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }

    #[test]
    fn a_decoded_path_is_an_address_again() {
        for (path, encoded) in [
            ("/service/nightly-backup", "/service/nightly-backup"),
            ("/service/my job", "/service/my%20job"),
            ("/service/caf\u{e9}?#", "/service/caf%C3%A9%3F%23"),
            ("/service/100%25", "/service/100%25"),
            ("/service/a\\b{c}[d]^e|f\"g\u{1}", "/service/a%5Cb%7Bc%7D%5Bd%5D%5Ee%7Cf%22g%01"),
        ] {
            assert_eq!(encode(path, PATH), encoded);
            encoded.parse::<http::Uri>().unwrap();
        }
    }
}
