//! Load for two minutes on a real process with its state on disk: heartbeats, signals and management mixed, while some
//! services fall silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::{Process, Receivers};
use reqwest::Method;
use serde_json::{Value, json};

use crate::figure::{Figure, percentile};
use crate::footprint::resident;
use crate::speed::cpu_time;

const SERVICES: usize = 10_000;
const CONNECTIONS: usize = 16;
const LOAD: Duration = Duration::from_mins(2);
/// Every fiftieth service is silent: 2 %.
const SILENT: usize = 50;
/// From its last heartbeat on, a silent service is late after this: within the load.
const INTERVAL: Duration = Duration::from_mins(1);
/// How long notifications may take after the load.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Kinds of requests, and how many of each twenty are of a kind.
const MIX: [(&str, usize); 6] =
    [("heartbeat", 12), ("signal", 4), ("service", 1), ("list", 1), ("stats", 1), ("edit", 1)];

#[derive(Default)]
struct Tally {
    /// By kind of request, in seconds.
    latencies: BTreeMap<&'static str, Vec<f64>>,
    errors: usize,
}

pub(crate) async fn figures() -> Vec<Figure> {
    let folder = tempfile::tempdir().expect("a folder");
    let receivers = Receivers::start().await;
    let process = Process::start(folder.path(), &receivers.environment()).await;
    let ids = join_all((0..CONNECTIONS).map(|connection| register(&process, connection))).await;
    let ids: BTreeMap<usize, i64> = ids.into_iter().flatten().collect();
    let (memory, cpu) = (resident(process.pid()), cpu_time(process.pid()));
    join_all((0..CONNECTIONS).map(|connection| send_last_heartbeats(&process, connection))).await;

    let began = Instant::now();
    let tallies = join_all((0..CONNECTIONS).map(|connection| load(&process, &ids, connection, began))).await;
    let (elapsed, cpu) = (began.elapsed(), cpu_time(process.pid()).saturating_sub(cpu));
    let mut all = Tally::default();
    for Tally { latencies, errors } in tallies {
        all.errors += errors;
        for (of, more) in latencies {
            all.latencies.entry(of).or_default().extend(more);
        }
    }
    let requests: usize = all.latencies.values().map(Vec::len).sum();
    let end = resident(process.pid());
    let Notified { silent, others } = notified(&receivers).await;

    let name = "load, 10,000 services, 16 connections, 2 minutes";
    let mut figures = vec![
        Figure::new(format!("{name}: requests"), count(requests) / elapsed.as_secs_f64(), "requests/s"),
        Figure::new(format!("{name}: errors"), count(all.errors) * 100.0 / count(requests), "%").at_most(0.0),
        Figure::new(format!("{name}: CPU"), cpu.as_secs_f64() * 1e3 / count(requests), "ms/request"),
        Figure::new(format!("{name}: memory before"), memory, "MB"),
        Figure::new(format!("{name}: memory after"), end, "MB"),
        Figure::new(format!("{name}: silent services not notified of"), count(SERVICES / SILENT - silent), "services")
            .at_most(0.0),
        Figure::new(format!("{name}: notifications of others, or sent twice"), count(others), "notifications")
            .at_most(0.0),
    ];
    for (of, mut latencies) in all.latencies {
        figures.push(Figure::new(format!("{name}: {of}, median"), percentile(&mut latencies, 0.5) * 1e3, "ms"));
        figures.push(Figure::new(format!("{name}: {of}, p99"), percentile(&mut latencies, 0.99) * 1e3, "ms"));
    }
    figures
}

const fn is_silent(n: usize) -> bool {
    n.is_multiple_of(SILENT)
}

/// Registers every 16th service, and returns their ids.
async fn register(process: &Process, connection: usize) -> Vec<(usize, i64)> {
    let mut ids = Vec::new();
    for n in (connection..SERVICES).step_by(CONNECTIONS) {
        let minutes = if is_silent(n) { 1_440.0 } else { 14_400.0 };
        let body = json!({"heartbeat_name": name(n), "service_name": "worker", "alert_interval": minutes});
        let (status, body) = process.send(Method::POST, "/v2/services", Some(body)).await.expect("a response");
        assert_eq!(status, 201, "service {n} is registered");
        ids.push((n, body["results"]["service_id"].as_i64().expect("an id")));
    }
    ids
}

