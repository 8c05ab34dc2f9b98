//! Webhooks: how they are configured, their secrets, and the services that they are for.

use futures::future::join_all;
use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bad_input::{all, refusals};
use crate::teams::ids_by_pages;

const WEBHOOKS: &str = "/v2/webhooks";
/// A public address whose host needs no resolving.
const URL: &str = "https://93.184.215.14/hook";

fn hook(more: &Value) -> Value {
    let mut body = json!({"url": URL});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    body
}

/// Returns the webhooks that get a service's events.
async fn webhooks_of(system: &System, service: i64) -> Vec<i64> {
    let found =
        system.service.medic().webhooks_for(domain::ServiceId::new(service), harness::start_of_time()).await.unwrap();
    found.iter().map(|webhook| webhook.id.get()).collect()
}

#[tokio::test]
async fn a_webhook_lives_from_creation_to_deletion() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    let created = system.post(WEBHOOKS, hook(&json!({"headers": {"Authorization": "Bearer 0123456789"}}))).await;
    insta::assert_snapshot!(created, @r#"
    201
    {
      "message": "Webhook created. Its secret is shown this once.",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": null,
        "enabled": true,
        "headers": {
          "authorization": "…6789"
        },
        "max_attempts": 3,
        "previous_secret_valid_until": null,
        "retry_delays_seconds": [
          1,
          5,
          30
        ],
        "secret": "whsec_[secret]",
        "service_id": null,
        "url": "https://93.184.215.14/hook",
        "webhook_id": 1
      },
      "success": true
    }
    "#);
    assert!(created.results()["secret"].as_str().unwrap().starts_with("whsec_"));
    system.seconds(1).await;
    let change = json!({"url": "https://93.184.215.14/other", "headers": {}, "enabled": false, "service_id": 1,
        "max_attempts": 4, "retry_delays_seconds": [2]});
    let changed = system.patch("/v2/webhooks/1", change).await;
    insta::assert_snapshot!(changed, @r#"
    200
    {
      "message": "",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": "2026-01-05T12:00:01.000Z",
        "enabled": false,
        "headers": {},
        "max_attempts": 4,
        "previous_secret_valid_until": null,
        "retry_delays_seconds": [
          2
        ],
        "service_id": 1,
        "url": "https://93.184.215.14/other",
        "webhook_id": 1
      },
      "success": true
    }
    "#);
    assert_eq!(system.get("/v2/webhooks/1").await.results(), changed.results());
    assert_eq!(system.get(WEBHOOKS).await.results()["items"], json!([changed.results()]));
    let again = system.patch("/v2/webhooks/1", json!({"service_id": null})).await;
    assert_eq!((&again.results()["service_id"], &again.results()["max_attempts"]), (&Value::Null, &json!(4)));
    insta::assert_snapshot!(system.delete("/v2/webhooks/1").await, @r#"
    200
    {
      "message": "Webhook deleted.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/webhooks/1").await, @r#"
    404
    {
      "message": "There is no webhook 1",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.get(WEBHOOKS).await.results()["items"], json!([]));
    assert_eq!(webhooks_of(&system, 1).await, [0; 0]);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_the_one_before_it_is_valid_for_a_day() {
    let system = System::start().await;
    let first = system.post(WEBHOOKS, hook(&json!({}))).await.results()["secret"].clone();
    let rotated = system.send(Method::POST, "/v2/webhooks/1/rotate-secret", None).await;
    insta::assert_snapshot!(rotated, @r#"
    200
    {
      "message": "Secret rotated. It is shown this once.",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": "2026-01-05T12:00:00.000Z",
        "enabled": true,
        "headers": {},
        "max_attempts": 3,
        "previous_secret_valid_until": "2026-01-06T12:00:00.000Z",
        "retry_delays_seconds": [
          1,
          5,
          30
        ],
        "secret": "whsec_[secret]",
        "service_id": null,
        "url": "https://93.184.215.14/hook",
        "webhook_id": 1
      },
      "success": true
    }
    "#);
    let second = rotated.results()["secret"].clone();
    assert_ne!(first, second);
    let webhook = system.service.medic().table.webhook(domain::WebhookId::new(1)).await.unwrap().unwrap();
    let valid = |at| webhook.secrets.valid_at(at).map(|secret| json!(secret.reveal())).collect::<Vec<_>>();
    let now = harness::start_of_time();
    assert_eq!(valid(now), [second.clone(), first]);
    assert_eq!(valid(now + chrono::TimeDelta::hours(24)), [second]);
    assert!(!format!("{webhook:?}").contains("whsec_"));
    for path in ["/v2/webhooks/1", WEBHOOKS] {
        assert!(!system.get(path).await.body.to_string().contains("whsec_"), "{path}");
    }
    let changed = system.patch("/v2/webhooks/1", json!({"enabled": false})).await;
    assert!(!changed.body.to_string().contains("whsec_"));
    system.lag(chrono::TimeDelta::hours(24)).await;
    assert_eq!(system.get("/v2/webhooks/1").await.results()["previous_secret_valid_until"], Value::Null);
    assert_eq!(system.send(Method::POST, "/v2/webhooks/9/rotate-secret", None).await.status, 404);
}

#[tokio::test]
async fn a_service_has_its_own_webhooks_and_those_of_every_service() {
    let system = System::start().await;
    for name in ["a", "b"] {
        system.register(name, 60.0, json!({})).await;
    }
    for more in [json!({}), json!({"service_id": 1}), json!({"service_id": 2}), json!({"enabled": false})] {
        assert_eq!(system.post(WEBHOOKS, hook(&more)).await.status, 201);
    }
    assert_eq!((webhooks_of(&system, 1).await, webhooks_of(&system, 2).await), (vec![1, 2], vec![1, 3]));
    system.patch("/v2/webhooks/1", json!({"service_id": 2})).await;
    system.patch("/v2/webhooks/3", json!({"service_id": null})).await;
    system.patch("/v2/webhooks/4", json!({"enabled": true})).await;
    assert_eq!((webhooks_of(&system, 1).await, webhooks_of(&system, 2).await), (vec![2, 3, 4], vec![1, 3, 4]));
    // One whose service is deleted gets no events, and does not become one for every service.
    system.delete("/v2/services/1").await;
    assert_eq!(system.get("/v2/webhooks/2").await.results()["service_id"], 1);
    assert_eq!(webhooks_of(&system, 2).await, [1, 3, 4]);
}

#[tokio::test]
async fn webhooks_come_in_pages() {
    let system = System::start().await;
    for _ in 0..5 {
        system.post(WEBHOOKS, hook(&json!({}))).await;
    }
    assert_eq!(ids_by_pages(&system, WEBHOOKS, "webhook_id").await, (vec![5, 4, 3, 2, 1], 3));
}

#[tokio::test]
async fn there_are_ten_for_a_service_and_twenty_for_every_service_at_most() {
    let system = System::start().await;
    system.register("a", 60.0, json!({})).await;
    for (more, max) in [(json!({"service_id": 1}), 10), (json!({}), 20)] {
        let created = join_all((0..4).map(|_| system.post(WEBHOOKS, hook(&more)))).await;
        let mut count = created.iter().filter(|answer| answer.status == 201).count();
        while system.post(WEBHOOKS, hook(&more)).await.status == 201 {
            count += 1;
        }
        assert_eq!(count, max);
    }
    insta::assert_snapshot!(system.post(WEBHOOKS, hook(&json!({"service_id": 1}))).await, @r#"
    409
    {
      "message": "There may be at most 10 webhooks for one service",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(system.post(WEBHOOKS, hook(&json!({}))).await, @r#"
    409
    {
      "message": "There may be at most 20 webhooks for every service",
      "results": "",
      "success": false
    }
    "#);
    // Nor can a change add one.
    let of_all = system.get("/v2/webhooks?limit=1").await.results()["items"][0]["webhook_id"].clone();
    let path = format!("/v2/webhooks/{of_all}");
    assert_eq!(system.patch(&path, json!({"service_id": 1})).await.status, 409);
    assert_eq!(system.delete("/v2/webhooks/1").await.status, 200);
    assert_eq!(system.patch(&path, json!({"service_id": 1})).await.status, 200);
    assert_eq!(system.post(WEBHOOKS, hook(&json!({}))).await.status, 201);
}

#[tokio::test]
async fn private_addresses_need_a_setting() {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    assert_eq!(system.post(WEBHOOKS, json!({"url": "http://127.0.0.1:9/"})).await.status, 201);
    let system = System::start_with(&[("MEDIC_ALLOWED_HOSTS", "1.1.1.1")], None).await;
    assert_eq!(system.post(WEBHOOKS, json!({"url": "http://1.1.1.1/"})).await.status, 201);
    insta::assert_snapshot!(system.post(WEBHOOKS, hook(&json!({}))).await, @r#"
    400
    {
      "message": "url must have a host that MEDIC_ALLOWED_HOSTS allows",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn a_bad_webhook_is_refused_and_changes_nothing() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    system.post(WEBHOOKS, hook(&json!({}))).await;
    let before = all(&system).await;
    let bodies: [&[u8]; 18] = [
        b"{}",
        br#"{"url": ""}"#,
        br#"{"url": "example.com"}"#,
        br#"{"url": "http://10.0.0.1/"}"#,
        br#"{"url": "http://[::1]/"}"#,
        br#"{"url": "http://metadata.google.internal/"}"#,
        br#"{"url": "http://me:secret@1.1.1.1/"}"#,
        br#"{"url": "http://1.1.1.1/", "headers": {"webhook-id": "x"}}"#,
        br#"{"url": "http://1.1.1.1/", "headers": {"a b": "x"}}"#,
        br#"{"url": "http://1.1.1.1/", "headers": null}"#,
        br#"{"url": "http://1.1.1.1/", "service_id": 9}"#,
        br#"{"url": "http://1.1.1.1/", "service_id": 0}"#,
        br#"{"url": "http://1.1.1.1/", "max_attempts": 0}"#,
        br#"{"url": "http://1.1.1.1/", "max_attempts": 5}"#,
        br#"{"url": "http://1.1.1.1/", "retry_delays_seconds": []}"#,
        br#"{"url": "http://1.1.1.1/", "retry_delays_seconds": [0]}"#,
        br#"{"url": "http://1.1.1.1/", "retry_delays_seconds": [1, 3601]}"#,
        br#"{"url": "http://1.1.1.1/", "secret": "whsec_x"}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::POST, WEBHOOKS, &bodies).await, @r#"
    {}
      400 missing field `url`
    {"url": ""}
      400 url must begin with http:// or https://
    {"url": "example.com"}
      400 url must begin with http:// or https://
    {"url": "http://10.0.0.1/"}
      400 url must not lead to a private, loopback or otherwise internal address
    {"url": "http://[::1]/"}
      400 url must not lead to a private, loopback or otherwise internal address
    {"url": "http://metadata.google.internal/"}
      400 url must not lead to a private, loopback or otherwise internal address
    {"url": "http://me:secret@1.1.1.1/"}
      400 url must not have a user name or password
    {"url": "http://1.1.1.1/", "headers": {"webhook-id": "x"}}
      400 headers.webhook-id must not be set: Medic sets it
    {"url": "http://1.1.1.1/", "headers": {"a b": "x"}}
      400 headers must have names that are HTTP header names, not "a b"
    {"url": "http://1.1.1.1/", "headers": null}
      400 headers: invalid type: null, expected an object
    {"url": "http://1.1.1.1/", "service_id": 9}
      400 service_id must be a service's: there is no service 9
    {"url": "http://1.1.1.1/", "service_id": 0}
      400 service_id must be a whole number from 1 to 9223372036854775807
    {"url": "http://1.1.1.1/", "max_attempts": 0}
      400 max_attempts must be a whole number from 1 to 4
    {"url": "http://1.1.1.1/", "max_attempts": 5}
      400 max_attempts must be a whole number from 1 to 4
    {"url": "http://1.1.1.1/", "retry_delays_seconds": []}
      400 retry_delays_seconds must be 1 to 10 whole numbers from 1 to 3600
    {"url": "http://1.1.1.1/", "retry_delays_seconds": [0]}
      400 retry_delays_seconds must be 1 to 10 whole numbers from 1 to 3600
    {"url": "http://1.1.1.1/", "retry_delays_seconds": [1, 3601]}
      400 retry_delays_seconds must be 1 to 10 whole numbers from 1 to 3600
    {"url": "http://1.1.1.1/", "secret": "whsec_x"}
      400 secret: unknown field `secret`, expected one of `url`, `headers`, `enabled`, `service_id`, `max_attempts`, `retry_delays_seconds`
    "#);
    let changes: [&[u8]; 5] = [
        br#"{"url": "http://192.168.0.1/"}"#,
        br#"{"headers": {"Content-Length": "1"}}"#,
        br#"{"service_id": 9}"#,
        br#"{"max_attempts": 9}"#,
        br#"{"webhook_id": 2}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/webhooks/1", &changes).await, @r#"
    {"url": "http://192.168.0.1/"}
      400 url must not lead to a private, loopback or otherwise internal address
    {"headers": {"Content-Length": "1"}}
      400 headers.content-length must not be set: Medic sets it
    {"service_id": 9}
      400 service_id must be a service's: there is no service 9
    {"max_attempts": 9}
      400 max_attempts must be a whole number from 1 to 4
    {"webhook_id": 2}
      400 webhook_id: unknown field `webhook_id`, expected one of `url`, `headers`, `enabled`, `service_id`, `max_attempts`, `retry_delays_seconds`
    "#);
    assert_eq!(all(&system).await, before);
}
