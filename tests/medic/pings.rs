//! Pings as clients of Healthchecks send them, and the keys that they carry.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::{HeartbeatName, PingKeyId, PingKind, RunId, ServiceId};
use harness::{Answer, System, interleaved};
use operations::Ping;
use reqwest::Method;
use runtime::Clock as _;
use serde_json::{Value, json};
use store::Key;

const RID: &str = "0b3b9d3a-8f4f-4c0e-9a68-6f2f9f3f7b11";

async fn ping_key(system: &System) -> String {
    let answer = system.post("/v2/ping-keys", json!({})).await;
    answer.results()["key"].as_str().unwrap().to_owned()
}

async fn send(system: &System, method: Method, path: &str, body: Option<Vec<u8>>) -> Answer {
    let answer = system.raw(method, path, None, &[], body).await;
    system.service.settle().await;
    answer
}

async fn ping(system: &System, path: &str) -> String {
    let answer = send(system, Method::GET, path, None).await;
    format!("{} {}", answer.status.as_u16(), answer.body.as_str().unwrap_or_default())
}

/// Returns status and run of each heartbeat, newest first.
async fn history(system: &System, id: i64) -> Vec<(String, Value)> {
    let answer = system.get(&format!("/v2/services/{id}/heartbeats")).await;
    let items = answer.results()["items"].as_array().unwrap().clone();
    items.iter().map(|item| (item["status"].as_str().unwrap().to_owned(), item["run_id"].clone())).collect()
}

#[tokio::test]
async fn each_address_reports_what_its_end_says() {
    let system = System::start().await;
    let id = system.register("Nightly-Backup", 3_600.0, json!({})).await;
    let key = ping_key(&system).await;
    for (end, status) in [
        ("", "COMPLETED"),
        ("/start", "STARTED"),
        ("/0", "COMPLETED"),
        ("/log", "LOG"),
        ("/fail", "FAILED"),
        ("/1", "FAILED"),
        ("/255", "FAILED"),
    ] {
        system.seconds(1).await;
        assert_eq!(ping(&system, &format!("/ping/{key}/nightly-backup{end}")).await, "200 OK", "{end}");
        assert_eq!(history(&system, id).await[0].0, status, "{end}");
    }
    assert_eq!(system.open_alerts().await, 1);
    system.seconds(1).await;
    let answer = send(&system, Method::POST, &format!("/ping/{key}/nightly-backup"), None).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!("OK")));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["ping-body-limit"], "10000");
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(system.open_alerts().await, 0);
    let answer = send(&system, Method::HEAD, &format!("/ping/{key}/nightly-backup?rid={RID}"), None).await;
    assert_eq!((answer.status.as_u16(), answer.headers["ping-body-limit"].to_str().unwrap()), (200, "10000"));
    assert_eq!(history(&system, id).await[0], ("COMPLETED".to_owned(), json!(RID)));
    assert_eq!(history(&system, id).await.len(), 9);
}

