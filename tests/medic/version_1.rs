//! Version 1: each of its routes, as existing clients use it.

use harness::{Answer, System};
use reqwest::Method;
use serde_json::{Value, json};

/// Returns the body of a registration, with more fields.
pub(crate) fn worker(more: &Value) -> Value {
    let mut body = json!({"heartbeat_name": "worker-1", "service_name": "worker", "alert_interval": 5});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    body
}

fn names(answer: &Answer) -> Vec<&str> {
    answer.results().as_array().unwrap().iter().map(|item| item["heartbeat_name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_service_is_registered_once() {
    let system = System::start().await;
    insta::assert_snapshot!(system.post("/service", worker(&json!({}))).await, @r#"
    201
    {
      "message": "Heartbeat successfully registered.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.post("/service", worker(&json!({"heartbeat_name": "WORKER-1"}))).await, @r#"
    200
    {
      "message": "Heartbeat is already registered.",
      "results": "",
      "success": true
    }
    "#);
    assert_eq!(names(&system.get("/service").await), ["worker-1"]);
}

#[tokio::test]
async fn a_service_shows_all_its_fields() {
    let system = System::start().await;
    let more = json!({
        "environment": "prod", "threshold": 3, "team": "payments", "priority": "p1",
        "runbook": "https://runbooks.example.com/worker", "grace_period_seconds": 30, "max_duration_ms": 60_000,
    });
    system.post("/service", worker(&more)).await;
    insta::assert_snapshot!(system.get("/service/prod-worker-1").await, @r#"
    200
    {
      "message": "",
      "results": [
        {
          "active": 1,
          "alert_interval": 5,
          "circuit_open": 0,
          "consecutive_failures": 0,
          "date_added": "2026-01-05T12:00:00.000Z",
          "date_modified": null,
          "date_muted": null,
          "down": 0,
          "grace_period_seconds": 30,
          "heartbeat_name": "prod-worker-1",
          "last_heartbeat_at": null,
          "last_status": null,
          "max_duration_ms": 60000,
          "muted": 0,
          "muted_until": null,
          "notification_mode": "notify_all",
          "priority": "p1",
          "runbook": "https://runbooks.example.com/worker",
          "schedule_cron": null,
          "schedule_id": null,
          "service_id": 1,
          "service_name": "worker",
          "team": "payments",
          "team_id": null,
          "threshold": 3,
          "timezone": null
        }
      ],
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/service/worker-1").await, @r#"
    200
    {
      "message": "",
      "results": [],
      "success": true
    }
    "#);
}

#[tokio::test]
async fn services_are_listed_by_service_name_and_activity() {
    let system = System::start().await;
    for (name, service) in [("a", "one"), ("b", "two"), ("c", "two")] {
        system.post("/service", worker(&json!({"heartbeat_name": name, "service_name": service}))).await;
    }
    system.post("/service/b", json!({"active": 0})).await;
    assert_eq!(names(&system.get("/service").await), ["c", "b", "a"]);
    assert_eq!(names(&system.get("/service?service_name=two").await), ["c", "b"]);
    assert_eq!(names(&system.get("/service?service_name=two&active=1").await), ["c"]);
    assert_eq!(names(&system.get("/service?active=0").await), ["b"]);
    insta::assert_snapshot!(system.get("/service?active=maybe").await, @r#"
    400
    {
      "message": "active must be 0, 1, true or false",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn a_service_is_updated_by_its_name_in_any_case() {
    let system = System::start().await;
    system.post("/service", worker(&json!({}))).await;
    let change = json!({
        "service_name": "cleaner", "muted": 1, "active": 1, "alert_interval": 0.5, "threshold": 2, "team": "payments",
        "priority": "P2", "runbook": "https://runbooks.example.com/cleaner", "down": 0, "grace_period_seconds": 10,
        "max_duration_ms": 500,
    });
    insta::assert_snapshot!(system.post("/service/Worker-1", change).await, @r#"
    200
    {
      "message": "Heartbeat successfully updated.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/service/worker-1").await, @r#"
    200
    {
      "message": "",
      "results": [
        {
          "active": 1,
          "alert_interval": 0.5,
          "circuit_open": 0,
          "consecutive_failures": 0,
          "date_added": "2026-01-05T12:00:00.000Z",
          "date_modified": "2026-01-05T12:00:00.000Z",
          "date_muted": "2026-01-05T12:00:00.000Z",
          "down": 0,
          "grace_period_seconds": 10,
          "heartbeat_name": "worker-1",
          "last_heartbeat_at": null,
          "last_status": null,
          "max_duration_ms": 500,
          "muted": 1,
          "muted_until": "2026-01-06T12:00:00.000Z",
          "notification_mode": "notify_all",
          "priority": "p2",
          "runbook": "https://runbooks.example.com/cleaner",
          "schedule_cron": null,
          "schedule_id": null,
          "service_id": 1,
          "service_name": "cleaner",
          "team": "payments",
          "team_id": null,
          "threshold": 2,
          "timezone": null
        }
      ],
      "success": true
    }
    "#);
    system.post("/service/worker-1", json!({"muted": 0})).await;
    let answer = system.get("/service/worker-1").await;
    assert_eq!((&answer.results()[0]["muted"], &answer.results()[0]["date_muted"]), (&json!(0), &Value::Null));
    insta::assert_snapshot!(system.post("/service/nobody", json!({"muted": 1})).await, @r#"
    404
    {
      "message": "Heartbeat is not registered: nobody",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn the_upstream_clients_call_needs_only_a_key() {
    let system = System::start().await;
    system.post("/service", worker(&json!({}))).await;
    let call = br#"{"heartbeat_name": "worker-1", "service_name": "worker", "status": "UP"}"#;
    for path in ["/heartbeat", "/v1/heartbeat"] {
        let headers = [("content-type", "text/plain")];
        let answer = system.raw(Method::POST, path, Some(&system.key), &headers, Some(call.to_vec())).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer, @r#"
            201
            {
              "message": "Heartbeat Posted Successfully.",
              "results": "",
              "success": true
            }
            "#);
        }
    }
    insta::assert_snapshot!(system.get("/heartbeat?heartbeat_name=worker-1&maxCount=1").await, @r#"
    200
    {
      "message": "",
      "results": [
        {
          "heartbeat_id": "[id]",
          "heartbeat_name": "worker-1",
          "priority": "p3",
          "run_id": null,
          "service_name": "worker",
          "status": "UP",
          "team": "site-reliability",
          "time": "2026-01-05T12:00:00.000Z"
        }
      ],
      "success": true
    }
    "#);
    assert_eq!(system.get("/v1/heartbeat").await.results().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_heartbeat_must_be_for_an_active_service() {
    let system = System::start().await;
    system.post("/service", worker(&json!({}))).await;
    insta::assert_snapshot!(system.post("/heartbeat", json!({"heartbeat_name": "nobody", "status": "UP"})).await, @r#"
    404
    {
      "message": "Heartbeat is not registered: nobody",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(system.post("/heartbeat", json!({"heartbeat_name": "worker-1", "status": "FINE"})).await, @r#"
    400
    {
      "message": "status must be one of UP, DOWN, STARTED, COMPLETED, FAILED",
      "results": "",
      "success": false
    }
    "#);
    system.post("/service/worker-1", json!({"active": 0})).await;
    for status in ["UP", "DOWN"] {
        let answer = system.post("/heartbeat", json!({"heartbeat_name": "worker-1", "status": status})).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer, @r#"
            400
            {
              "message": "Heartbeat is not active: worker-1",
              "results": "",
              "success": false
            }
            "#);
        }
    }
    assert_eq!(system.get("/heartbeat").await.results(), &json!([]));
}

#[tokio::test]
async fn every_status_is_accepted_in_any_case() {
    let system = System::start().await;
    system.post("/service", worker(&json!({}))).await;
    for status in ["up", "Down", "STARTED", "completed", "Failed"] {
        let body = json!({"heartbeat_name": "worker-1", "status": status, "run_id": "run-1"});
        assert_eq!(system.post("/heartbeat", body).await.status, 201, "{status}");
        system.seconds(1).await;
    }
    let heartbeats = system.get("/heartbeat").await;
    let statuses: Vec<_> = heartbeats.results().as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, ["FAILED", "COMPLETED", "STARTED", "DOWN", "UP"]);
}

#[tokio::test]
async fn heartbeats_are_listed_by_name_newest_first_and_kept_thirty_days() {
    let system = System::start().await;
    for (name, service) in [("a", "one"), ("b", "two")] {
        system.post("/service", worker(&json!({"heartbeat_name": name, "service_name": service}))).await;
    }
    for name in ["a", "b", "a"] {
        system.heartbeat(name, "UP").await;
        system.seconds(1).await;
    }
    assert_eq!(names(&system.get("/heartbeat").await), ["a", "b", "a"]);
    assert_eq!(names(&system.get("/heartbeat?maxCount=2").await), ["a", "b"]);
    assert_eq!(names(&system.get("/heartbeat?service_name=two").await), ["b"]);
    assert_eq!(names(&system.get("/heartbeat?heartbeat_name=A").await), ["a", "a"]);
    assert_eq!(names(&system.get("/heartbeat?heartbeat_name=a&service_name=two").await), [""; 0]);
    insta::assert_snapshot!(system.get("/heartbeat?maxCount=none").await, @r#"
    400
    {
      "message": "maxCount must be a whole number from 1",
      "results": "",
      "success": false
    }
    "#);
    for name in ["a", "b"] {
        system.post(&format!("/service/{name}"), json!({"active": 0})).await;
    }
    system.lag(chrono::TimeDelta::days(30)).await;
    assert_eq!(system.get("/heartbeat").await.results(), &json!([]));
}

#[tokio::test]
async fn alerts_are_listed_newest_first() {
    let system = System::start().await;
    for name in ["a", "b"] {
        system.post("/service", worker(&json!({"heartbeat_name": name}))).await;
        system.heartbeat(name, "FAILED").await;
    }
    system.heartbeat("a", "UP").await;
    insta::assert_snapshot!(system.get("/alerts").await, @r#"
    200
    {
      "message": "",
      "results": [
        {
          "acknowledged_by": null,
          "acknowledged_date": null,
          "active": 1,
          "alert_cycle": 1,
          "alert_id": 2,
          "alert_name": "Medic - Heartbeat failure for b",
          "closed_date": null,
          "created_date": "2026-01-05T12:00:00.000Z",
          "external_reference_id": "medic-2-b",
          "heartbeat_name": "b",
          "reason": "it reported FAILED",
          "resolution": null,
          "resolved_by": null,
          "service_id": 2
        },
        {
          "acknowledged_by": null,
          "acknowledged_date": null,
          "active": 0,
          "alert_cycle": 1,
          "alert_id": 1,
          "alert_name": "Medic - Heartbeat failure for a",
          "closed_date": "2026-01-05T12:00:00.000Z",
          "created_date": "2026-01-05T12:00:00.000Z",
          "external_reference_id": "medic-1-a",
          "heartbeat_name": "a",
          "reason": "it reported FAILED",
          "resolution": null,
          "resolved_by": null,
          "service_id": 1
        }
      ],
      "success": true
    }
    "#);
    assert_eq!(names(&system.get("/alerts?active=1").await), ["b"]);
    assert_eq!(names(&system.get("/v1/alerts?active=0").await), ["a"]);
}

#[tokio::test]
async fn past_two_hundred_services_a_list_of_heartbeats_requires_a_name() {
    let system = System::start().await;
    for n in 0..201 {
        let body = worker(&json!({"heartbeat_name": format!("worker-{n}")}));
        let bytes = serde_json::to_vec(&body).unwrap();
        system.raw(Method::POST, "/service", Some(&system.key), &[], Some(bytes)).await;
    }
    insta::assert_snapshot!(system.get("/heartbeat").await, @r#"
    400
    {
      "message": "heartbeat_name must be given: there are more than 200 services to look through",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.get("/heartbeat?heartbeat_name=worker-7").await.status, 200);
    assert_eq!(system.get("/service").await.results().as_array().unwrap().len(), 201);
}

#[tokio::test]
async fn with_more_than_a_thousand_services_a_name_must_be_given() {
    let system = System::start().await;
    for n in 0..1_000 {
        system.register(&format!("w-{n}"), 86_400.0, json!({})).await;
    }
    assert_eq!(names(&system.get("/service").await).len(), 1_000);
    system.register("other", 86_400.0, json!({"service_name": "other"})).await;
    insta::assert_snapshot!(system.get("/service").await, @r#"
    400
    {
      "message": "service_name must be given: there are more than 1000 services",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(names(&system.get("/service?service_name=other").await), ["other"]);
    assert_eq!(names(&system.get("/service?service_name=worker&active=1").await).len(), 1_000);
    assert_eq!(names(&system.get("/heartbeat?service_name=worker").await), [""; 0]);
    system.register("w-1000", 86_400.0, json!({})).await;
    for (path, message) in [
        (
            "/service?service_name=worker",
            "service_name is that of more than 1000 services: get one by GET /service/{heartbeat_name}",
        ),
        (
            "/heartbeat?service_name=worker",
            "heartbeat_name must be given: there are more than 1000 services to look through",
        ),
    ] {
        let answer = system.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.message()), (400, message));
    }
}
