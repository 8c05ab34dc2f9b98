//! A whole system on free ports, with a clock that the test moves.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, TimeDelta, Utc};
use domain::Pulse;
use flate2::read::GzDecoder;
use local::{DynamoDb, Fates, ManualTime, Options, Service};
use metrics_exporter_prometheus::PrometheusHandle;
use operations::{Medic, QueuePorts};
use outbound::Wakes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use runtime::{Clock as _, Config, SystemClock};
use script::Sandbox;
use serde_json::Value;
use store::{Commit, Table};

use crate::process::medic_local;
use crate::{Hangs, Process, Receivers, UNLIMITED};

/// Returns when every test begins.
pub fn start_of_time() -> DateTime<Utc> {
    "2026-01-05T12:00:00Z".parse().expect("a time")
}

/// One recorder for the process, because the facade takes only one.
static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| runtime::prometheus().expect("the only recorder"));

/// A system under test.
pub struct System {
    pub service: Service,
    pub time: ManualTime,
    pub receivers: Receivers,
    pub key: String,
    client: reqwest::Client,
    environment: Vec<(&'static str, String)>,
    sandbox: Option<Arc<Sandbox>>,
}

/// A response: its status and body. Displays as a snapshot, with random ids hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn results(&self) -> &Value {
        &self.body["results"]
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = serde_json::to_string_pretty(&hide(self.body.clone())).expect("JSON");
        write!(f, "{}\n{body}", self.status.as_u16())
    }
}

