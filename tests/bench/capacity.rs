//! Capacity units of heartbeats, signals, re-arms and alerts, as the database's own responses count them. The clock is
//! a test's: nothing here is timed.

use chrono::TimeDelta;
use domain::{HeartbeatName, RunId, ServiceId, SignalKind, Status};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use harness::System;
use operations::{Named, Report, Signal};
use runtime::Clock as _;
use serde_json::json;
use store::Key;

use crate::figure::Figure;

const WRITES: &str = "write units";
const READS: &str = "read units";

pub(crate) async fn figures() -> Vec<Figure> {
    let mut figures = Box::pin(heartbeats()).await;
    figures.extend(Box::pin(rearm()).await);
    for max_duration_ms in [None, Some(600_000)] {
        figures.extend(Box::pin(signals(max_duration_ms)).await);
    }
    for heartbeats in [1, 2, 5] {
        figures.push(Box::pin(interval(heartbeats)).await);
    }
    figures.extend(Box::pin(alert("1 receiver", &[("PAGERDUTY_ROUTING_KEY", "")], 14.0 + 4.0)).await);
    figures.extend(Box::pin(alert("2 receivers", &[], 14.0 + 8.0)).await);
    figures
}

/// Returns the read and write units of some work.
fn cost<'a>(system: &'a System, work: impl Future<Output = ()> + 'a) -> LocalBoxFuture<'a, (f64, f64)> {
    let measured = async move {
        system.seconds(1).await;
        system.service.dynamodb().measure();
        work.await;
        let units = system.service.dynamodb().units();
        (units.read, units.write)
    };
    measured.boxed_local()
}

/// Reports a heartbeat without a request: no key is checked, and no limit.
async fn report(system: &System, name: &str) {
    let service = Named::Name(HeartbeatName::parse(name).expect("a name"));
    let report = Report { service, status: Status::Up, run_id: None, idempotency_key: None };
    system.service.medic().report(report, system.time.now()).await.expect("a heartbeat");
}

async fn heartbeats() -> Vec<Figure> {
    let hour = 3_600.0;
    let system = System::start().await;
    system.register("first", hour, json!({})).await;
    // The registration was a request, and its key record is cached. The minute before this one is read at the first
    // heartbeat of the key.
    system.register("another", hour, json!({})).await;
    system.heartbeat("another", "UP").await;
    let (name_read, _) = cost(&system, system.heartbeat("first", "UP")).await;
    let (read, write) = cost(&system, system.heartbeat("first", "UP")).await;
    let (_, write_alone) = cost(&system, report(&system, "first")).await;
    // A key record is cached for less than this, and the minute is not over.
    system.seconds(21).await;
    let (key_read, _) = cost(&system, system.heartbeat("first", "UP")).await;
    system.register("second", hour, json!({})).await;
    system.seconds(21).await;
    let (both_read, _) = cost(&system, system.heartbeat("second", "UP")).await;
    system.seconds(15).await;
    let (minute_read, _) = cost(&system, system.heartbeat("first", "UP")).await;
    vec![
        Figure::new("heartbeat, service up, without the limiter", write_alone, WRITES).at_most(2.0),
        Figure::new("heartbeat, service up, over HTTP, with the limiter", write, WRITES).at_most(3.0),
        Figure::new("the limiter, for a request", write - write_alone, WRITES).at_most(1.0),
        Figure::new("the limiter, once a minute, key and process", minute_read, READS).at_most(0.5),
        Figure::new("heartbeat, key record and name cached", read, READS).at_most(0.0),
        Figure::new("heartbeat, name not cached", name_read, READS).at_most(0.5),
        Figure::new("heartbeat, key record not cached", key_read, READS).at_most(0.5),
        Figure::new("heartbeat, neither cached", both_read, READS).at_most(1.0),
    ]
}

