//! Who is notified: teams, targets in their hours, all of them or one after the other, and nobody else.

use std::time::Duration;

use harness::{Planned, System};
use reqwest::Method;
use serde_json::{Value, json};

/// Returns of each outcome: its target, whether it was notified, and why not.
async fn outcomes(system: &System, alert: i64) -> Vec<(Value, Value, Value)> {
    let items = system.get(&format!("/v2/alerts/{alert}/notifications")).await.results()["items"].clone();
    let outcome = |item: &Value| (item["target_id"].clone(), item["success"].clone(), item["error_message"].clone());
    items.as_array().unwrap().iter().map(outcome).collect()
}

/// Creates a target with these fields. Returns its id.
async fn target(system: &System, service: i64, fields: Value) -> i64 {
    let answer = system.post(&format!("/v2/services/{service}/notification-targets"), fields).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.results()["target_id"].as_i64().unwrap()
}

fn slack(channel: &str) -> Value {
    json!({"type": "slack", "config": {"channel_id": channel}})
}

fn with(mut fields: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    fields
}

/// Returns the channels that were notified, in order.
fn channels(system: &System) -> Vec<String> {
    let arrivals = system.receivers.arrivals();
    let notified = arrivals.iter().filter(|arrival| arrival.receiver == "slack" && arrival.accepted);
    notified.map(|arrival| arrival.body["channel"].as_str().unwrap().to_owned()).collect()
}

async fn private() -> System {
    System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await
}

#[tokio::test]
async fn a_teams_channel_goes_before_the_default_one() {
    let system = System::start().await;
    system.post("/v2/teams", json!({"name": "platform", "slack_channel_id": "C0PLATFORM"})).await;
    system.post("/v2/teams", json!({"name": "quiet", "slack_channel_id": ""})).await;
    system.register("a", 3_600.0, json!({"team": "platform"})).await;
    system.register("b", 3_600.0, json!({"team": "quiet"})).await;
    system.heartbeat("a", "FAILED").await;
    system.heartbeat("b", "FAILED").await;
    assert_eq!(channels(&system), ["C0PLATFORM", "C0ALERTS"]);
    assert_eq!(system.alerts().await[1]["heartbeat_name"], "a");
}

#[tokio::test]
async fn targets_are_notified_instead_of_the_team_and_pagerduty() {
    let system = private().await;
    let id = system.register("w", 60.0, json!({})).await;
    let one = target(&system, id, with(slack("C0ONE"), &json!({"priority": 2}))).await;
    let off = target(&system, id, with(slack("C0OFF"), &json!({"enabled": false, "priority": 3}))).await;
    let key = json!({"type": "pagerduty", "config": {"service_key": "KEY0FTHE0TARGET"}, "priority": 1});
    let incident = target(&system, id, key).await;
    let config = json!({"url": system.receivers.hook(), "headers": {"x-token": "t0ken"}});
    let hook = target(&system, id, json!({"type": "webhook", "config": config, "priority": 4})).await;
    system.seconds(61).await;
    let disabled: Value = "the target is disabled".into();
    assert_eq!(
        outcomes(&system, 1).await,
        [
            (incident.into(), true.into(), Value::Null),
            (one.into(), true.into(), Value::Null),
            (off.into(), false.into(), disabled),
            (hook.into(), true.into(), Value::Null),
        ]
    );
    let arrivals = system.receivers.arrivals();
    let key =
        arrivals.iter().find(|arrival| arrival.receiver == "pagerduty").map(|arrival| &arrival.body["routing_key"]);
    assert_eq!(key, Some(&"KEY0FTHE0TARGET".into()));
    let posted = arrivals.iter().find(|arrival| arrival.receiver == "webhook").unwrap();
    assert_eq!((&posted.body["type"], &posted.headers["x-token"]), (&"alert.opened".into(), &"t0ken".parse().unwrap()));
    assert_eq!(channels(&system), ["C0ONE"]);

    system.heartbeat("w", "UP").await;
    assert_eq!(channels(&system), ["C0ONE", "C0ONE"], "whoever was notified is notified of the recovery");
    assert_eq!(system.receivers.accepted("webhook"), ["alert.opened", "alert.resolved"]);
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
}

