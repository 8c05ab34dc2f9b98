//! Maintenance in the alert path: it delays opening and never recovery, and Slack is notified when it begins and ends.

use chrono::TimeDelta;
use harness::System;
use runtime::Clock as _;
use serde_json::{Value, json};

/// Creates a window from now for so many minutes. Returns its path.
async fn window(system: &System, minutes: i64, more: Value) -> String {
    let now = system.time.now();
    let mut body = json!({
        "name": "upgrade",
        "timezone": "UTC",
        "start_time": now.to_rfc3339(),
        "end_time": (now + TimeDelta::minutes(minutes)).to_rfc3339(),
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = system.post("/v2/maintenance-windows", body).await;
    assert_eq!(answer.status, 201, "{answer}");
    format!("/v2/maintenance-windows/{}", answer.results()["window_id"])
}

fn about(system: &System, what: &str) -> usize {
    system.slack().iter().filter(|line| line.contains(what)).count()
}

#[tokio::test]
async fn an_overdue_service_alerts_when_the_window_ends() {
    let system = System::start().await;
    let id = system.register("held", 60.0, json!({})).await;
    system.register("free", 60.0, json!({})).await;
    window(&system, 10, json!({"service_ids": [id]})).await;
    system.seconds(9 * 60).await;
    assert_eq!((about(&system, "free is down"), about(&system, "held is down")), (1, 0));
    assert_eq!(system.get(&format!("/v2/services/{id}")).await.results()["down"], false);
    system.seconds(61).await;
    assert_eq!(about(&system, "held is down"), 1);
}

#[tokio::test]
async fn a_window_that_is_deleted_or_moved_holds_nothing_for_longer_than_a_minute() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    let path = window(&system, 600, json!({})).await;
    system.seconds(300).await;
    assert_eq!(system.alerts().await.len(), 0);
    system.delete(&path).await;
    system.seconds(60).await;
    assert_eq!(about(&system, "w is down"), 1);

    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    let path = window(&system, 600, json!({})).await;
    system.seconds(300).await;
    let end = runtime::Clock::now(&system.time) + TimeDelta::seconds(1);
    system.patch(&path, json!({"end_time": end.to_rfc3339()})).await;
    system.seconds(60).await;
    assert_eq!(about(&system, "w is down"), 1);
}

#[tokio::test]
async fn maintenance_delays_no_recovery_and_spares_reminders() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(61).await;
    assert_eq!(about(&system, "w is down"), 1);
    window(&system, 30, json!({})).await;
    system.seconds(10 * 60).await;
    assert_eq!(about(&system, "still down"), 0);
    assert!(system.alerts().await[0]["alert_cycle"].as_i64().unwrap() >= 10, "the cycles are counted");
    system.heartbeat("w", "UP").await;
    assert_eq!((about(&system, "w has recovered"), system.open_alerts().await), (1, 0));
}

#[tokio::test]
async fn a_failure_in_maintenance_alerts_afterwards_unless_it_recovered() {
    let system = System::start().await;
    system.register("mended", 3_600.0, json!({})).await;
    system.register("broken", 3_600.0, json!({})).await;
    window(&system, 10, json!({})).await;
    system.heartbeat("mended", "FAILED").await;
    system.heartbeat("broken", "FAILED").await;
    system.seconds(60).await;
    system.heartbeat("mended", "UP").await;
    system.seconds(8 * 60).await;
    assert_eq!(system.alerts().await.len(), 0);
    system.seconds(120).await;
    assert_eq!((about(&system, "mended"), about(&system, "broken is down")), (0, 1));
}

#[tokio::test]
async fn a_window_that_was_announced_and_is_deleted_is_announced_as_ended() {
    let system = System::start().await;
    system.register("w", 86_400.0, json!({})).await;
    let path = window(&system, 30, json!({})).await;
    assert_eq!(system.delete(&path).await.status, 200);
    assert_eq!((about(&system, "Maintenance has begun"), about(&system, "Maintenance has ended")), (1, 1));
    // One that has not begun is not announced.
    let later = system.time.now() + TimeDelta::minutes(10);
    let path = window(&system, 30, json!({"start_time": later.to_rfc3339()})).await;
    assert_eq!(system.delete(&path).await.status, 200);
    system.seconds(3_600).await;
    assert_eq!((about(&system, "Maintenance has begun"), about(&system, "Maintenance has ended")), (1, 1));
}

#[tokio::test]
async fn the_begin_and_the_end_are_announced_once_each() {
    let system = System::start().await;
    system.post("/v2/teams", json!({"name": "platform", "slack_channel_id": "C0PLATFORM"})).await;
    let id = system.register("w", 86_400.0, json!({"team": "platform"})).await;
    // Each full hour, for ten minutes; the clock begins at noon.
    window(&system, 10, json!({"recurrence": "0 * * * *", "service_ids": [id]})).await;
    system.seconds(2 * 3_600 + 5 * 60).await;
    assert_eq!((about(&system, "Maintenance has begun"), about(&system, "Maintenance has ended")), (3, 2));
    assert_eq!(
        system.slack()[0],
        ":construction: Maintenance has begun: upgrade (1 service), until 2026-01-05T12:10:00.000Z"
    );
    let arrivals = system.receivers.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.body["channel"] == "C0PLATFORM"));
}
