//! The main job: a service falls silent and people are notified; it reports again and people are notified.

use chrono::TimeDelta;
use domain::{HeartbeatName, Status};
use harness::System;
use operations::{Named, Report};
use runtime::Clock as _;
use serde_json::json;

#[tokio::test]
async fn silence_opens_an_alert_and_a_heartbeat_closes_it() {
    let system = System::start().await;
    system.register("worker-1", 6.0, json!({})).await;
    system.heartbeat("worker-1", "UP").await;
    system.seconds(5).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
    system.heartbeat("worker-1", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
    assert_eq!(system.pagerduty(), ["trigger medic-1-worker-1", "resolve medic-1-worker-1"]);
    insta::assert_snapshot!(system.slack().join("\n"), @"
    :rotating_light: [p3] worker-1 is down: no heartbeat since 2026-01-05T12:00:00.000Z, expected every 6 s
    :white_check_mark: worker-1 has recovered after 0.0 s
    ");
}

#[tokio::test]
async fn a_heartbeat_that_is_written_after_a_newer_one_does_not_count_as_the_newest() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    system.seconds(50).await;
    system.heartbeat("worker-1", "UP").await;
    let late = Report {
        service: Named::Name(HeartbeatName::parse("worker-1").unwrap()),
        status: Status::Up,
        run_id: None,
        idempotency_key: None,
    };
    let sent_at = system.time.now() - TimeDelta::seconds(30);
    system.another_instance().report(late, sent_at).await.unwrap();
    system.seconds(59).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
}
