//! What Medic could not hear it does not judge: a stop, a kill or a sleeping laptop pages nobody and repairs nothing that is
//! well, and postpones what is not by an hour at most.

use chrono::TimeDelta;
use harness::{Process, System};
use runtime::{Clock as _, SystemClock};
use serde_json::{Value, json};

/// Creates a playbook that waits, for services of this pattern, at so many failures.
async fn playbook(system: &System, pattern: &str, failures: u32) {
    let yaml = format!(
        "name: restart-{failures}\ntrigger: {{ service_pattern: \"{pattern}\", consecutive_failures: {failures} }}\n\
         steps:\n  - {{ name: settle, type: wait, duration: 1s }}\n"
    );
    let created = system.post("/v2/playbooks", json!({"yaml": yaml})).await;
    assert_eq!(created.status, 201, "{created}");
}

async fn executions(system: &System) -> usize {
    system.get("/v2/executions").await.results()["items"].as_array().unwrap().len()
}

/// Returns when each alert opened and why, the oldest first.
async fn openings(system: &System) -> Vec<String> {
    let mut alerts = system.alerts().await;
    alerts.reverse();
    let text = |alert: &Value, field: &str| alert[field].as_str().unwrap().to_owned();
    alerts.iter().map(|alert| format!("{} {}", &text(alert, "created_date")[11..19], text(alert, "reason"))).collect()
}

#[tokio::test]
async fn a_restart_pages_nobody_and_repairs_nothing_that_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    playbook(&system, "app-[0-2]", 1).await;
    playbook(&system, "app-[0-2]", 2).await;
    let names: Vec<_> = (0..19).map(|n| format!("app-{n}")).collect();
    for name in &names {
        system.register(name, 30.0, json!({})).await;
    }
    for _ in 0..2 {
        system.seconds(20).await;
        for name in &names {
            system.heartbeat(name, "UP").await;
        }
    }
    let system = system.restart_after(TimeDelta::seconds(75), folder.path()).await;
    for _ in 0..5 {
        system.seconds(20).await;
        for name in &names {
            system.heartbeat(name, "UP").await;
        }
    }
    assert_eq!((openings(&system).await, executions(&system).await), (vec![], 0));
    assert_eq!(system.receivers.arrivals().len(), 0);
}

#[tokio::test]
async fn what_is_silent_before_and_after_a_gap_is_alerted_an_interval_after_it_and_the_reason_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    playbook(&system, "dead", 1).await;
    playbook(&system, "dead", 3).await;
    system.register("dead", 30.0, json!({"grace_period_seconds": 10})).await;
    system.seconds(20).await;
    let gaps = system.counter("medic_gaps_total").await;
    let system = system.restart_after(TimeDelta::seconds(75), folder.path()).await;
    assert!(system.counter("medic_gaps_total").await > gaps);
    assert_eq!(system.service.medic().table.pulse().await.unwrap().unwrap().gaps.len(), 1);
    system.seconds(39).await;
    assert_eq!(openings(&system).await, [""; 0]);
    system.seconds(1).await;
    insta::assert_snapshot!(openings(&system).await.join("\n"), @"12:02:15 no heartbeat yet, expected every 30 s; Medic could not hear from 2026-01-05T12:00:20.000Z to 2026-01-05T12:01:35.000Z");
    assert_eq!(system.slack().len(), 1);
    // It was due when Medic could not hear, so nothing repairs it by itself, however long it lasts.
    system.seconds(300).await;
    assert_eq!((system.alerts().await[0]["alert_cycle"].clone(), executions(&system).await), (11.into(), 0));
    system.heartbeat("dead", "UP").await;
    system.seconds(41).await;
    assert_eq!((openings(&system).await.len(), executions(&system).await), (2, 1), "the next outage is as any");
}

