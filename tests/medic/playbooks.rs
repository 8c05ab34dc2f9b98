//! Playbooks, their triggers, scripts and secrets: how they are configured.

use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bad_input::all;

const RESTART: &str = r#"
name: restart-worker
description: Restart the worker
trigger: { service_pattern: "worker-*", consecutive_failures: 3 }
steps:
  - { name: settle, type: wait, duration: 30s }
"#;

async fn send_yaml(system: &System, method: Method, path: &str, yaml: &str) -> harness::Answer {
    system.raw(method, path, Some(&system.key), &[("content-type", "application/yaml")], Some(yaml.into())).await
}

async fn triggers(system: &System) -> Vec<(i64, Value, Value, Value)> {
    let page = system.get("/v2/playbooks/1/triggers").await;
    let items = page.results()["items"].as_array().unwrap().clone();
    let of = |item: &Value| {
        let id = item["trigger_id"].as_i64().unwrap();
        (id, item["service_pattern"].clone(), item["consecutive_failures"].clone(), item["enabled"].clone())
    };
    items.iter().map(of).collect()
}

#[tokio::test]
async fn a_playbook_lives_from_creation_to_deletion() {
    let system = System::start().await;
    let created = system.post("/v2/playbooks", json!({"yaml": RESTART})).await;
    assert_eq!(created.status, 201, "{created}");
    let shown = created.results().clone();
    assert_eq!(
        (&shown["playbook_id"], &shown["name"], &shown["version"], &shown["yaml"], &shown["trigger_id"]),
        (&json!(1), &json!("restart-worker"), &json!(1), &json!(RESTART), &json!(1))
    );
    assert_eq!(system.get("/v2/playbooks/1").await.results(), &shown);
    let listed = system.get("/v2/playbooks").await.results()["items"][0].clone();
    assert_eq!((&listed["name"], listed.get("yaml")), (&json!("restart-worker"), None));
    // The name is taken, whatever its case.
    let again = send_yaml(&system, Method::POST, "/v2/playbooks", &RESTART.replace("restart", "RESTART")).await;
    assert_eq!((again.status.as_u16(), again.message().starts_with("name is taken")), (409, true), "{again}");
    // Each change is a version, and the versions before it are kept.
    let next = RESTART.replace("30s", "31s").replace("restart-worker", "renamed");
    let changed = send_yaml(&system, Method::PATCH, "/v2/playbooks/1", &next).await;
    assert_eq!(
        (&changed.results()["version"], &changed.results()["name"]),
        (&json!(2), &json!("renamed")),
        "{changed}"
    );
    let version = async |n| system.service.medic().table.playbook_version(domain::PlaybookId::new(1), n).await.unwrap();
    assert_eq!((version(1).await.as_deref(), version(2).await), (Some(RESTART), Some(next)));
    assert_eq!(version(3).await, None);
    assert_eq!(system.delete("/v2/playbooks/1").await.status, 200);
    for path in ["/v2/playbooks/1", "/v2/playbooks/1/triggers", "/v2/playbooks/1/triggers/1"] {
        assert_eq!(system.get(path).await.status, 404, "{path}");
    }
    assert_eq!(system.delete("/v2/playbooks/1").await.status, 404);
    assert_eq!(system.service.medic().table.triggers().await.unwrap(), []);
    // Its name is free again, and its id is not.
    let created = system.post("/v2/playbooks", json!({"yaml": RESTART})).await;
    assert!(created.results()["playbook_id"].as_i64().unwrap() > 1, "{created}");
}