#[tokio::test]
async fn a_log_is_kept_and_changes_nothing() {
    let system = System::start().await;
    let id = system.register("w", 60.0, json!({})).await;
    let key = ping_key(&system).await;
    let service = async || system.get(&format!("/v2/services/{id}")).await.results().clone();
    let before = service().await;
    system.seconds(30).await;
    assert_eq!(ping(&system, &format!("/ping/{key}/w/log?rid={RID}")).await, "200 OK");
    assert_eq!(history(&system, id).await, [("LOG".to_owned(), json!(RID))]);
    assert_eq!(service().await, before);
    system.seconds(30).await;
    assert_eq!(system.open_alerts().await, 1);
    assert_eq!(ping(&system, &format!("/ping/{key}/w/log")).await, "200 OK");
    assert_eq!(system.open_alerts().await, 1);
    // A heartbeat may not have this status.
    let answer = system.post("/heartbeat", json!({"heartbeat_name": "w", "status": "LOG"})).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn invalid_pings_are_refused_as_healthchecks_does() {
    let system = System::start().await;
    let id = system.register("W", 60.0, json!({})).await;
    let key = ping_key(&system).await;
    for (end, answer) in [
        ("w/256", "400 invalid url format"),
        ("w/started", "400 invalid url format"),
        ("w/-1", "400 invalid url format"),
        ("W", "400 invalid url format"),
        ("%00", "400 invalid url format"),
        ("%ff", "400 invalid url format"),
        ("w?rid=1", "400 invalid uuid format"),
        ("w?rid=", "400 invalid uuid format"),
        ("w/start?rid=x", "400 invalid uuid format"),
        ("nobody", "404 not found"),
        ("nobody?create=0", "404 not found"),
        ("nobody/start", "404 not found"),
    ] {
        assert_eq!(ping(&system, &format!("/ping/{key}/{end}")).await, answer, "{end}");
    }
    for wrong in ["x", "0123456789ABCDEFGHIJKL", "0123456789ABCDEFGHIJKLM", "0123456789ABCDEFGHIJ%20"] {
        let answer = send(&system, Method::GET, &format!("/ping/{wrong}/w?create=1"), None).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (404, &json!("not found")), "{wrong}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
    assert!(history(&system, id).await.is_empty());
    assert_eq!(system.get("/v2/services").await.results()["items"].as_array().unwrap().len(), 1);
    let answer = send(&system, Method::DELETE, &format!("/ping/{key}/w"), None).await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn options_needs_no_key_and_counts_as_nothing() {
    let system = System::start().await;
    let id = system.register("w", 60.0, json!({})).await;
    let key = ping_key(&system).await;
    for path in [format!("/ping/{key}/w"), format!("/ping/{key}/w/fail"), "/ping/x/w".to_owned()] {
        let answer = send(&system, Method::OPTIONS, &path, None).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (204, &json!("")), "{path}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(answer.headers.get("x-ratelimit-limit").is_none());
    }
    assert!(history(&system, id).await.is_empty());
}

#[tokio::test]
async fn create_registers_with_a_day_and_an_hour_of_grace() {
    let system = System::start().await;
    let key = ping_key(&system).await;
    assert_eq!(ping(&system, &format!("/ping/{key}/new-job/start?create=1")).await, "201 Created");
    assert_eq!(ping(&system, &format!("/ping/{key}/new-job?create=1")).await, "200 OK");
    let service = system.get("/v2/services/1").await.results().clone();
    for (field, value) in [
        ("heartbeat_name", json!("new-job")),
        ("service_name", json!("new-job")),
        ("alert_interval", json!(1440)),
        ("grace_period_seconds", json!(3600)),
        ("team", json!("site-reliability")),
        ("last_status", json!("COMPLETED")),
    ] {
        assert_eq!(service[field], value, "{field}");
    }
    assert_eq!(history(&system, 1).await.len(), 2);
    system.lag(TimeDelta::hours(25) - TimeDelta::milliseconds(1)).await;
    assert_eq!(system.open_alerts().await, 0);
    system.advance(TimeDelta::milliseconds(1)).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn pings_of_an_inactive_service_are_acknowledged_and_not_kept() {
    let system = System::start().await;
    let id = system.register("w", 60.0, json!({"active": false})).await;
    let key = ping_key(&system).await;
    for end in ["", "/start", "/fail", "/log", "?create=1"] {
        let answer = send(&system, Method::POST, &format!("/ping/{key}/w{end}"), Some(b"text".to_vec())).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!("OK")), "{end}");
    }
    assert!(history(&system, id).await.is_empty());
    assert_eq!(system.alerts().await.len(), 0);
}

#[tokio::test]
async fn the_first_bytes_of_a_body_are_kept_beside_the_heartbeat() {
    let system = System::start().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let key = ping_key(&system).await;
    let all: Vec<u8> = (0..=255_u8).cycle().take(4 * 1024 * 1024).collect();
    let answer = send(&system, Method::POST, &format!("/ping/{key}/w/log"), Some(all.clone())).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!("OK")));
    system.seconds(1).await;
    send(&system, Method::POST, &format!("/ping/{key}/w/7"), Some("exit 7: é".into())).await;
    system.seconds(1).await;
    send(&system, Method::POST, &format!("/ping/{key}/w"), None).await;
    let answer = system.get(&format!("/v2/services/{id}/heartbeats")).await;
    let path = |n: usize| {
        let heartbeat = answer.results()["items"][n]["heartbeat_id"].as_str().unwrap();
        format!("/v2/services/{id}/heartbeats/{heartbeat}/body")
    };
    insta::assert_snapshot!(system.get(&path(1)).await, @r#"
    200
    {
      "message": "",
      "results": {
        "body": "exit 7: é",
        "body_base64": "ZXhpdCA3OiDDqQ==",
        "heartbeat_id": "[id]",
        "size": 10
      },
      "success": true
    }
    "#);
    let cut = system.get(&path(2)).await.results().clone();
    assert_eq!((cut["size"].clone(), cut["body"].clone()), (json!(10_000), Value::Null));
    assert!(cut["body_base64"].as_str().unwrap().starts_with("AAECAwQFBgcICQ"));
    assert_eq!(system.get(&path(0)).await.status, 404);
    assert_eq!(system.get(&path(1).replace("/1/", "/9/")).await.status, 404);
    assert_eq!(system.get("/v2/services/1/heartbeats/x/body").await.status, 400);
    // It expires with its heartbeat.
    system.lag(TimeDelta::days(30)).await;
    assert_eq!(system.get(&path(1)).await.status, 404);
}

#[tokio::test]
async fn a_large_body_is_read_to_its_end() {
    let system = System::start().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let key = ping_key(&system).await;
    // What is larger does not get through API Gateway and Lambda.
    for (bytes, status, text) in [(4 << 20, 200, "OK"), ((4 << 20) + 1, 413, "The body is over 4 MiB")] {
        let answer = send(&system, Method::POST, &format!("/ping/{key}/w"), Some(vec![0; bytes])).await;
        assert_eq!((answer.status.as_u16(), answer.body), (status, json!(text)));
    }
    assert_eq!(history(&system, id).await.len(), 1);
}

#[tokio::test]
async fn a_ping_key_works_for_pings_alone_until_it_is_revoked() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    let created = system.post("/v2/ping-keys", json!({"name": "Cron"})).await;
    assert_eq!(created.status, 201);
    let key = created.results()["key"].as_str().unwrap().to_owned();
    assert!(key.len() == 22 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    assert_eq!(system.post("/v2/ping-keys", json!({"name": "cron"})).await.status, 409);
    assert_eq!(system.post("/v2/ping-keys", json!({"name": ""})).await.status, 400);
    assert_eq!(system.post("/v2/ping-keys", json!({"scopes": []})).await.status, 400);
    let other = ping_key(&system).await;
    let listed = system.get("/v2/ping-keys").await;
    // The name that was refused used up an id, which leaves a gap.
    let created_at = "2026-01-05T12:00:00.000Z";
    let keys = json!([
        {"ping_key_id": 3, "name": "ping-key-3", "created_at": created_at},
        {"ping_key_id": 1, "name": "Cron", "created_at": created_at},
    ]);
    assert_eq!(listed.results(), &json!({"items": keys, "next_cursor": null}));
    assert!(!listed.body.to_string().contains(&key));
    for path in ["/v2/services", "/heartbeat", "/v2/ping-keys"] {
        assert_eq!(system.raw(Method::GET, path, Some(&key), &[], None).await.status, 401, "{path}");
    }
    let admin = &system.key;
    assert_eq!(ping(&system, &format!("/ping/{admin}/w")).await, "404 not found");
    assert_eq!(ping(&system, &format!("/ping/{key}/w")).await, "200 OK");
    assert_eq!(system.get("/v2/ping-keys/1").await.results()["name"], "Cron");
    assert_eq!(system.delete("/v2/ping-keys/1").await.status, 200);
    assert_eq!(ping(&system, &format!("/ping/{key}/w")).await, "404 not found");
    assert_eq!(ping(&system, &format!("/ping/{other}/w")).await, "200 OK");
    assert_eq!(system.get("/v2/ping-keys/1").await.status, 404);
    assert_eq!(system.delete("/v2/ping-keys/1").await.status, 404);
    // The name is free again.
    assert_eq!(system.post("/v2/ping-keys", json!({"name": "cron"})).await.status, 201);
}

#[tokio::test]
async fn pings_count_as_heartbeats_of_their_own_key() {
    let system = System::start_with(&[("MEDIC_RATE_LIMIT_HEARTBEATS", "2")], None).await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let (key, other) = (ping_key(&system).await, ping_key(&system).await);
    let path = format!("/ping/{key}/w");
    let answer = send(&system, Method::GET, &path, None).await;
    assert_eq!(
        (&answer.headers["x-ratelimit-limit"], &answer.headers["x-ratelimit-remaining"]),
        (&"2".parse().unwrap(), &"1".parse().unwrap())
    );
    assert_eq!(ping(&system, &path).await, "200 OK");
    let refused = send(&system, Method::GET, &path, None).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(refused.headers["ping-body-limit"], "10000");
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(history(&system, id).await.len(), 2);
    assert_eq!(ping(&system, &format!("/ping/{other}/w")).await, "200 OK");
}

#[tokio::test]
async fn a_ping_costs_what_a_heartbeat_costs_and_its_body_a_unit_for_each_kilobyte() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    let key = ping_key(&system).await;
    ping(&system, &format!("/ping/{key}/w")).await;
    let mut costs = Vec::new();
    for (end, body) in [("", None), ("", Some(vec![b'x'; 900])), ("/log", None)] {
        system.service.dynamodb().measure();
        system.raw(Method::POST, &format!("/ping/{key}/w{end}"), None, &[], body).await;
        let units = system.service.dynamodb().units();
        costs.push((units.write.to_string(), units.read.to_string()));
    }
    let cost = |write: &str, read: &str| (write.to_owned(), read.to_owned());
    // A success without a run looks for the newest open one.
    assert_eq!(costs, [cost("3", "3"), cost("4", "3"), cost("2", "1")]);
}

