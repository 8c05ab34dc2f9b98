//! Who may ask for what: every route, without a key, with one that lacks the scope, and with one that has it.

use std::collections::HashMap;

use chrono::TimeDelta;
use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

/// A route as the document has it, and the scopes of which it says that any one lets a key in: none where no key is needed.
struct Route {
    method: Method,
    path: String,
    scopes: Vec<String>,
}

impl Route {
    async fn all(system: &System) -> Vec<Self> {
        let document = system.get("/docs/openapi.json").await.body;
        let mut routes = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let method = method.to_uppercase().parse().unwrap();
                routes.push(Self { method, path: path.clone(), scopes: scopes(&operation["security"]) });
            }
        }
        routes
    }

    /// Nothing has the ids of this path, so that a call that is let in changes nothing.
    fn address(&self) -> String {
        let fill = |part: &str| match part {
            "{heartbeat_name}" => "nobody".to_owned(),
            part if part.starts_with('{') => "9000".to_owned(),
            part => part.to_owned(),
        };
        self.path.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    fn begins(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.path.starts_with(prefix))
    }

    /// What the contract says of it in the table of its section 3.
    fn scopes_by_contract(&self) -> &'static [&'static str] {
        let is_get = self.method == Method::GET;
        if self.begins(&["/health", "/v1/healthcheck/", "/metrics", "/docs", "/ping/"]) || self.needs_secret() {
            &[]
        } else if self.begins(&["/v2/api-keys", "/v2/ping-keys", "/v2/secrets"])
            || (self.begins(&["/v2/scripts"]) && !is_get)
        {
            &["admin"]
        } else if self.begins(&["/heartbeat", "/v1/heartbeat", "/v2/heartbeat"]) && !is_get {
            &["heartbeat", "write"]
        } else if is_get {
            &["read"]
        } else {
            &["write"]
        }
    }

    /// Returns whether it asks for a secret instead of a key.
    fn needs_secret(&self) -> bool {
        self.begins(&["/v2/slack/interactions", "/v2/webhooks/playbooks/"])
    }

    /// Which limit its requests count against, by the contract's section 4: none where there is none.
    fn limit_by_contract(&self) -> Option<&'static str> {
        match self.scopes_by_contract() {
            ["heartbeat", "write"] => Some(HEARTBEATS),
            [_, ..] if self.path.ends_with("/execute") => Some(EXECUTIONS),
            [_, ..] => Some(MANAGEMENT),
            [] if self.begins(&["/ping/"]) => Some(HEARTBEATS),
            [] if self.begins(&["/v2/webhooks/playbooks/"]) => Some(TRIGGERS),
            [] => None,
        }
    }
}

fn scopes(security: &Value) -> Vec<String> {
    let of_key = security.as_array().unwrap().iter().filter_map(|requirement| requirement["api_key"].as_array());
    of_key.flatten().map(|scope| scope.as_str().unwrap().to_owned()).collect()
}

/// Limits of each class, none like another. That of triggers is fixed.
const HEARTBEATS: &str = "5000";
const MANAGEMENT: &str = "4000";
const EXECUTIONS: &str = "3000";
const TRIGGERS: &str = "10";

const SCOPES: [&str; 4] = ["read", "write", "admin", "heartbeat"];

async fn key(system: &System, name: &str, scopes: &[&str]) -> String {
    let answer = system.post("/v2/api-keys", json!({"name": name, "scopes": scopes})).await;
    answer.results()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_declares_what_the_contract_says() {
    let system = System::start().await;
    let routes = Route::all(&system).await;
    assert!(routes.len() > 100, "{}", routes.len());
    for route in routes {
        assert_eq!(route.scopes, route.scopes_by_contract(), "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn every_route_asks_for_what_the_document_says() {
    let system = System::start().await;
    let mut keys = Vec::new();
    for scope in SCOPES {
        keys.push((scope, key(&system, &format!("only {scope}"), &[scope]).await));
    }
    for route in Route::all(&system).await.into_iter().filter(|route| !route.needs_secret()) {
        let (Route { method, path, scopes }, address) = (&route, route.address());
        let status = async |key| system.raw(method.clone(), &address, key, &[], None).await.status.as_u16();
        let without = status(None).await;
        assert_eq!(without == 401, !scopes.is_empty(), "{method} {path} without a key: {without}");
        for (scope, key) in &keys {
            let got = status(Some(key)).await;
            let may = scopes.is_empty() || *scope == "admin" || scopes.iter().any(|wanted| wanted == scope);
            assert_eq!(got == 403, !may, "{method} {path} with {scope}: {got}");
            assert!(got != 401 && got < 500, "{method} {path} with {scope}: {got}");
        }
    }
}

#[tokio::test]
async fn every_route_counts_against_the_limit_of_its_class() {
    let limits = [
        ("MEDIC_RATE_LIMIT_HEARTBEATS", HEARTBEATS),
        ("MEDIC_RATE_LIMIT_MANAGEMENT", MANAGEMENT),
        ("MEDIC_RATE_LIMIT_EXECUTIONS", EXECUTIONS),
        ("MEDIC_WEBHOOK_SECRET", "secret-of-triggers"),
    ];
    let system = System::start_with(&limits, None).await;
    let key = key(&system, "all", &["admin"]).await;
    let ping_key = system.post("/v2/ping-keys", json!({"name": "pings"})).await.results()["key"].clone();
    for route in Route::all(&system).await {
        let address = route.address().replace("/ping/9000", &format!("/ping/{}", ping_key.as_str().unwrap()));
        let headers = [("x-webhook-secret", "secret-of-triggers")];
        let answer = system.raw(route.method.clone(), &address, Some(&key), &headers, None).await;
        let limit = answer.headers.get("x-ratelimit-limit").map(|limit| limit.to_str().unwrap());
        assert_eq!(limit, route.limit_by_contract(), "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn a_key_is_of_no_use_where_a_secret_is_asked_for() {
    let environment = [("SLACK_SIGNING_SECRET", "signing"), ("MEDIC_WEBHOOK_SECRET", "secret-of-triggers")];
    let (set_up, not_set_up) = (System::start_with(&environment, None).await, System::start().await);
    let routes = Route::all(&set_up).await;
    let by_secret: Vec<_> = routes.iter().filter(|route| route.needs_secret()).collect();
    assert_eq!(by_secret.len(), 2);
    for route in by_secret {
        for (system, wanted) in [(&set_up, 401), (&not_set_up, 503)] {
            let body = Some("{}".into());
            let answer = system.raw(route.method.clone(), &route.address(), Some(&system.key), &[], body).await;
            assert_eq!(answer.status, wanted, "{}: {answer}", route.path);
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
async fn a_key_is_shown_when_it_is_created() {
    let system = System::start().await;
    let new = json!({"name": "ci", "scopes": ["write", "read", "read"], "rate_limit_heartbeats": 500});
    insta::assert_snapshot!(system.post("/v2/api-keys", new.clone()).await, @r#"
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
}

#[tokio::test]
async fn a_key_is_of_no_use_once_it_is_rotated_or_revoked() {
    let system = System::start().await;
    let first = key(&system, "ci", &["read", "write"]).await;
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
        "rate_limit_heartbeats": null,
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
    let record = table.find::<domain::ApiKey>(domain::ApiKeyId::new(2)).await.unwrap().unwrap();
    assert_eq!(table.delete(&record, store::Writes::new()).await.unwrap(), store::Commit::Done);
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