#[tokio::test]
async fn what_falls_due_soon_after_a_gap_waits_too_and_is_repaired() {
    let system = System::start().await;
    playbook(&system, "*", 1).await;
    system.register("soon", 120.0, json!({})).await;
    system.register("later", 600.0, json!({})).await;
    system.seconds(20).await;
    system.leap(TimeDelta::seconds(75)).await;
    system.seconds(119).await;
    assert_eq!(openings(&system).await, [""; 0]);
    system.seconds(600).await;
    insta::assert_snapshot!(openings(&system).await.join("\n"), @r"
    12:03:35 no heartbeat yet, expected every 2 min; Medic could not hear from 2026-01-05T12:00:20.000Z to 2026-01-05T12:01:35.000Z
    12:11:35 no heartbeat yet, expected every 10 min; Medic could not hear from 2026-01-05T12:00:20.000Z to 2026-01-05T12:01:35.000Z
    ");
    assert_eq!(executions(&system).await, 2);
}

#[tokio::test]
async fn a_restart_within_half_a_minute_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    playbook(&system, "dead", 1).await;
    system.register("dead", 30.0, json!({})).await;
    system.seconds(20).await;
    let system = system.restart_after(TimeDelta::seconds(30), folder.path()).await;
    assert_eq!(openings(&system).await, ["12:00:50 no heartbeat yet, expected every 30 s"]);
    assert_eq!(executions(&system).await, 1);
}

/// What a service sent in the last seconds before a kill was heard, though nothing proved since then that Medic hears.
#[tokio::test]
async fn a_kill_is_a_gap_like_any_stop() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    for name in ["well", "dead"] {
        let service = json!({"heartbeat_name": name, "service_name": "worker", "alert_interval": 1});
        assert!(process.post("/service", service).await);
        assert!(process.post("/heartbeat", json!({"heartbeat_name": name, "status": "UP"})).await);
    }
    let heard_by = SystemClock.now();
    let system = System::after_kill(process, TimeDelta::seconds(75), folder.path()).await;
    system.seconds(50).await;
    system.heartbeat("well", "UP").await;
    assert_eq!(openings(&system).await, [""; 0]);
    system.seconds(30).await;
    let alerts = system.alerts().await;
    assert_eq!((alerts.len(), &alerts[0]["heartbeat_name"]), (1, &"dead".into()));
    let reason = alerts[0]["reason"].as_str().unwrap();
    let (from, to) = reason.split_once("Medic could not hear from ").unwrap().1.split_once(" to ").unwrap();
    let at = |text: &str| domain::parse_time("at", text).unwrap();
    assert!(at(from) <= heard_by && at(to) >= heard_by + TimeDelta::seconds(75), "{reason}");
}

#[tokio::test]
async fn what_a_service_reports_itself_is_judged_as_always() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    playbook(&system, "*", 1).await;
    system.register("failing", 30.0, json!({})).await;
    system.register("down", 30.0, json!({})).await;
    system.seconds(20).await;
    system.heartbeat("down", "DOWN").await;
    let system = system.restart_after(TimeDelta::seconds(75), folder.path()).await;
    system.heartbeat("failing", "FAILED").await;
    assert_eq!(openings(&system).await, ["12:00:20 it reported DOWN", "12:01:35 it reported FAILED"]);
    assert_eq!(executions(&system).await, 2);
    assert!(system.slack().iter().any(|line| line.contains("down is still down")), "reminders are not postponed");
}

#[tokio::test]
async fn however_often_medic_is_stopped_an_alert_is_postponed_by_an_hour_at_most() {
    let system = System::start().await;
    system.register("dead", 600.0, json!({})).await;
    for _ in 0..90 {
        system.seconds(20).await;
        system.leap(TimeDelta::seconds(40)).await;
    }
    let opened = openings(&system).await;
    // Due at 12:10, which was in a gap until 12:10:00, and an hour of the time that Medic heard later.
    assert_eq!(opened.len(), 1);
    assert!(opened[0].starts_with("13:10:"), "{opened:?}");
}