async fn runs(system: &System, id: i64) -> Vec<(Value, Value)> {
    let answer = system.get(&format!("/v2/services/{id}/runs")).await;
    let items = answer.results()["items"].as_array().unwrap().clone();
    items.iter().map(|run| (run["status"].clone(), run["duration_ms"].clone())).collect()
}

#[tokio::test]
async fn an_end_closes_the_run_of_its_rid_or_else_the_newest_open_one() {
    let system = System::start().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let key = ping_key(&system).await;
    let rids = ["0b3b9d3a-8f4f-4c0e-9a68-6f2f9f3f7b11", "0b3b9d3a-8f4f-4c0e-9a68-6f2f9f3f7b12"];
    for end in [&format!("/start?rid={}", rids[0]), &format!("/start?rid={}", rids[1]), "/start"] {
        assert_eq!(ping(&system, &format!("/ping/{key}/w{end}")).await, "200 OK");
        system.seconds(1).await;
    }
    let open = (json!("STARTED"), Value::Null);
    assert_eq!(runs(&system, id).await, [open.clone(), open.clone(), open.clone()]);
    ping(&system, &format!("/ping/{key}/w/0?rid={}", rids[1].to_uppercase())).await;
    let named = (json!("COMPLETED"), json!(2_000));
    assert_eq!(runs(&system, id).await, [open.clone(), named.clone(), open.clone()]);
    ping(&system, &format!("/ping/{key}/w/3")).await;
    assert_eq!(runs(&system, id).await, [(json!("FAILED"), json!(1_000)), named.clone(), open.clone()]);
    system.seconds(1).await;
    ping(&system, &format!("/ping/{key}/w")).await;
    let ends = [json!("FAILED"), json!("COMPLETED"), json!("COMPLETED")];
    assert_eq!(runs(&system, id).await.into_iter().map(|(status, _)| status).collect::<Vec<_>>(), ends);
    // With none open, it is a heartbeat and no run.
    let before = history(&system, id).await.len();
    assert_eq!(ping(&system, &format!("/ping/{key}/w")).await, "200 OK");
    assert_eq!(runs(&system, id).await.len(), 3);
    assert_eq!(history(&system, id).await.len(), before + 1);
    assert_eq!(history(&system, id).await[0], ("COMPLETED".to_owned(), Value::Null));
}

