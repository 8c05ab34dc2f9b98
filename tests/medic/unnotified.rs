//! Alerts of which every receiver refuses to be notified: the default channel hears that nobody was.

use domain::AlertId;
use harness::{NO_CHANNEL, Planned, System};
use serde_json::{Value, json};

const UNNOTIFIED: &str = "medic_alerts_unnotified_total";
const MODES: [&str; 2] = ["notify_all", "notify_until_success"];

fn refused() -> Planned {
    Planned { error: Some("channel_not_found"), ..Planned::status(200) }
}

/// Registers a service with two targets in Slack.
async fn service(system: &System, mode: &str, enabled: bool) {
    let id = system.register("w", 600.0, json!({"notification_mode": mode})).await;
    for channel in ["C0ONE", "C0TWO"] {
        let target = json!({"type": "slack", "config": {"channel_id": channel}, "enabled": enabled});
        let answer = system.post(&format!("/v2/services/{id}/notification-targets"), target).await;
        assert_eq!(answer.status, 201, "{answer}");
    }
}

/// Returns whether the first alert is marked as one of which nobody was notified.
async fn is_marked(system: &System) -> bool {
    system.service.medic().table.alert(AlertId::new(1)).await.unwrap().unwrap().is_unnotified
}

/// Returns what was accepted in Slack: channel and text.
fn accepted(system: &System) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let arrivals = system.receivers.arrivals();
    let accepted = arrivals.iter().filter(|arrival| arrival.receiver == "slack" && arrival.accepted);
    accepted.map(|arrival| (text(&arrival.body["channel"]), text(&arrival.body["text"]))).collect()
}

fn in_default_channel(texts: &[&str]) -> Vec<(String, String)> {
    texts.iter().map(|text| ("C0ALERTS".to_owned(), (*text).to_owned())).collect()
}

const NOBODY: &str = ":no_bell: [p3] Nobody was notified of this, as every receiver refused it: Heartbeat failure for w: it \
                      reported FAILED";

#[tokio::test]
async fn the_default_channel_hears_that_every_receiver_refused_an_alert_and_that_it_ended() {
    for mode in MODES {
        let system = System::start().await;
        service(&system, mode, true).await;
        system.receivers.plan_slack([refused(), refused()]);
        system.heartbeat("w", "FAILED").await;
        assert_eq!(accepted(&system), in_default_channel(&[NOBODY]), "{mode}");
        // Reminders that are refused too say nothing more.
        system.receivers.plan_slack([refused(), refused()]);
        system.seconds(601).await;
        assert_eq!(accepted(&system).len(), 1, "{mode}: {:?}", accepted(&system));
        system.heartbeat("w", "UP").await;
        let recovered = ":white_check_mark: w has recovered after 10 min 1 s";
        assert_eq!(accepted(&system), in_default_channel(&[NOBODY, recovered]), "{mode}");
    }
}

#[tokio::test]
async fn targets_that_are_all_disabled_count_as_receivers_that_refused() {
    for mode in MODES {
        let system = System::start().await;
        service(&system, mode, false).await;
        system.heartbeat("w", "FAILED").await;
        assert_eq!(accepted(&system), in_default_channel(&[NOBODY]), "{mode}");
        system.heartbeat("w", "UP").await;
        assert_eq!(accepted(&system).len(), 2, "{mode}");
    }
}

#[tokio::test]
async fn an_alert_that_one_receiver_accepted_is_not_reported() {
    let system = System::start().await;
    service(&system, "notify_all", true).await;
    system.receivers.plan_slack([refused()]);
    system.heartbeat("w", "FAILED").await;
    assert_eq!(accepted(&system).len(), 1);
    assert_ne!(accepted(&system)[0].0, "C0ALERTS");
}

#[tokio::test]
async fn an_alert_that_the_default_channel_refuses_as_well_is_counted() {
    let system = System::start().await;
    service(&system, "notify_all", true).await;
    let before = system.counter(UNNOTIFIED).await;
    system.receivers.plan_slack([refused(), refused(), refused()]);
    system.heartbeat("w", "FAILED").await;
    assert_eq!(accepted(&system), []);
    assert!(system.counter(UNNOTIFIED).await > before && is_marked(&system).await);
}

#[tokio::test]
async fn an_alert_whose_only_receiver_is_a_default_channel_that_refuses_is_counted() {
    let system = System::start_with(&[("PAGERDUTY_ROUTING_KEY", "")], None).await;
    system.register("w", 600.0, json!({})).await;
    let before = system.counter(UNNOTIFIED).await;
    system.receivers.plan_slack([refused()]);
    system.heartbeat("w", "FAILED").await;
    assert_eq!(system.receivers.arrivals().len(), 1, "it is not asked again");
    assert!(system.counter(UNNOTIFIED).await > before && is_marked(&system).await);
}

#[tokio::test]
async fn an_alert_without_any_receiver_is_counted() {
    let system = System::start_with(&[("PAGERDUTY_ROUTING_KEY", ""), ("SLACK_CHANNEL_ID", "")], None).await;
    system.register("w", 600.0, json!({})).await;
    let before = system.counter(UNNOTIFIED).await;
    system.heartbeat("w", "FAILED").await;
    assert_eq!(system.open_alerts().await, 1);
    assert!(system.counter(UNNOTIFIED).await > before && is_marked(&system).await);
}

