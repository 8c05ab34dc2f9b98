//! What the main job costs, in units as DynamoDB's own responses count them.

use harness::System;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_heartbeat_of_a_service_that_is_up_is_two_writes_and_one_for_its_limit_and_no_read() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    // The first one fills the caches: the key, the name, and the counts of the minute before.
    system.heartbeat("w", "UP").await;
    let body = serde_json::to_vec(&json!({"heartbeat_name": "w", "status": "UP"})).unwrap();
    system.service.dynamodb().measure();
    system.raw(Method::POST, "/heartbeat", Some(&system.key), &[], Some(body)).await;
    let units = system.service.dynamodb().units();
    assert_eq!((units.requests, units.write.to_string(), units.read.to_string()), (3, "3".into(), "0".into()));
}

#[tokio::test]
async fn a_limit_costs_a_write_a_request_and_half_a_read_a_minute() {
    let system = System::start().await;
    let new = json!({"name": "ci", "scopes": ["read"], "rate_limit_management": 2});
    let ci = system.post("/v2/api-keys", new).await.results()["key"].as_str().unwrap().to_owned();
    let mut measured = Vec::new();
    for _ in 0..4 {
        system.service.dynamodb().measure();
        // Refused before anything else is read.
        let status = system.raw(Method::GET, "/v2/services?limit=all", Some(&ci), &[], None).await.status.as_u16();
        let units = system.service.dynamodb().units();
        measured.push((status, units.read.to_string(), units.write.to_string()));
    }
    let costs = |status, read: &str, write: &str| (status, read.to_owned(), write.to_owned());
    // The first one reads the key's record too, consistently. What is over the limit costs nothing.
    let free = costs(429, "0", "0");
    assert_eq!(measured, [costs(400, "1.5", "1"), costs(400, "0", "1"), free.clone(), free]);
}

#[tokio::test]
async fn a_service_that_is_fine_costs_three_write_units_an_interval() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(30).await;
    system.heartbeat("w", "UP").await;
    system.service.dynamodb().measure();
    // Its deadline falls due at 60 s and is moved to 90 s.
    system.seconds(40).await;
    assert_eq!(system.service.dynamodb().units().write.to_string(), "3");
}

#[tokio::test]
async fn a_sweep_with_nothing_due_costs_the_same_whatever_exists() {
    let system = System::start().await;
    let mut measured = Vec::new();
    for services in [1, 40] {
        for n in 0..services {
            system.register(&format!("w-{services}-{n}"), 86_400.0, json!({})).await;
        }
        system.service.dynamodb().measure();
        system.service.medic().sweep(&harness::start_of_time).await.unwrap();
        let units = system.service.dynamodb().units();
        measured.push((units.requests, units.read.to_string(), units.write.to_string()));
    }
    assert_eq!(measured, vec![(16, "8".to_owned(), "0".to_owned()); 2]);
}

#[tokio::test]
async fn an_alert_with_one_receiver_keeps_to_its_budget() {
    let system = System::start_with(&[("PAGERDUTY_ROUTING_KEY", "")], None).await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(59).await;
    system.service.dynamodb().measure();
    system.seconds(1).await;
    assert_eq!(system.slack().len(), 1);
    let units = system.service.dynamodb().units();
    assert!(units.write <= 14.0 + 4.0, "{units:?}");
}

#[tokio::test]
async fn a_change_of_a_configuration_entity_also_costs_its_entry_in_the_audit_log() {
    let system = System::start().await;
    system.post("/v2/teams", json!({"name": "first"})).await;
    let service = json!({"heartbeat_name": "w", "service_name": "worker", "alert_interval": 60});
    let ci = json!({"name": "ci", "scopes": ["read"]});
    // Read and write units. One is for the limit, two for the entry, and two for its index by service.
    for (method, path, body, read, write) in [
        (Method::POST, "/v2/teams", json!({"name": "platform"}), 0.0, 5.0 + 3.0),
        (Method::PATCH, "/v2/teams/2", json!({"slack_channel_id": "C1"}), 1.0, 2.0 + 3.0),
        (Method::DELETE, "/v2/teams/2", json!({}), 1.0, 4.0 + 3.0),
        (Method::POST, "/v2/services", service, 4.0, 11.0 + 5.0),
        // Which circuits are open is half a unit.
        (Method::PATCH, "/v2/services/1", json!({"priority": "p1"}), 4.5, 2.0 + 5.0),
        (Method::POST, "/v2/api-keys", ci, 0.0, 6.0 + 3.0),
        (Method::POST, "/v2/api-keys/2/rotate", json!({}), 1.0, 2.0 + 3.0),
        (Method::DELETE, "/v2/api-keys/2", json!({}), 1.0, 5.0 + 3.0),
        (Method::POST, "/v2/ping-keys", json!({}), 0.0, 7.0 + 3.0),
        (Method::DELETE, "/v2/ping-keys/1", json!({}), 1.0, 6.0 + 3.0),
    ] {
        system.service.dynamodb().measure();
        let bytes = body.to_string().into_bytes();
        let answer = system.raw(method.clone(), path, Some(&system.key), &[], Some(bytes)).await;
        let units = system.service.dynamodb().units();
        assert!(answer.status.is_success(), "{answer}");
        assert_eq!(
            (units.read.to_string(), units.write.to_string()),
            (read.to_string(), write.to_string()),
            "{method} {path}"
        );
        system.service.settle().await;
    }
}
