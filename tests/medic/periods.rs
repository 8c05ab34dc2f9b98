//! Targets by period while an alert is open: whoever the alert is for only now is notified when the period changes, once.

use chrono::TimeDelta;
use harness::{Planned, System};
use runtime::Clock as _;
use serde_json::{Value, json};

/// Creates a schedule of these hours, which the clock begins in: noon, on a Monday.
async fn schedule(system: &System, hours: Value) -> Value {
    let created = system.post("/v2/schedules", json!({"name": "office", "timezone": "UTC", "hours": hours})).await;
    assert_eq!(created.status, 201, "{created}");
    created.results()["schedule_id"].clone()
}

/// Starts a system, and registers a service whose hours end at 12:08, and that has a Slack channel for each period. Returns
/// its id.
async fn office(interval: f64, more: Value) -> (System, i64) {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    let schedule = schedule(&system, json!({"monday": [{"start": "09:00", "end": "12:08"}]})).await;
    let mut fields = json!({"schedule_id": schedule});
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let id = system.register("w", interval, fields).await;
    slack(&system, id, "C0DAY", "during_hours").await;
    slack(&system, id, "C0NIGHT", "after_hours").await;
    (system, id)
}

/// Leaps by less than any period lasts.
async fn leap_a_week(system: &System) {
    for _ in 0..7 * 6 {
        system.leap(TimeDelta::hours(4)).await;
    }
}

async fn target(system: &System, service: i64, fields: Value) {
    let answer = system.post(&format!("/v2/services/{service}/notification-targets"), fields).await;
    assert_eq!(answer.status, 201, "{answer}");
}

async fn slack(system: &System, service: i64, channel: &str, period: &str) {
    target(system, service, json!({"type": "slack", "config": {"channel_id": channel}, "period": period})).await;
}

/// Returns what each channel was notified of: whether the service is down, still down, or has recovered.
fn notified(system: &System) -> Vec<String> {
    let arrivals = system.receivers.arrivals();
    let arrivals = arrivals.iter().filter(|arrival| arrival.receiver == "slack" && arrival.accepted);
    let what =
        |text: &str| ["still down", "is down", "recovered"].into_iter().find(|what| text.contains(what)).unwrap();
    arrivals
        .map(|arrival| {
            let channel = arrival.body["channel"].as_str().unwrap();
            format!("{channel} {}", what(arrival.body["text"].as_str().unwrap()))
        })
        .collect()
}

#[tokio::test]
async fn when_hours_end_during_an_alert_whoever_is_on_call_after_them_is_notified_at_once() {
    let (system, id) = office(420.0, json!({})).await;
    system.post("/v2/webhooks", json!({"url": system.receivers.hook()})).await;
    let key = json!({"type": "pagerduty", "config": {"service_key": "NIGHT0KEY"}, "period": "after_hours"});
    target(&system, id, key).await;
    system.seconds(420).await;
    assert_eq!((notified(&system), system.pagerduty()), (vec!["C0DAY is down".to_owned()], vec![]));
    system.seconds(59).await;
    assert_eq!(notified(&system).len(), 1);
    system.seconds(1).await;
    assert_eq!(notified(&system), ["C0DAY is down", "C0NIGHT is down"]);
    assert_eq!(system.pagerduty(), ["trigger medic-1-w"]);
    system.heartbeat("w", "UP").await;
    assert_eq!(notified(&system)[2..], ["C0DAY recovered", "C0NIGHT recovered"]);
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
    assert_eq!(system.receivers.accepted("webhook"), ["alert.opened", "alert.resolved"], "a new period is no event");
}

#[tokio::test]
async fn nobody_else_is_notified_of_an_alert_that_somebody_acknowledged() {
    let (system, _) = office(420.0, json!({})).await;
    system.seconds(420).await;
    assert_eq!(system.post("/v2/alerts/1/acknowledge", json!({})).await.status, 200);
    system.seconds(3_600).await;
    assert_eq!(notified(&system), ["C0DAY is down"]);
}

#[tokio::test]
async fn after_a_mute_or_maintenance_whoever_it_is_for_by_then_is_notified() {
    let (system, _) = office(420.0, json!({})).await;
    system.seconds(420).await;
    system.patch("/v2/services/1", json!({"muted": true, "muted_until": "2026-01-05T12:20:00Z"})).await;
    system.seconds(12 * 60).await;
    assert_eq!(notified(&system), ["C0DAY is down"]);
    system.seconds(60).await;
    assert_eq!(notified(&system), ["C0DAY is down", "C0NIGHT is down"]);

    let (system, _) = office(420.0, json!({})).await;
    system.seconds(420).await;
    let window = json!({
        "name": "upgrade", "timezone": "UTC", "service_ids": [1],
        "start_time": "2026-01-05T12:07:00Z", "end_time": "2026-01-05T12:20:00Z",
    });
    assert_eq!(system.post("/v2/maintenance-windows", window).await.status, 201);
    let is_down = |system: &System| notified_of(system, "is down");
    system.seconds(12 * 60).await;
    assert_eq!(is_down(&system), ["C0DAY"]);
    system.seconds(60).await;
    assert_eq!(is_down(&system), ["C0DAY", "C0NIGHT"]);
}