#[tokio::test]
async fn a_lost_response_neither_loses_nor_doubles_what_the_default_channel_hears() {
    for kept in 0..20 {
        let system = System::start().await;
        service(&system, "notify_all", true).await;
        system.receivers.plan_slack([refused(), refused()]);
        system.service.dynamodb().lose_answers_after(kept, 1);
        system.heartbeat("w", "FAILED").await;
        system.seconds(90).await;
        assert_eq!(accepted(&system), in_default_channel(&[NOBODY]), "after {kept}");
    }
}

#[tokio::test]
async fn receivers_that_refuse_at_the_same_time_are_all_seen_to_have_refused() {
    for written in 0..12 {
        let system = System::start().await;
        service(&system, "notify_all", true).await;
        let slow = Planned { delay: std::time::Duration::from_millis(50), ..refused() };
        system.receivers.plan_slack([slow.clone(), slow]);
        system.service.dynamodb().fail_writes_after(written, local::Fault::Conflict, 1);
        let body = json!({"heartbeat_name": "w", "status": "FAILED"}).to_string().into_bytes();
        system.raw(reqwest::Method::POST, "/heartbeat", Some(&system.key), &[], Some(body)).await;
        system.seconds(90).await;
        assert_eq!(accepted(&system), in_default_channel(&[NOBODY]), "after {written}");
    }
}

/// Starts a system that can reach Slack alone, with a service whose one target is a channel.
async fn only_slack(interval: f64, channel: &str) -> System {
    let system = System::start_with(&[("PAGERDUTY_ROUTING_KEY", "")], None).await;
    let id = system.register("w", interval, json!({})).await;
    let target = json!({"type": "slack", "config": {"channel_id": channel}});
    assert_eq!(system.post(&format!("/v2/services/{id}/notification-targets"), target).await.status, 201);
    system
}

/// Returns a failure that passes, as often as it takes to come to the third minute.
fn down_for_two_minutes() -> impl Iterator<Item = Planned> {
    std::iter::repeat_n(Planned::status(503), 7)
}

#[tokio::test]
async fn reminders_that_were_overtaken_while_slack_was_down_are_no_refusals() {
    let system = only_slack(30.0, "C0ONE").await;
    let before = system.counter(UNNOTIFIED).await;
    system.receivers.plan_slack(down_for_two_minutes());
    system.heartbeat("w", "FAILED").await;
    system.seconds(150).await;
    let shown = system.get("/v2/alerts/1/notifications").await.to_string();
    assert!(shown.contains("superseded by a later notification"), "{shown}");
    let accepted = accepted(&system);
    assert!(accepted[0].1.starts_with(":rotating_light: [p3] w is down: it reported FAILED\n"), "{accepted:?}");
    assert!(accepted.iter().all(|(channel, _)| channel == "C0ONE"), "{accepted:?}");
    assert!(system.counter(UNNOTIFIED).await == before && !is_marked(&system).await);
}

#[tokio::test]
async fn a_report_waits_for_what_is_still_to_be_sent_and_comes_once() {
    for written in 0..16 {
        let system = only_slack(60.0, NO_CHANNEL).await;
        // The alert and its newest reminder wait together, and are refused together.
        system.receivers.plan_slack(down_for_two_minutes());
        system.heartbeat("w", "FAILED").await;
        system.seconds(125).await;
        system.service.dynamodb().fail_writes_after(written, local::Fault::Conflict, 1);
        system.seconds(600).await;
        assert_eq!(accepted(&system), in_default_channel(&[NOBODY]), "after {written}");
    }
}

#[tokio::test]
async fn an_alert_that_another_receiver_accepts_later_is_not_reported() {
    let system = only_slack(60.0, NO_CHANNEL).await;
    // Each of the two channels is tried this often before the first is found to be gone.
    system.receivers.plan_slack(down_for_two_minutes().chain(down_for_two_minutes()));
    system.heartbeat("w", "FAILED").await;
    system.seconds(30).await;
    let target = json!({"type": "slack", "config": {"channel_id": "C0TWO"}});
    assert_eq!(system.post("/v2/services/1/notification-targets", target).await.status, 201);
    system.seconds(100).await;
    let shown = system.get("/v2/alerts/1/notifications").await.to_string();
    assert!(shown.contains("channel_not_found") && accepted(&system).is_empty(), "{shown}");
    system.seconds(100).await;
    assert!(accepted(&system).iter().all(|(channel, _)| channel == "C0TWO"), "{:?}", accepted(&system));
    assert!(!accepted(&system).is_empty() && !is_marked(&system).await);
}

#[tokio::test]
async fn a_report_that_comes_after_the_end_says_so() {
    let system = only_slack(600.0, NO_CHANNEL).await;
    system.receivers.plan_slack([Planned::status(503)]);
    system.heartbeat("w", "FAILED").await;
    system.heartbeat("w", "UP").await;
    system.seconds(60).await;
    assert_eq!(accepted(&system)[0], ("C0ALERTS".to_owned(), format!("{NOBODY}; it has ended since")));
}

#[tokio::test]
async fn targets_that_are_never_due_count_as_no_receiver() {
    let system = System::start().await;
    let id = system.register("w", 600.0, json!({})).await;
    let target = json!({"type": "slack", "config": {"channel_id": "C0NIGHT"}, "period": "after_hours"});
    assert_eq!(system.post(&format!("/v2/services/{id}/notification-targets"), target).await.status, 201);
    system.heartbeat("w", "FAILED").await;
    assert_eq!(accepted(&system), in_default_channel(&[NOBODY]));
    assert!(is_marked(&system).await);
}
