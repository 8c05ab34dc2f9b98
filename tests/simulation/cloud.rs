//! What AWS does: delivers messages, ticks once a minute, and runs handlers beside each other on several instances.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use local::{DynamoDb, ManualTime};
use operations::{Entropy, QueuePorts};
use outbound::{AllowedHosts, Guard, Http, Outgoing, ScriptJobs, ScriptReports, SystemLookup, Wakes};
use runtime::sqs::{SqsBatchResponse, SqsEvent};
use runtime::{App, Clock as _, Config, ExternalPorts, Routes};
use serde_json::{Value, json};
use store::{SHARDS, Saved, Table, Writes};
use tower::ServiceExt as _;

use crate::executor::Executor;
use crate::model::Span;
use crate::plan::Plan;
use crate::queues::{InstanceWakes, Message, Queue, Queues};
use crate::receivers::Receivers;
use crate::rules::GAP_LIMIT;
use crate::seed::{FaultLevel, InstanceState, Seed};
use crate::slack;

/// A response to a client.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// A request that ended, by its number; without a response if its handler died or took too long.
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) response: Option<Response>,
}

/// A process of Medic.
#[derive(Clone)]
struct Instance {
    app: App,
    router: Router,
    state: Arc<InstanceState>,
}

/// A request of a client, by its number.
pub(crate) struct ClientRequest {
    pub(crate) number: u64,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) idempotency_key: Option<String>,
}

/// A request whose response a client waits for.
struct Pending {
    task: u64,
    number: u64,
    until: DateTime<Utc>,
}

/// The whole of Medic on several instances, and what is around it.
pub(crate) struct Cloud {
    pub(crate) time: ManualTime,
    pub(crate) seed: Arc<Seed>,
    pub(crate) receivers: Receivers,
    dynamodb: DynamoDb,
    pub(crate) queues: Arc<Queues>,
    config: Config,
    routes: Routes,
    instances: Vec<Instance>,
    admin_key: String,
    /// The key of those who ping, if there are any.
    pub(crate) ping_key: Option<String>,
    executor: Executor<Option<Response>>,
    requests: Vec<Pending>,
    ticked_at: DateTime<Utc>,
    tick_at: DateTime<Utc>,
    next_due: Option<DateTime<Utc>>,
    /// When all of it is stopped.
    stops: Vec<Span>,
    is_stopped: bool,
    /// The gaps that were recorded.
    pub(crate) gaps: Vec<Span>,
}

/// An instance's clock, which may be ahead of the others or behind.
#[derive(Debug)]
struct InstanceClock {
    time: ManualTime,
    ahead: TimeDelta,
}

impl runtime::Clock for InstanceClock {
    fn now(&self) -> DateTime<Utc> {
        self.time.now() + self.ahead
    }
}

const TICK: TimeDelta = TimeDelta::seconds(60);
const LOOK_AHEAD: TimeDelta = TimeDelta::seconds(150);
const INSTANCES: usize = 2;
/// A client waits no longer than this. The handler of its request goes on.
const CLIENT_TIMEOUT: TimeDelta = TimeDelta::seconds(10);
/// The handler of a request that nobody got.
const NOBODY: u64 = 0;
const LONG: TimeDelta = TimeDelta::days(400);
/// How long the functions may take: of requests, of the sweep and the senders, and of playbooks.
const REQUEST_TIME: TimeDelta = TimeDelta::seconds(15);
const WORKER_TIME: TimeDelta = TimeDelta::seconds(30);
const PLAYBOOK_TIME: TimeDelta = TimeDelta::seconds(330);

