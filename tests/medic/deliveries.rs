//! Webhook deliveries: signed, tried a few times under one id, and readable afterwards.

use chrono::TimeDelta;
use domain::{Receiver, WebhookId};
use harness::{Planned, System};
use local::Queue;
use operations::Drained;
use outbound::WebhookSecret;
use runtime::Clock as _;
use serde_json::{Value, json};
use store::Lane;

async fn start() -> System {
    System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await
}

/// Creates a webhook at the receiver. Returns its record with the secret.
async fn webhook(system: &System, more: Value) -> Value {
    let mut body = json!({"url": system.receivers.hook()});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = system.post("/v2/webhooks", body).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.results().clone()
}

async fn deliveries(system: &System, query: &str) -> Vec<Value> {
    let answer = system.get(&format!("/v2/webhook-deliveries?{query}")).await;
    answer.results()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_event_is_signed_as_standard_webhooks_says() {
    let system = start().await;
    let created = webhook(&system, json!({"headers": {"x-team": "platform"}})).await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(61).await;
    system.heartbeat("w", "UP").await;
    assert_eq!(system.receivers.accepted("webhook"), ["alert.opened", "alert.resolved"]);
    let arrival = system.receivers.arrivals().into_iter().find(|arrival| arrival.receiver == "webhook").unwrap();
    let header = |name: &str| arrival.headers[name].to_str().unwrap().to_owned();
    let secret = WebhookSecret::parse("secret", created["secret"].as_str().unwrap()).unwrap();
    let timestamp: i64 = header("webhook-timestamp").parse().unwrap();
    let signature = secret.sign(&header("webhook-id"), timestamp, arrival.text.as_bytes());
    assert_eq!(header("webhook-signature"), signature);
    assert_eq!(header("x-team"), "platform");
    let data = &arrival.body["data"];
    assert_eq!((&data["heartbeat_name"], &data["alert_id"], &data["active"]), (&"w".into(), &1.into(), &true.into()));

    system.post(&format!("/v2/webhooks/{}/rotate-secret", created["webhook_id"]), json!({})).await;
    system.heartbeat("w", "FAILED").await;
    let arrivals = system.receivers.arrivals();
    let last = arrivals.iter().rfind(|arrival| arrival.receiver == "webhook").unwrap();
    let signatures = last.headers["webhook-signature"].to_str().unwrap();
    assert_eq!(signatures.split(' ').count(), 2, "both secrets are valid: {signatures}");
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_after_one_and_five_seconds_under_the_same_id() {
    let system = start().await;
    webhook(&system, json!({})).await;
    system.register("w", 3_600.0, json!({})).await;
    system.receivers.plan_webhook([Planned::status(500), Planned::status(302)]);
    system.heartbeat("w", "FAILED").await;
    let attempts = |system: &System| system.receivers.arrivals().iter().filter(|one| one.receiver == "webhook").count();
    assert_eq!(attempts(&system), 1);
    assert_eq!(deliveries(&system, "status=retrying").await.len(), 1);
    system.seconds(1).await;
    assert_eq!(attempts(&system), 2);
    system.seconds(4).await;
    assert_eq!(attempts(&system), 2);
    system.seconds(1).await;
    assert_eq!(attempts(&system), 3);
    let arrivals = system.receivers.arrivals();
    let ids: Vec<_> =
        arrivals.iter().filter(|one| one.receiver == "webhook").map(|one| &one.headers["webhook-id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    insta::assert_snapshot!(system.get("/v2/webhook-deliveries?webhook_id=1&status=success").await, @r#"
    200
    {
      "message": "",
      "results": {
        "items": [
          {
            "attempts": 3,
            "created_at": "2026-01-05T12:00:00.000Z",
            "delivery_id": "[id]",
            "event_type": "alert.opened",
            "next_attempt_at": null,
            "response_body": "{\"ok\":true,\"status\":\"success\"}",
            "response_status": 200,
            "status": "success",
            "webhook_id": 1
          }
        ],
        "next_cursor": null
      },
      "success": true
    }
    "#);
}

#[tokio::test]
async fn a_delivery_that_is_given_up_stays_readable_and_can_be_sent_once_more() {
    let system = start().await;
    webhook(&system, json!({"max_attempts": 2, "retry_delays_seconds": [1]})).await;
    system.register("w", 3_600.0, json!({})).await;
    system.receivers.plan_webhook([Planned::status(500), Planned::status(500)]);
    system.heartbeat("w", "FAILED").await;
    system.seconds(5).await;
    let failed = &deliveries(&system, "status=failed").await[0];
    assert_eq!((&failed["attempts"], &failed["response_status"]), (&2.into(), &500.into()));
    assert_eq!(system.counter("medic_webhook_deliveries_total{status=\"failed\"}").await.min(1), 1);
    let path = format!("/v2/webhook-deliveries/{}", failed["delivery_id"].as_str().unwrap());
    let again = system.post(&format!("{path}/redeliver"), json!({})).await;
    assert_eq!((again.status.as_u16(), &again.results()["status"]), (200, &"pending".into()));
    let delivered = system.get(&path).await;
    assert_eq!((&delivered.results()["status"], &delivered.results()["attempts"]), (&"success".into(), &1.into()));
    let unknown = "/v2/webhook-deliveries/01a0c450-6c7b-7000-8000-000000000000";
    assert_eq!(system.get(unknown).await.status, 404);
    assert_eq!(system.get("/v2/webhook-deliveries/nonsense").await.status, 400);
    assert_eq!(system.get("/v2/webhook-deliveries?status=lost").await.status, 400);
}

#[tokio::test]
async fn a_long_history_is_listed_whole() {
    const EVENTS: usize = 260;
    let system = start().await;
    webhook(&system, json!({"max_attempts": 1})).await;
    system.register("w", 3_600.0, json!({})).await;
    // Response bodies are kept, and so many are more than DynamoDB reads in one go.
    let long = Planned { body: Some("x".repeat(10_000)), ..Planned::status(500) };
    system.receivers.plan_webhook(vec![long; EVENTS]);
    for n in 0..EVENTS {
        system.heartbeat("w", if n % 2 == 0 { "FAILED" } else { "UP" }).await;
    }
    let (mut listed, mut cursor) = (0, String::new());
    loop {
        let path = format!("/v2/webhook-deliveries?webhook_id=1&limit=250{cursor}");
        let page = system.get(&path).await;
        listed += page.results()["items"].as_array().unwrap().len();
        match page.results()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, EVENTS);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_called_once_and_its_webhook_disabled() {
    let system = start().await;
    webhook(&system, json!({})).await;
    system.register("w", 3_600.0, json!({})).await;
    system.receivers.plan_webhook([Planned::status(410)]);
    system.heartbeat("w", "FAILED").await;
    system.seconds(60).await;
    assert_eq!(deliveries(&system, "status=failed").await.len(), 1);
    assert_eq!(system.get("/v2/webhooks/1").await.results()["enabled"], false);
    system.heartbeat("w", "UP").await;
    assert_eq!(deliveries(&system, "").await.len(), 1, "it gets nothing more");
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let system = start().await;
    webhook(&system, json!({})).await;
    system.register("w", 3_600.0, json!({})).await;
    system.receivers.plan_webhook([Planned { retry_after: Some(100), ..Planned::status(429) }]);
    system.heartbeat("w", "FAILED").await;
    system.seconds(99).await;
    assert_eq!(system.receivers.accepted("webhook").len(), 0);
    system.seconds(2).await;
    assert_eq!(system.receivers.accepted("webhook").len(), 1);
}

#[tokio::test]
async fn a_webhook_of_one_service_gets_no_other_and_no_webhook_gets_a_muted_one() {
    let system = start().await;
    let id = system.register("mine", 3_600.0, json!({})).await;
    system.register("other", 3_600.0, json!({})).await;
    system.register("muted", 3_600.0, json!({"muted": true})).await;
    webhook(&system, json!({"service_id": id})).await;
    webhook(&system, json!({"enabled": false})).await;
    for name in ["other", "muted", "mine"] {
        system.heartbeat(name, "FAILED").await;
    }
    let arrivals = system.receivers.arrivals();
    let events: Vec<_> = arrivals.iter().filter(|one| one.receiver == "webhook").collect();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].body["data"]["service_id"], id);
}

/// Lets a hundred services fail and recover, as often as it takes for so many events.
async fn events(system: &System, count: usize) {
    let names: Vec<_> = (0..100).map(|n| format!("s{n}")).collect();
    for round in 0..count / names.len() {
        let status = if round % 2 == 0 { "FAILED" } else { "UP" };
        let batch: Vec<_> = names.iter().map(|name| json!({"heartbeat_name": name, "status": status})).collect();
        assert_eq!(system.post("/v2/heartbeats", json!({"heartbeats": batch})).await.status, 201);
    }
}

#[tokio::test]
async fn deliveries_that_wait_are_all_attempted_again_when_their_time_comes() {
    const WAITING: usize = 100;
    let system = start().await;
    webhook(&system, json!({"max_attempts": 4, "retry_delays_seconds": [600]})).await;
    for n in 0..100 {
        system.register(&format!("s{n}"), 86_400.0, json!({})).await;
    }
    system.receivers.plan_webhook(vec![Planned::status(503); WAITING]);
    events(&system, WAITING).await;
    system.seconds(599).await;
    assert_eq!(system.receivers.accepted("webhook"), [""; 0]);
    system.seconds(2).await;
    assert_eq!(system.receivers.accepted("webhook").len(), WAITING);
}

#[tokio::test]
async fn a_delivery_costs_the_same_however_many_wait() {
    let mut measured = Vec::new();
    for waiting in [0, 100] {
        let system = start().await;
        webhook(&system, json!({"max_attempts": 4, "retry_delays_seconds": [3_600]})).await;
        for n in 0..100 {
            system.register(&format!("s{n}"), 86_400.0, json!({})).await;
        }
        system.register("w", 86_400.0, json!({})).await;
        system.receivers.plan_webhook(vec![Planned::status(503); waiting]);
        events(&system, waiting).await;
        // What this process remembers is warm then.
        for status in ["FAILED", "UP"] {
            system.heartbeat("w", status).await;
        }
        let mut costs = Vec::new();
        for _ in 0..5 {
            system.service.dynamodb().measure();
            system.heartbeat("w", "FAILED").await;
            costs.push(system.service.dynamodb().units().read);
            system.heartbeat("w", "UP").await;
        }
        assert_eq!(system.receivers.accepted("webhook").len(), 12);
        // Two handlers may come at once, and read more than one alone.
        measured.push(costs.into_iter().fold(f64::INFINITY, f64::min));
    }
    assert!(measured[1] <= measured[0], "{measured:?}");
}

#[tokio::test]
async fn deliveries_that_are_ready_keep_their_order() {
    let system = start().await;
    webhook(&system, json!({"max_attempts": 4, "retry_delays_seconds": [60]})).await;
    system.register("w", 86_400.0, json!({})).await;
    system.receivers.plan_webhook(vec![Planned::status(503); 4]);
    for status in ["FAILED", "UP", "FAILED", "UP"] {
        system.heartbeat("w", status).await;
        system.seconds(1).await;
    }
    system.seconds(70).await;
    let expected = ["alert.opened", "alert.resolved", "alert.opened", "alert.resolved"];
    assert_eq!(system.receivers.accepted("webhook"), expected);
}

#[tokio::test]
async fn a_delivery_is_attempted_when_it_is_due_though_the_senders_clock_is_behind() {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    webhook(&system, json!({"retry_delays_seconds": [60]})).await;
    system.register("w", 600.0, json!({})).await;
    system.receivers.plan_webhook([Planned::status(500)]);
    system.heartbeat("w", "FAILED").await;
    system.service.lose_workers(Queue::Notify, 1);
    system.seconds(60).await;
    let hooks = || system.receivers.arrivals().iter().filter(|arrival| arrival.receiver == "webhook").count();
    assert_eq!(hooks(), 1, "its next attempt is due, and whoever was to make it died");
    let (now, instance) = (system.time.now(), system.another_instance());
    let lane = Lane::of(&Receiver::Webhook { webhook_id: WebhookId::new(1) });
    while instance.drain(&lane, &|| now - TimeDelta::seconds(3)).await.unwrap() == Drained::More {}
    assert_eq!(hooks(), 2);
    // Its first attempt is due at once, by whatever clock.
    system.heartbeat("w", "UP").await;
    assert_eq!(hooks(), 3);
}
