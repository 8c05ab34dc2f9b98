//! DynamoDB that throttles, fails or does not answer: what can be repeated is, and what cannot be done is not half done.

use harness::System;
use local::Fault;
use reqwest::Method;
use serde_json::json;

/// More failures than a write has tries.
const FOR_GOOD: usize = 1_000;
const FAULTS: [Fault; 2] = [Fault::Throttled, Fault::Internal];

#[tokio::test]
async fn a_fault_that_passes_is_not_noticed() {
    for fault in FAULTS {
        let system = System::start().await;
        system.service.dynamodb().fail_writes(fault, 2);
        system.register("worker-1", 60.0, json!({})).await;
        system.service.dynamodb().fail_writes(fault, 2);
        system.beat("worker-1", "UP").await;
        assert_eq!(system.get("/heartbeat").await.results().as_array().unwrap().len(), 1, "{fault:?}");
        system.service.dynamodb().fail_writes(fault, 2);
        system.seconds(61).await;
        assert_eq!(system.open_alerts().await, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_write_that_cannot_be_made_is_503_and_leaves_nothing() {
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
async fn a_transition_that_cannot_be_made_is_made_later() {
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
