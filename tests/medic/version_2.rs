//! Version 2: services, their heartbeats, batches, alerts.

use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::version_1::worker;

#[tokio::test]
async fn a_service_lives_from_creation_to_deletion() {
    let system = System::start().await;
    insta::assert_snapshot!(system.post("/v2/services", worker(&json!({}))).await, @r#"
    201
    {
      "message": "Service created.",
      "results": {
        "active": true,
        "alert_interval": 5,
        "circuit_open": false,
        "consecutive_failures": 0,
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": null,
        "date_muted": null,
        "down": false,
        "grace_period_seconds": 0,
        "heartbeat_name": "worker-1",
        "last_heartbeat_at": null,
        "last_status": null,
        "max_duration_ms": null,
        "muted": false,
        "muted_until": null,
        "notification_mode": "notify_all",
        "priority": "p3",
        "runbook": null,
        "schedule_cron": null,
        "schedule_id": null,
        "service_id": 1,
        "service_name": "worker",
        "team": "site-reliability",
        "team_id": null,
        "threshold": 1,
        "timezone": null
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.post("/v2/services", worker(&json!({"heartbeat_name": "Worker-1"}))).await, @r#"
    409
    {
      "message": "heartbeat_name is taken: there is a service named Worker-1",
      "results": "",
      "success": false
    }
    "#);
    let change = json!({"priority": "p1", "runbook": "https://runbooks.example.com", "max_duration_ms": 10});
    let changed = system.patch("/v2/services/1", change).await;
    assert_eq!((&changed.results()["priority"], &changed.results()["max_duration_ms"]), (&json!("p1"), &json!(10)));
    let cleared = system.patch("/v2/services/1", json!({"runbook": null, "max_duration_ms": null})).await;
    assert_eq!((&cleared.results()["runbook"], &cleared.results()["max_duration_ms"]), (&Value::Null, &Value::Null));
    assert_eq!(system.get("/v2/services/1").await.results(), cleared.results());
    insta::assert_snapshot!(system.delete("/v2/services/1").await, @r#"
    200
    {
      "message": "Service deleted.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/services/1").await, @r#"
    404
    {
      "message": "There is no service 1",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.delete("/v2/services/1").await.status, 404);
    assert_eq!(system.get("/v2/services").await.results()["items"], json!([]));
    // The name is free again, for another service.
    assert_eq!(system.register("worker-1", 60.0, json!({})).await, 2);
    system.heartbeat("worker-1", "UP").await;
    assert_eq!(system.get("/v2/services/2").await.results()["last_status"], "UP");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let system = System::start().await;
    for n in 1..=5 {
        system.register(&format!("worker-{n}"), 60.0, json!({})).await;
    }
    let mut ids = Vec::new();
    let mut path = "/v2/services?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = system.get(&path).await;
        pages += 1;
        ids.extend(page.results()["items"].as_array().unwrap().iter().map(|item| item["service_id"].as_i64().unwrap()));
        let Some(cursor) = page.results()["next_cursor"].as_str() else { break };
        path = format!("/v2/services?limit=2&cursor={cursor}");
    }
    assert_eq!((ids, pages), (vec![5, 4, 3, 2, 1], 3));
    for bad in ["limit=0", "limit=251", "limit=many", "cursor=x"] {
        assert_eq!(system.get(&format!("/v2/services?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_services_heartbeats_come_in_pages_and_by_run() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    for run in ["a", "b", "a", "b", "a"] {
        system.post("/heartbeat", json!({"heartbeat_name": "worker-1", "status": "UP", "run_id": run})).await;
        system.seconds(1).await;
    }
    let page = system.get("/v2/services/1/heartbeats?limit=2&run_id=a").await;
    let items = page.results()["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|item| &item["run_id"]).collect::<Vec<_>>(), ["a", "a"]);
    let cursor = page.results()["next_cursor"].as_str().unwrap();
    let rest = system.get(&format!("/v2/services/1/heartbeats?limit=2&run_id=a&cursor={cursor}")).await;
    assert_eq!(rest.results()["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest.results()["next_cursor"], Value::Null);
    assert_eq!(system.get("/v2/services/2/heartbeats").await.status, 404);
}

#[tokio::test]
async fn a_batch_has_an_outcome_for_each_heartbeat() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    let batch = json!({"heartbeats": [
        {"heartbeat_name": "worker-1", "status": "UP"},
        {"service_id": 1, "status": "COMPLETED", "run_id": "run-1"},
        {"heartbeat_name": "nobody", "status": "UP"},
        {"heartbeat_name": "worker-1", "status": "FINE"},
        {"heartbeat_name": "worker-1", "service_id": 1, "status": "UP"},
    ]});
    insta::assert_snapshot!(system.post("/v2/heartbeats", batch).await, @r#"
    200
    {
      "message": "Some heartbeats were refused.",
      "results": [
        {
          "heartbeat_id": "[id]",
          "message": "Heartbeat Posted Successfully.",
          "service_id": 1,
          "success": true
        },
        {
          "heartbeat_id": "[id]",
          "message": "Heartbeat Posted Successfully.",
          "service_id": 1,
          "success": true
        },
        {
          "heartbeat_id": null,
          "message": "Heartbeat is not registered: nobody",
          "service_id": null,
          "success": false
        },
        {
          "heartbeat_id": null,
          "message": "status must be one of UP, DOWN, STARTED, COMPLETED, FAILED",
          "service_id": null,
          "success": false
        },
        {
          "heartbeat_id": null,
          "message": "heartbeat_name or service_id must be given, and not both",
          "service_id": null,
          "success": false
        }
      ],
      "success": true
    }
    "#);
    assert_eq!(system.get("/heartbeat").await.results().as_array().unwrap().len(), 2);
    let all_valid = json!({"heartbeats": [{"service_id": 1, "status": "UP"}]});
    assert_eq!(system.post("/v2/heartbeats", all_valid).await.status, 201);
    let one_too_many = vec![json!({"service_id": 1, "status": "UP"}); 101];
    assert_eq!(system.post("/v2/heartbeats", json!({"heartbeats": one_too_many})).await.status, 400);
    assert_eq!(system.post("/v2/heartbeats", json!({"heartbeats": []})).await.status, 400);
}

#[tokio::test]
async fn a_repeated_request_counts_once() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({"threshold": 2})).await;
    let body = serde_json::to_vec(&json!({"heartbeat_name": "worker-1", "status": "UP"})).unwrap();
    for key in ["a", "a", "b", "a"] {
        let headers = [("idempotency-key", key)];
        let answer = system.raw(Method::POST, "/heartbeat", Some(&system.key), &headers, Some(body.clone())).await;
        assert_eq!(answer.status, 201);
        system.seconds(1).await;
    }
    assert_eq!(system.get("/heartbeat").await.results().as_array().unwrap().len(), 2);
    let empty = [("idempotency-key", "")];
    let answer = system.raw(Method::POST, "/heartbeat", Some(&system.key), &empty, Some(body)).await;
    insta::assert_snapshot!(answer, @r#"
    400
    {
      "message": "Idempotency-Key must be 1 to 255 visible characters",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn a_repetition_does_not_count_as_a_second_heartbeat() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({"threshold": 2})).await;
    let body = serde_json::to_vec(&json!({"heartbeat_name": "worker-1", "status": "UP"})).unwrap();
    system.seconds(50).await;
    for _ in 0..2 {
        let headers = [("idempotency-key", "once")];
        system.raw(Method::POST, "/heartbeat", Some(&system.key), &headers, Some(body.clone())).await;
    }
    system.seconds(10).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "whole answers")]
async fn an_alert_is_listed_shown_and_acknowledged() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    system.heartbeat("worker-1", "FAILED").await;
    insta::assert_snapshot!(system.get("/v2/alerts/1").await, @r#"
    200
    {
      "message": "",
      "results": {
        "acknowledged_by": null,
        "acknowledged_date": null,
        "active": true,
        "alert_cycle": 1,
        "alert_id": 1,
        "alert_name": "Medic - Heartbeat failure for worker-1",
        "closed_date": null,
        "created_date": "2026-01-05T12:00:00.000Z",
        "external_reference_id": "medic-1-worker-1",
        "heartbeat_name": "worker-1",
        "reason": "it reported FAILED",
        "resolution": null,
        "resolved_by": null,
        "service_id": 1
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.send(Method::POST, "/v2/alerts/1/acknowledge", None).await, @r#"
    200
    {
      "message": "",
      "results": {
        "acknowledged_by": "admin",
        "acknowledged_date": "2026-01-05T12:00:00.000Z",
        "active": true,
        "alert_cycle": 1,
        "alert_id": 1,
        "alert_name": "Medic - Heartbeat failure for worker-1",
        "closed_date": null,
        "created_date": "2026-01-05T12:00:00.000Z",
        "external_reference_id": "medic-1-worker-1",
        "heartbeat_name": "worker-1",
        "reason": "it reported FAILED",
        "resolution": null,
        "resolved_by": null,
        "service_id": 1
      },
      "success": true
    }
    "#);
    let again = system.send(Method::POST, "/v2/alerts/1/acknowledge", None).await;
    assert_eq!(again.results(), system.get("/v2/alerts?active=true").await.results()["items"][0].pointer("").unwrap());
    assert_eq!(system.pagerduty(), ["trigger medic-1-worker-1", "acknowledge medic-1-worker-1"]);
    system.seconds(180).await;
    assert_eq!(system.slack().len(), 1, "no reminders: {:?}", system.slack());
    assert_eq!(system.alerts().await[0]["alert_cycle"], 4);
    system.heartbeat("worker-1", "UP").await;
    insta::assert_snapshot!(system.send(Method::POST, "/v2/alerts/1/acknowledge", None).await, @r#"
    409
    {
      "message": "Alert 1 is closed",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/alerts/1/notifications").await, @r#"
    200
    {
      "message": "",
      "results": {
        "items": [
          {
            "at": "2026-01-05T12:00:00.000Z",
            "error_message": null,
            "kind": "opened",
            "success": true,
            "target_id": null,
            "target_type": "slack"
          },
          {
            "at": "2026-01-05T12:00:00.000Z",
            "error_message": null,
            "kind": "opened",
            "success": true,
            "target_id": null,
            "target_type": "pagerduty"
          },
          {
            "at": "2026-01-05T12:00:00.000Z",
            "error_message": null,
            "kind": "acknowledged",
            "success": true,
            "target_id": null,
            "target_type": "pagerduty"
          },
          {
            "at": "2026-01-05T12:03:00.000Z",
            "error_message": null,
            "kind": "resolved",
            "success": true,
            "target_id": null,
            "target_type": "slack"
          },
          {
            "at": "2026-01-05T12:03:00.000Z",
            "error_message": null,
            "kind": "resolved",
            "success": true,
            "target_id": null,
            "target_type": "pagerduty"
          }
        ],
        "next_cursor": null
      },
      "success": true
    }
    "#);
    assert_eq!(system.get("/v2/alerts/2").await.status, 404);
    assert_eq!(system.get("/v2/alerts/2/notifications").await.status, 404);
    assert_eq!(system.send(Method::POST, "/v2/alerts/2/acknowledge", None).await.status, 404);
}

#[tokio::test]
async fn alerts_come_in_pages_over_open_and_closed_ones() {
    let system = System::start().await;
    for n in 1..=5 {
        system.register(&format!("worker-{n}"), 600.0, json!({})).await;
        system.heartbeat(&format!("worker-{n}"), "DOWN").await;
    }
    for n in [2, 4] {
        system.heartbeat(&format!("worker-{n}"), "UP").await;
    }
    let ids = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|a| a["alert_id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let first = system.get("/v2/alerts?limit=3").await;
    assert_eq!(ids(first.results()), [5, 4, 3]);
    let cursor = first.results()["next_cursor"].as_str().unwrap();
    let second = system.get(&format!("/v2/alerts?limit=3&cursor={cursor}")).await;
    assert_eq!((ids(second.results()), &second.results()["next_cursor"]), (vec![2, 1], &Value::Null));
    assert_eq!(ids(system.get("/v2/alerts?active=0").await.results()), [4, 2]);
}

#[tokio::test]
async fn a_write_that_the_sdk_repeats_counts_once() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({"threshold": 2})).await;
    // The first one caches the threshold, so that the next is written without a read.
    system.heartbeat("worker-1", "UP").await;
    system.seconds(50).await;
    system.service.dynamodb().lose_answers(1);
    system.heartbeat("worker-1", "UP").await;
    assert_eq!(system.get("/heartbeat").await.results().as_array().unwrap().len(), 2);
    system.seconds(10).await;
    assert_eq!(system.open_alerts().await, 1, "one heartbeat is not two");
}

#[tokio::test]
async fn a_transition_whose_response_is_lost_happens_once() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    system.seconds(59).await;
    system.service.dynamodb().lose_answers(3);
    system.seconds(5).await;
    assert_eq!(system.alerts().await.len(), 1);
    assert_eq!(
        system.pagerduty(),
        [format!("trigger {}", system.alerts().await[0]["external_reference_id"].as_str().unwrap())]
    );
}
