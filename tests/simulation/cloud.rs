//! What AWS does: delivers messages, ticks once a minute, and runs handlers beside each other on several instances.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use local::{DynamoDb, ManualTime};
use operations::{Entropy, QueuePorts};
use outbound::{AllowedHosts, Guard, Http, Outgoing, ScriptJobs, SystemLookup, Wakes};
use runtime::sqs::{SqsBatchResponse, SqsEvent};
use runtime::{App, Clock as _, Config, ExternalPorts};
use serde_json::{Value, json};
use store::{SHARDS, Table};
use tower::ServiceExt as _;

use crate::fate::{Host, Seed, Weather};
use crate::post::{Message, Post, Queue};
use crate::receivers::Receivers;
use crate::repairs::MAX_STARTS;
use crate::turns::Turns;

/// How a handler ended.
enum Ended {
    Handled,
    Answered(u16, Value),
}

impl Ended {
    fn answer(self) -> Option<(u16, Value)> {
        match self {
            Self::Handled => None,
            Self::Answered(status, body) => Some((status, body)),
        }
    }
}

/// A process of Medic.
#[derive(Clone)]
struct Instance {
    app: App,
    router: Router,
    host: Arc<Host>,
}

/// A request on its way, by its number: what was asked, and what to do when there is no answer.
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) key: Option<String>,
}

/// A request that a client waits for.
struct Pending {
    work: u64,
    number: u64,
    until: DateTime<Utc>,
}

/// The whole of Medic on several instances, and what is around it.
pub(crate) struct Cloud {
    pub(crate) time: ManualTime,
    pub(crate) seed: Arc<Seed>,
    pub(crate) receivers: Receivers,
    dynamodb: DynamoDb,
    pub(crate) post: Arc<Post>,
    config: Config,
    routes: Router<App>,
    instances: Vec<Instance>,
    admin_key: String,
    turns: Turns<Ended>,
    requests: Vec<Pending>,
    ticked_at: DateTime<Utc>,
    tick_at: DateTime<Utc>,
    next_due: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct SharedTime(ManualTime);

impl runtime::Clock for SharedTime {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
}

const TICK: TimeDelta = TimeDelta::seconds(60);
const LOOK_AHEAD: TimeDelta = TimeDelta::seconds(150);
const INSTANCES: usize = 2;
/// A client waits no longer than this. Whoever works on its request does not hear of it.
const PATIENCE: TimeDelta = TimeDelta::seconds(10);
const LONG: TimeDelta = TimeDelta::days(400);

impl Cloud {
    pub(crate) async fn start(seed: Arc<Seed>, time: ManualTime) -> Self {
        let receivers = Receivers::start(&seed, &time);
        let clock = time.clone();
        let dynamodb = DynamoDb::in_memory(move || clock.now()).unwrap();
        let table = Table::new(dynamodb.config(), "medic");
        table.create_table().await.unwrap();
        let admin_key = operations::bootstrap_key(&table, None, |_| Ok::<_, operations::Error>(()), time.now()).await;
        let admin_key = admin_key.unwrap().unwrap();
        let post = Arc::new(Post::new(&seed, &time));
        let address = receivers.address.clone();
        let get = |name: &'static str| {
            let value = match name {
                "SLACK_API_TOKEN" => "xoxb-test".to_owned(),
                "SLACK_CHANNEL_ID" => "C0ALERTS".to_owned(),
                "MEDIC_SLACK_API_URL" => format!("{address}/api"),
                "PAGERDUTY_ROUTING_KEY" => "R0UTING".to_owned(),
                "MEDIC_PAGERDUTY_URL" => format!("{address}/v2/enqueue"),
                "MEDIC_ALLOW_PRIVATE_HOSTS" => "true".to_owned(),
                "MEDIC_RATE_LIMIT_HEARTBEATS" | "MEDIC_RATE_LIMIT_MANAGEMENT" => "1000000".to_owned(),
                "MEDIC_CIRCUIT_MAX_EXECUTIONS" => MAX_STARTS.to_string(),
                _ => return None,
            };
            Some(value)
        };
        let config = Config::read(get).unwrap();
        let (routes, _) = ingest::router().merge(api::router()).split_for_parts();
        let (ticked_at, tick_at) = (time.now(), time.now());
        let turns = Turns::new(&seed, &time);
        let mut cloud = Self {
            time,
            seed,
            receivers,
            dynamodb,
            post,
            config,
            routes,
            instances: Vec::new(),
            admin_key,
            turns,
            requests: Vec::new(),
            ticked_at,
            tick_at,
            next_due: None,
        };
        for _ in 0..INSTANCES {
            let instance = cloud.new_instance().await;
            cloud.instances.push(instance);
        }
        cloud
    }

    /// An instance that remembers nothing but the key: to check that takes a thread, whose time is not the seed's.
    async fn new_instance(&self) -> Instance {
        let fates: Arc<dyn local::Fates> = Arc::clone(&self.seed) as Arc<dyn local::Fates>;
        let table = Table::new(self.dynamodb.with_fates(fates).config(), "medic");
        let ports = QueuePorts {
            wakes: Arc::clone(&self.post) as Arc<dyn Wakes>,
            script_jobs: Arc::clone(&self.post) as Arc<dyn ScriptJobs>,
        };
        let http: Arc<dyn Http> = Arc::new(self.receivers.clone());
        let guard = Guard::new(true, AllowedHosts::default(), Arc::new(SystemLookup));
        let outgoing = Outgoing::over(Arc::clone(&http), guard);
        let external = ExternalPorts { http, outgoing, entropy: Arc::clone(&self.seed) as Arc<dyn Entropy> };
        let medic = runtime::medic_with(&self.config, table, ports, external, false).unwrap();
        let clock = Arc::new(SharedTime(self.time.clone()));
        let app = App { medic: Arc::new(medic), clock, prometheus: None };
        let router = runtime::serve(self.routes.clone(), &app).with_state(app.clone());
        let known = router.clone().oneshot(self.request("GET", "/v2/webhooks?limit=1", Body::empty(), None));
        assert_eq!(known.await.unwrap().status(), 200);
        Instance { app, router, host: Host::new() }
    }

