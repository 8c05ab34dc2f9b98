//! Ten thousand services that fall silent in the same second: when each notification arrives, and that none arrives twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use harness::{Arrival, Process, Receivers};
use runtime::{Clock as _, SystemClock};
use serde_json::json;

use crate::figure::{Figure, percentile};
use crate::speed::cpu_time;

const SERVICES: usize = 10_000;
const CONNECTIONS: usize = 16;
/// How long registering one of them may take.
const REGISTERING: Duration = Duration::from_millis(12);
/// The shortest interval: reminders begin when one has passed after the deadline.
const MIN_INTERVAL: Duration = Duration::from_mins(1);
/// How long notifications may take.
const TIMEOUT: Duration = Duration::from_mins(5);

pub(crate) async fn flood(receivers: &[&str]) -> Vec<Figure> {
    let folder = tempfile::tempdir().expect("a folder");
    let loopback = Receivers::start().await;
    let mut environment = loopback.environment();
    if !receivers.contains(&"PagerDuty") {
        environment.push(("PAGERDUTY_ROUTING_KEY", String::new()));
    }
    let process = Process::start(folder.path(), &environment).await;
    let count = u32::try_from(SERVICES).expect("some thousands");
    let deadline = SystemClock.now() + TimeDelta::from_std(REGISTERING * count + MIN_INTERVAL).expect("a span");
    let senders = (0..CONNECTIONS).map(|connection| register(&process, connection, deadline));
    join_all(senders).await;
    let left = (deadline - SystemClock.now()).to_std().expect("they are registered before the deadline");
    rest(left).await;
    let cpu_before = cpu_time(process.pid());

    let mut figures = Vec::new();
    for receiver in receivers {
        let arrivals = wait_for_all(&loopback, receiver, SERVICES).await;
        let (count, with) = (services(&arrivals, receiver), receivers.join(" and "));
        let name = format!("10,000 services silent in the same second, {with} notified: {receiver}");
        let mut delays = delays(&arrivals, receiver, deadline);
        figures.push(
            Figure::new(format!("{name}, notifications"), count_of(count), "notifications").at_most(count_of(SERVICES)),
        );
        figures.push(Figure::new(format!("{name}, median"), percentile(&mut delays, 0.5), "s"));
        figures.push(Figure::new(format!("{name}, p99"), percentile(&mut delays, 0.99), "s").at_most(10.0));
        if *receiver == "Slack" {
            let messages = arrivals.iter().filter(|arrival| services_in(arrival, "Slack") > 0).count();
            figures.push(Figure::new(format!("{name}, messages"), count_of(messages), "messages"));
        }
    }
    let cpu = cpu_time(process.pid()).saturating_sub(cpu_before).as_secs_f64() * 1e3 / count_of(SERVICES);
    let with = receivers.join(" and ");
    let name = format!("10,000 services silent in the same second, {with} notified: CPU for each");
    figures.push(Figure::new(name, cpu, "ms"));
    figures
}

/// Registers every 16th service, each with the interval that ends at the deadline.
async fn register(process: &Process, connection: usize, deadline: DateTime<Utc>) {
    for n in (connection..SERVICES).step_by(CONNECTIONS) {
        let minutes = (deadline - SystemClock.now()).as_seconds_f64() / 60.0;
        let body =
            json!({"heartbeat_name": format!("silent-{n}"), "service_name": "worker", "alert_interval": minutes});
        assert!(process.post("/v2/services", body).await, "service {n} is registered");
    }
}

/// Waits until the notifications that arrived are about so many services, and returns them.
pub(crate) async fn wait_for_all(receivers: &Receivers, receiver: &str, many: usize) -> Vec<Arrival> {
    let began = Instant::now();
    loop {
        let arrivals = receivers.arrivals();
        if services(&arrivals, receiver) >= many || began.elapsed() > TIMEOUT {
            return arrivals;
        }
        rest(Duration::from_millis(500)).await;
    }
}

async fn rest(span: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the process that is measured has the machine's time")]
    tokio::time::sleep(span).await;
}

/// Returns how many services a message says are down: of many it gives the number.
pub(crate) fn services_in(arrival: &Arrival, receiver: &str) -> usize {
    let line = arrival.line();
    match (arrival.receiver, receiver) {
        _ if !arrival.accepted => 0,
        ("pagerduty", "PagerDuty") => usize::from(line.starts_with("trigger ")),
        ("slack", "Slack") => match line.split_once(" services are down") {
            Some((before, _)) => before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default(),
            None => line.lines().filter(|line| line.contains(" is down: ")).count(),
        },
        _ => 0,
    }
}

fn services(arrivals: &[Arrival], receiver: &str) -> usize {
    arrivals.iter().map(|arrival| services_in(arrival, receiver)).sum()
}

/// Returns the delay of each notification in seconds.
fn delays(arrivals: &[Arrival], receiver: &str, deadline: DateTime<Utc>) -> Vec<f64> {
    let mut keys = BTreeSet::new();
    let mut delays = Vec::new();
    for arrival in arrivals {
        let at = SystemClock.now() - arrival.at.elapsed();
        let many = services_in(arrival, receiver);
        if receiver == "PagerDuty" && many > 0 {
            assert!(keys.insert(arrival.line()), "{} came twice", arrival.line());
        }
        delays.extend(std::iter::repeat_n((at - deadline).as_seconds_f64(), many));
    }
    delays
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn count_of(count: usize) -> f64 {
    count as f64
}