#[tokio::test]
async fn an_end_finds_the_start_that_no_list_shows_yet() {
    let system = System::start().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let key = ping_key(&system).await;
    system.service.dynamodb().set_list_lagging(true);
    assert_eq!(ping(&system, &format!("/ping/{key}/w/start")).await, "200 OK");
    system.seconds(2).await;
    assert_eq!(ping(&system, &format!("/ping/{key}/w")).await, "200 OK");
    system.seconds(1).await;
    assert_eq!(ping(&system, &format!("/ping/{key}/w")).await, "200 OK", "a heartbeat of its own");
    system.service.dynamodb().set_list_lagging(false);
    assert_eq!(runs(&system, id).await, [(json!("COMPLETED"), json!(2_000))]);
    assert_eq!(history(&system, id).await.len(), 3);
}

#[tokio::test]
async fn an_end_finds_its_run_that_goes_stale_as_the_lists_are_read() {
    let system = System::start().await;
    let id = system.register("w", 3_600.0, json!({"max_duration_ms": 60_000})).await;
    let key = ping_key(&system).await;
    ping(&system, &format!("/ping/{key}/w/start")).await;
    system.seconds(59).await;
    let listed = system.get(&format!("/v2/services/{id}/runs")).await;
    let run = RunId::parse(listed.results()["items"][0]["run_id"].as_str().unwrap()).unwrap();
    let (judge, later) = (system.another_instance(), system.time.now() + TimeDelta::seconds(1));
    let goes_stale = async move {
        judge.handle_row(Key::run(ServiceId::new(id), &run), later).await;
    };
    let tables = interleaved(system.service.dynamodb(), "run#stale", goes_stale);
    let instance = system.instance_with(&tables, Arc::clone(&system.service.medic().wakes));
    let slug = HeartbeatName::parse("w").unwrap();
    let kind = PingKind::Success;
    let end = Ping { slug, kind, run_id: None, create: false, body: Vec::new(), key: PingKeyId::new(1) };
    instance.ping(end, later).await.unwrap();
    system.seconds(2).await;
    assert_eq!(runs(&system, id).await, [(json!("COMPLETED"), json!(60_000))]);
    assert!(system.get("/v2/alerts/1").await.results()["closed_date"].is_string());
}

#[tokio::test]
async fn a_repeated_ping_of_a_run_changes_nothing_and_its_body_is_kept_once() {
    let system = System::start().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let key = ping_key(&system).await;
    let path = format!("/ping/{key}/w?rid={RID}");
    for _ in 0..3 {
        assert_eq!(send(&system, Method::POST, &path, Some(b"done".to_vec())).await.status, 200);
    }
    let heartbeats = system.get(&format!("/v2/services/{id}/heartbeats")).await.results()["items"].clone();
    assert_eq!(heartbeats.as_array().unwrap().len(), 1);
    let heartbeat = heartbeats[0]["heartbeat_id"].as_str().unwrap();
    let body = system.get(&format!("/v2/services/{id}/heartbeats/{heartbeat}/body")).await;
    assert_eq!(body.results()["body"], "done");
    assert_eq!(runs(&system, id).await, [(json!("COMPLETED"), json!(0))]);
}
