//! The AWS SDK's DynamoDB client, answered by an embedded engine in process: the signed request is handed over without a
//! socket. The one place where calls can be made to fail, to hang or to time out, a response to be lost, or a change to be seen
//! late.

mod lag;

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::config::{
    AsyncSleep, BehaviorVersion, Region, SharedAsyncSleep, Sleep, StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use chrono::{DateTime, Utc};
use dynoxide::actions::transact_write_items::TransactWriteItemsRequest;
use dynoxide::storage_backend::Clock;
use dynoxide::{Database, DynoxideError};
use serde_json::{Value, json};

use lag::HiddenChanges;
pub use lag::Lag;

/// DynamoDB in this process.
#[derive(Clone)]
pub struct DynamoDb {
    engine: Database,
    meter: Arc<Meter>,
    hidden: Arc<Mutex<HiddenChanges>>,
    fates: Option<Arc<dyn Fates>>,
}

impl std::fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DynamoDb")
    }
}

/// Capacity units as DynamoDB's own answers count them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Units {
    pub read: f64,
    pub write: f64,
    pub requests: u64,
}

/// How a call fails without having done anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// More units were requested than the table has at the moment.
    Throttled,
    /// 500 from DynamoDB.
    Internal,
    /// A transaction on the same item was under way.
    Conflict,
}

/// What a call waits for.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The same, as the SDK waits: in whatever thread looks at it.
pub type SharedWait = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// What becomes of a call.
pub enum Fate {
    Served,
    /// Of reads, only a conflict is no such thing: they are served then.
    Failed(Fault),
    /// It does not reach the table.
    TimedOut,
    /// It is served, and the answer is lost.
    Unanswered,
    /// It is served after a wait. One that does not end is a call that hangs, or a caller who died before.
    Before(Wait),
    /// It is served, and answered after a wait.
    After(Wait),
}

/// Decides the fate of each call.
pub trait Fates: Send + Sync {
    fn of(&self, operation: &str, body: &[u8]) -> Fate;

    /// Returns for how long a change of the item at `pk` and `sk` stays hidden; none, if everybody sees it at once.
    fn lag(&self, _pk: &str, _sk: &str) -> Option<Lag> {
        None
    }

    /// Returns the time by which a change no longer stays hidden.
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    /// Waits for as long as the SDK gives a call. Without this, calls that hang do so for good.
    fn sleep(&self, _: Duration) -> SharedWait {
        Box::pin(std::future::pending())
    }
}

#[derive(Debug, Default)]
struct Meter {
    on: AtomicBool,
    out_of_reach: AtomicBool,
    answers_kept: AtomicU32,
    answers_to_lose: AtomicU32,
    loses_answers: AtomicBool,
    list_lags: AtomicBool,
    faults: Mutex<Vec<Option<Fault>>>,
    faults_of_limits: Mutex<Vec<Option<Fault>>>,
    faults_of_some: Mutex<FaultsOfSome>,
    units: Mutex<Units>,
}

/// How the next writes fail that hold a text.
#[derive(Debug, Default)]
struct FaultsOfSome {
    text: String,
    faults: Vec<Fault>,
}

/// A clock that the engine can read.
struct EngineClock<F>(F);

impl<F: Fn() -> DateTime<Utc> + Send + Sync> EngineClock<F> {
    fn since_1970(&self) -> Duration {
        Duration::from_millis(u64::try_from((self.0)().timestamp_millis()).unwrap_or_default())
    }
}

impl<F: Fn() -> DateTime<Utc> + Send + Sync> Clock for EngineClock<F> {
    fn now_unix_secs(&self) -> u64 {
        self.since_1970().as_secs()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.since_1970().as_secs_f64()
    }
}

impl DynamoDb {
    /// Opens tables that are kept in a file.
    pub fn open(file: &Path) -> Result<Self, String> {
        let open = || {
            let engine = Database::new(&file.to_string_lossy())?;
            // Nothing is being loaded: this is the engine's one way to set SQLite's `synchronous` to NORMAL. What was
            // written outlives the process; that it outlives a power cut would cost a flush of the disk with each write.
            engine.disable_bulk_loading()?;
            Ok(Self::of(engine))
        };
        open().map_err(|error: DynoxideError| error.to_string())
    }