#[tokio::test]
async fn the_next_target_is_notified_when_one_fails_and_the_recovery_goes_to_whoever_was_notified() {
    let system = private().await;
    let id = system.register("w", 60.0, json!({"notification_mode": "notify_until_success"})).await;
    let first = target(&system, id, with(slack("C0FIRST"), &json!({"priority": 1}))).await;
    let second = target(&system, id, with(slack("C0SECOND"), &json!({"priority": 2}))).await;
    target(&system, id, with(slack("C0THIRD"), &json!({"priority": 3}))).await;
    system.receivers.plan_slack([Planned { error: Some("channel_not_found"), ..Planned::status(200) }]);
    system.seconds(61).await;
    assert_eq!(channels(&system), ["C0SECOND"]);
    let expected =
        [(first.into(), false.into(), "channel_not_found".into()), (second.into(), true.into(), Value::Null)];
    assert_eq!(outcomes(&system, 1).await, expected);
    system.heartbeat("w", "UP").await;
    assert_eq!(channels(&system), ["C0SECOND", "C0SECOND"]);
    assert_eq!(outcomes(&system, 1).await[2..], [(second.into(), true.into(), Value::Null)]);
}

#[tokio::test]
async fn a_target_that_fails_is_followed_by_the_next_within_seconds() {
    let system = private().await;
    let id = system.register("w", 3_600.0, json!({"notification_mode": "notify_until_success"})).await;
    let first = target(&system, id, slack("C0FIRST")).await;
    let second = target(&system, id, slack("C0SECOND")).await;
    system.receivers.plan_slack(vec![Planned::status(503); 4]);
    system.heartbeat("w", "FAILED").await;
    system.seconds(20).await;
    assert_eq!(channels(&system), ["C0SECOND"]);
    let outcomes = outcomes(&system, 1).await;
    assert_eq!(outcomes[0], (first.into(), false.into(), "gave up after 4 attempts: answered 503".into()));
    assert_eq!(outcomes[1], (second.into(), true.into(), Value::Null));
}

#[tokio::test]
async fn a_target_that_asks_for_a_long_wait_is_followed_by_the_next_at_once() {
    let system = private().await;
    let id = system.register("w", 3_600.0, json!({"notification_mode": "notify_until_success"})).await;
    let first = target(&system, id, slack("C0FIRST")).await;
    let second = target(&system, id, slack("C0SECOND")).await;
    system.receivers.plan_slack([Planned { retry_after: Some(600), ..Planned::status(429) }]);
    system.heartbeat("w", "FAILED").await;
    assert_eq!(channels(&system), ["C0SECOND"]);
    let outcomes = outcomes(&system, 1).await;
    assert_eq!(outcomes[0], (first.into(), false.into(), "gave up after one attempt: answered 429".into()));
    assert_eq!(outcomes[1], (second.into(), true.into(), Value::Null));
}

#[tokio::test]
async fn an_alert_behind_a_notification_that_a_target_refuses_goes_to_the_next() {
    let system = private().await;
    let id = system.register("w", 3_600.0, json!({"notification_mode": "notify_until_success"})).await;
    let hook = json!({"type": "webhook", "config": {"url": system.receivers.hook()}});
    let first = target(&system, id, hook).await;
    let second = target(&system, id, slack("C0SECOND")).await;
    system.heartbeat("w", "FAILED").await;
    assert_eq!(system.receivers.accepted("webhook"), ["alert.opened"]);
    system.receivers.plan_webhook(vec![Planned::status(503); 10]);
    system.heartbeat("w", "UP").await;
    // The recovery is retried, and nothing else waits for it.
    system.seconds(20).await;
    assert_eq!(channels(&system), [""; 0]);
    system.heartbeat("w", "FAILED").await;
    assert_eq!(channels(&system), ["C0SECOND"], "the alert does not wait behind it");
    let outcomes = outcomes(&system, 2).await;
    let waits = "gave up: it was queued behind a message that this receiver does not accept";
    assert_eq!(outcomes[0], (first.into(), false.into(), waits.into()));
    assert_eq!(outcomes[1], (second.into(), true.into(), Value::Null));
    // The recovery goes to the target that was notified of the alert.
    system.heartbeat("w", "UP").await;
    assert_eq!(channels(&system), ["C0SECOND", "C0SECOND"], "its recovery goes to the same");
}

