//! Who may ask for what: every route, without a key, with one that lacks the scope, and with one that has it.

use std::collections::HashMap;

use chrono::TimeDelta;
use harness::System;
use reqwest::Method;
use serde_json::json;

/// Every route with the scopes of which any one lets a caller in; none for what is public.
const ROUTES: &[(&str, &str, &[&str])] = &[
    ("GET", "/service", &["read"]),
    ("POST", "/service", &["write"]),
    ("GET", "/service/{heartbeat_name}", &["read"]),
    ("POST", "/service/{heartbeat_name}", &["write"]),
    ("GET", "/heartbeat", &["read"]),
    ("POST", "/heartbeat", &["heartbeat", "write"]),
    ("GET", "/alerts", &["read"]),
    ("GET", "/v1/service", &["read"]),
    ("POST", "/v1/service", &["write"]),
    ("GET", "/v1/service/{heartbeat_name}", &["read"]),
    ("POST", "/v1/service/{heartbeat_name}", &["write"]),
    ("GET", "/v1/heartbeat", &["read"]),
    ("POST", "/v1/heartbeat", &["heartbeat", "write"]),
    ("GET", "/v1/alerts", &["read"]),
    ("GET", "/v2/services", &["read"]),
    ("POST", "/v2/services", &["write"]),
    ("GET", "/v2/services/{service_id}", &["read"]),
    ("PATCH", "/v2/services/{service_id}", &["write"]),
    ("DELETE", "/v2/services/{service_id}", &["write"]),
    ("GET", "/v2/services/{service_id}/heartbeats", &["read"]),
    ("GET", "/v2/services/{service_id}/heartbeats/{heartbeat_id}/body", &["read"]),
    ("GET", "/v2/services/{service_id}/expectations", &["read"]),
    ("GET", "/ping/{ping_key}/{slug}", &[]),
    ("POST", "/ping/{ping_key}/{slug}", &[]),
    ("GET", "/ping/{ping_key}/{slug}/{action}", &[]),
    ("POST", "/ping/{ping_key}/{slug}/{action}", &[]),
    ("GET", "/v2/ping-keys", &["admin"]),
    ("POST", "/v2/ping-keys", &["admin"]),
    ("GET", "/v2/ping-keys/{ping_key_id}", &["admin"]),
    ("DELETE", "/v2/ping-keys/{ping_key_id}", &["admin"]),
    ("GET", "/v2/services/{service_id}/runs", &["read"]),
    ("GET", "/v2/services/{service_id}/stats", &["read"]),
    ("POST", "/v2/heartbeats", &["heartbeat", "write"]),
    ("POST", "/v2/heartbeat/{service_id}/start", &["heartbeat", "write"]),
    ("POST", "/v2/heartbeat/{service_id}/complete", &["heartbeat", "write"]),
    ("POST", "/v2/heartbeat/{service_id}/fail", &["heartbeat", "write"]),
    ("GET", "/v2/alerts", &["read"]),
    ("GET", "/v2/alerts/{alert_id}", &["read"]),
    ("POST", "/v2/alerts/{alert_id}/acknowledge", &["write"]),
    ("GET", "/v2/alerts/{alert_id}/notifications", &["read"]),
    ("GET", "/v2/api-keys", &["admin"]),
    ("POST", "/v2/api-keys", &["admin"]),
    ("GET", "/v2/api-keys/{api_key_id}", &["admin"]),
    ("DELETE", "/v2/api-keys/{api_key_id}", &["admin"]),
    ("POST", "/v2/api-keys/{api_key_id}/rotate", &["admin"]),
    ("GET", "/v2/teams", &["read"]),
    ("POST", "/v2/teams", &["write"]),
    ("GET", "/v2/teams/{team_id}", &["read"]),
    ("PATCH", "/v2/teams/{team_id}", &["write"]),
    ("DELETE", "/v2/teams/{team_id}", &["write"]),
    ("GET", "/v2/schedules", &["read"]),
    ("POST", "/v2/schedules", &["write"]),
    ("GET", "/v2/schedules/{schedule_id}", &["read"]),
    ("PATCH", "/v2/schedules/{schedule_id}", &["write"]),
    ("DELETE", "/v2/schedules/{schedule_id}", &["write"]),
    ("GET", "/v2/schedules/{schedule_id}/period", &["read"]),
    ("GET", "/v2/maintenance-windows", &["read"]),
    ("POST", "/v2/maintenance-windows", &["write"]),
    ("GET", "/v2/maintenance-windows/{window_id}", &["read"]),
    ("PATCH", "/v2/maintenance-windows/{window_id}", &["write"]),
    ("DELETE", "/v2/maintenance-windows/{window_id}", &["write"]),
    ("GET", "/v2/webhooks", &["read"]),
    ("POST", "/v2/webhooks", &["write"]),
    ("GET", "/v2/webhooks/{webhook_id}", &["read"]),
    ("PATCH", "/v2/webhooks/{webhook_id}", &["write"]),
    ("DELETE", "/v2/webhooks/{webhook_id}", &["write"]),
    ("POST", "/v2/webhooks/{webhook_id}/rotate-secret", &["write"]),
    ("GET", "/v2/services/{service_id}/notification-targets", &["read"]),
    ("POST", "/v2/services/{service_id}/notification-targets", &["write"]),
    ("GET", "/v2/services/{service_id}/notification-targets/{target_id}", &["read"]),
    ("PATCH", "/v2/services/{service_id}/notification-targets/{target_id}", &["write"]),
    ("DELETE", "/v2/services/{service_id}/notification-targets/{target_id}", &["write"]),
    ("POST", "/v2/services/{service_id}/notification-targets/{target_id}/test", &["write"]),
    ("GET", "/v2/playbooks", &["read"]),
    ("POST", "/v2/playbooks", &["write"]),
    ("GET", "/v2/playbooks/{playbook_id}", &["read"]),
    ("PATCH", "/v2/playbooks/{playbook_id}", &["write"]),
    ("DELETE", "/v2/playbooks/{playbook_id}", &["write"]),
    ("GET", "/v2/playbooks/{playbook_id}/triggers", &["read"]),
    ("POST", "/v2/playbooks/{playbook_id}/triggers", &["write"]),
    ("GET", "/v2/playbooks/{playbook_id}/triggers/{trigger_id}", &["read"]),
    ("PATCH", "/v2/playbooks/{playbook_id}/triggers/{trigger_id}", &["write"]),
    ("DELETE", "/v2/playbooks/{playbook_id}/triggers/{trigger_id}", &["write"]),
    ("GET", "/v2/scripts", &["read"]),
    ("POST", "/v2/scripts", &["admin"]),
    ("GET", "/v2/scripts/{script_id}", &["read"]),
    ("PATCH", "/v2/scripts/{script_id}", &["admin"]),
    ("DELETE", "/v2/scripts/{script_id}", &["admin"]),
    ("GET", "/v2/secrets", &["admin"]),
    ("POST", "/v2/secrets", &["admin"]),
    ("GET", "/v2/secrets/{secret_id}", &["admin"]),
    ("PATCH", "/v2/secrets/{secret_id}", &["admin"]),
    ("DELETE", "/v2/secrets/{secret_id}", &["admin"]),
    ("POST", "/v2/playbooks/validate", &["write"]),
    ("GET", "/v2/playbooks/{playbook_id}/effectiveness", &["read"]),
    ("POST", "/v2/playbooks/{playbook_id}/execute", &["write"]),
    ("GET", "/v2/executions", &["read"]),
    ("GET", "/v2/executions/{execution_id}", &["read"]),
    ("POST", "/v2/executions/{execution_id}/approve", &["write"]),
    ("POST", "/v2/executions/{execution_id}/reject", &["write"]),
    ("POST", "/v2/executions/{execution_id}/cancel", &["write"]),
    ("GET", "/v2/webhook-deliveries", &["read"]),
    ("GET", "/v2/webhook-deliveries/{delivery_id}", &["read"]),
    ("POST", "/v2/webhook-deliveries/{delivery_id}/redeliver", &["write"]),
    ("GET", "/v2/services/{service_id}/period", &["read"]),
    ("GET", "/v2/services/{service_id}/maintenance", &["read"]),
    ("GET", "/v2/audit-logs", &["read"]),
    ("GET", "/v2/notifications", &["read"]),
    ("GET", "/v1/healthcheck/network", &[]),
    ("GET", "/health", &[]),
    ("GET", "/health/live", &[]),
    ("GET", "/health/ready", &[]),
    ("GET", "/metrics", &[]),
];

