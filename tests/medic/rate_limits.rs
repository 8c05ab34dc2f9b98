//! How many requests a key may make: a sliding window of a minute, which all instances share.

use axum::http::header::RETRY_AFTER;
use chrono::TimeDelta;
use domain::{ApiKey, ApiKeyId, KeyId, RequestClass};
use futures::stream::{self, StreamExt as _};
use harness::{Answer, System};
use local::Fault;
use reqwest::Method;
use runtime::Clock as _;
use serde_json::{Value, json};

/// An empty setting counts as none, and so the limits are the defaults.
const DEFAULTS: [(&str, &str); 2] = [("MEDIC_RATE_LIMIT_HEARTBEATS", ""), ("MEDIC_RATE_LIMIT_MANAGEMENT", "")];

/// Creates a key that may do everything, with limits of its own.
async fn key(system: &System, name: &str, limits: Value) -> String {
    let mut new = json!({"name": name, "scopes": ["admin"]});
    new.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    system.post("/v2/api-keys", new).await.results()["key"].as_str().unwrap().to_owned()
}

async fn heartbeat(system: &System, key: &str) -> Answer {
    let body = json!({"heartbeat_name": "worker-1", "status": "UP"}).to_string();
    system.raw(Method::POST, "/heartbeat", Some(key), &[], Some(body.into())).await
}

async fn list(system: &System, key: &str) -> Answer {
    system.raw(Method::GET, "/v2/services?limit=1", Some(key), &[], None).await
}

fn number(answer: &Answer, header: &str) -> Option<i64> {
    answer.headers.get(header)?.to_str().unwrap().parse().ok()
}

/// Returns limit, remaining, seconds until the reset, and `Retry-After`.
fn headers(system: &System, answer: &Answer) -> [Option<i64>; 4] {
    let reset = number(answer, "x-ratelimit-reset").map(|at| at - system.time.now().timestamp());
    let [limit, remaining] = ["x-ratelimit-limit", "x-ratelimit-remaining"].map(|name| number(answer, name));
    [limit, remaining, reset, number(answer, RETRY_AFTER.as_str())]
}