    /// Puts new instances in the place of those that died.
    async fn start_anew(&mut self) {
        for place in 0..self.instances.len() {
            if self.instances[place].host.is_dead() {
                self.seed.record(&format!("instance {place} starts anew"));
                self.instances[place] = self.new_instance().await;
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

    /// Begins a request; its end comes out of `run_until`.
    pub(crate) fn ask(&mut self, asked: &Asked) {
        let instance = self.instance(asked.number);
        let router = instance.router.clone();
        let body = Body::from(asked.body.to_string());
        let request = self.request(asked.method, &asked.path, body, asked.key.as_deref());
        let number = asked.number;
        let work = self.turns.start(
            &instance.host,
            Box::pin(async move {
                let response = router.oneshot(request).await.unwrap();
                let status = response.status().as_u16();
                let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
                Ended::Answered(status, serde_json::from_slice(&bytes).unwrap_or_default())
            }),
        );
        self.requests.push(Pending { work, number, until: self.time.now() + PATIENCE });
    }

    /// Runs until the clock shows `end`, or a request ended: by its number, status and body; no status is no answer.
    pub(crate) async fn run_until(&mut self, end: DateTime<Utc>) -> Option<(u64, Option<(u16, Value)>)> {
        loop {
            self.start_what_is_due();
            while let Some((number, ended)) = self.turns.next().await {
                self.start_anew().await;
                let request = self.requests.iter().position(|pending| pending.work == number);
                if let Some(asked) = request.map(|place| self.requests.remove(place).number) {
                    return Some((asked, ended.and_then(Ended::answer)));
                }
                self.start_what_is_due();
            }
            let now = self.time.now();
            if let Some(place) = self.requests.iter().position(|pending| pending.until <= now) {
                return Some((self.requests.remove(place).number, None));
            }
            if now >= end {
                return None;
            }
            let next = self.next_at().max(now + TimeDelta::milliseconds(1)).min(end);
            self.time.set(next);
        }
    }

    fn next_at(&mut self) -> DateTime<Utc> {
        let now = self.time.now();
        // A write that is on its way may be made at any instant.
        if self.seed.has_new_timers.swap(!self.turns.is_idle(), Ordering::Relaxed) {
            self.next_due = self.due_rows().into_iter().map(|(at, _)| at).min();
        }
        // A tick with nothing due before the one after the next does nothing, and is left out.
        let useful = self.next_due.map(|due| {
            let first = due - LOOK_AHEAD + TICK - TimeDelta::milliseconds(1);
            first.duration_trunc(TICK).unwrap().max(self.ticked_at.duration_trunc(TICK).unwrap() + TICK)
        });
        self.tick_at = useful.unwrap_or(now + LONG);
        let messages = self.post.next_at();
        let given_up = self.requests.iter().map(|pending| pending.until);
        self.turns
            .next_at()
            .into_iter()
            .chain(messages)
            .chain(given_up)
            .chain([self.tick_at])
            .min()
            .unwrap_or(self.tick_at)
    }

    /// All rows that are due at some time, as the table has them.
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
        if self.tick_at <= now {
            (self.ticked_at, self.tick_at) = (now, now + TICK);
            let instance = self.instance("tick");
            let app = instance.app.clone();
            self.seed.record("tick");
            let _tick = self.turns.start(
                &instance.host,
                Box::pin(async move {
                    // A tick that fails comes again in a minute.
                    drop(sweep::tick(&app).await);
                    Ended::Handled
                }),
            );
        }
        let mut ready = self.post.receive(now);
        // Whoever comes first is the seed's to say.
        if !self.seed.is_calm() && !ready.is_empty() {
            ready.rotate_left(self.seed.choose("first", ready.len()));
        }
        for batch in ready {
            let instance = self.instance(batch[0].queue);
            let (app, post) = (instance.app.clone(), Arc::clone(&self.post));
            for message in &batch {
                self.seed.record(&format!("message {} is received", message.id));
            }
            let _batch = self.turns.start(&instance.host, Box::pin(handle(app, post, batch)));
        }
    }

    fn instance(&self, about: impl std::hash::Hash) -> Instance {
        self.instances[self.seed.choose(("instance", about), INSTANCES)].clone()
    }

    pub(crate) fn is_stormy(&self) -> bool {
        self.seed.weather == Weather::Stormy
    }
}

async fn handle(app: App, post: Arc<Post>, batch: Vec<Message>) -> Ended {
    let records: Vec<_> = batch
        .iter()
        .map(|message| json!({"messageId": message.id.to_string(), "body": message.body, "attributes": {}}))
        .collect();
    let event: SqsEvent = serde_json::from_value(json!({"Records": records})).unwrap();
    let SqsBatchResponse { batch_item_failures, .. } = match batch[0].queue {
        Queue::Sweep => sweep::wake_ups(&app, event).await,
        Queue::Notify => notify::wake_ups(&app, event).await,
        Queue::Playbook => playbook::messages(&app, event).await,
    };
    let failed = |id: u64| batch_item_failures.iter().any(|failure| failure.item_identifier == id.to_string());
    post.handled(&batch, failed);
    Ended::Handled
}