    /// Creates tables that end with the process. Items expire by `now`.
    pub fn in_memory(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Result<Self, String> {
        Database::memory_with_clock(Arc::new(EngineClock(now))).map(Self::of).map_err(|error| error.to_string())
    }

    fn of(engine: Database) -> Self {
        Self { engine, meter: Arc::default(), hidden: Arc::default(), fates: None }
    }

    /// Returns the same tables for a client whose calls have these fates. It does not wait between its attempts, and
    /// shares its retry quota with no other.
    #[must_use]
    pub fn with_fates(&self, fates: Arc<dyn Fates>) -> Self {
        self.meter.loses_answers.store(true, Ordering::Relaxed);
        Self { fates: Some(fates), ..self.clone() }
    }

    /// Returns the same tables for a client whose calls are neither measured nor made to fail.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self { engine: self.engine.clone(), meter: Arc::default(), hidden: Arc::default(), fates: None }
    }

    /// Queries the tables themselves: without a client, and without the fates of its calls.
    pub fn query(&self, request: Value) -> Result<Value, String> {
        let asked = || Ok(serde_json::to_value(self.engine.query(serde_json::from_value(request)?)?)?);
        asked().map_err(|error: Box<dyn std::error::Error>| error.to_string())
    }

    /// Returns the configuration that makes the SDK's client use these tables.
    pub fn config(&self) -> aws_sdk_dynamodb::config::Builder {
        let mut config = aws_sdk_dynamodb::Config::builder();
        if let Some(fates) = &self.fates {
            config.set_sleep_impl(Some(SharedAsyncSleep::new(FatedSleep(Arc::clone(fates)))));
            config.set_retry_partition(Some(RetryPartition::custom("fated").build()));
        }
        config
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-west-1"))
            // Nothing is signed, as nobody checks it here; and nothing is streamed, so no stream can stall.
            .allow_no_auth()
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.clone())
    }

    /// Deletes what has expired. AWS does so by itself, within days.
    pub fn remove_expired(&self) -> Result<usize, String> {
        self.engine.sweep_ttl().map_err(|error| error.to_string())
    }

    /// Counts the units of what follows, from zero.
    pub fn measure(&self) {
        *self.meter.units.lock().unwrap_or_else(PoisonError::into_inner) = Units::default();
        self.meter.on.store(true, Ordering::Relaxed);
    }

    /// Returns the units since `measure`.
    pub fn units(&self) -> Units {
        *self.meter.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every call time out, or none.
    pub fn set_out_of_reach(&self, out_of_reach: bool) {
        self.meter.out_of_reach.store(out_of_reach, Ordering::Relaxed);
    }

    /// Makes the index `list` show nothing, as it does of what was just written, or everything.
    pub fn set_list_lagging(&self, lagging: bool) {
        self.meter.list_lags.store(lagging, Ordering::Relaxed);
    }

    /// Commits the next `count` writes, and loses their responses: the caller gets a timeout. Writes that count a
    /// request for its limit do not matter here.
    pub fn lose_answers(&self, count: u32) {
        self.lose_answers_after(0, count);
    }

    /// Lets the next `kept` writes have their responses, and loses those of the `count` after them.
    pub fn lose_answers_after(&self, kept: u32, count: u32) {
        self.meter.answers_kept.store(kept, Ordering::Relaxed);
        self.meter.loses_answers.store(true, Ordering::Relaxed);
        self.meter.answers_to_lose.store(count, Ordering::Relaxed);
    }

    /// Makes the next `count` writes fail, except those that count a request for its limit.
    pub fn fail_writes(&self, fault: Fault, count: usize) {
        self.fail_writes_after(0, fault, count);
    }

    /// Lets the next `committed` writes succeed, and makes the `count` after them fail.
    pub fn fail_writes_after(&self, committed: usize, fault: Fault, count: usize) {
        let mut faults = vec![Some(fault); count];
        faults.resize(count + committed, None);
        *self.meter.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Makes the next `count` of the writes fail whose request holds `text`, such as a part of a key.
    pub fn fail_writes_holding(&self, text: &str, fault: Fault, count: usize) {
        let some = FaultsOfSome { text: text.to_owned(), faults: vec![fault; count] };
        *self.meter.faults_of_some.lock().unwrap_or_else(PoisonError::into_inner) = some;
    }

    /// Makes the next `count` of the writes fail that count a request for its limit.
    pub fn fail_limits(&self, fault: Fault, count: usize) {
        *self.meter.faults_of_limits.lock().unwrap_or_else(PoisonError::into_inner) = vec![Some(fault); count];
    }

    /// Returns the response to a write that is to fail: status and body, as DynamoDB gives them.
    fn failure(&self, operation: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        if !is_write(operation) || renews_the_pulse(body) {
            return None;
        }
        let mut some = self.meter.faults_of_some.lock().unwrap_or_else(PoisonError::into_inner);
        if !some.faults.is_empty() && String::from_utf8_lossy(body).contains(&some.text) {
            return some.faults.pop().map(|fault| failed(fault, operation, body));
        }
        drop(some);
        let faults = if counts_a_request(body) { &self.meter.faults_of_limits } else { &self.meter.faults };
        let fault = faults.lock().unwrap_or_else(PoisonError::into_inner).pop().flatten()?;
        Some(failed(fault, operation, body))
    }

    fn loses(&self, operation: &str, body: &[u8]) -> bool {
        let left = |count: u32| count.checked_sub(1);
        is_write(operation)
            && !counts_a_request(body)
            && !renews_the_pulse(body)
            && self.meter.answers_kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_err()
            && self.meter.answers_to_lose.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    fn answer(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
        if !self.meter.on.load(Ordering::Relaxed) {
            return self.serve(operation, body);
        }
        let mut request: Value = serde_json::from_slice(body).map_err(unreadable)?;
        request["ReturnConsumedCapacity"] = "TOTAL".into();
        let answer = self.serve(operation, &serde_json::to_vec(&request).map_err(unreadable)?)?;
        let parsed: Value = serde_json::from_slice(&answer).map_err(unreadable)?;
        // One table's, or a list with each table's.
        let consumed = &parsed["ConsumedCapacity"];
        let tables = consumed.as_array().map_or_else(|| std::slice::from_ref(consumed), Vec::as_slice);
        let consumed: f64 = tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        let mut units = self.meter.units.lock().unwrap_or_else(PoisonError::into_inner);
        units.requests += 1;
        if matches!(operation, "GetItem" | "Query" | "BatchGetItem") {
            units.read += consumed;
        } else {
            units.write += consumed;
        }
        Ok(answer)
    }

    fn serve(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
        if self.meter.list_lags.load(Ordering::Relaxed) && asks_the_list(body) {
            return Ok(br#"{"Items":[],"Count":0,"ScannedCount":0}"#.to_vec());
        }
        if operation == "CreateTable" {
            let request = serde_json::from_slice(body).map_err(unreadable)?;
            self.hidden.lock().unwrap_or_else(PoisonError::into_inner).learn_indexes(&request);
        }
        match &self.fates {
            Some(fates) => self.serve_with_lag(&**fates, operation, body),
            None => self.serve_at_once(operation, body),
        }
    }

    /// Serves a call whose writes others may see late, or whose caller may see those of others late.
    fn serve_with_lag(&self, fates: &dyn Fates, operation: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let is_nothing_hidden = hidden.is_empty_at(fates.now());
        if is_write(operation) {
            let request: Value = serde_json::from_slice(body).map_err(unreadable)?;
            let mut late = Vec::new();
            for read in lag::reads_of_written(operation, &request) {
                let part = |name: &str| read["Key"][name]["S"].as_str().unwrap_or_default();
                if let Some(lag) = fates.lag(part("pk"), part("sk")) {
                    late.push((lag, self.item(&read)?, read));
                }
            }
            let answer = self.serve_at_once(operation, body)?;
            for (lag, old, mut read) in late {
                let new = self.item(&read)?;
                hidden.hide(read["Key"].take(), old, new, lag);
            }
            return Ok(answer);
        }
        if is_nothing_hidden || sees_everything(operation, body) {
            return self.serve_at_once(operation, body);
        }
        let request: Value = serde_json::from_slice(body).map_err(unreadable)?;
        let answer = match hidden.query(&request, |request| self.serve_value(operation, request))? {
            Some(answer) => answer,
            None if hidden.has_stale(operation, &request) => {
                let mut answer = self.serve_value(operation, &request)?;
                hidden.make_stale(operation, &request, &mut answer);
                answer
            }
            None => return self.serve_at_once(operation, body),
        };
        serde_json::to_vec(&answer).map_err(unreadable)
    }

    /// Returns the item that a request reads, or null.
    fn item(&self, read: &Value) -> Result<Value, DynoxideError> {
        Ok(self.serve_value("GetItem", read)?["Item"].take())
    }

    fn serve_value(&self, operation: &str, request: &Value) -> Result<Value, DynoxideError> {
        let body = serde_json::to_vec(request).map_err(unreadable)?;
        serde_json::from_slice(&self.serve_at_once(operation, &body)?).map_err(unreadable)
    }

    fn serve_at_once(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
        macro_rules! serve {
            ($($name:literal => $method:ident),+ $(,)?) => {
                match operation {
                    $($name => {
                        let answer = self.engine.$method(serde_json::from_slice(body).map_err(unreadable)?)?;
                        serde_json::to_vec(&answer).map_err(unreadable)
                    })+
                    other => Err(DynoxideError::ValidationException(format!("not served here: {other}"))),
                }
            };
        }
        if operation == "TransactWriteItems" && !self.meter.loses_answers.load(Ordering::Relaxed) {
            let mut request: TransactWriteItemsRequest = serde_json::from_slice(body).map_err(unreadable)?;
            // No response is lost, so none is requested again. The engine would keep each for ten minutes, and search
            // them all with every transaction.
            request.client_request_token = None;
            return serde_json::to_vec(&self.engine.transact_write_items(request)?).map_err(unreadable);
        }
        serve!(
            "BatchGetItem" => batch_get_item,
            "BatchWriteItem" => batch_write_item,
            "CreateTable" => create_table,
            "DeleteItem" => delete_item,
            "GetItem" => get_item,
            "PutItem" => put_item,
            "Query" => query,
            "TransactWriteItems" => transact_write_items,
            "UpdateItem" => update_item,
            "UpdateTimeToLive" => update_time_to_live,
        )
    }
}

/// The SDK without its waits between attempts, which are random. The timeouts of calls are longer.
struct FatedSleep(Arc<dyn Fates>);

impl std::fmt::Debug for FatedSleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FatedSleep")
    }
}

impl AsyncSleep for FatedSleep {
    fn sleep(&self, duration: Duration) -> Sleep {
        if duration < Duration::from_secs(1) {
            return Sleep::new(std::future::ready(()));
        }
        Sleep::new(self.0.sleep(duration))
    }
}

/// Returns the response to a call that fails: status and body, as DynamoDB gives them.
fn failed(fault: Fault, operation: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let cancelled = |code: &str| {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let writes = request["TransactItems"].as_array().map_or(1, Vec::len);
        let mut reasons = vec![json!({"Code": "None"}); writes];
        reasons[0] = json!({"Code": code, "Message": "Try again"});
        let name = format!("{NAMESPACE}TransactionCanceledException");
        (400, json!({"__type": name, "CancellationReasons": reasons}))
    };
    let (status, body) = match (fault, operation) {
        (Fault::Internal, _) => (500, json!({"__type": format!("{NAMESPACE}InternalServerError")})),
        (Fault::Throttled, "TransactWriteItems") => cancelled("ThrottlingError"),
        (Fault::Throttled, _) => (400, json!({"__type": format!("{NAMESPACE}ProvisionedThroughputExceededException")})),
        (Fault::Conflict, "TransactWriteItems") => cancelled("TransactionConflict"),
        (Fault::Conflict, _) => (400, json!({"__type": format!("{NAMESPACE}TransactionConflictException")})),
    };
    (status, body.to_string().into_bytes())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn unreadable(error: serde_json::Error) -> DynoxideError {
    DynoxideError::SerializationException(error.to_string())
}

/// The prefix of the names of errors.
const NAMESPACE: &str = "com.amazonaws.dynamodb.v20120810#";

fn is_write(operation: &str) -> bool {
    matches!(operation, "BatchWriteItem" | "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems")
}

/// Returns whether a reader sees every change at once: it reads consistently, and no index.
fn sees_everything(operation: &str, body: &[u8]) -> bool {
    match operation {
        "Query" => !holds(body, b"\"IndexName\""),
        _ => holds(body, b"\"ConsistentRead\":true"),
    }
}

/// Returns whether it is a query of the index `list`.
fn asks_the_list(body: &[u8]) -> bool {
    holds(body, b"\"IndexName\":\"list\"")
}

/// Returns whether a write renews the pulse, which comes by itself between those that a test plans.
fn renews_the_pulse(body: &[u8]) -> bool {
    holds(body, br#""pk":{"S":"pulse"}"#)
}

/// Returns whether a write is to an item that counts requests.
fn counts_a_request(body: &[u8]) -> bool {
    holds(body, b"{\"S\":\"limit#")
}

/// Returns whether a request holds a text.
fn holds(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|part| part == text)
}

impl HttpConnector for DynamoDb {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if self.meter.out_of_reach.load(Ordering::Relaxed) {
            return HttpConnectorFuture::ready(Err(ConnectorError::timeout("the table is out of reach".into())));
        }
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let asked = request.body().bytes().unwrap_or_default();
        let fate = self.fates.as_ref().map_or(Fate::Served, |fates| fates.of(&operation, asked));
        let unreached = || HttpConnectorFuture::ready(Err(ConnectorError::timeout("the table did not answer".into())));
        match fate {
            Fate::Failed(Fault::Conflict) if !is_write(&operation) => {
                HttpConnectorFuture::ready(self.respond(&operation, asked))
            }
            Fate::Failed(fault) => {
                let (status, body) = failed(fault, &operation, asked);
                HttpConnectorFuture::ready(response(status, body))
            }
            Fate::Served => HttpConnectorFuture::ready(self.respond(&operation, asked)),
            Fate::TimedOut => unreached(),
            Fate::Unanswered => match self.respond(&operation, asked) {
                Ok(_) | Err(_) => unreached(),
            },
            Fate::Before(wait) => {
                let (tables, asked) = (self.clone(), asked.to_vec());
                HttpConnectorFuture::new(async move {
                    wait.await;
                    tables.respond(&operation, &asked)
                })
            }
            Fate::After(wait) => {
                let answer = self.respond(&operation, asked);
                HttpConnectorFuture::new(async move {
                    wait.await;
                    answer
                })
            }
        }
    }
}

impl DynamoDb {
    fn respond(&self, operation: &str, asked: &[u8]) -> Result<HttpResponse, ConnectorError> {
        let (status, body) = match self.failure(operation, asked) {
            Some(failure) => failure,
            None => match self.answer(operation, asked) {
                Ok(body) => (200, body),
                Err(error) => (error.status_code(), error.to_json().into_bytes()),
            },
        };
        if self.loses(operation, asked) {
            return Err(ConnectorError::timeout("the response was lost".into()));
        }
        response(status, body)
    }
}

fn response(status: u16, body: Vec<u8>) -> Result<HttpResponse, ConnectorError> {
    let status = status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}

impl HttpClient for DynamoDb {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