/// Measures a run's start and end, without the limiter, on a service with or without a maximum.
async fn signals(max_duration_ms: Option<u64>) -> Vec<Figure> {
    let system = System::start().await;
    let id = system.register("job", 3_600.0, json!({"max_duration_ms": max_duration_ms})).await;
    report(&system, "job").await;
    let send = async |kind| {
        let service = Named::Id(ServiceId::new(id));
        let run = Some(RunId::parse("nightly-2026-01-05").expect("a run's id"));
        let signal = Signal { service, kind, run, idempotency_key: None };
        system.service.medic().signal(signal, system.time.now()).await.expect("a signal");
    };
    let (start_read, start) = cost(&system, Box::pin(send(SignalKind::Start))).await;
    let (_, again) = cost(&system, Box::pin(send(SignalKind::Start))).await;
    let (end_read, end) = cost(&system, Box::pin(send(SignalKind::Complete))).await;
    // Above the budget are index entries that are added or removed: the list of runs, and the timer of a maximum.
    let with = if max_duration_ms.is_some() { "a maximum" } else { "no maximum" };
    vec![
        Figure::new(format!("start of a run, {with}, without the limiter"), start, WRITES).at_most(3.0),
        Figure::new(format!("end of a run, {with}, without the limiter"), end, WRITES).at_most(3.0),
        Figure::new(format!("signal of a run again, {with}"), again, WRITES).at_most(0.0),
        Figure::new(format!("signal of a run, {with}"), start_read.max(end_read), READS).at_most(2.0),
    ]
}

async fn rearm() -> Vec<Figure> {
    let system = System::start().await;
    let id = system.register("rearmed", 3_600.0, json!({})).await;
    system.seconds(60).await;
    report(&system, "rearmed").await;
    let judged = Box::pin(async {
        let key = Key::service(ServiceId::new(id));
        assert_eq!(system.service.medic().handle_row(key, system.time.now()).await.handled, 1, "it is judged");
    });
    let (read, write) = cost(&system, judged).await;
    vec![Figure::new("re-arm", write, WRITES).at_most(3.0), Figure::new("re-arm", read, READS)]
}

/// Measures a service that reports in time, over many intervals.
async fn interval(heartbeats: i32) -> Figure {
    const INTERVALS: i32 = 20;
    let system = System::start().await;
    system.register("steady", 60.0, json!({})).await;
    report(&system, "steady").await;
    let intervals = async {
        for _ in 0..INTERVALS * heartbeats {
            system.advance(TimeDelta::milliseconds(58_000) / heartbeats).await;
            report(&system, "steady").await;
        }
    };
    let (_, write) = cost(&system, intervals).await;
    assert_eq!(system.alerts().await.len(), 0, "it is never late");
    let name = format!("an interval with {heartbeats} heartbeat(s): heartbeats and re-arm, without the limiter");
    let figure = Figure::new(name, write / f64::from(INTERVALS), WRITES);
    if heartbeats == 1 { figure.at_most(5.0) } else { figure }
}

/// Measures from the deadline to the delivered notifications, and from the heartbeat to the delivered recovery: the mean of
/// many outages.
async fn alert(receivers: &str, more: &[(&'static str, &str)], budget: f64) -> Vec<Figure> {
    const OUTAGES: u32 = 20;
    let system = System::start_with(more, None).await;
    for n in 0..OUTAGES {
        system.register(&format!("silent-{n}"), 60.0, json!({})).await;
        system.seconds(2).await;
    }
    let notified = |system: &System| system.slack().join("\n").lines().count();
    let (_, write) = cost(&system, system.seconds(60)).await;
    assert_eq!(notified(&system), OUTAGES as usize, "Slack is notified of each");
    let recoveries = async {
        for n in 0..OUTAGES {
            report(&system, &format!("silent-{n}")).await;
            system.service.settle().await;
        }
    };
    let (_, back) = cost(&system, recoveries).await;
    let (write, back) = (write / f64::from(OUTAGES), back / f64::from(OUTAGES));
    vec![
        Figure::new(format!("new alert, {receivers}, opening to delivered notification"), write, WRITES)
            .at_most(budget),
        Figure::new(format!("recovery, {receivers}, heartbeat to delivered notification"), back, WRITES),
    ]
}
