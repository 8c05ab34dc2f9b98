//! Monitoring and alerts, rule by rule, under a clock that the test moves.

use chrono::TimeDelta;
use domain::{HeartbeatId, ServiceId, ServicePatch, Stamp, Status};
use harness::System;
use runtime::Clock as _;
use serde_json::{Value, json};
use store::{Commit, Key, Writes};

async fn service(system: &System) -> Value {
    system.get("/v2/services/1").await.results().clone()
}

#[tokio::test]
async fn overdue_is_interval_and_grace_after_the_last_heartbeat() {
    let system = System::start().await;
    system.register("w", 60.0, json!({"grace_period_seconds": 10})).await;
    system.seconds(30).await;
    system.heartbeat("w", "UP").await;
    system.advance(TimeDelta::milliseconds(69_999)).await;
    assert_eq!(system.open_alerts().await, 0);
    system.advance(TimeDelta::milliseconds(1)).await;
    assert_eq!(system.open_alerts().await, 1);
    assert_eq!(service(&system).await["down"], true);
    assert_eq!(system.alerts().await[0]["created_date"], "2026-01-05T12:01:40.000Z");
}

#[tokio::test]
async fn a_service_that_never_reported_counts_from_its_registration() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(59).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
    assert_eq!(system.alerts().await[0]["reason"], "no heartbeat yet, expected every 1 min");
}

#[tokio::test]
async fn a_threshold_needs_so_many_heartbeats_in_an_interval() {
    let system = System::start().await;
    system.register("w", 60.0, json!({"threshold": 3})).await;
    for _ in 0..3 {
        system.seconds(10).await;
        system.heartbeat("w", "UP").await;
    }
    // The third newest came at 10 s, so the service is overdue at 70 s.
    system.seconds(39).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
    system.seconds(50).await;
    // The last three must lie within an interval of each other.
    for _ in 0..2 {
        system.heartbeat("w", "UP").await;
        assert_eq!(system.open_alerts().await, 1);
        system.seconds(1).await;
    }
    system.heartbeat("w", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
}

#[tokio::test]
async fn recovery_counts_the_grace_period_as_the_deadline_does() {
    let system = System::start().await;
    system.register("w", 60.0, json!({"threshold": 2, "grace_period_seconds": 30})).await;
    system.seconds(90).await;
    assert_eq!(system.open_alerts().await, 1);
    system.heartbeat("w", "UP").await;
    system.seconds(80).await;
    assert_eq!(system.open_alerts().await, 1);
    // A service that reports this often is never late.
    system.heartbeat("w", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
}

#[tokio::test]
async fn started_and_completed_count_as_alive() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    for status in ["STARTED", "COMPLETED", "STARTED"] {
        system.seconds(50).await;
        system.heartbeat("w", status).await;
    }
    assert_eq!(system.alerts().await, [] as [Value; 0]);
}

#[tokio::test]
async fn down_and_failed_open_an_alert_at_once() {
    for status in ["DOWN", "FAILED"] {
        let system = System::start().await;
        system.register("w", 60.0, json!({"grace_period_seconds": 600})).await;
        system.heartbeat("w", "UP").await;
        system.heartbeat("w", status).await;
        assert_eq!(system.open_alerts().await, 1, "{status}");
        assert_eq!(system.alerts().await[0]["reason"], format!("it reported {status}"));
        // Again, while it is down, changes nothing.
        system.heartbeat("w", status).await;
        assert_eq!(system.alerts().await.len(), 1);
    }
}

#[tokio::test]
async fn a_failure_opens_an_alert_even_when_an_up_follows_at_once() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    let batch = json!({"heartbeats": [
        {"heartbeat_name": "w", "status": "FAILED"}, {"heartbeat_name": "w", "status": "UP"},
    ]});
    system.post("/v2/heartbeats", batch).await;
    let alerts = system.alerts().await;
    assert_eq!((alerts.len(), &alerts[0]["active"]), (1, &json!(0)));
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
    assert_eq!(system.slack().len(), 2);
}

