//! What a heartbeat over HTTP costs a real process with its state on disk.

use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::Process;
use serde_json::json;

use crate::figure::{Figure, percentile};

const SERVICES: usize = 100;
const HEARTBEATS: usize = 5_000;

pub(crate) async fn figures() -> Vec<Figure> {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::start(folder.path(), &[]).await;
    register(&process, SERVICES).await;
    // The first pass fills the caches, and checks the key.
    send(&process, 1, SERVICES).await;
    let mut figures = Vec::new();
    for connections in [1, 16] {
        let heartbeats = HEARTBEATS / connections * connections;
        let (cpu, began) = (cpu_time(process.pid()), Instant::now());
        let mut latencies = send(&process, connections, heartbeats / connections).await;
        let (elapsed, cpu) = (began.elapsed(), cpu_time(process.pid()).saturating_sub(cpu));
        let count = u32::try_from(heartbeats).expect("a few");
        let name = format!("heartbeat over HTTP, {connections} connection(s)");
        let cpu = (cpu / count).as_secs_f64() * 1e3;
        figures.push(Figure::new(format!("{name}, CPU"), cpu, "ms").at_most(1.0));
        figures.push(Figure::new(&name, f64::from(count) / elapsed.as_secs_f64(), "requests/s"));
        figures.push(Figure::new(format!("{name}, median latency"), percentile(&mut latencies, 0.5) * 1e3, "ms"));
        figures.push(Figure::new(format!("{name}, p99 latency"), percentile(&mut latencies, 0.99) * 1e3, "ms"));
    }
    figures
}

/// Registers services that are not due while this runs.
pub(crate) async fn register(process: &Process, services: usize) {
    for n in 0..services {
        let day_in_minutes = 1_440;
        let body = json!({"heartbeat_name": name(n), "service_name": "worker", "alert_interval": day_in_minutes});
        assert!(process.post("/v2/services", body).await, "service {n} is registered");
    }
}

fn name(n: usize) -> String {
    format!("service-{n}")
}

/// Sends so many heartbeats over each connection, and returns their latencies in seconds.
async fn send(process: &Process, connections: usize, each: usize) -> Vec<f64> {
    let url = format!("{}/heartbeat", process.url);
    let senders = (0..connections).map(|connection| {
        let (url, client) = (&url, reqwest::Client::new());
        async move {
            let mut latencies = Vec::with_capacity(each);
            for n in 0..each {
                let body = json!({"heartbeat_name": name((connection + n * connections) % SERVICES), "status": "UP"});
                let began = Instant::now();
                let response =
                    client.post(url).bearer_auth(process.key()).json(&body).send().await.expect("a response");
                assert_eq!(response.status(), 201, "the heartbeat is accepted");
                response.bytes().await.expect("a body");
                latencies.push(began.elapsed().as_secs_f64());
            }
            latencies
        }
    });
    join_all(senders).await.into_iter().flatten().collect()
}

/// Returns the CPU time of a process, in its own code and in the kernel. See proc(5).
pub(crate) fn cpu_time(pid: u32) -> Duration {
    /// Linux counts in hundredths of a second, whatever the kernel's own rate.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15, and the state after it is field 3.
    let (_, after_name) = stat.rsplit_once(')').expect("a name");
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u32>().expect("a number"));
    TICK * ticks.sum::<u32>()
}
