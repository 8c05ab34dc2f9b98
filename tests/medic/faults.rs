//! DynamoDB that throttles, fails or does not respond: what can be repeated is, and what cannot be done is not half done.

use harness::{Planned, System};
use local::Fault;
use reqwest::Method;
use serde_json::json;

/// More failures than a write has attempts.
const FOR_GOOD: usize = 1_000;
const FAULTS: [Fault; 2] = [Fault::Throttled, Fault::Internal];

#[tokio::test]
async fn a_fault_that_passes_is_not_reported() {
    for fault in FAULTS {
        let system = System::start().await;
        system.service.dynamodb().fail_writes(fault, 2);
        system.register("worker-1", 60.0, json!({})).await;
        system.service.dynamodb().fail_writes(fault, 2);
        system.heartbeat("worker-1", "UP").await;
        assert_eq!(system.get("/heartbeat").await.results().as_array().unwrap().len(), 1, "{fault:?}");
        system.service.dynamodb().fail_writes(fault, 2);
        system.seconds(61).await;
        assert_eq!(system.open_alerts().await, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_write_that_fails_is_503_and_leaves_nothing() {
    let system = System::start().await;
    let body = json!({"heartbeat_name": "worker-1", "service_name": "worker", "alert_interval": 1}).to_string();
    let register =
        async || system.raw(Method::POST, "/v2/services", Some(&system.key), &[], Some(body.clone().into())).await;
    for fault in FAULTS {
        system.service.dynamodb().fail_writes(fault, FOR_GOOD);
        let refused = register().await;
        assert_eq!((refused.status.as_u16(), refused.message()), (503, "Storage is out of reach; try again"));
        assert_eq!(refused.headers["retry-after"], "1");
        system.service.dynamodb().fail_writes(fault, 0);
        assert_eq!(system.get("/v2/services").await.results()["items"], json!([]), "{fault:?}");
    }
    assert_eq!(register().await.status, 201, "neither its name nor anything else is taken");
}

#[tokio::test]
async fn a_transition_that_fails_is_made_later() {
    for fault in FAULTS {
        let system = System::start().await;
        system.register("worker-1", 60.0, json!({})).await;
        system.seconds(59).await;
        system.service.dynamodb().fail_writes(fault, 11);
        system.seconds(60).await;
        let alerts = system.alerts().await;
        assert_eq!(alerts.len(), 1, "{fault:?}");
        assert_eq!(system.slack().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn what_a_receiver_accepted_is_recorded_despite_a_conflict() {
    for written in 0..12 {
        let system = System::start().await;
        system.register("worker-1", 3_600.0, json!({})).await;
        system.seconds(3_599).await;
        system.service.dynamodb().fail_writes_after(written, Fault::Conflict, 1);
        system.seconds(300).await;
        let outcomes = system.get("/v2/alerts/1/notifications").await;
        let outcomes = outcomes.results()["items"].as_array().unwrap().clone();
        assert_eq!(outcomes.len(), 2, "{written}: {outcomes:?}");
        assert!(outcomes.iter().all(|outcome| outcome["success"] == true), "{written}: {outcomes:?}");
    }
}

#[tokio::test]
async fn a_lost_response_of_any_write_delays_no_receiver() {
    for kept in 0..16 {
        let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
        system.post("/v2/webhooks", json!({"url": system.receivers.hook()})).await;
        system.register("worker-1", 3_600.0, json!({})).await;
        system.seconds(3_599).await;
        system.service.dynamodb().lose_answers_after(kept, 1);
        system.seconds(3).await;
        let received = (system.slack().len(), system.pagerduty().len(), system.receivers.accepted("webhook").len());
        assert_eq!(received, (1, 1, 1), "after {kept}");
    }
}

#[tokio::test]
async fn a_lost_response_of_any_write_delays_no_retry() {
    for kept in 0..10 {
        let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
        system.post("/v2/webhooks", json!({"url": system.receivers.hook()})).await;
        system.register("worker-1", 3_600.0, json!({})).await;
        system.receivers.plan_slack([Planned::status(503)]);
        system.receivers.plan_webhook([Planned::status(503)]);
        system.seconds(3_599).await;
        // Those of what opens the alert are kept.
        system.service.dynamodb().lose_answers_after(2 + kept, 1);
        system.seconds(6).await;
        let received = (system.slack().len(), system.pagerduty().len(), system.receivers.accepted("webhook").len());
        assert_eq!(received, (1, 1, 1), "after {kept}");
    }
}

/// Returns the runs of service 1, how many heartbeats it has, and how many notifications Slack got.
async fn runs_of_service(system: &System) -> (Vec<String>, usize, usize) {
    let runs = system.get("/v2/services/1/runs").await;
    let runs = runs.results()["items"].as_array().unwrap().iter();
    let runs = runs.map(|run| format!("{} {}", run["status"].as_str().unwrap(), run["duration_ms"])).collect();
    let heartbeats = system.get("/v2/services/1/heartbeats").await;
    (runs, heartbeats.results()["items"].as_array().unwrap().len(), system.slack().len())
}

#[tokio::test]
async fn a_signal_that_is_repeated_after_lost_responses_counts_once() {
    // Of the heartbeat's two writes and the run's.
    for lost in 1..=4 {
        let system = System::start().await;
        system.register("nightly", 3_600.0, json!({})).await;
        for what in ["start", "complete"] {
            for _ in 0..3 {
                system.service.dynamodb().lose_answers(lost);
                let answer = system.post(&format!("/v2/heartbeat/1/{what}"), json!({"run_id": "a"})).await;
                assert_eq!(answer.status, 201, "{lost}: {answer}");
            }
            system.service.dynamodb().lose_answers(0);
            system.seconds(5).await;
        }
        let completed = "COMPLETED 5000".to_owned();
        assert_eq!(runs_of_service(&system).await, (vec![completed], 2, 0), "{lost}");
    }
}

#[tokio::test]
async fn a_signal_that_failed_half_done_is_completed_when_it_is_repeated() {
    for fault in FAULTS {
        // The first writes of all may fail, or any of those after them.
        for written in 0..4 {
            let system = System::start().await;
            system.register("nightly", 3_600.0, json!({"max_duration_ms": 60_000})).await;
            for (what, after) in [("start", 5), ("complete", 120)] {
                let path = format!("/v2/heartbeat/1/{what}");
                system.service.dynamodb().fail_writes_after(written, fault, FOR_GOOD);
                let first = system.post(&path, json!({"run_id": "a"})).await;
                assert!([201, 503].contains(&first.status.as_u16()), "{fault:?} {written}: {first}");
                system.service.dynamodb().fail_writes(fault, 0);
                let again = system.post(&path, json!({"run_id": "a"})).await;
                assert_eq!(again.status, 201, "{fault:?} {written}: {again}");
                system.seconds(after).await;
            }
            let (runs, _, notifications) = runs_of_service(&system).await;
            assert_eq!((runs, notifications), (vec!["COMPLETED 5000".to_owned()], 0), "{fault:?} {written}");
        }
    }
}

#[tokio::test]
async fn a_run_that_goes_stale_and_ends_while_writes_fail_is_notified_once_each() {
    for fault in FAULTS {
        for lost in 0..=3 {
            let system = System::start().await;
            system.register("nightly", 36_000.0, json!({"max_duration_ms": 60_000})).await;
            system.post("/v2/heartbeat/1/start", json!({"run_id": "a"})).await;
            system.seconds(59).await;
            system.service.dynamodb().lose_answers(lost);
            system.service.dynamodb().fail_writes(fault, 11);
            system.seconds(120).await;
            assert_eq!((system.alerts().await.len(), system.slack().len()), (1, 1), "{fault:?} {lost}");
            system.service.dynamodb().lose_answers(lost);
            system.service.dynamodb().fail_writes(fault, 2);
            system.post("/v2/heartbeat/1/complete", json!({"run_id": "a"})).await;
            system.seconds(120).await;
            assert_eq!((system.open_alerts().await, system.slack().len()), (0, 2), "{fault:?} {lost}");
            assert_eq!(system.pagerduty(), ["trigger medic-1-nightly", "resolve medic-1-nightly"]);
        }
    }
}

#[tokio::test]
async fn a_start_that_failed_half_done_is_completed_when_it_is_repeated() {
    for fault in FAULTS {
        // The count of its limit may fail, the idempotency key, the execution, or what comes after them.
        for written in 0..4 {
            let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
            let step = format!("{{ name: call, type: webhook, url: \"{}\" }}", system.receivers.hook());
            let yaml = format!("name: restart\nsteps:\n  - {step}");
            assert_eq!(system.post("/v2/playbooks", json!({"yaml": yaml})).await.status, 201);
            let start = async || {
                let key = [("idempotency-key", "deploy-7")];
                system.raw(Method::POST, "/v2/playbooks/1/execute", Some(&system.key), &key, None).await.status
            };
            system.service.dynamodb().fail_writes_after(written, fault, FOR_GOOD);
            start().await;
            system.service.dynamodb().fail_writes(fault, 0);
            assert_eq!(start().await, 201);
            system.seconds(60).await;
            let listed = system.get("/v2/executions").await;
            let listed = listed.results()["items"].as_array().unwrap().clone();
            assert_eq!(listed.len(), 1, "{fault:?} after {written} writes: {listed:?}");
            assert_eq!(listed[0]["status"], "completed", "{fault:?} after {written} writes");
            let called = system.receivers.arrivals().into_iter().filter(|arrival| arrival.receiver == "webhook");
            assert_eq!(called.count(), 1, "{fault:?} after {written} writes");
        }
    }
}