#[tokio::test]
async fn only_heartbeats_after_a_failure_count_towards_recovery() {
    let system = System::start().await;
    system.register("w", 60.0, json!({"threshold": 2})).await;
    system.heartbeat("w", "UP").await;
    system.heartbeat("w", "UP").await;
    system.seconds(1).await;
    system.heartbeat("w", "FAILED").await;
    system.seconds(1).await;
    system.heartbeat("w", "UP").await;
    assert_eq!(system.open_alerts().await, 1);
    system.seconds(1).await;
    system.heartbeat("w", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
}

#[tokio::test]
async fn a_started_run_does_not_close_an_alert() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    system.heartbeat("w", "STARTED").await;
    assert_eq!(system.open_alerts().await, 1);
    system.heartbeat("w", "COMPLETED").await;
    assert_eq!(system.open_alerts().await, 0);
}

#[tokio::test]
async fn each_further_interval_adds_to_the_cycle_and_reminds_in_slack_alone() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    system.seconds(120).await;
    assert_eq!(system.alerts().await[0]["alert_cycle"], 3);
    assert_eq!(service(&system).await["consecutive_failures"], 3);
    insta::assert_snapshot!(system.slack().join("\n"), @"
    :rotating_light: [p3] w is down: no heartbeat yet, expected every 1 min
    :bell: [p3] w is still down after 1 min 0 s (reminder 1)
    :bell: [p3] w is still down after 2 min 0 s (reminder 2)
    ");
    assert_eq!(system.pagerduty(), ["trigger medic-1-w"]);
    system.heartbeat("w", "UP").await;
    assert_eq!(service(&system).await["consecutive_failures"], 0);
}

#[tokio::test]
async fn an_outage_goes_on_through_medics_own_downtime() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    system.register("w", 600.0, json!({})).await;
    system.heartbeat("w", "UP").await;
    system.seconds(600).await;
    assert_eq!(system.open_alerts().await, 1);
    // Three intervals passed while it was stopped: the cycle catches up with one reminder.
    let system = system.restart_after(TimeDelta::seconds(1_900), folder.path()).await;
    assert_eq!(system.alerts().await[0]["alert_cycle"], 4);
    assert_eq!(system.slack().len(), 2);
}

#[tokio::test]
async fn a_muted_services_alert_opens_and_cycles_and_nobody_is_notified() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.post("/service/w", json!({"muted": 1})).await;
    assert_eq!(service(&system).await["muted_until"], "2026-01-06T12:00:00.000Z");
    system.seconds(180).await;
    assert_eq!(system.alerts().await[0]["alert_cycle"], 3);
    system.heartbeat("w", "UP").await;
    assert_eq!(system.receivers.arrivals().len(), 0);
    let after = service(&system).await;
    assert_eq!((&after["muted"], &after["down"], &after["date_muted"]), (&json!(false), &json!(false), &Value::Null));
}

#[tokio::test]
async fn when_a_mute_ends_an_open_alert_is_sent() {
    let system = System::start().await;
    system.register("w", 60.0, json!({"muted": true, "muted_until": "2026-01-05T12:02:30Z"})).await;
    system.seconds(149).await;
    assert_eq!(system.receivers.arrivals().len(), 0);
    system.seconds(1).await;
    assert_eq!(service(&system).await["muted"], false);
    assert_eq!(system.pagerduty(), ["trigger medic-1-w"]);
    assert_eq!(system.slack().len(), 1);
    system.heartbeat("w", "UP").await;
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
}

#[tokio::test]
async fn unmuting_by_hand_sends_an_open_alert() {
    let system = System::start().await;
    system.register("w", 60.0, json!({"muted": true})).await;
    system.seconds(60).await;
    system.patch("/v2/services/1", json!({"muted": false})).await;
    assert_eq!(system.pagerduty(), ["trigger medic-1-w"]);
}

#[tokio::test]
async fn a_mute_holds_back_reminders_and_not_the_recovery_of_an_alert_that_was_sent() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    system.patch("/v2/services/1", json!({"muted": true})).await;
    system.seconds(120).await;
    assert_eq!(system.slack().len(), 1);
    system.heartbeat("w", "UP").await;
    assert_eq!(system.slack().len(), 2);
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
}

