//! A real process: killed at any moment around an outage, stopped by a signal, started with bad settings.

use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::{Planned, Process, Receivers};
use serde_json::{Value, json};

/// A hand-over that a kill lost is repeated after 30 s.
const PATIENCE: Duration = Duration::from_mins(1);

/// Repeats a request until its results are as wanted.
async fn until(process: &Process, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = process.get(path).await;
        if wanted(&answer["results"]) {
            return answer["results"].clone();
        }
        assert!(Instant::now() < end, "{path} was never as wanted: {answer}");
        tokio::task::yield_now().await;
    }
}

/// Returns the time from a heartbeat to a moment before or after its deadline.
fn moment(after_deadline: i64) -> Duration {
    let millis = i64::try_from(INTERVAL.as_millis()).unwrap() + after_deadline;
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

fn count(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

/// Longer than five heartbeats take on a machine that is busy with other tests.
const INTERVAL: Duration = Duration::from_secs(3);

/// Plays one outage: the process is killed and started again so many milliseconds after the deadline, or before it, while
/// receivers respond as `plans` says.
async fn outage(after_deadline: i64, plans: &[Planned]) {
    let folder = tempfile::tempdir().unwrap();
    let receivers = Receivers::start().await;
    receivers.plan_pagerduty(plans.iter().cloned());
    receivers.plan_slack(plans.iter().cloned());
    let environment = receivers.environment();
    let process = Process::start(folder.path(), &environment).await;
    let register =
        json!({"heartbeat_name": "w", "service_name": "worker", "alert_interval": INTERVAL.as_secs_f64() / 60.0});
    assert!(process.post("/service", register).await);
    let heartbeat = json!({"heartbeat_name": "w", "service_name": "worker", "status": "UP"});
    let mut acknowledged = 0;
    for _ in 0..5 {
        acknowledged += usize::from(process.post("/heartbeat", heartbeat.clone()).await);
    }
    #[expect(clippy::disallowed_methods, reason = "the moment of the kill is the input of this test")]
    tokio::time::sleep(moment(after_deadline)).await;
    process.kill();

    let process = Process::start(folder.path(), &environment).await;
    let open = until(&process, "/alerts?active=1", |open| count(open) == 1).await;
    assert_eq!(count(&process.get("/alerts").await["results"]), 1, "one alert in all: {open}");
    for receiver in ["slack", "pagerduty"] {
        let notified = receivers.wait_for(PATIENCE, |arrival| arrival.receiver == receiver && arrival.accepted).await;
        assert!(notified.is_some(), "{receiver} was never notified; killed at {after_deadline} ms");
    }
    assert_eq!(count(&process.get("/heartbeat?heartbeat_name=w").await["results"]), acknowledged);

    // A longer interval, so that the recovery lasts.
    process.send(reqwest::Method::POST, "/service/w", Some(json!({"alert_interval": 60}))).await.unwrap();
    assert!(process.post("/heartbeat", heartbeat).await);
    let closed = until(&process, "/alerts?active=0", |closed| count(closed) == 1).await;
    assert_eq!(count(&process.get("/alerts?active=1").await["results"]), 0, "{closed}");
    let resolve = format!("resolve {}", closed[0]["external_reference_id"].as_str().unwrap());
    let resolved = receivers.wait_for(PATIENCE, |arrival| arrival.line() == resolve && arrival.accepted);
    assert!(resolved.await.is_some(), "PagerDuty was never notified of the recovery; killed at {after_deadline} ms");
    let order: Vec<_> = receivers.accepted("pagerduty");
    assert_eq!(order.last(), Some(&resolve), "{order:?}");
    assert_eq!(order.iter().filter(|line| line.starts_with("resolve")).count(), 1, "{order:?}");
}

/// Ten moments from right after a heartbeat to long after the alert, with receivers that work.
#[tokio::test]
async fn a_kill_around_the_deadline_loses_nothing() {
    let moments = [-3_000, -700, -300, -50, -10, 0, 10, 30, 60, 500];
    join_all(moments.map(|at| outage(at, &[]))).await;
}

/// Five moments at which a slow receiver handles a notification.
#[tokio::test]
async fn a_kill_while_a_notification_is_in_flight_loses_nothing() {
    let slow = [Planned { delay: Duration::from_millis(400), ..Planned::status(500) }];
    join_all([20, 100, 200, 300, 420].map(|at| outage(at, &slow))).await;
}

/// Five moments at which a notification waits to be tried again.
#[tokio::test]
async fn a_kill_while_a_notification_is_retried_loses_nothing() {
    let failing = [Planned::status(500), Planned::status(503)];
    join_all([50, 400, 900, 1_100, 2_000].map(|at| outage(at, &failing))).await;
}

#[tokio::test]
async fn a_signal_ends_the_process_cleanly_within_five_seconds() {
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (status, took) = Process::start(folder.path(), &[]).await.signal(name);
        assert!(status.success(), "{name}: {status}");
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
}

#[tokio::test]
async fn the_admin_key_is_created_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), &[]).await;
    let mode = std::fs::metadata(folder.path().join("admin.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = first.key().to_owned();
    first.kill();
    let second = Process::start(folder.path(), &[]).await;
    assert_eq!(second.key(), key);
    assert_eq!(count(&second.get("/v2/api-keys").await["results"]["items"]), 1);
    // One process at a time.
    let refused = Process::start_refused(folder.path(), &[]);
    assert!(refused.contains("another process uses the data folder"), "{refused}");
}

#[tokio::test]
async fn a_setting_that_cannot_be_read_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("MEDIC_HEARTBEAT_RETENTION_DAYS", "forever".to_owned())];
    let refused = Process::start_refused(folder.path(), &environment);
    assert_eq!(refused, "medic-local: MEDIC_HEARTBEAT_RETENTION_DAYS must be a whole number from 1 to 1000000\n");
}