#[tokio::test]
async fn the_trigger_of_the_document_follows_it_and_others_stay() {
    let system = System::start().await;
    system.post("/v2/playbooks", json!({"yaml": RESTART})).await;
    let declared = (1, json!("worker-*"), json!(3), json!(true));
    assert_eq!(triggers(&system).await, std::slice::from_ref(&declared));
    let other = system.post("/v2/playbooks/1/triggers", json!({"service_pattern": "db-[0-9]"})).await;
    assert_eq!((other.status.as_u16(), &other.results()["consecutive_failures"]), (201, &json!(1)), "{other}");
    let other = (2, json!("db-[0-9]"), json!(1), json!(true));
    // Disabled, it stays so while the document's trigger stays the same.
    system.patch("/v2/playbooks/1/triggers/1", json!({"enabled": false})).await;
    send_yaml(&system, Method::PATCH, "/v2/playbooks/1", &RESTART.replace("30s", "31s")).await;
    assert_eq!(triggers(&system).await, [other.clone(), (1, json!("worker-*"), json!(3), json!(false))]);
    send_yaml(&system, Method::PATCH, "/v2/playbooks/1", &RESTART.replace(": 3", ": 5")).await;
    assert_eq!(triggers(&system).await, [other.clone(), (1, json!("worker-*"), json!(5), json!(true))]);
    let without = RESTART.replace("trigger: { service_pattern: \"worker-*\", consecutive_failures: 3 }", "");
    send_yaml(&system, Method::PATCH, "/v2/playbooks/1", &without).await;
    assert_eq!(triggers(&system).await, std::slice::from_ref(&other));
    send_yaml(&system, Method::PATCH, "/v2/playbooks/1", RESTART).await;
    assert_eq!(triggers(&system).await, [(3, json!("worker-*"), json!(3), json!(true)), other]);
    // One that was deleted by hand does no harm.
    assert_eq!(system.delete("/v2/playbooks/1/triggers/3").await.status, 200);
    assert_eq!(send_yaml(&system, Method::PATCH, "/v2/playbooks/1", &without).await.status, 200);
    for id in 0..19 {
        let created = system.post("/v2/playbooks/1/triggers", json!({"service_pattern": format!("s{id}")})).await;
        assert_eq!(created.status, 201, "{created}");
    }
    assert_eq!(system.post("/v2/playbooks/1/triggers", json!({"service_pattern": "x"})).await.status, 409);
    assert_eq!(system.delete("/v2/playbooks/1").await.status, 200);
    assert_eq!(system.service.medic().table.triggers().await.unwrap(), []);
}

#[tokio::test]
async fn a_bad_playbook_is_refused_with_field_and_line_and_stores_nothing() {
    let system = System::start().await;
    system.post("/v2/playbooks", json!({"yaml": RESTART})).await;
    let before = all(&system).await;
    let bad = "name: x\nsteps:\n- name: a\n  type: wait\n  duration: soon\n- {name: a, type: mail}\n";
    let unresolved = "name: x\nsteps:\n- {name: a, type: webhook, url: 'ftp://ops.example.com'}\n";
    for (body, message) in [
        (bad, "steps[0].duration must be a duration such as 30s, 5m or 1h, or a number of seconds (line 5); steps[1]"),
        (unresolved, "steps[0].url must begin with http:// or https:// (line 3)"),
        ("", "yaml must be a map with at least name and steps (line 1)"),
        ("{\"yaml\": 7}", "yaml: "),
        ("{\"yaml\": \"\", \"x\": 1}", "x: "),
        ("{\"yaml\": \"name: x\"}", "steps must be given (line 1)"),
    ] {
        for (method, path) in [(Method::POST, "/v2/playbooks"), (Method::PATCH, "/v2/playbooks/1")] {
            let answer = send_yaml(&system, method, path, body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.message().starts_with(message)),
                (400, true),
                "{body}: {answer}"
            );
        }
    }
    assert_eq!(all(&system).await, before);
    let checked = send_yaml(&system, Method::POST, "/v2/playbooks/validate", &format!("owner: me\n{bad}")).await;
    assert_eq!((checked.status.as_u16(), &checked.results()["valid"]), (200, &json!(false)), "{checked}");
    let places = |of: &str| {
        let items = checked.results()[of].as_array().unwrap().iter();
        items.map(|item| (item["field"].clone(), item["line"].clone())).collect::<Vec<_>>()
    };
    let place = |field: &str, line: u64| (json!(field), json!(line));
    let expected = [place("steps[0].duration", 6), place("steps[1].name", 7), place("steps[1].type", 7)];
    assert_eq!(places("errors"), expected);
    assert_eq!(places("warnings"), [place("owner", 1)]);
    let good = system.post("/v2/playbooks/validate", json!({"yaml": RESTART})).await;
    assert_eq!(good.results(), &json!({"valid": true, "errors": [], "warnings": []}));
    assert_eq!(all(&system).await, before);
}