/// Gives each silent service its interval, and its last heartbeat.
async fn send_last_heartbeats(process: &Process, connection: usize) {
    for n in (connection..SERVICES).step_by(CONNECTIONS).filter(|n| is_silent(*n)) {
        let minutes = INTERVAL.as_secs_f64() / 60.0;
        let path = format!("/service/{}", name(n));
        let edited = process.send(Method::POST, &path, Some(json!({"alert_interval": minutes}))).await;
        assert_eq!(edited.expect("a response").0, 200, "service {n} is edited");
        assert!(process.post("/heartbeat", json!({"heartbeat_name": name(n), "status": "UP"})).await, "a heartbeat");
    }
}

fn name(n: usize) -> String {
    if is_silent(n) { format!("silent-{n}") } else { format!("steady-{n}") }
}

/// Sends one request after the other until the load is over.
async fn load(process: &Process, ids: &BTreeMap<usize, i64>, connection: usize, began: Instant) -> Tally {
    let mut tally = Tally::default();
    let plan: Vec<&'static str> = MIX.iter().flat_map(|(of, times)| std::iter::repeat_n(*of, *times)).collect();
    for n in 0.. {
        if began.elapsed() >= LOAD {
            break;
        }
        // Requests of a kind are spread over time, and each connection begins elsewhere in the plan.
        let of = plan[(n * 7 + connection) % plan.len()];
        let service = (connection + n * CONNECTIONS * 3) % SERVICES;
        let service = if is_silent(service) { service + 1 } else { service };
        let Request { method, path, body, status } = request(of, service, ids[&service], n);
        let sent = Instant::now();
        let response = process.send(method, &path, body).await;
        tally.latencies.entry(of).or_default().push(sent.elapsed().as_secs_f64());
        tally.errors += usize::from(response.is_none_or(|(actual, _)| actual != status));
    }
    tally
}

/// A request, and the status that it must get.
struct Request {
    method: Method,
    path: String,
    body: Option<Value>,
    status: u16,
}

/// Returns the `n`th request of a kind, about a service.
fn request(kind: &str, service: usize, id: i64, n: usize) -> Request {
    let get = |path| Request { method: Method::GET, path, body: None, status: 200 };
    let post = |path, body, status| Request { method: Method::POST, path, body: Some(body), status };
    match kind {
        "heartbeat" => post("/heartbeat".to_owned(), json!({"heartbeat_name": name(service), "status": "UP"}), 201),
        "signal" => {
            let signal = if n.is_multiple_of(2) { "start" } else { "complete" };
            let run = json!({"run_id": format!("r{}", n / 2)});
            post(format!("/v2/heartbeat/{id}/{signal}"), run, 201)
        }
        "list" => get("/v2/services?limit=50".to_owned()),
        "stats" => get(format!("/v2/services/{id}/stats")),
        "edit" => post(format!("/service/{}", name(service)), json!({"priority": "p2"}), 200),
        _ => get(format!("/service/{}", name(service))),
    }
}

/// What PagerDuty was notified of.
struct Notified {
    /// Silent services.
    silent: usize,
    /// Notifications about others, or that came twice.
    others: usize,
}

async fn notified(receivers: &Receivers) -> Notified {
    let began = Instant::now();
    loop {
        let mut keys = BTreeSet::new();
        let mut others = 0;
        let triggers = receivers.accepted("pagerduty").into_iter().filter(|line| line.starts_with("trigger "));
        for line in triggers {
            let is_expected = line.contains("-silent-");
            others += usize::from(!is_expected || !keys.insert(line));
        }
        if keys.len() >= SERVICES / SILENT || began.elapsed() > TIMEOUT {
            return Notified { silent: keys.len(), others };
        }
        #[expect(clippy::disallowed_methods, reason = "the process that is measured has the machine's time")]
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
fn count(count: usize) -> f64 {
    count as f64
}
