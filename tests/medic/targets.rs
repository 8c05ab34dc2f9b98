//! Notification targets of a service.

use futures::future::join_all;
use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bad_input::{all, refusals};
use crate::teams::ids_by_pages;

const TARGETS: &str = "/v2/services/1/notification-targets";
/// A public address whose host needs no resolving.
const URL: &str = "https://93.184.215.14/hook?token=t";

fn slack(channel: &str) -> Value {
    json!({"type": "slack", "config": {"channel_id": channel}})
}

async fn with_service() -> System {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    system
}

#[tokio::test]
async fn a_target_lives_from_creation_to_deletion() {
    let system = with_service().await;
    insta::assert_snapshot!(system.post(TARGETS, slack("C1")).await, @r#"
    201
    {
      "message": "Notification target created.",
      "results": {
        "config": {
          "channel_id": "C1"
        },
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": null,
        "enabled": true,
        "period": "always",
        "priority": 0,
        "service_id": 1,
        "target_id": 1,
        "type": "slack"
      },
      "success": true
    }
    "#);
    system.seconds(1).await;
    let change = json!({"priority": -5, "enabled": false, "period": "after_hours", "config": {"channel_id": "C2"}});
    let changed = system.patch(&format!("{TARGETS}/1"), change).await;
    insta::assert_snapshot!(changed, @r#"
    200
    {
      "message": "",
      "results": {
        "config": {
          "channel_id": "C2"
        },
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": "2026-01-05T12:00:01.000Z",
        "enabled": false,
        "period": "after_hours",
        "priority": -5,
        "service_id": 1,
        "target_id": 1,
        "type": "slack"
      },
      "success": true
    }
    "#);
    assert_eq!(system.get(&format!("{TARGETS}/1")).await.results(), changed.results());
    assert_eq!(system.get(TARGETS).await.results()["items"], json!([changed.results()]));
    insta::assert_snapshot!(system.delete(&format!("{TARGETS}/1")).await, @r#"
    200
    {
      "message": "Notification target deleted.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get(&format!("{TARGETS}/1")).await, @r#"
    404
    {
      "message": "There is no notification target 1",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.get(TARGETS).await.results()["items"], json!([]));
}

#[tokio::test]
async fn secrets_are_shown_masked_and_kept_whole() {
    let system = with_service().await;
    let pagerduty = json!({"type": "pagerduty", "config": {"service_key": "0123456789abcdef0123456789abcdef"}});
    let created = system.post(TARGETS, pagerduty).await;
    assert_eq!(created.results()["config"], json!({"service_key": "…cdef"}));
    let headers = json!({"Authorization": "Bearer 0123456789", "X-Team": "ops"});
    let webhook = json!({"type": "webhook", "config": {"url": URL, "headers": headers}});
    insta::assert_snapshot!(system.post(TARGETS, webhook).await, @r#"
    201
    {
      "message": "Notification target created.",
      "results": {
        "config": {
          "headers": {
            "authorization": "…6789",
            "x-team": "…"
          },
          "url": "https://93.184.215.14/hook?token=t"
        },
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": null,
        "enabled": true,
        "period": "always",
        "priority": 0,
        "service_id": 1,
        "target_id": 2,
        "type": "webhook"
      },
      "success": true
    }
    "#);
    // What is shown cannot be written back.
    let masked = [
        (1, json!({"config": {"service_key": "…cdef"}})),
        (2, json!({"config": {"url": URL, "headers": {"x-team": "…"}}})),
    ];
    for (id, body) in masked {
        let refused = system.patch(&format!("{TARGETS}/{id}"), body).await;
        assert_eq!((refused.status.as_u16(), refused.message().starts_with("config.")), (400, true), "{refused}");
    }
    let service = domain::ServiceId::new(1);
    let kept = system.service.medic().table.targets(service).await.unwrap();
    let domain::Destination::PagerDuty { service_key } = &kept[0].destination else { panic!("another kind") };
    assert_eq!(service_key.reveal(), "0123456789abcdef0123456789abcdef");
    let domain::Destination::Webhook(endpoint) = &kept[1].destination else { panic!("another kind") };
    assert_eq!(endpoint.headers["authorization"], "Bearer 0123456789");
    assert!(!format!("{kept:?}").contains("012345"), "{kept:?}");
}

#[tokio::test]
async fn another_type_comes_with_its_config() {
    let system = with_service().await;
    system.post(TARGETS, slack("C1")).await;
    let path = format!("{TARGETS}/1");
    insta::assert_snapshot!(system.patch(&path, json!({"type": "pagerduty"})).await, @r#"
    400
    {
      "message": "config must be given with another type",
      "results": "",
      "success": false
    }
    "#);
    let changed = system.patch(&path, json!({"type": "pagerduty", "config": {"service_key": "k"}})).await;
    assert_eq!(
        (&changed.results()["type"], &changed.results()["config"]),
        (&json!("pagerduty"), &json!({"service_key": "…"}))
    );
    assert_eq!(system.patch(&path, json!({"type": "pagerduty", "priority": 3})).await.status, 200);
}

#[tokio::test]
async fn targets_come_in_pages_and_are_read_in_the_order_in_which_they_are_notified() {
    let system = with_service().await;
    for priority in [5, 0, 5, -1] {
        let mut body = slack("C1");
        body["priority"] = json!(priority);
        assert_eq!(system.post(TARGETS, body).await.status, 201);
    }
    assert_eq!(ids_by_pages(&system, TARGETS, "target_id").await, (vec![4, 3, 2, 1], 2));
    let targets = system.service.medic().table.targets(domain::ServiceId::new(1)).await.unwrap();
    assert_eq!(targets.iter().map(|target| target.id.get()).collect::<Vec<_>>(), [4, 2, 1, 3]);
}

#[tokio::test]
async fn a_service_has_at_most_twenty_targets() {
    let system = with_service().await;
    system.register("worker-2", 60.0, json!({})).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answers = join_all((0..8).map(|_| system.post(TARGETS, slack("C1")))).await;
        statuses.extend(answers.iter().map(|answer| answer.status.as_u16()));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201; 20], vec![409; 4]].concat());
    assert_eq!(system.get(TARGETS).await.results()["items"].as_array().unwrap().len(), 20);
    insta::assert_snapshot!(system.post(TARGETS, slack("C1")).await, @r#"
    409
    {
      "message": "There may be at most 20 notification targets for one service",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.post("/v2/services/2/notification-targets", slack("C1")).await.status, 201);
    let newest = system.get(TARGETS).await.results()["items"][0]["target_id"].clone();
    assert_eq!(system.delete(&format!("{TARGETS}/{newest}")).await.status, 200);
    assert_eq!(system.post(TARGETS, slack("C1")).await.status, 201);
}

#[tokio::test]
async fn a_target_belongs_to_its_service_and_goes_with_it() {
    let system = with_service().await;
    system.register("worker-2", 60.0, json!({})).await;
    system.post(TARGETS, slack("C1")).await;
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        for path in ["/v2/services/2/notification-targets/1", "/v2/services/9/notification-targets/1"] {
            assert_eq!(system.send(method.clone(), path, Some(json!({}))).await.status, 404, "{method} {path}");
        }
    }
    assert_eq!(system.post("/v2/services/9/notification-targets", slack("C1")).await.status, 404);
    assert_eq!(system.get("/v2/services/9/notification-targets").await.status, 404);
    assert_eq!(system.delete("/v2/services/1").await.status, 200);
    assert_eq!(system.get(TARGETS).await.status, 404);
    assert_eq!(system.post(TARGETS, slack("C1")).await.status, 404);
    assert_eq!(system.get(&format!("{TARGETS}/1")).await.status, 404);
    // Notifications that are still due find them for two days; then they are gone from the table.
    let table = &system.service.medic().table;
    let (service, target) = (domain::ServiceId::new(1), domain::TargetId::new(1));
    assert!(table.target(service, target).await.unwrap().is_some());
    system.lag(chrono::TimeDelta::hours(49)).await;
    system.service.dynamodb().remove_expired().unwrap();
    assert!(table.target(service, target).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bad_target_is_refused_and_changes_nothing() {
    let system = with_service().await;
    system.post(TARGETS, slack("C1")).await;
    let before = all(&system).await;
    let bodies: [&[u8]; 22] = [
        b"{}",
        br#"{"type": "slack"}"#,
        br#"{"config": {"channel_id": "C1"}}"#,
        br#"{"type": "mail", "config": {}}"#,
        br#"{"type": "slack", "config": {}}"#,
        br#"{"type": "slack", "config": {"channel_id": ""}}"#,
        br#"{"type": "slack", "config": {"channel_id": "C 1"}}"#,
        br#"{"type": "slack", "config": {"channel_id": "C1", "url": "x"}}"#,
        br#"{"type": "slack", "config": {"channel": "C1"}}"#,
        br#"{"type": "pagerduty", "config": {"service_key": "a b"}}"#,
        br#"{"type": "pagerduty", "config": {"channel_id": "C1"}}"#,
        br#"{"type": "webhook", "config": {}}"#,
        br#"{"type": "webhook", "config": {"url": "ftp://example.com"}}"#,
        br#"{"type": "webhook", "config": {"url": "http://127.0.0.1/"}}"#,
        br#"{"type": "webhook", "config": {"url": "http://169.254.169.254/latest"}}"#,
        br#"{"type": "webhook", "config": {"url": "https://1.1.1.1", "headers": {"Host": "x"}}}"#,
        br#"{"type": "webhook", "config": {"url": "https://1.1.1.1", "headers": {"X-A": 1}}}"#,
        br#"{"type": "slack", "config": {"channel_id": "C1"}, "priority": 1001}"#,
        br#"{"type": "slack", "config": {"channel_id": "C1"}, "priority": 1.5}"#,
        br#"{"type": "slack", "config": {"channel_id": "C1"}, "period": "sometimes"}"#,
        br#"{"type": "slack", "config": {"channel_id": "C1"}, "enabled": 1}"#,
        br#"{"type": "slack", "config": {"channel_id": "C1"}, "unheard_of": 1}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::POST, TARGETS, &bodies).await, @r#"
    {}
      400 missing field `type`
    {"type": "slack"}
      400 missing field `config`
    {"config": {"channel_id": "C1"}}
      400 missing field `type`
    {"type": "mail", "config": {}}
      400 type must be slack, pagerduty or webhook
    {"type": "slack", "config": {}}
      400 config.channel_id must be given with the type slack
    {"type": "slack", "config": {"channel_id": ""}}
      400 config.channel_id must be a Slack channel such as C0123456789: 1 to 80 characters without spaces
    {"type": "slack", "config": {"channel_id": "C 1"}}
      400 config.channel_id must be a Slack channel such as C0123456789: 1 to 80 characters without spaces
    {"type": "slack", "config": {"channel_id": "C1", "url": "x"}}
      400 config.url does not go with the type slack
    {"type": "slack", "config": {"channel": "C1"}}
      400 config.channel: unknown field `channel`, expected one of `channel_id`, `service_key`, `url`, `headers`
    {"type": "pagerduty", "config": {"service_key": "a b"}}
      400 config.service_key must be 1 to 128 printable ASCII characters without spaces
    {"type": "pagerduty", "config": {"channel_id": "C1"}}
      400 config.channel_id does not go with the type pagerduty
    {"type": "webhook", "config": {}}
      400 config.url must be given with the type webhook
    {"type": "webhook", "config": {"url": "ftp://example.com"}}
      400 config.url must begin with http:// or https://
    {"type": "webhook", "config": {"url": "http://127.0.0.1/"}}
      400 config.url must not lead to a private, loopback or otherwise internal address
    {"type": "webhook", "config": {"url": "http://169.254.169.254/latest"}}
      400 config.url must not lead to a private, loopback or otherwise internal address
    {"type": "webhook", "config": {"url": "https://1.1.1.1", "headers": {"Host": "x"}}}
      400 config.headers.host must not be set: Medic sets it
    {"type": "webhook", "config": {"url": "https://1.1.1.1", "headers": {"X-A": 1}}}
      400 config.headers.X-A: invalid type: integer `1`, expected a string
    {"type": "slack", "config": {"channel_id": "C1"}, "priority": 1001}
      400 priority must be a whole number from -1000 to 1000
    {"type": "slack", "config": {"channel_id": "C1"}, "priority": 1.5}
      400 priority: invalid type: floating point `1.5`, expected a whole number
    {"type": "slack", "config": {"channel_id": "C1"}, "period": "sometimes"}
      400 period must be always, during_hours or after_hours
    {"type": "slack", "config": {"channel_id": "C1"}, "enabled": 1}
      400 enabled: invalid type: integer `1`, expected a boolean
    {"type": "slack", "config": {"channel_id": "C1"}, "unheard_of": 1}
      400 unheard_of: unknown field `unheard_of`, expected one of `type`, `config`, `priority`, `enabled`, `period`
    "#);
    let changes: [&[u8]; 5] = [
        br#"{"priority": -1001}"#,
        br#"{"period": ""}"#,
        br#"{"config": {"url": "https://1.1.1.1"}}"#,
        br#"{"type": "webhook", "config": {"url": "http://localhost"}}"#,
        br#"{"target_id": 2}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/services/1/notification-targets/1", &changes).await, @r#"
    {"priority": -1001}
      400 priority must be a whole number from -1000 to 1000
    {"period": ""}
      400 period must be always, during_hours or after_hours
    {"config": {"url": "https://1.1.1.1"}}
      400 config.url does not go with the type slack
    {"type": "webhook", "config": {"url": "http://localhost"}}
      400 config.url must not lead to a private, loopback or otherwise internal address
    {"target_id": 2}
      400 target_id: unknown field `target_id`, expected one of `type`, `config`, `priority`, `enabled`, `period`
    "#);
    assert_eq!(all(&system).await, before);
}
