//! From a deadline to the notification's arrival at a local receiver: real outages of a real process.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use harness::{Process, Receivers};
use runtime::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::figure::{Figure, percentile};
use crate::flood::{services_in, wait_for_all};

const OUTAGES: usize = 200;

pub(crate) async fn figures() -> Vec<Figure> {
    // The last service is registered before the first is late, and the last alert is sent before the first reminder.
    let mut spread = outages(Duration::from_millis(97), Duration::from_secs(22)).await;
    let mut burst = outages(Duration::ZERO, Duration::from_secs(8)).await;
    let mut figures = Vec::new();
    for (receiver, delays) in &mut spread {
        let name = format!("deadline to {receiver}, 200 outages at 10 a second");
        figures.push(Figure::new(format!("{name}, median"), percentile(delays, 0.5), "ms").at_most(500.0));
        figures.push(Figure::new(format!("{name}, p99"), percentile(delays, 0.99), "ms").at_most(1_000.0));
    }
    // Slack's own limit, a message a second, spreads this over a few seconds.
    for (receiver, delays) in &mut burst {
        let name = format!("deadline to {receiver}, 200 outages within a second");
        figures.push(Figure::new(format!("{name}, median"), percentile(delays, 0.5), "ms"));
        figures.push(Figure::new(format!("{name}, p99"), percentile(delays, 0.99), "ms"));
    }
    figures
}

/// Delays in milliseconds, by receiver.
type Delays = Vec<(&'static str, Vec<f64>)>;

/// Registers services one by one, a `pause` apart, each with one heartbeat and then none.
async fn outages(pause: Duration, interval: Duration) -> Delays {
    let folder = tempfile::tempdir().expect("a folder");
    let receivers = Receivers::start().await;
    let process = Process::start(folder.path(), &receivers.environment()).await;
    let began = Instant::now();
    for n in 0..OUTAGES {
        let name = format!("silent-{n}");
        let minutes = interval.as_secs_f64() / 60.0;
        let body = json!({"heartbeat_name": name, "service_name": "worker", "alert_interval": minutes});
        assert!(process.post("/v2/services", body).await, "{name} is registered");
        let body = json!({"heartbeat_name": name, "status": "UP"});
        assert!(process.post("/heartbeat", body).await, "{name} reports");
        let next = began + pause * u32::try_from(n + 1).expect("a few");
        tokio::time::sleep_until(next.into()).await;
    }
    let mut deadlines = deadlines(&process, interval).await;
    deadlines.sort_unstable();
    // A receiver is notified in the order of events. One message to Slack may be about many, and names only the first.
    let mut delays = Vec::new();
    for receiver in ["PagerDuty", "Slack"] {
        let arrivals = wait_for_all(&receivers, receiver, OUTAGES).await;
        let notified = arrivals.iter().flat_map(|arrival| {
            std::iter::repeat_n(SystemClock.now() - arrival.at.elapsed(), services_in(arrival, receiver))
        });
        let late = notified.zip(&deadlines).map(|(at, deadline)| (at - *deadline).as_seconds_f64() * 1e3);
        delays.push((receiver, late.collect()));
    }
    delays
}

/// Returns when each service is late: an interval after its one heartbeat, as it was recorded.
async fn deadlines(process: &Process, interval: Duration) -> Vec<DateTime<Utc>> {
    let interval = TimeDelta::from_std(interval).expect("a span");
    let page = process.get("/v2/services?limit=250").await;
    let services = page["results"]["items"].as_array().expect("services");
    assert_eq!(services.len(), OUTAGES, "all are listed");
    let deadline = |service: &Value| {
        let heartbeat_at = service["last_heartbeat_at"].as_str()?.parse::<DateTime<Utc>>().ok()?;
        Some(heartbeat_at + interval)
    };
    services.iter().map(|service| deadline(service).expect("a service that reported")).collect()
}