/// Returns the channels that were notified so of the service.
fn notified_of(system: &System, what: &str) -> Vec<String> {
    let arrivals = system.receivers.arrivals();
    let text = format!("w {what}");
    let about =
        arrivals.iter().filter(|arrival| arrival.body["text"].as_str().is_some_and(|said| said.contains(&text)));
    about.map(|arrival| arrival.body["channel"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn one_after_the_other_they_are_notified_until_one_succeeds() {
    let (system, id) = office(86_400.0, json!({"notification_mode": "notify_until_success"})).await;
    slack(&system, id, "C0DAY2", "during_hours").await;
    slack(&system, id, "C0NIGHT2", "after_hours").await;
    slack(&system, id, "C0NIGHT3", "after_hours").await;
    system.seconds(420).await;
    system.heartbeat("w", "FAILED").await;
    system.receivers.plan_slack([Planned { error: Some("channel_not_found"), ..Planned::status(200) }]);
    system.seconds(60).await;
    assert_eq!(notified_of(&system, "is down"), ["C0DAY", "C0NIGHT", "C0NIGHT2"]);
    assert_eq!(notified(&system), ["C0DAY is down", "C0NIGHT2 is down"]);
    // A week later one of them was enough before.
    leap_a_week(&system).await;
    assert_eq!(notified_of(&system, "is down"), ["C0DAY", "C0NIGHT", "C0NIGHT2"]);
}

#[tokio::test]
async fn a_schedule_that_is_edited_meanwhile_counts_at_the_next_reminder() {
    let (system, _) = office(420.0, json!({})).await;
    let all_day = json!({"monday": [{"start": "00:00", "end": "24:00"}]});
    system.patch("/v2/schedules/1", json!({"hours": all_day})).await;
    system.seconds(420).await;
    let ended = json!({"monday": [{"start": "09:00", "end": "12:00"}]});
    system.patch("/v2/schedules/1", json!({"hours": ended})).await;
    system.seconds(419).await;
    assert_eq!(notified(&system), ["C0DAY is down"]);
    system.seconds(1).await;
    assert_eq!(notified(&system), ["C0DAY is down", "C0NIGHT is down"]);
    system.seconds(420).await;
    assert_eq!(notified(&system), ["C0DAY is down", "C0NIGHT is down", "C0NIGHT still down"]);
}

#[tokio::test]
async fn an_alert_that_stays_open_for_a_week_has_notified_each_target_whose_period_came_once() {
    let system = System::start().await;
    let day = json!([{"start": "09:00", "end": "17:00"}]);
    let hours = json!({"monday": day, "tuesday": day, "wednesday": day, "thursday": day, "friday": day});
    let schedule = schedule(&system, hours).await;
    let id = system.register("w", 86_400.0, json!({"schedule_id": schedule})).await;
    for (channel, period) in [("C0DAY", "during_hours"), ("C0NIGHT", "after_hours"), ("C0ANY", "always")] {
        slack(&system, id, channel, period).await;
    }
    let off = json!({"type": "slack", "config": {"channel_id": "C0OFF"}, "period": "after_hours", "enabled": false});
    target(&system, id, off).await;
    system.heartbeat("w", "FAILED").await;
    leap_a_week(&system).await;
    let mut down = notified_of(&system, "is down");
    down.sort_unstable();
    assert_eq!(
        (down, system.time.now().to_rfc3339()),
        (vec!["C0ANY".to_owned(), "C0DAY".to_owned(), "C0NIGHT".to_owned()], "2026-01-12T12:00:00+00:00".to_owned(),)
    );
}

#[tokio::test]
async fn a_stale_run_is_treated_alike() {
    for acknowledged in [false, true] {
        let (system, id) = office(86_400.0, json!({"max_duration_ms": 400_000})).await;
        system.post(&format!("/v2/heartbeat/{id}/start"), json!({"run_id": "r"})).await;
        system.seconds(400).await;
        if acknowledged {
            assert_eq!(system.post("/v2/alerts/1/acknowledge", json!({})).await.status, 200);
        }
        system.seconds(79).await;
        let about = |system: &System| {
            let arrivals = system.receivers.arrivals();
            let channels =
                arrivals.iter().map(|arrival| arrival.body["channel"].as_str().unwrap_or_default().to_owned());
            channels.collect::<Vec<_>>()
        };
        assert_eq!(about(&system), ["C0DAY"]);
        system.seconds(1).await;
        assert_eq!(about(&system), if acknowledged { vec!["C0DAY"] } else { vec!["C0DAY", "C0NIGHT"] });
        system.post(&format!("/v2/heartbeat/{id}/complete"), json!({"run_id": "r"})).await;
        assert_eq!(about(&system).len(), if acknowledged { 2 } else { 4 });
    }
}

#[tokio::test]
async fn a_stale_run_waits_for_the_end_of_a_mute_or_of_maintenance() {
    let (system, id) = office(86_400.0, json!({"max_duration_ms": 400_000})).await;
    system.post(&format!("/v2/heartbeat/{id}/start"), json!({"run_id": "r"})).await;
    system.seconds(400).await;
    system.patch("/v2/services/1", json!({"muted": true, "muted_until": "2026-01-05T12:10:00Z"})).await;
    let window = json!({
        "name": "upgrade", "timezone": "UTC", "service_ids": [1],
        "start_time": "2026-01-05T12:07:00Z", "end_time": "2026-01-05T12:13:00Z",
    });
    assert_eq!(system.post("/v2/maintenance-windows", window).await.status, 201);
    let stale = |system: &System| {
        let arrivals = system.receivers.arrivals();
        arrivals
            .iter()
            .filter(|arrival| arrival.body["text"].as_str().is_some_and(|text| text.contains("run r")))
            .count()
    };
    system.seconds(379).await;
    assert_eq!(stale(&system), 1);
    system.seconds(1).await;
    assert_eq!(stale(&system), 2);
}