#[tokio::test]
async fn a_long_gap_postpones_a_job_of_the_night_by_an_hour() {
    let system = System::start().await;
    let nightly = json!({
        "heartbeat_name": "nightly", "service_name": "backup", "schedule_cron": "0 2 * * *", "timezone": "UTC",
        "grace_period_seconds": 1_800,
    });
    assert_eq!(system.post("/v2/services", nightly).await.status, 201);
    system.seconds(9 * 3_600).await;
    // From 21:00 to 07:00.
    system.leap(TimeDelta::hours(10)).await;
    system.seconds(3_599).await;
    assert_eq!(openings(&system).await, [""; 0]);
    system.seconds(1).await;
    insta::assert_snapshot!(openings(&system).await.join("\n"), @"08:00:00 no heartbeat yet, expected at 2026-01-06T02:00:00.000Z by its schedule 0 2 * * * (UTC); Medic could not hear from 2026-01-05T21:00:00.000Z to 2026-01-06T07:00:00.000Z");
}

#[tokio::test]
async fn a_run_whose_end_may_have_come_in_a_gap_gets_its_maximum_again() {
    let system = System::start().await;
    playbook(&system, "*", 1).await;
    let id = system.register("job", 86_400.0, json!({"max_duration_ms": 60_000})).await;
    for run in ["ends", "hangs"] {
        let started = system.post(&format!("/v2/heartbeat/{id}/start"), json!({"run_id": run})).await;
        assert_eq!(started.status, 201, "{started}");
    }
    system.seconds(20).await;
    system.leap(TimeDelta::seconds(75)).await;
    system.seconds(30).await;
    // It took more than its maximum all the same.
    system.post(&format!("/v2/heartbeat/{id}/complete"), json!({"run_id": "ends"})).await;
    system.seconds(29).await;
    assert_eq!(openings(&system).await, ["12:02:05 run ends took 2 min 5 s, and its maximum is 1 min 0 s"]);
    assert_eq!(executions(&system).await, 1);
    system.seconds(1).await;
    insta::assert_snapshot!(openings(&system).await[1], @"12:02:35 run hangs has not ended after 2 min 35 s, and its maximum is 1 min 0 s; Medic could not hear from 2026-01-05T12:00:20.000Z to 2026-01-05T12:01:35.000Z");
    assert_eq!(executions(&system).await, 1, "it was due when Medic could not hear");
}

#[tokio::test]
async fn whoever_comes_first_after_a_gap_finds_it() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(20).await;
    let other = system.another_instance();
    // A wake-up that another process handles before any tick.
    let now = system.time.now() + TimeDelta::seconds(75);
    other.handle_row(store::Key::service(domain::ServiceId::new(1)), now).await;
    assert_eq!(openings(&system).await, [""; 0]);
    let pulse = other.table.pulse().await.unwrap().unwrap();
    assert_eq!(pulse.gaps.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>(), [(system.time.now(), now)]);
    // A process whose clock is behind sees it too.
    other.handle_row(store::Key::service(domain::ServiceId::new(1)), now - TimeDelta::seconds(5)).await;
    system.service.medic().renew_pulse(now - TimeDelta::seconds(5)).await.unwrap();
    assert_eq!(other.table.pulse().await.unwrap().unwrap(), pulse);
    assert_eq!(openings(&system).await, [""; 0]);
}

#[tokio::test]
async fn a_renewal_of_the_pulse_is_one_write_and_no_read() {
    let system = System::start().await;
    let (medic, dynamodb) = (system.service.medic(), system.service.dynamodb());
    let later = |seconds| harness::start_of_time() + TimeDelta::seconds(seconds);
    dynamodb.measure();
    medic.renew_pulse(later(5)).await.unwrap();
    let units = dynamodb.units();
    assert_eq!((units.requests, units.read.to_string(), units.write.to_string()), (1, "0".into(), "1".into()));
}
