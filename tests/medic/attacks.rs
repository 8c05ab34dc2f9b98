//! What somebody tries who wants in, or wants Medic to stop: keys, names and secrets. What they do to a process is in
//! `attacks_on_processes`, and to playbooks in `attacks_by_playbooks`.

use futures::future::join_all;
use harness::{Answer, System};
use reqwest::Method;
use serde_json::json;

/// Creates a key, and returns it.
async fn key(system: &System, name: &str, scopes: &[&str]) -> String {
    let answer = system.post("/v2/api-keys", json!({"name": name, "scopes": scopes})).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.results()["key"].as_str().unwrap().to_owned()
}

async fn services(system: &System, key: &str) -> u16 {
    system.raw(Method::GET, "/service", Some(key), &[], None).await.status.as_u16()
}

/// Returns keys of another secret than this one's.
fn guesses(key: &str) -> impl Iterator<Item = String> {
    let stem = key[..key.len() - 3].to_owned();
    (100..400).map(move |n| format!("{stem}{n}"))
}

#[tokio::test]
async fn argon2_is_spent_once_a_key_and_never_on_a_wrong_secret() {
    let system = System::start().await;
    let ci = key(&system, "ci", &["read"]).await;
    let verifications = || system.service.medic().keyring.verifications();
    let before = verifications();
    let at_once = join_all((0..20).map(|_| services(&system, &ci))).await;
    assert_eq!((at_once, verifications() - before), (vec![200; 20], 1));
    // A key that this process has not verified yet, and somebody who guesses at it without end.
    let other = key(&system, "other", &["read"]).await;
    let all = guesses(&other).collect::<Vec<_>>();
    let refused = join_all(all.iter().map(|wrong| services(&system, wrong))).await;
    assert_eq!((refused, verifications() - before), (vec![401; 300], 1));
    assert_eq!((services(&system, &other).await, verifications() - before), (200, 2), "nobody is kept out");
}

#[tokio::test]
async fn keys_that_do_not_exist_cost_one_read_in_twenty_seconds() {
    let system = System::start().await;
    let unknown = system.key.replace("mdk_1_", "mdk_77_");
    let ping = "/ping/0123456789abcdefghijkl/nightly";
    system.service.settle().await;
    system.service.dynamodb().measure();
    for _ in 0..50 {
        assert_eq!(services(&system, &unknown).await, 401);
        assert!(system.raw(Method::GET, ping, None, &[], None).await.status.is_client_error());
    }
    let units = system.service.dynamodb().units();
    assert!(units.read <= 2.0 && units.write.abs() < f64::EPSILON, "{units:?}");
    // A key that is created is not among them.
    let unborn = system.key.replace("mdk_1_", "mdk_2_");
    assert_eq!(services(&system, &unborn).await, 401);
    let born = key(&system, "born", &["read"]).await;
    assert!(born.starts_with("mdk_2_") && services(&system, &born).await == 200);
}

#[tokio::test]
async fn no_key_poses_as_a_person() {
    let system = System::start().await;
    for name in ["slack:boss (U0BOSS)", "SLACK:U0BOSS", " oidc:boss@example.com", "oidc:"] {
        let refused = system.post("/v2/api-keys", json!({"name": name, "scopes": ["write"]})).await;
        let expected = (400, "name must not begin with slack: or oidc:, as the names of people do");
        assert_eq!((refused.status.as_u16(), refused.message()), expected);
    }
    key(&system, "ci", &["write"]).await;
    assert_eq!(system.patch("/v2/api-keys/2", json!({"name": "oidc:x"})).await.status, 400);
}