#[tokio::test]
async fn deactivating_a_service_that_is_down_closes_its_alert_and_notifies_nobody() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    system.post("/service/w", json!({"active": 0})).await;
    assert_eq!(system.open_alerts().await, 0);
    assert_eq!(system.slack().len(), 1);
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
    system.seconds(600).await;
    assert_eq!(system.alerts().await.len(), 1);
    // Once it is active again, it counts from then.
    system.post("/service/w", json!({"active": 1})).await;
    system.seconds(59).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn deleting_a_service_that_is_down_closes_its_alert_and_keeps_it() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    system.delete("/v2/services/1").await;
    let alerts = system.alerts().await;
    assert_eq!((&alerts[0]["active"], &alerts[0]["service_id"]), (&json!(0), &Value::Null));
    assert_eq!(system.slack().len(), 1);
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
}

#[tokio::test]
async fn an_operator_sets_a_service_down_and_up() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.heartbeat("w", "UP").await;
    system.post("/service/w", json!({"down": 1})).await;
    assert_eq!(system.alerts().await[0]["reason"], "it was set down by an operator");
    assert_eq!(service(&system).await["down"], true);
    system.seconds(30).await;
    system.post("/service/w", json!({"down": 0})).await;
    assert_eq!(system.open_alerts().await, 0);
    // Counting starts anew.
    system.seconds(59).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn a_changed_interval_applies_at_once() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    system.heartbeat("w", "UP").await;
    system.seconds(30).await;
    system.patch("/v2/services/1", json!({"alert_interval": 1})).await;
    system.seconds(29).await;
    assert_eq!(system.open_alerts().await, 0);
    system.seconds(1).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn a_higher_threshold_starts_counting_anew() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    for _ in 0..20 {
        system.seconds(30).await;
        system.heartbeat("w", "UP").await;
    }
    system.patch("/v2/services/1", json!({"threshold": 2})).await;
    for _ in 0..6 {
        system.seconds(20).await;
        system.heartbeat("w", "UP").await;
    }
    assert_eq!(system.alerts().await, [] as [Value; 0]);
    system.seconds(60).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn many_outages_of_one_service_are_many_alerts() {
    let system = System::start().await;
    system.register("w", 6.0, json!({})).await;
    for n in 1..=5_usize {
        system.seconds(6).await;
        system.heartbeat("w", "UP").await;
        assert_eq!(system.alerts().await.len(), n);
    }
    let expected: Vec<_> =
        (1..=5).flat_map(|n| [format!("trigger medic-{n}-w"), format!("resolve medic-{n}-w")]).collect();
    assert_eq!(system.pagerduty(), expected);
    assert_eq!(system.service.dead_letters().unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_failure_reported_as_its_service_is_switched_off_leaves_nothing_that_fails() {
    let system = System::start().await;
    let id = ServiceId::new(system.register("w", 3_600.0, json!({})).await);
    let (medic, now) = (system.service.medic(), system.time.now());
    let old = medic.table.service(id).await.unwrap().unwrap();
    // The report is recorded while the update is being made; neither waits for the other.
    let mut failed = old.snapshot.service.clone();
    failed.record_heartbeat(Stamp::of(HeartbeatId::at(now, [1; 10])), Status::Failed, now);
    assert_eq!(medic.table.save_state(&old.snapshot, &failed).await.unwrap(), Commit::Done);
    let mut off = old.snapshot.service.clone();
    off.edit(&ServicePatch { active: Some(false), ..ServicePatch::default() }, now);
    assert_eq!(medic.table.save_edit(&old, &off, &old.profile, Writes::new()).await.unwrap(), Commit::Done);
    let swept = medic.handle_row(Key::service(id), now).await;
    assert_eq!((swept.handled, swept.failed), (1, 0));
    let rested = medic.table.service_snapshot(id).await.unwrap().unwrap().service;
    assert_eq!((rested.pending, rested.due_at), (None, None), "a re-arming asks that nothing is pending");
    let active = system.patch(&format!("/v2/services/{id}"), json!({"active": true})).await;
    assert_eq!((&active.results()["down"], system.alerts().await.len()), (&json!(false), 0));
}