#[tokio::test]
async fn an_alert_that_closed_meanwhile_goes_to_no_further_target() {
    let system = private().await;
    let id = system.register("w", 3_600.0, json!({"notification_mode": "notify_until_success"})).await;
    target(&system, id, slack("C0FIRST")).await;
    target(&system, id, slack("C0SECOND")).await;
    system.receivers.plan_slack([Planned {
        error: Some("channel_not_found"),
        delay: Duration::from_millis(300),
        ..Planned::status(200)
    }]);
    // The heartbeats come while the first target is being notified.
    let send = |status| system.raw(Method::POST, "/heartbeat", Some(&system.key), &[], Some(heartbeat("w", status)));
    assert_eq!(send("FAILED").await.status, 201);
    assert_eq!(send("UP").await.status, 201);
    system.seconds(60).await;
    assert_eq!(system.open_alerts().await, 0);
    assert_eq!(channels(&system), [""; 0], "nobody is notified of what is over");
}

#[tokio::test]
async fn an_incident_is_resolved_under_its_key_though_its_target_is_gone() {
    let system = private().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let key = |key: &str| json!({"type": "pagerduty", "config": {"service_key": key}});
    let first = target(&system, id, key("THE0FIRST0KEY")).await;
    let second = target(&system, id, key("THE0SECOND0KEY")).await;
    system.heartbeat("w", "FAILED").await;
    let path = |id: i64| format!("/v2/services/1/notification-targets/{id}");
    assert_eq!(system.delete(&path(first)).await.status, 200);
    let changed = system.patch(&path(second), json!({"config": {"service_key": "ANOTHER0KEY"}})).await;
    assert_eq!(changed.status, 200, "{changed}");
    system.heartbeat("w", "UP").await;
    let resolved = system.receivers.arrivals().into_iter().filter(|arrival| arrival.line() == "resolve medic-1-w");
    let mut keys: Vec<_> = resolved.map(|arrival| arrival.body["routing_key"].clone()).collect();
    keys.sort_by_key(ToString::to_string);
    assert_eq!(keys, ["THE0FIRST0KEY", "THE0SECOND0KEY"]);
}

fn heartbeat(name: &str, status: &str) -> Vec<u8> {
    json!({"heartbeat_name": name, "status": status}).to_string().into_bytes()
}

#[tokio::test]
async fn targets_are_notified_by_the_period_of_the_schedule() {
    let system = System::start().await;
    // The clock begins at noon, on a Monday.
    let hours = json!({"monday": [{"start": "09:00", "end": "13:00"}]});
    let schedule = system.post("/v2/schedules", json!({"name": "office", "timezone": "UTC", "hours": hours})).await;
    let schedule = schedule.results()["schedule_id"].clone();
    let id = system.register("w", 3_600.0 * 24.0, json!({"schedule_id": schedule})).await;
    target(&system, id, with(slack("C0DAY"), &json!({"period": "during_hours"}))).await;
    target(&system, id, with(slack("C0NIGHT"), &json!({"period": "after_hours"}))).await;
    target(&system, id, with(slack("C0ANY"), &json!({}))).await;
    system.heartbeat("w", "FAILED").await;
    assert_eq!(channels(&system).iter().filter(|channel| *channel != "C0ANY").collect::<Vec<_>>(), ["C0DAY"]);
    system.heartbeat("w", "UP").await;
    system.seconds(3_600).await;
    system.heartbeat("w", "FAILED").await;
    let notified = channels(&system);
    assert_eq!(
        notified.iter().filter(|channel| *channel != "C0ANY").collect::<Vec<_>>(),
        ["C0DAY", "C0DAY", "C0NIGHT"]
    );
}

#[tokio::test]
async fn a_test_returns_what_the_receiver_said() {
    let system = private().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    let targets = format!("/v2/services/{id}/notification-targets");
    let channel = target(&system, id, with(slack("C0ONE"), &json!({"enabled": false}))).await;
    insta::assert_snapshot!(system.post(&format!("{targets}/{channel}/test"), json!({})).await, @r#"
    200
    {
      "message": "",
      "results": {
        "error_message": null,
        "success": true,
        "target_id": 1,
        "target_type": "slack"
      },
      "success": true
    }
    "#);
    assert!(system.slack()[0].contains("Test message from Medic: alerts of w"), "{:?}", system.slack());
    let config = json!({"url": system.receivers.hook()});
    let hook = target(&system, id, json!({"type": "webhook", "config": config})).await;
    system.receivers.plan_webhook([Planned::status(418)]);
    let refused = system.post(&format!("{targets}/{hook}/test"), json!({})).await;
    assert_eq!(refused.results()["error_message"], "answered 418");
    assert_eq!(system.post(&format!("{targets}/99/test"), json!({})).await.status, 404);
    assert_eq!(system.alerts().await.len(), 0);
}