fn hide(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() == 36 && text.bytes().filter(|b| *b == b'-').count() == 4 => "[id]".into(),
        Value::String(text) if text.starts_with("mdk_") => "mdk_[secret]".into(),
        Value::String(text) if text.starts_with("whsec_") => "whsec_[secret]".into(),
        Value::Array(items) => items.into_iter().map(hide).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, hide(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

impl System {
    /// Starts a system whose state is in memory.
    pub async fn start() -> Self {
        Self::start_with(&[], None).await
    }

    /// Starts a system with more in its environment, and perhaps with its state on disk.
    pub async fn start_with(more: &[(&'static str, &str)], data_dir: Option<&Path>) -> Self {
        Self::start_in(more, data_dir, None, None).await
    }

    /// Starts a system whose calls to the table can be made to hang, and whose functions are ended at their time limit.
    pub async fn start_hanging(more: &[(&'static str, &str)]) -> (Self, Hangs) {
        let time = ManualTime::starting_at(start_of_time());
        let hangs = Hangs::new(&time);
        (Self::start_in(more, None, None, Some((time, hangs.clone()))).await, hangs)
    }

    /// Starts a system that also runs scripts, for which it needs `medic-local`. Others run none: a script's step fails.
    pub async fn start_with_scripts(more: &[(&'static str, &str)]) -> Self {
        let sandbox = Arc::new(Sandbox::of([medic_local().into_os_string()]));
        Self::start_in(more, None, Some(sandbox), None).await
    }

    async fn start_in(
        more: &[(&'static str, &str)],
        data_dir: Option<&Path>,
        sandbox: Option<Arc<Sandbox>>,
        hanging: Option<(ManualTime, Hangs)>,
    ) -> Self {
        let receivers = Receivers::start().await;
        let (time, hangs) = hanging.unzip();
        let time = time.unwrap_or_else(|| ManualTime::starting_at(start_of_time()));
        let mut environment = receivers.environment();
        environment.extend(UNLIMITED.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())));
        let fates = hangs.map(|hangs| Arc::new(hangs) as Arc<dyn Fates>);
        let service = Self::service(&environment, &time, data_dir, sandbox.clone(), fates).await;
        let key = service.new_admin_key().expect("a fresh data folder").to_owned();
        Self { service, time, receivers, key, client: reqwest::Client::new(), environment, sandbox }
    }

    /// Kills a process, lets time pass while nothing runs, and starts on its folder with a clock that the test moves.
    pub async fn after_kill(process: Process, pause: TimeDelta, data_dir: &Path) -> Self {
        let key = process.key().to_owned();
        process.kill();
        let receivers = Receivers::start().await;
        let time = ManualTime::starting_at(SystemClock.now() + pause);
        let mut environment = receivers.environment();
        environment.extend(UNLIMITED.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let service = Self::service(&environment, &time, Some(data_dir), None, None).await;
        let system = Self { service, time, receivers, key, client: reqwest::Client::new(), environment, sandbox: None };
        system.service.settle().await;
        system
    }

    async fn service(
        environment: &[(&'static str, String)],
        time: &ManualTime,
        data_dir: Option<&Path>,
        sandbox: Option<Arc<Sandbox>>,
        fates: Option<Arc<dyn Fates>>,
    ) -> Service {
        let get = |name: &'static str| {
            environment.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        let config = Config::read(get).expect("a configuration");
        let options = Options {
            data_dir: data_dir.map(Path::to_owned),
            time: Arc::new(time.clone()),
            prometheus: Some(METRICS.clone()),
            sandbox,
            fates,
            ..Options::new("127.0.0.1:0".parse().expect("an address"), config)
        };
        Service::start(options).await.expect("a start")
    }

    /// Returns the operations as another process has them, on the same table and queues.
    pub fn another_instance(&self) -> Medic {
        self.instance_with(self.service.dynamodb(), Arc::clone(&self.service.medic().wakes))
    }

    /// Returns the operations as another process has them, which reaches the table so, and sends its wake-ups there.
    pub fn instance_with(&self, dynamodb: &DynamoDb, wakes: Arc<dyn Wakes>) -> Medic {
        let here = self.service.medic();
        let table = Table::new(dynamodb.config(), "medic");
        let ports = QueuePorts {
            wakes,
            script_jobs: Arc::clone(&here.script_jobs),
            script_reports: Arc::clone(&here.script_reports),
        };
        let (pagerduty, outgoing) = (here.pagerduty.clone(), here.outgoing.clone());
        Medic::new(table, ports, here.slack.clone(), pagerduty, outgoing, here.settings.clone()).expect("an instance")
    }

    /// Stops, lets time pass while nothing runs, and starts again on the same folder and environment: a gap, if it is long.
    pub async fn restart_after(self, pause: TimeDelta, data_dir: &Path) -> Self {
        let Self { service, time, receivers, key, client, environment, sandbox } = self;
        service.stop().await;
        time.set(time.now() + pause);
        let service = Self::service(&environment, &time, Some(data_dir), sandbox.clone(), None).await;
        let system = Self { service, time, receivers, key, client, environment, sandbox };
        system.service.settle().await;
        system
    }

    /// Moves the clock, stopping at each moment at which something is due, and waits until nothing is. Medic hears all
    /// the while.
    pub async fn advance(&self, by: TimeDelta) {
        let end = self.time.now() + by;
        loop {
            self.service.settle().await;
            let next = self.service.next_at();
            if next > end {
                break;
            }
            self.hear_until(next).await;
        }
        self.hear_until(end).await;
        self.settle().await;
    }

    /// Sets the clock, with a pulse as if it had passed second by second.
    async fn hear_until(&self, at: DateTime<Utc>) {
        self.keep_pulse(at).await;
        self.time.set(at);
    }

    /// Renews the pulse as if Medic had heard until then. The clock stays where it is.
    pub async fn keep_pulse(&self, at: DateTime<Utc>) {
        let table = Table::new(self.service.dynamodb().aside().config(), "medic");
        loop {
            let old = table.pulse().await.expect("a table").expect("a pulse");
            let new = Pulse { at: old.at.max(at), gaps: old.gaps.clone() };
            if new == old || table.save_pulse(Some(&old), &new).await.expect("a table") == Commit::Done {
                break;
            }
        }
    }

    /// Waits until nothing is due; no message may have been given up.
    async fn settle(&self) {
        self.service.settle().await;
        assert_eq!(self.service.dead_letters().expect("the queues"), [""; 0], "dead letters");
    }

    /// Returns the value of a counter, named with its labels as `/metrics` shows them; 0 if it is not there.
    pub async fn counter(&self, series: &str) -> u64 {
        let text = self.get("/metrics").await.body;
        let line =
            text.as_str().unwrap_or_default().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// Moves the clock in one leap, as a laptop that sleeps: what falls due meanwhile is late, and Medic could not hear it.
    pub async fn leap(&self, by: TimeDelta) {
        self.service.settle().await;
        self.time.set(self.time.now() + by);
        self.settle().await;
    }

    /// Moves the clock in one leap, while Medic hears: what falls due meanwhile is late.
    pub async fn lag(&self, by: TimeDelta) {
        self.service.settle().await;
        self.hear_until(self.time.now() + by).await;
        self.settle().await;
    }

    pub async fn seconds(&self, seconds: i64) {
        self.advance(TimeDelta::seconds(seconds)).await;
    }

    /// Sends a request with the admin key and waits until what it caused is done.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bytes = body.map(|body| serde_json::to_vec(&body).expect("JSON"));
        let answer = self.raw(method, path, Some(&self.key), &[], bytes).await;
        self.service.settle().await;
        answer
    }

    /// Sends a request exactly as given.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("http://{}{path}", self.service.address()));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.expect("a response");
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = response.bytes().await.expect("a body").to_vec();
        if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            let packed = std::mem::take(&mut bytes);
            GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).expect("a body in gzip");
        }
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Registers a service that must report every `seconds`, with more fields. Returns its id.
    pub async fn register(&self, name: &str, seconds: f64, more: Value) -> i64 {
        let mut body = serde_json::json!({
            "heartbeat_name": name, "service_name": "worker", "alert_interval": seconds / 60.0,
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            body[field] = value.clone();
        }
        let answer = self.post("/v2/services", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer}");
        answer.results()["service_id"].as_i64().expect("an id")
    }

    /// Sends a heartbeat, which must be accepted.
    pub async fn heartbeat(&self, name: &str, status: &str) {
        let body = serde_json::json!({"heartbeat_name": name, "service_name": "worker", "status": status});
        let answer = self.post("/heartbeat", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer}");
    }

    /// Returns the alerts of version 1's list, newest first.
    pub async fn alerts(&self) -> Vec<Value> {
        let answer = self.get("/alerts").await;
        answer.results().as_array().cloned().unwrap_or_default()
    }

    pub async fn open_alerts(&self) -> usize {
        self.get("/alerts?active=1").await.results().as_array().map_or(0, Vec::len)
    }

    /// Returns what Slack accepted: a line for each notification, of which one message may hold several.
    pub fn slack(&self) -> Vec<String> {
        let messages = self.receivers.accepted("slack");
        messages.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
    }

    /// Returns what PagerDuty accepted: action and dedup key.
    pub fn pagerduty(&self) -> Vec<String> {
        self.receivers.accepted("pagerduty")
    }
}