#[tokio::test]
async fn a_key_is_updated_and_can_do_at_once_what_it_may_then() {
    let system = System::start().await;
    let ci = key(&system, "ci", &["read"]).await;
    assert_eq!(services(&system, &ci).await, 200);
    let changes = json!({
        "name": "pipeline", "scopes": ["write"], "rate_limit_management": 7, "rate_limit_heartbeats": 9,
        "expires_at": "2026-01-06T12:00:00Z"
    });
    insta::assert_snapshot!(system.patch("/v2/api-keys/2", changes).await, @r#"
    200
    {
      "message": "API key updated.",
      "results": {
        "api_key_id": 2,
        "created_at": "2026-01-05T12:00:00.000Z",
        "expires_at": "2026-01-06T12:00:00.000Z",
        "name": "pipeline",
        "rate_limit_heartbeats": 9,
        "rate_limit_management": 7,
        "rotated_at": null,
        "scopes": [
          "write"
        ]
      },
      "success": true
    }
    "#);
    assert_eq!(services(&system, &ci).await, 403);
    let changed = system.patch("/v2/api-keys/2", json!({"rate_limit_management": null, "expires_at": null})).await;
    let shown = changed.results();
    assert!(shown["rate_limit_management"].is_null() && shown["expires_at"].is_null(), "{changed}");
    assert_eq!((&shown["rate_limit_heartbeats"], &shown["name"]), (&json!(9), &json!("pipeline")));
    // The name that it had is free, and the one that it has is not.
    key(&system, "ci", &["read"]).await;
    let taken = system.patch("/v2/api-keys/2", json!({"name": "CI"})).await;
    assert_eq!((taken.status.as_u16(), taken.message()), (409, "name is taken: there is an API key named CI"));
    for bad in [
        json!({"scopes": []}),
        json!({"scopes": ["everything"]}),
        json!({"name": ""}),
        json!({"rate_limit_management": 0}),
        json!({"expires_at": "2026-01-01T00:00:00Z"}),
        json!({"hash": "x"}),
    ] {
        assert_eq!(system.patch("/v2/api-keys/2", bad.clone()).await.status, 400, "{bad}");
    }
    let audit = system.get("/v2/audit-logs?action_type=updated").await;
    assert_eq!(audit.results()["items"].as_array().unwrap().len(), 2, "{audit}");
}

#[tokio::test]
async fn the_last_admin_key_stays() {
    let system = System::start().await;
    key(&system, "brief", &["admin"]).await;
    assert_eq!(system.patch("/v2/api-keys/2", json!({"expires_at": "2027-01-01T00:00:00Z"})).await.status, 200);
    key(&system, "ci", &["write"]).await;
    let last = "This is the last key with admin that does not expire: create another first";
    let is_last = |answer: &Answer| (answer.status.as_u16(), answer.message()) == (409, last);
    for changes in [json!({"scopes": ["write"]}), json!({"expires_at": "2027-01-01T00:00:00Z"})] {
        let refused = system.patch("/v2/api-keys/1", changes).await;
        assert!(is_last(&refused), "{refused}");
    }
    let refused = system.delete("/v2/api-keys/1").await;
    assert!(is_last(&refused), "{refused}");
    key(&system, "second", &["admin"]).await;
    assert_eq!(system.delete("/v2/api-keys/1").await.status, 200);
}

#[tokio::test]
async fn of_two_admin_keys_that_are_revoked_at_once_one_stays() {
    for _ in 0..8 {
        let system = System::start().await;
        let other = key(&system, "second", &["admin"]).await;
        let revoke = |key: String, id: u8| {
            let system = &system;
            async move { system.raw(Method::DELETE, &format!("/v2/api-keys/{id}"), Some(&key), &[], None).await }
        };
        let (one, two) = futures::future::join(revoke(system.key.clone(), 2), revoke(other, 1)).await;
        let statuses = [one.status.as_u16(), two.status.as_u16()];
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    }
}

#[tokio::test]
async fn guesses_at_the_trigger_secret_are_limited_by_address() {
    let system = System::start_with(&[("MEDIC_WEBHOOK_SECRET", "secret-of-triggers")], None).await;
    let trigger = async |secret: &str| {
        let headers = [("x-webhook-secret", secret)];
        system.raw(Method::POST, "/v2/webhooks/playbooks/1/trigger", None, &headers, Some(b"{}".to_vec())).await
    };
    system.service.settle().await;
    system.service.dynamodb().measure();
    for n in 0..10 {
        assert_eq!(trigger(&format!("secret-of-{n}")).await.status, 401);
    }
    // Not even the right one is looked at then.
    let refused = trigger("secret-of-triggers").await;
    assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].to_str().unwrap()), (429, "60"));
    assert_eq!(system.service.dynamodb().units().requests, 0, "a guess costs the table nothing");
    system.seconds(60).await;
    assert_eq!(trigger("secret-of-triggers").await.status, 404, "there is no such playbook");
}
