//! The main job: a service falls silent, people are told, it comes back, people are told.

use harness::System;
use serde_json::json;

#[tokio::test]
async fn silence_opens_an_alert_and_a_heartbeat_closes_it() {
    let system = System::start().await;
    system.register("worker-1", 6.0, json!({})).await;
    system.beat("worker-1", "UP").await;
    system.seconds(5).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
    system.beat("worker-1", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
    assert_eq!(system.pagerduty(), ["trigger medic-worker-1-1", "resolve medic-worker-1-1"]);
    insta::assert_snapshot!(system.slack().join("\n"), @"
    :rotating_light: [p3] worker-1 is down: no heartbeat since 2026-01-05T12:00:00.000Z, expected every 6 s
    :white_check_mark: worker-1 has recovered after 0.0 s
    ");
}