#[tokio::test]
async fn a_script_lives_from_registration_to_deletion() {
    let system = System::start().await;
    let new = json!({"name": "clear-cache", "content": "echo $REGION", "interpreter": "bash"});
    let created = system.post("/v2/scripts", new.clone()).await;
    assert_eq!((created.status.as_u16(), &created.results()["timeout_seconds"]), (201, &json!(30)), "{created}");
    assert_eq!(system.get("/v2/scripts/1").await.results(), created.results());
    assert_eq!(system.get("/v2/scripts").await.results()["items"][0].get("content"), None);
    assert_eq!(system.post("/v2/scripts", new.clone()).await.status, 409);
    let changed = system.patch("/v2/scripts/1", json!({"timeout_seconds": 600, "interpreter": "python"})).await;
    assert_eq!((&changed.results()["interpreter"], &changed.results()["content"]), (&json!("python"), &new["content"]));
    let before = all(&system).await;
    for (field, value) in [
        ("name", json!("")),
        ("content", json!(" ")),
        ("content", json!("a\0b")),
        ("content", json!("x".repeat(65_537))),
        ("interpreter", json!("perl")),
        ("timeout_seconds", json!(0)),
        ("timeout_seconds", json!(601)),
        ("owner", json!("me")),
    ] {
        let mut body = new.clone();
        body["name"] = json!("other");
        body[field] = value.clone();
        let answer = system.post("/v2/scripts", body).await;
        assert_eq!((answer.status.as_u16(), answer.message().contains(field)), (400, true), "{answer}");
        let answer = system.patch("/v2/scripts/1", json!({field: value})).await;
        assert_eq!((answer.status.as_u16(), answer.message().contains(field)), (400, true), "{answer}");
    }
    assert_eq!(all(&system).await, before);
    assert_eq!(system.delete("/v2/scripts/1").await.status, 200);
    assert_eq!(system.get("/v2/scripts/1").await.status, 404);
}

#[tokio::test]
async fn a_secret_is_written_and_never_shown_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    let created = system.post("/v2/secrets", json!({"name": "TOKEN", "value": "s3cr3t-value"})).await;
    assert_eq!(created.status, 201, "{created}");
    assert_eq!(system.post("/v2/secrets", json!({"name": "token", "value": "x"})).await.status, 409);
    for path in ["/v2/secrets", "/v2/secrets/1"] {
        assert!(!system.get(path).await.to_string().contains("s3cr3t"), "{path}");
    }
    for (body, field) in [
        (json!({"name": "A-B", "value": "x"}), "name"),
        (json!({"name": "", "value": "x"}), "name"),
        (json!({"name": "A", "value": ""}), "value"),
        (json!({"name": "A", "value": "x".repeat(8_193)}), "value"),
        (json!({"name": "A"}), "value"),
        (json!({"name": "A", "value": "x", "allowed_hosts": ["https://a.example/"]}), "allowed_hosts"),
        (json!({"name": "A", "value": "x", "allowed_hosts": ["*"]}), "allowed_hosts"),
        (json!({"name": "A", "value": "x", "allowed_hosts": vec!["a.example"; 21]}), "allowed_hosts"),
        (json!({"name": "A", "value": "x", "allowed_scripts": [""]}), "allowed_scripts"),
        (json!({"name": "A", "value": "x", "allowed_scripts": vec!["a"; 21]}), "allowed_scripts"),
    ] {
        let answer = system.post("/v2/secrets", body).await;
        assert_eq!((answer.status.as_u16(), answer.message().contains(field)), (400, true), "{answer}");
    }
    let system = system.restart_after(chrono::TimeDelta::seconds(1), folder.path()).await;
    let reveal =
        async |name: &str| system.service.medic().reveal_secret(name).await.unwrap().map(|secret| secret.value);
    assert_eq!(reveal("TOKEN").await.as_deref(), Some("s3cr3t-value"));
    let changed = system.patch("/v2/secrets/1", json!({"value": "another", "description": "of ops"})).await;
    assert_eq!(changed.results()["description"], "of ops", "{changed}");
    assert_eq!(reveal("TOKEN").await.as_deref(), Some("another"));
    let uses = json!({"allowed_hosts": ["*.example.com", "10.0.0.1"], "allowed_scripts": ["deploy"]});
    let changed = system.patch("/v2/secrets/1", uses.clone()).await;
    assert_eq!(
        (&changed.results()["allowed_hosts"], &changed.results()["allowed_scripts"]),
        (&uses["allowed_hosts"], &uses["allowed_scripts"]),
        "{changed}"
    );
    assert_eq!(system.patch("/v2/secrets/1", json!({"allowed_hosts": ["a b"]})).await.status, 400);
    let kept = system.get("/v2/secrets/1").await;
    assert_eq!(kept.results()["allowed_hosts"], uses["allowed_hosts"], "{kept}");
    assert_eq!(system.delete("/v2/secrets/1").await.status, 200);
    assert_eq!(reveal("TOKEN").await, None);
}
