//! A real process: killed at any moment around an outage, stopped by a signal, started with bad settings.

use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::{Planned, Process, Receivers};
use serde_json::{Value, json};

/// Longer than a killed sender's lease.
const PATIENCE: Duration = Duration::from_secs(40);

/// Asks until the answer is as wanted.
async fn until(process: &Process, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = process.get(path).await;
        if wanted(&answer["results"]) {
            return answer["results"].clone();
        }
        assert!(Instant::now() < end, "{path} never was as wanted: {answer}");
        tokio::task::yield_now().await;
    }
}

fn count(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

/// One outage, with the process killed and started again `after` the last heartbeat, while receivers do as `plans` says.
async fn outage(after: Duration, plans: &[Planned]) {
    let folder = tempfile::tempdir().unwrap();
    let receivers = Receivers::start().await;
    receivers.plan_pagerduty(plans.iter().cloned());
    receivers.plan_slack(plans.iter().cloned());
    let environment = receivers.environment();
    let process = Process::start(folder.path(), &environment);
    let register = json!({"heartbeat_name": "w", "service_name": "worker", "alert_interval": 1.0 / 60.0});
    assert!(process.post("/service", register).await);
    let beat = json!({"heartbeat_name": "w", "service_name": "worker", "status": "UP"});
    let mut acknowledged = 0;
    for _ in 0..5 {
        acknowledged += usize::from(process.post("/heartbeat", beat.clone()).await);
    }
    #[expect(clippy::disallowed_methods, reason = "the moment of the kill is the input of this test")]
    tokio::time::sleep(after).await;
    process.kill();

    let process = Process::start(folder.path(), &environment);
    let open = until(&process, "/alerts?active=1", |open| count(open) == 1).await;
    assert_eq!(count(&process.get("/alerts").await["results"]), 1, "one alert in all: {open}");
    for receiver in ["slack", "pagerduty"] {
        let told = receivers.wait_for(PATIENCE, |arrival| arrival.receiver == receiver && arrival.accepted).await;
        assert!(told.is_some(), "{receiver} was never told; killed after {after:?}");
    }
    assert_eq!(count(&process.get("/heartbeat?heartbeat_name=w").await["results"]), acknowledged);

    // A longer interval, so that the recovery lasts.
    process.send(reqwest::Method::POST, "/service/w", Some(json!({"alert_interval": 60}))).await.unwrap();
    assert!(process.post("/heartbeat", beat).await);
    let closed = until(&process, "/alerts?active=0", |closed| count(closed) == 1).await;
    assert_eq!(count(&process.get("/alerts?active=1").await["results"]), 0, "{closed}");
    let resolved = receivers.wait_for(PATIENCE, |arrival| arrival.line() == "resolve medic-w-1" && arrival.accepted);
    assert!(resolved.await.is_some(), "PagerDuty was never told of the recovery; killed after {after:?}");
    let order: Vec<_> = receivers.accepted("pagerduty");
    assert_eq!(order.last().map(String::as_str), Some("resolve medic-w-1"), "{order:?}");
    assert_eq!(order.iter().filter(|line| line.starts_with("resolve")).count(), 1, "{order:?}");
}

/// Ten moments from right after a heartbeat to long after the alert, with receivers that are well.
#[tokio::test]
async fn a_kill_around_the_deadline_loses_nothing() {
    join_all(
        [0, 300, 700, 950, 990, 1_000, 1_010, 1_030, 1_060, 1_500]
            .map(|after| outage(Duration::from_millis(after), &[])),
    )
    .await;
}

/// Five moments at which a notice is in the hands of a slow receiver.
#[tokio::test]
async fn a_kill_while_a_notice_is_in_flight_loses_nothing() {
    let slow = [Planned { delay: Duration::from_millis(400), ..Planned::status(500) }];
    join_all([1_020, 1_100, 1_200, 1_300, 1_420].map(|after| outage(Duration::from_millis(after), &slow))).await;
}

/// Five moments at which a notice waits to be tried again.
#[tokio::test]
async fn a_kill_while_a_notice_is_retried_loses_nothing() {
    let failing = [Planned::status(500), Planned::status(503)];
    join_all([1_050, 1_400, 1_900, 2_100, 3_000].map(|after| outage(Duration::from_millis(after), &failing))).await;
}

#[tokio::test]
async fn a_signal_ends_it_cleanly_within_five_seconds() {
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (status, took) = Process::start(folder.path(), &[]).signal(name);
        assert!(status.success(), "{name}: {status}");
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
}

#[tokio::test]
async fn the_admin_key_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), &[]);
    let mode = std::fs::metadata(folder.path().join("admin.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = first.key().to_owned();
    first.kill();
    let second = Process::start(folder.path(), &[]);
    assert_eq!(second.key(), key);
    assert_eq!(count(&second.get("/v2/api-keys").await["results"]["items"]), 1);
    // One process at a time.
    let refused = Process::refused(folder.path(), &[]);
    assert!(refused.contains("another process uses the data folder"), "{refused}");
}

#[tokio::test]
async fn a_setting_that_cannot_be_read_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("MEDIC_HEARTBEAT_RETENTION_DAYS", "forever".to_owned())];
    let refused = Process::refused(folder.path(), &environment);
    assert_eq!(refused, "medic-local: MEDIC_HEARTBEAT_RETENTION_DAYS must be a whole number from 1 to 1000000\n");
}
