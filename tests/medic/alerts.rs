//! Alerts that people acknowledge, or close by hand.

use std::sync::Arc;

use domain::AlertId;
use harness::{Lost, System};
use operations::Actor;
use runtime::Clock as _;
use serde_json::{Value, json};

async fn audited(system: &System) -> Vec<Value> {
    let entries = system.get("/v2/audit-logs?service_id=1").await.results()["items"].as_array().unwrap().clone();
    let shown = |entry: &Value| {
        let of = &entry["details"];
        json!([
            entry["action_type"],
            entry["actor"],
            entry["service_id"],
            of["service_name"],
            of["thing"],
            of["reason"]
        ])
    };
    let of_alerts = entries.iter().filter(|entry| entry["details"]["thing"]["kind"] == "alert");
    of_alerts.map(shown).collect()
}

#[tokio::test]
async fn somebody_closes_an_alert_of_a_service() {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    system.register("w", 60.0, json!({})).await;
    system.post("/v2/webhooks", json!({"url": system.receivers.hook()})).await;
    system.heartbeat("w", "FAILED").await;
    system.seconds(30).await;
    let resolved = system.post("/v2/alerts/1/resolve", json!({"reason": "The disk was replaced"})).await;
    insta::assert_snapshot!(resolved, @r#"
    200
    {
      "message": "",
      "results": {
        "acknowledged_by": null,
        "acknowledged_date": null,
        "active": true,
        "alert_cycle": 1,
        "alert_id": 1,
        "alert_name": "Medic - Heartbeat failure for w",
        "closed_date": null,
        "created_date": "2026-01-05T12:00:00.000Z",
        "external_reference_id": "medic-1-w",
        "heartbeat_name": "w",
        "reason": "it reported FAILED",
        "resolution": "The disk was replaced",
        "resolved_by": "admin",
        "service_id": 1
      },
      "success": true
    }
    "#);
    let alert = system.get("/v2/alerts/1").await;
    assert_eq!(
        (&alert.results()["active"], &alert.results()["closed_date"], &alert.results()["resolution"]),
        (&json!(false), &json!("2026-01-05T12:00:30.000Z"), &json!("The disk was replaced"))
    );
    assert_eq!(system.slack()[1..], [":white_check_mark: w was resolved by admin after 30 s: The disk was replaced"]);
    assert_eq!(system.pagerduty().len(), 2, "trigger and resolve: {:?}", system.pagerduty());
    assert_eq!(system.receivers.accepted("webhook"), ["alert.opened", "alert.resolved"]);
    assert_eq!(system.get("/v2/services/1").await.results()["down"], false);
    insta::assert_snapshot!(system.post("/v2/alerts/1/resolve", json!({})).await, @r#"
    409
    {
      "message": "Alert 1 is closed",
      "results": "",
      "success": false
    }
    "#);
    let thing = json!({"kind": "alert", "id": 1, "name": "Medic - Heartbeat failure for w"});
    assert_eq!(audited(&system).await, [json!(["resolved", "admin", 1, "worker", thing, "The disk was replaced"])]);
    // It counts from then, as if an operator had cleared `down`.
    system.seconds(59).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn somebody_closes_the_alert_of_a_run_which_does_not_open_again() {
    let system = System::start().await;
    let id = system.register("nightly", 36_000.0, json!({"max_duration_ms": 60_000})).await;
    system.post(&format!("/v2/heartbeat/{id}/start"), json!({"run_id": "a"})).await;
    system.seconds(60).await;
    assert_eq!(system.post("/v2/alerts/1/resolve", Value::Null).await.status, 200);
    assert_eq!(
        system.slack()[1..],
        [":white_check_mark: nightly: the alert of run a was resolved by admin after 1 min 0 s"]
    );
    let alert = system.get("/v2/alerts/1").await;
    assert_eq!(
        (&alert.results()["closed_date"], &alert.results()["resolved_by"], &alert.results()["resolution"]),
        (&json!("2026-01-05T12:01:00.000Z"), &json!("admin"), &Value::Null)
    );
    let status = async || system.get(&format!("/v2/services/{id}/runs")).await.results()["items"][0]["status"].clone();
    assert_eq!(status().await, "STALE_ALERTED");
    system.patch(&format!("/v2/services/{id}"), json!({"max_duration_ms": 50_000})).await;
    system.seconds(3_600).await;
    assert_eq!((system.alerts().await.len(), system.open_alerts().await), (1, 0));
    assert_eq!(system.post("/v2/alerts/1/resolve", json!({})).await.status, 409);
    system.post(&format!("/v2/heartbeat/{id}/complete"), json!({"run_id": "a"})).await;
    assert_eq!((status().await, system.slack().len(), system.alerts().await.len()), (json!("COMPLETED"), 2, 1));
}

#[tokio::test]
async fn a_reason_is_one_line_and_an_alert_must_be_there() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.heartbeat("w", "FAILED").await;
    for (body, message) in [
        (json!({"reason": "two\nlines"}), "reason must be one line, without control characters"),
        (json!({"reason": "r".repeat(501)}), "reason must be at most 500 characters long"),
        (json!({"why": "none"}), "why"),
        (json!({"reason": 7}), "reason"),
    ] {
        let refused = system.post("/v2/alerts/1/resolve", body).await;
        assert!(refused.status == 400 && refused.message().contains(message), "{refused}");
    }
    assert_eq!(system.post("/v2/alerts/9/resolve", json!({})).await.status, 404);
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn an_acknowledgement_is_audited_once() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.heartbeat("w", "FAILED").await;
    for _ in 0..2 {
        assert_eq!(system.post("/v2/alerts/1/acknowledge", Value::Null).await.status, 200);
    }
    let thing = json!({"kind": "alert", "id": 1, "name": "Medic - Heartbeat failure for w"});
    assert_eq!(audited(&system).await, [json!(["acknowledged", "admin", 1, "worker", thing, null])]);
}

#[tokio::test]
async fn what_somebody_closes_is_closed_though_the_wake_up_is_lost_and_at_once_though_they_ask_twice() {
    let system = System::start().await;
    let id = system.register("w", 36_000.0, json!({"max_duration_ms": 60_000})).await;
    system.heartbeat("w", "FAILED").await;
    system.post(&format!("/v2/heartbeat/{id}/start"), json!({"run_id": "a"})).await;
    system.seconds(60).await;
    assert_eq!(system.open_alerts().await, 2);
    let instance = system.instance_with(system.service.dynamodb(), Arc::new(Lost));
    let actor = Actor { name: Some("ci".to_owned()), at: system.time.now() };
    for alert in [1, 2] {
        let first = instance.resolve_alert(AlertId::new(alert), None, &actor).await.unwrap();
        assert_eq!(instance.resolve_alert(AlertId::new(alert), None, &actor).await.unwrap(), first);
    }
    system.seconds(60).await;
    assert_eq!((system.open_alerts().await, audited(&system).await.len()), (0, 2));
}