/// What asks for a secret instead of a key.
const BY_SECRET: [(&str, &str); 2] =
    [("POST", "/v2/slack/interactions"), ("POST", "/v2/webhooks/playbooks/{playbook_id}/trigger")];

const IDS: [&str; 16] = [
    "execution_id",
    "heartbeat_id",
    "ping_key_id",
    "service_id",
    "alert_id",
    "api_key_id",
    "team_id",
    "schedule_id",
    "window_id",
    "target_id",
    "webhook_id",
    "delivery_id",
    "playbook_id",
    "trigger_id",
    "script_id",
    "secret_id",
];

const SCOPES: [&str; 4] = ["read", "write", "admin", "heartbeat"];

async fn key(system: &System, name: &str, scopes: &[&str]) -> String {
    let answer = system.post("/v2/api-keys", json!({"name": name, "scopes": scopes})).await;
    answer.results()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_list_above_names_every_route() {
    let system = System::start().await;
    let document = system.get("/docs/openapi.json").await.body;
    let mut described = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        described
            .extend(operations.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let by_key = ROUTES.iter().map(|(method, path, _)| (*method, *path));
    let mut listed: Vec<_> = by_key.chain(BY_SECRET).map(|(method, path)| format!("{method} {path}")).collect();
    described.sort();
    listed.sort();
    assert_eq!(described, listed);
}

#[tokio::test]
async fn a_key_is_of_no_use_where_a_secret_is_asked_for() {
    let environment = [("SLACK_SIGNING_SECRET", "signing"), ("MEDIC_WEBHOOK_SECRET", "secret")];
    let (set_up, not_set_up) = (System::start_with(&environment, None).await, System::start().await);
    for (method, path) in BY_SECRET {
        let path = path.replace("{playbook_id}", "1");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for (system, wanted) in [(&set_up, 401), (&not_set_up, 503)] {
            let answer = system.raw(method.clone(), &path, Some(&system.key), &[], Some("{}".into())).await;
            assert_eq!(answer.status, wanted, "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_route_asks_for_its_scope() {
    let system = System::start().await;
    let mut keys = Vec::new();
    for scope in SCOPES {
        keys.push((scope, key(&system, &format!("only {scope}"), &[scope]).await));
    }
    for (method, path, wanted) in ROUTES {
        // No such thing has this id, so that a call that is let in changes nothing.
        let mut path = path.replace("{heartbeat_name}", "nobody");
        for id in IDS {
            path = path.replace(&format!("{{{id}}}"), "9000");
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let status = async |key| system.raw(method.clone(), &path, key, &[], None).await.status.as_u16();
        let without = status(None).await;
        assert_eq!(without == 401, !wanted.is_empty(), "{method} {path} without a key: {without}");
        for (scope, key) in &keys {
            let got = status(Some(key)).await;
            let may = wanted.is_empty() || *scope == "admin" || wanted.contains(scope);
            assert_eq!(got == 403, !may, "{method} {path} with {scope}: {got}");
            assert!(got != 401 && got < 500, "{method} {path} with {scope}: {got}");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_is_counted() {
    let system = System::start().await;
    let mut before = HashMap::new();
    for reason in ["missing_key", "invalid_key", "insufficient_scope"] {
        before.insert(reason, system.counter(&format!("medic_auth_failures_total{{reason=\"{reason}\"}}")).await);
    }
    let reader = key(&system, "reader", &["read"]).await;
    let wrong = format!("{}x", &system.key[..system.key.len() - 1]);
    let body = Some(b"{}".to_vec());
    let refuse = async |key: Option<&str>, headers: &[(&str, &str)]| {
        system.raw(Method::POST, "/service", key, headers, body.clone()).await
    };
    insta::assert_snapshot!(refuse(None, &[]).await, @r#"
    401
    {
      "message": "An API key is needed: Authorization: Bearer mdk_…",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(refuse(Some(&wrong), &[]).await, @r#"
    401
    {
      "message": "The API key is not valid",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(refuse(Some(&reader), &[]).await, @r#"
    403
    {
      "message": "The API key lacks the scope for this",
      "results": "",
      "success": false
    }
    "#);
    for header in ["", "Bearer", "Bearer ", "Basic YWRtaW46YWRtaW4=", "Bearer mdk_1_", "Bearer mdk_99_AAAA"] {
        assert_eq!(refuse(None, &[("authorization", header)]).await.status, 401, "{header}");
    }
    for (reason, more) in [("missing_key", 1), ("invalid_key", 7), ("insufficient_scope", 1)] {
        let now = system.counter(&format!("medic_auth_failures_total{{reason=\"{reason}\"}}")).await;
        assert!(now >= before[reason] + more, "{reason}: {now}");
    }
}

#[tokio::test]
async fn a_key_lives_from_its_making_to_its_revocation() {
    let system = System::start().await;
    let new = json!({"name": "ci", "scopes": ["write", "read", "read"], "rate_limit_heartbeats": 500});
    let made = system.post("/v2/api-keys", new.clone()).await;
    insta::assert_snapshot!(made, @r#"
    201
    {
      "message": "API key created. It is shown this once.",
      "results": {
        "api_key_id": 2,
        "created_at": "2026-01-05T12:00:00.000Z",
        "expires_at": null,
        "key": "mdk_[secret]",
        "name": "ci",
        "rate_limit_heartbeats": 500,
        "rate_limit_management": null,
        "rotated_at": null,
        "scopes": [
          "read",
          "write"
        ]
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.post("/v2/api-keys", new).await, @r#"
    409
    {
      "message": "name is taken: there is an API key named ci",
      "results": "",
      "success": false
    }
    "#);
    let first = made.results()["key"].as_str().unwrap().to_owned();
    let try_key = async |key: &str| system.raw(Method::GET, "/service", Some(key), &[], None).await.status.as_u16();
    assert_eq!(try_key(&first).await, 200);

    let rotated = system.send(Method::POST, "/v2/api-keys/2/rotate", None).await;
    let second = rotated.results()["key"].as_str().unwrap().to_owned();
    assert_eq!((try_key(&first).await, try_key(&second).await), (401, 200));
    insta::assert_snapshot!(system.get("/v2/api-keys/2").await, @r#"
    200
    {
      "message": "",
      "results": {
        "api_key_id": 2,
        "created_at": "2026-01-05T12:00:00.000Z",
        "expires_at": null,
        "name": "ci",
        "rate_limit_heartbeats": 500,
        "rate_limit_management": null,
        "rotated_at": "2026-01-05T12:00:00.000Z",
        "scopes": [
          "read",
          "write"
        ]
      },
      "success": true
    }
    "#);
    assert_eq!(system.get("/v2/api-keys?limit=1").await.results()["next_cursor"], "2");

    assert_eq!(system.delete("/v2/api-keys/2").await.status, 200);
    assert_eq!(try_key(&second).await, 401);
    assert_eq!(system.get("/v2/api-keys/2").await.status, 404);
    // The name is free again.
    assert_eq!(system.post("/v2/api-keys", json!({"name": "CI", "scopes": ["read"]})).await.status, 201);
}

#[tokio::test]
async fn a_key_expires() {
    let system = System::start().await;
    let new = json!({"name": "brief", "scopes": ["read"], "expires_at": "2026-01-05T12:00:10Z"});
    let brief = system.post("/v2/api-keys", new).await.results()["key"].as_str().unwrap().to_owned();
    let ask = async || system.raw(Method::GET, "/service", Some(&brief), &[], None).await;
    assert_eq!(ask().await.status, 200);
    system.seconds(10).await;
    insta::assert_snapshot!(ask().await, @r#"
    401
    {
      "message": "The API key has expired",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn a_key_revoked_elsewhere_is_refused_within_thirty_seconds() {
    let system = System::start().await;
    let ci = key(&system, "ci", &["read"]).await;
    let ask = async || system.raw(Method::GET, "/service", Some(&ci), &[], None).await.status.as_u16();
    assert_eq!(ask().await, 200);
    // Another process takes it out of the table; this one has it in memory.
    let table = &system.service.medic().table;
    let record = table.api_key(domain::ApiKeyId::new(2), true).await.unwrap().unwrap();
    assert_eq!(table.revoke_api_key(&record, store::Writes::new()).await.unwrap(), store::Commit::Done);
    system.advance(TimeDelta::seconds(29)).await;
    assert_eq!(ask().await, 401);
}

#[tokio::test]
async fn refusals_cost_no_write() {
    let system = System::start().await;
    let reader = key(&system, "reader", &["read"]).await;
    let wrong = format!("{}x", &system.key[..system.key.len() - 1]);
    let brief = json!({"name": "brief", "scopes": ["write"], "expires_at": "2026-01-05T12:00:10Z"});
    let brief = system.post("/v2/api-keys", brief).await.results()["key"].as_str().unwrap().to_owned();
    let unknown = wrong.replace("mdk_1_", "mdk_77_");
    system.seconds(10).await;
    system.service.dynamodb().measure();
    for key in [None, Some(wrong.as_str()), Some(reader.as_str()), Some(brief.as_str()), Some(unknown.as_str())] {
        system.raw(Method::POST, "/heartbeat", key, &[], Some(b"{}".to_vec())).await;
    }
    let units = system.service.dynamodb().units();
    assert!(units.write.abs() < f64::EPSILON, "{units:?}");
}

#[tokio::test]
async fn argon2_is_spent_once_a_key_and_ten_times_a_minute_on_wrong_secrets() {
    let system = System::start().await;
    let ci = key(&system, "ci", &["read"]).await;
    let verifications = || system.service.medic().keyring.verifications();
    let before = verifications();
    let ask = async |key: &str| system.raw(Method::GET, "/service", Some(key), &[], None).await.status.as_u16();
    let at_once = futures::future::join_all((0..20).map(|_| ask(&ci))).await;
    assert_eq!((at_once, verifications() - before), (vec![200; 20], 1));
    // A key that this process has not verified yet, and somebody who guesses at it.
    let other = key(&system, "other", &["read"]).await;
    for n in 10..40 {
        let wrong = format!("{}{n}", &other[..other.len() - 2]);
        assert_eq!(ask(&wrong).await, 401);
    }
    assert_eq!(verifications() - before, 11);
    system.seconds(60).await;
    assert_eq!(ask(&other).await, 200);
}