/// Sends so many requests, one after the other, and returns their statuses.
async fn statuses(count: usize, send: impl AsyncFn() -> Answer) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(send().await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn without_earlier_requests_exactly_the_limit_is_admitted() {
    let system = System::start_with(&DEFAULTS, None).await;
    system.register("worker-1", 3_600.0, json!({})).await;
    let ci = key(&system, "ci", json!({})).await;
    let admitted = async |requests: Vec<(bool, u16)>| {
        let answers = stream::iter(requests).map(async |(is_heartbeat, wanted)| {
            let answer = if is_heartbeat { heartbeat(&system, &ci).await } else { list(&system, &ci).await };
            let status = answer.status.as_u16();
            assert!(status == wanted || status == 429, "{answer}");
            usize::from(status == wanted)
        });
        answers.buffer_unordered(32).fold(0, async |sum, one| sum + one).await
    };
    assert_eq!(admitted(vec![(true, 201); 160]).await, 100, "heartbeats");
    assert_eq!(admitted(vec![(false, 200); 64]).await, 20, "all else");
    assert_eq!(admitted(vec![(true, 201); 32]).await, 0);
}

#[tokio::test]
async fn a_response_says_what_is_left_and_a_refusal_when_to_retry() {
    let system = System::start_with(&DEFAULTS, None).await;
    let ci = key(&system, "ci", json!({"rate_limit_management": 3})).await;
    system.seconds(15).await;
    let mut shown = Vec::new();
    for _ in 0..4 {
        shown.push(headers(&system, &list(&system, &ci).await));
    }
    // In the next minute these count less and less: after a third of it one more is admitted.
    assert_eq!(shown[..2], [[Some(3), Some(2), Some(45), None], [Some(3), Some(1), Some(45), None]]);
    assert_eq!(shown[2..], [[Some(3), Some(0), Some(65), None], [Some(3), Some(0), Some(65), Some(65)]]);
    insta::assert_snapshot!(list(&system, &ci).await, @r#"
    429
    {
      "message": "The API key is over its limit of management requests, 3 a minute; try again in 65 s",
      "results": {
        "retry_after": 65
      },
      "retry_after": 65,
      "success": false
    }
    "#);
    assert!(system.counter("medic_rate_limited_total{class=\"management\"}").await >= 2);
    system.register("worker-1", 3_600.0, json!({})).await;
    let brief = key(&system, "brief", json!({"rate_limit_heartbeats": 1})).await;
    assert_eq!(heartbeat(&system, &brief).await.status, 201);
    let refused = heartbeat(&system, &brief).await;
    let message = "The API key is over its limit of heartbeats, 1 a minute; try again in 105 s";
    assert_eq!((refused.status.as_u16(), refused.message()), (429, message));
}

#[tokio::test]
async fn capacity_comes_back_as_the_older_minute_counts_less() {
    let system = System::start().await;
    let ci = key(&system, "ci", json!({"rate_limit_management": 10})).await;
    let admitted = async |count: usize| {
        let statuses = statuses(count, async || list(&system, &ci).await).await;
        statuses.iter().filter(|status| **status == 200).count()
    };
    assert_eq!(admitted(10).await, 10);
    // Refused requests do not count, in either minute.
    assert_eq!(admitted(30).await, 0);
    system.seconds(65).await;
    assert_eq!(admitted(5).await, 0);
    // A tenth of the minute is over, and with it one of the ten.
    system.seconds(1).await;
    assert_eq!(admitted(5).await, 1);
    system.seconds(24).await;
    assert_eq!(admitted(10).await, 4);
    system.seconds(120).await;
    assert_eq!(admitted(20).await, 10);
}

#[tokio::test]
async fn a_batch_counts_once() {
    let system = System::start().await;
    system.register("worker-1", 3_600.0, json!({})).await;
    let ci = key(&system, "ci", json!({"rate_limit_heartbeats": 2})).await;
    let heartbeats = vec![json!({"heartbeat_name": "worker-1", "status": "UP"}); 100];
    let body = json!({"heartbeats": heartbeats}).to_string();
    let post = async || system.raw(Method::POST, "/v2/heartbeats", Some(&ci), &[], Some(body.clone().into())).await;
    assert_eq!(statuses(3, post).await, [201, 201, 429]);
}

#[tokio::test]
async fn each_class_and_each_key_has_its_own_count() {
    let system = System::start().await;
    system.register("worker-1", 3_600.0, json!({})).await;
    let limits = json!({"rate_limit_heartbeats": 1, "rate_limit_management": 1});
    let (one, other) = (key(&system, "one", limits.clone()).await, key(&system, "other", limits).await);
    for key in [&one, &other] {
        assert_eq!(statuses(2, async || heartbeat(&system, key).await).await, [201, 429]);
        assert_eq!(statuses(2, async || list(&system, key).await).await, [200, 429]);
    }
    // Reading heartbeats counts as management.
    let read = system.raw(Method::GET, "/heartbeat", Some(&one), &[], None).await;
    assert_eq!(read.status, 429);
}

#[tokio::test]
async fn the_count_is_shared_by_all_instances() {
    let system = System::start().await;
    let (here, there) = (system.service.medic(), system.another_instance());
    key(&system, "ci", json!({"rate_limit_heartbeats": 50})).await;
    let ci = here.table.find::<ApiKey>(ApiKeyId::new(2)).await.unwrap().unwrap();
    let now = system.time.now();
    let requests = (0..100).map(async |n| {
        let instance = if n % 2 == 0 { here } else { &there };
        usize::from(instance.admit(KeyId::Api(ci.id), ci.limits, RequestClass::Heartbeats, now).await.is_let_in())
    });
    let admitted = stream::iter(requests).buffer_unordered(32).fold(0, async |sum, one| sum + one).await;
    assert_eq!(admitted, 50);
}

#[tokio::test]
async fn the_count_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    let ci = key(&system, "ci", json!({"rate_limit_management": 4})).await;
    assert_eq!(statuses(3, async || list(&system, &ci).await).await, [200, 200, 200]);
    let system = system.restart_after(TimeDelta::seconds(59), folder.path()).await;
    assert_eq!(statuses(2, async || list(&system, &ci).await).await, [200, 429]);
    // The next process reads the counts of the minute before.
    let system = system.restart_after(TimeDelta::seconds(16), folder.path()).await;
    assert_eq!(statuses(2, async || list(&system, &ci).await).await, [200, 429]);
}

#[tokio::test]
async fn a_rotated_key_keeps_its_count() {
    let system = System::start().await;
    let old = key(&system, "ci", json!({"rate_limit_management": 2})).await;
    assert_eq!(list(&system, &old).await.status, 200);
    let rotated = system.send(Method::POST, "/v2/api-keys/2/rotate", None).await;
    let new = rotated.results()["key"].as_str().unwrap().to_owned();
    assert_eq!(statuses(2, async || list(&system, &new).await).await, [200, 429]);
}

#[tokio::test]
async fn a_request_that_fails_authentication_is_not_counted() {
    let system = System::start().await;
    let ci = key(&system, "ci", json!({"rate_limit_management": 1})).await;
    let wrong = format!("{}x", &ci[..ci.len() - 1]);
    for _ in 0..5 {
        let refused = list(&system, &wrong).await;
        assert_eq!((refused.status.as_u16(), headers(&system, &refused)), (401, [None; 4]));
    }
    assert_eq!(statuses(2, async || list(&system, &ci).await).await, [200, 429]);
}

#[tokio::test]
async fn what_needs_no_key_has_no_limit() {
    let system = System::start_with(&DEFAULTS, None).await;
    for path in ["/health", "/health/live", "/v1/healthcheck/network", "/metrics", "/docs/openapi.json"] {
        for _ in 0..21 {
            let answer = system.raw(Method::GET, path, Some(&system.key), &[], None).await;
            assert!(answer.status.is_success(), "{path}: {answer}");
            assert_eq!(headers(&system, &answer), [None; 4], "{path}");
        }
    }
}

#[tokio::test]
async fn every_response_behind_a_key_says_what_is_left() {
    let system = System::start().await;
    system.register("worker-1", 3_600.0, json!({})).await;
    let worker = json!({"heartbeat_name": "worker-1", "service_name": "worker", "alert_interval": 1});
    let nobody = json!({"heartbeat_name": "nobody", "status": "UP"});
    let send = async |method, path, body: Vec<u8>| {
        let answer = system.raw(method, path, Some(&system.key), &[], Some(body)).await;
        let [limit, remaining, reset, _] = headers(&system, &answer);
        assert!(limit.is_some() && remaining.is_some() && reset.is_some(), "{path}: {answer}");
        answer.status.as_u16()
    };
    assert_eq!(send(Method::POST, "/heartbeat", b"{".into()).await, 400);
    assert_eq!(send(Method::POST, "/heartbeat", nobody.to_string().into()).await, 404);
    assert_eq!(send(Method::POST, "/heartbeat", vec![b' '; 300_000]).await, 413);
    assert_eq!(send(Method::POST, "/v2/services", worker.to_string().into()).await, 409);
    system.service.dynamodb().set_out_of_reach(true);
    assert_eq!(send(Method::GET, "/v2/services", Vec::new()).await, 503);
}

#[tokio::test]
async fn a_request_that_cannot_be_counted_is_admitted() {
    for fault in [Fault::Throttled, Fault::Internal] {
        let system = System::start().await;
        system.register("worker-1", 3_600.0, json!({})).await;
        let ci = key(&system, "ci", json!({"rate_limit_heartbeats": 2, "rate_limit_management": 1})).await;
        system.service.dynamodb().fail_limits(fault, 1);
        assert_eq!(heartbeat(&system, &ci).await.status, 201, "the count is repeated");
        system.service.dynamodb().fail_limits(fault, 1_000);
        let uncounted = heartbeat(&system, &ci).await;
        assert_eq!(
            (uncounted.status.as_u16(), headers(&system, &uncounted)[..2].to_vec()),
            (201, vec![Some(2), Some(0)])
        );
        assert_eq!(statuses(4, async || heartbeat(&system, &ci).await).await, [201; 4], "{fault:?}");
        assert_eq!(statuses(3, async || list(&system, &ci).await).await, [200; 3], "{fault:?}");
        system.service.dynamodb().fail_limits(fault, 0);
        assert_eq!(statuses(2, async || heartbeat(&system, &ci).await).await, [201, 429], "{fault:?}");
    }
}