impl Cloud {
    pub(crate) async fn start(seed: Arc<Seed>, plan: &Plan, time: ManualTime) -> Self {
        let receivers = Receivers::start(&seed, &time);
        let clock = time.clone();
        let dynamodb = DynamoDb::in_memory(move || clock.now()).unwrap();
        let table = Table::new(dynamodb.config(), "medic");
        table.create_table().await.unwrap();
        let admin_key = operations::bootstrap_key(&table, None, |_| Ok::<_, operations::Error>(()), time.now()).await;
        let admin_key = admin_key.unwrap().unwrap();
        hash_cheaply(&table, &admin_key).await;
        let queues = Arc::new(Queues::new(&seed, &time));
        let address = receivers.address.clone();
        let get = |name: &'static str| {
            let value = match name {
                "SLACK_API_TOKEN" => "xoxb-test".to_owned(),
                "SLACK_CHANNEL_ID" => "C0ALERTS".to_owned(),
                "SLACK_SIGNING_SECRET" => slack::SIGNING_SECRET.to_owned(),
                "MEDIC_SLACK_API_URL" => format!("{address}/api"),
                "PAGERDUTY_ROUTING_KEY" => "R0UTING".to_owned(),
                "MEDIC_PAGERDUTY_URL" => format!("{address}/v2/enqueue"),
                // The model has one key, and knows the circuits of services alone.
                "MEDIC_ALLOW_PRIVATE_HOSTS" | "MEDIC_ALLOW_SELF_APPROVAL" => "true".to_owned(),
                "MEDIC_RATE_LIMIT_HEARTBEATS" | "MEDIC_RATE_LIMIT_MANAGEMENT" | "MEDIC_CIRCUIT_MAX_EXECUTIONS_ALL" => {
                    "1000000".to_owned()
                }
                "MEDIC_CIRCUIT_MAX_EXECUTIONS" => plan.max_starts().to_string(),
                _ => return None,
            };
            Some(value)
        };
        let config = Config::read(get).unwrap();
        let routes = ingest::router().merge(api::router());
        let (ticked_at, tick_at) = (time.now(), time.now());
        let executor = Executor::new(&seed, &time);
        let mut cloud = Self {
            time,
            seed,
            receivers,
            dynamodb,
            queues,
            config,
            routes,
            instances: Vec::new(),
            admin_key,
            ping_key: None,
            executor,
            requests: Vec::new(),
            ticked_at,
            tick_at,
            next_due: None,
            stops: plan.stops.clone(),
            is_stopped: false,
            gaps: Vec::new(),
        };
        for place in 0..INSTANCES {
            let instance = cloud.new_instance(place).await;
            cloud.instances.push(instance);
        }
        cloud
    }

    /// Creates an instance whose caches hold nothing but the key: to check that takes a thread, which the seed does not
    /// control.
    async fn new_instance(&self, place: usize) -> Instance {
        let ahead = self.seed.clock_ahead(place);
        let fates: Arc<dyn local::Fates> = Arc::clone(&self.seed) as Arc<dyn local::Fates>;
        let table = Table::new(self.dynamodb.with_fates(fates).config(), "medic");
        let ports = QueuePorts {
            wakes: Arc::new(InstanceWakes { queues: Arc::clone(&self.queues), ahead }) as Arc<dyn Wakes>,
            script_jobs: Arc::clone(&self.queues) as Arc<dyn ScriptJobs>,
            script_reports: Arc::clone(&self.queues) as Arc<dyn ScriptReports>,
        };
        let http: Arc<dyn Http> = Arc::new(self.receivers.clone());
        let guard = Guard::new(true, AllowedHosts::default(), Arc::new(SystemLookup));
        let outgoing = Outgoing::over(Arc::clone(&http), guard);
        let external = ExternalPorts { http, outgoing, entropy: Arc::clone(&self.seed) as Arc<dyn Entropy> };
        let medic = runtime::medic_with(&self.config, table, ports, external, false).unwrap();
        let clock = Arc::new(InstanceClock { time: self.time.clone(), ahead });
        let app = App { medic: Arc::new(medic), clock, prometheus: None };
        let router = runtime::serve(self.routes.clone(), &app).with_state(app.clone());
        let known = router.clone().oneshot(self.request("GET", "/v2/webhooks?limit=1", Body::empty(), None));
        assert_eq!(known.await.unwrap().status(), 200);
        self.check_ping_key(&router).await;
        Instance { app, router, state: InstanceState::new() }
    }

    /// Has an instance check the key of those who ping.
    async fn check_ping_key(&self, router: &Router) {
        if let Some(key) = &self.ping_key {
            let request = self.request("GET", &format!("/ping/{key}/nobody"), Body::empty(), None);
            assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 404);
        }
    }

    /// Introduces the key of those who ping.
    pub(crate) async fn use_ping_key(&mut self, key: String) {
        self.ping_key = Some(key);
        for instance in self.instances.clone() {
            self.check_ping_key(&instance.router).await;
        }
    }

    /// Replaces the instances that died.
    async fn replace_dead(&mut self) {
        for place in 0..self.instances.len() {
            if self.instances[place].state.is_dead() {
                self.seed.record(&format!("instance {place} is replaced"));
                self.instances[place] = self.new_instance(place).await;
            }
        }
    }

    fn request(&self, method: &str, path: &str, body: Body, key: Option<&str>) -> Request<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .extension(axum::extract::ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 9))))
            .header("authorization", format!("Bearer {}", self.admin_key));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.body(body).unwrap()
    }

    /// Returns until when an instance is paused, which responds to nobody.
    pub(crate) fn paused_until(&self) -> DateTime<Utc> {
        let paused = self.instances.iter().map(|instance| instance.state.paused_until());
        paused.max().unwrap_or_default()
    }

    /// Sends a request; `run_until` returns its response.
    pub(crate) fn send(&mut self, request: &ClientRequest) {
        let ClientRequest { number, method, path, body, idempotency_key } = request;
        let until = self.time.now() + CLIENT_TIMEOUT;
        if self.stop_at(self.time.now()).is_some() {
            self.requests.push(Pending { task: NOBODY, number: *number, until });
            return;
        }
        let instance = self.instance(*number);
        let router = instance.router.clone();
        let request = if path == slack::PATH {
            let (body, headers) = slack::signed(body, self.time.now());
            let mut request = self.request(method, path, Body::from(body), None);
            request.headers_mut().extend(headers);
            request
        } else {
            self.request(method, path, Body::from(body.to_string()), idempotency_key.as_deref())
        };
        let task = self.executor.start(
            &instance.state,
            REQUEST_TIME,
            Box::pin(async move {
                let response = router.oneshot(request).await.unwrap();
                let status = response.status().as_u16();
                let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
                Some(Response { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
            }),
        );
        self.requests.push(Pending { task, number: *number, until });
    }

    /// Runs until the clock shows `end`, or until a client gets a response or stops waiting for one.
    pub(crate) async fn run_until(&mut self, end: DateTime<Utc>) -> Option<Ended> {
        loop {
            self.start_what_is_due();
            self.replace_dead().await;
            while let Some((number, ended)) = self.executor.next().await {
                self.replace_dead().await;
                let request = self.requests.iter().position(|pending| pending.task == number);
                if let Some(number) = request.map(|place| self.requests.remove(place).number) {
                    return Some(Ended { number, response: ended.flatten() });
                }
                self.start_what_is_due();
            }
            let now = self.time.now();
            if let Some(place) = self.requests.iter().position(|pending| pending.until <= now) {
                return Some(Ended { number: self.requests.remove(place).number, response: None });
            }
            if now >= end {
                return None;
            }
            let next = self.next_at().max(now + TimeDelta::milliseconds(1)).min(end);
            self.keep_pulse(next).await;
            self.time.set(next);
        }
    }

    /// Returns the stop that lasts at `at`.
    fn stop_at(&self, at: DateTime<Utc>) -> Option<Span> {
        self.stops.iter().find(|stop| stop.covers(at)).copied()
    }

    /// Keeps the gaps that were recorded, and renews the pulse as the ticks until `next` that are left out would have.
    pub(crate) async fn keep_pulse(&mut self, next: DateTime<Utc>) {
        let first = self.ticked_at.duration_trunc(TICK).unwrap() + TICK;
        let last = next_minute(next.min(self.tick_at)) - TICK;
        let is_due = first <= last && !self.is_stopped;
        if !is_due && !self.seed.has_new_pulse.swap(false, Ordering::Relaxed) {
            return;
        }
        let table = Table::new(self.dynamodb.config(), "medic");
        let Some(old) = table.pulse().await.unwrap() else { return };
        for gap in &old.gaps {
            if self.gaps.last().is_none_or(|known| known.to < gap.to) {
                self.gaps.push(Span { from: gap.from, to: gap.to });
            }
        }
        if is_due && last > old.at {
            let renewed = old.renewed(first.max(old.at), GAP_LIMIT);
            let gap = renewed.gaps.last().filter(|gap| gap.from == old.at);
            self.gaps.extend(gap.map(|gap| Span { from: gap.from, to: gap.to }));
            let new = domain::Pulse { at: last, ..renewed };
            assert_eq!(table.save_pulse(Some(&old), &new).await.unwrap(), store::Commit::Done);
            self.ticked_at = last;
        }
    }

    fn next_at(&mut self) -> DateTime<Utc> {
        let now = self.time.now();
        let given_up = self.requests.iter().map(|pending| pending.until);
        if let Some(stop) = self.stop_at(now) {
            self.tick_at = next_minute(stop.to);
            return given_up.chain([stop.to]).min().unwrap_or(stop.to);
        }
        // A write that is on its way may be committed at any instant.
        if self.seed.has_new_timers.swap(!self.executor.is_idle(), Ordering::Relaxed) {
            self.next_due = self.due_rows().into_iter().map(|(at, _)| at).min();
        }
        // A tick with nothing due before the one after the next does nothing, and is left out.
        let useful = self.next_due.map(|due| {
            let first = due - LOOK_AHEAD + TICK - TimeDelta::milliseconds(1);
            first.duration_trunc(TICK).unwrap().max(self.ticked_at.duration_trunc(TICK).unwrap() + TICK)
        });
        self.tick_at = useful.unwrap_or(now + LONG);
        let messages = self.queues.next_at();
        let stop = self.stops.iter().map(|stop| stop.from).find(|from| *from > now);
        self.executor
            .next_at()
            .into_iter()
            .chain(messages)
            .chain(given_up)
            .chain(stop)
            .chain([self.tick_at])
            .min()
            .unwrap_or(self.tick_at)
    }

    /// Returns all rows that fall due at some time, as the table has them.
    pub(crate) fn due_rows(&self) -> Vec<(DateTime<Utc>, String)> {
        let rows = (0..SHARDS).flat_map(|shard| {
            let answer = self.dynamodb.query(json!({
                "TableName": "medic", "IndexName": "due", "KeyConditionExpression": "due_shard = :shard",
                "ExpressionAttributeValues": {":shard": {"S": shard.to_string()}},
            }));
            answer.unwrap()["Items"].as_array().cloned().unwrap_or_default()
        });
        let read = |row: Value| {
            let at = row["due_at"]["N"].as_str().unwrap().parse().unwrap();
            (domain::from_millis(at), format!("{} {}", row["pk"]["S"], row["sk"]["S"]))
        };
        rows.map(read).collect()
    }

    fn start_what_is_due(&mut self) {
        let now = self.time.now();
        let is_stopped = self.stop_at(now).is_some();
        if is_stopped && !self.is_stopped {
            self.seed.record("all of Medic stops");
            self.instances.iter().for_each(|instance| instance.state.die());
            self.executor.end_all();
        } else if self.is_stopped && !is_stopped {
            self.seed.record("Medic goes on");
            // Ticks that nobody got do not come again.
            (self.ticked_at, self.tick_at) = (now, next_minute(now));
        }
        self.is_stopped = is_stopped;
        if is_stopped {
            return;
        }
        if self.tick_at <= now {
            (self.ticked_at, self.tick_at) = (now, now + TICK);
            let instance = self.instance("tick");
            let app = instance.app.clone();
            self.seed.record("tick");
            let _tick = self.executor.start(
                &instance.state,
                WORKER_TIME,
                Box::pin(async move {
                    // A tick that fails comes again in a minute.
                    drop(sweep::tick(&app).await);
                    None
                }),
            );
        }
        let mut ready = self.queues.receive(now);
        // The seed decides which batch comes first.
        if !self.seed.is_calm() && !ready.is_empty() {
            ready.rotate_left(self.seed.choose("first", ready.len()));
        }
        for batch in ready {
            if let [Message { queue: Queue::Script, .. }] = &batch[..] {
                self.queues.run_script(&batch[0]);
                continue;
            }
            let instance = self.instance(batch[0].queue);
            let (app, queues) = (instance.app.clone(), Arc::clone(&self.queues));
            for message in &batch {
                self.seed.record(&format!("message {} is received", message.id));
            }
            let fails = self.queues.fails(&batch);
            let time_limit = if batch[0].queue == Queue::Playbook { PLAYBOOK_TIME } else { WORKER_TIME };
            let handler = Box::pin(handle(app, queues, batch));
            if fails {
                self.executor.start_failing(&instance.state, time_limit, handler);
            } else {
                self.executor.start(&instance.state, time_limit, handler);
            }
        }
    }

    fn instance(&self, about: impl std::hash::Hash) -> Instance {
        self.instances[self.seed.choose(("instance", about), INSTANCES)].clone()
    }

    pub(crate) fn is_stormy(&self) -> bool {
        self.seed.fault_level == FaultLevel::Stormy
    }
}

/// Replaces the hash of the one key by one that is quickly checked, as each new instance does.
async fn hash_cheaply(table: &Table, admin_key: &str) {
    let old = table.api_keys(None, 1).await.unwrap().items.remove(0);
    let cheap = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap);
    let hash = argon2.hash_password(admin_key.as_bytes()).unwrap().to_string();
    let new = domain::ApiKey { hash, ..old.clone() };
    assert_eq!(table.update(&old, &new, Writes::new()).await.unwrap(), Saved::Done);
}

/// Returns the first whole minute at or after `at`.
fn next_minute(at: DateTime<Utc>) -> DateTime<Utc> {
    (at - TimeDelta::milliseconds(1)).duration_trunc(TICK).unwrap() + TICK
}

async fn handle(app: App, queues: Arc<Queues>, batch: Vec<Message>) -> Option<Response> {
    let records: Vec<_> = batch
        .iter()
        .map(|message| json!({"messageId": message.id.to_string(), "body": message.body, "attributes": {}}))
        .collect();
    let event: SqsEvent = serde_json::from_value(json!({"Records": records})).unwrap();
    let SqsBatchResponse { batch_item_failures, .. } = match batch[0].queue {
        Queue::Sweep => sweep::wake_ups(&app, event).await,
        Queue::Notify => notify::wake_ups(&app, event).await,
        Queue::Playbook | Queue::ScriptResults => playbook::messages(&app, event).await,
        Queue::Script => unreachable!("scripts are run by workers of their own"),
    };
    let failed = |id: u64| batch_item_failures.iter().any(|failure| failure.item_identifier == id.to_string());
    queues.handled(&batch, failed);
    None
}
