//! The audit log: who configured what, with each change, found by filters, and safe to open in a spreadsheet.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{AuditAction, AuditDetails, AuditEntry, ExecutionId, LogId, ServiceId};
use harness::{Answer, Planned, System, start_of_time};
use local::Fault;
use reqwest::Method;
use serde_json::{Value, json};
use store::{Commit, Writes};

const LOG: &str = "/v2/audit-logs";
const SECRETS_KEY: (&str, &str) = ("MEDIC_SECRETS_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
const PLAYBOOK: &str = "
name: restart
trigger: { service_pattern: 'worker-*', consecutive_failures: 3 }
steps:
  - { name: settle, type: wait, duration: 30s }
";

async fn entries(system: &System, query: &str) -> Vec<Value> {
    let answer = system.get(&format!("{LOG}?limit=250&{query}")).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.results()["next_cursor"], Value::Null, "{query}");
    answer.results()["items"].as_array().unwrap().clone()
}

/// Returns an entry in a line: who did what to what, and each change.
fn line(entry: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let thing = &entry["details"]["thing"];
    let changes = entry["details"]["changes"].as_array().unwrap().iter();
    let changes: Vec<_> =
        changes.map(|one| format!("{} {} -> {}", text(&one["field"]), one["old"], one["new"])).collect();
    let (action, kind, name) = (text(&entry["action_type"]), text(&thing["kind"]), text(&thing["name"]));
    format!("{} {action} {kind} {} {name}: {}", text(&entry["actor"]), thing["id"], changes.join(", "))
}

/// Returns the whole log in lines, oldest first.
async fn lines(system: &System) -> Vec<String> {
    entries(system, "").await.iter().rev().map(line).collect()
}

/// Sends a request with another key.
async fn done_by(system: &System, key: &str, method: Method, path: &str, body: Value) -> Answer {
    let answer = system.raw(method, path, Some(key), &[], Some(body.to_string().into())).await;
    system.service.settle().await;
    assert!(answer.status.is_success(), "{path}: {answer}");
    answer
}

async fn key_named(system: &System, name: &str) -> String {
    let answer = system.post("/v2/api-keys", json!({"name": name, "scopes": ["admin"]})).await;
    answer.results()["key"].as_str().unwrap().to_owned()
}

/// Creates and updates one of each configuration entity, with the key `ops`.
async fn configure_everything(system: &System, ops: &str) {
    let by_ops = async |method, path: &str, body| done_by(system, ops, method, path, body).await;
    let service = json!({"heartbeat_name": "w", "service_name": "worker", "alert_interval": 1.5});
    let week = json!({"monday": [{"start": "09:00", "end": "17:00"}]});
    let times = json!({"name": "upgrade", "start_time": "2026-02-01T00:00:00Z", "end_time": "2026-02-01T02:00:00Z"});
    let slack = json!({"type": "slack", "config": {"channel_id": "C1"}});
    let hook = json!({"url": "https://93.184.215.14/hook", "headers": {"x-key": "0123456789"}});
    let target = "/v2/services/1/notification-targets";
    let trigger = "/v2/playbooks/1/triggers";
    for (collection, id, new, change) in [
        ("/v2/services", 1, service, json!({"priority": "p1", "muted": true, "runbook": "look"})),
        ("/v2/teams", 1, json!({"name": "platform"}), json!({"slack_channel_id": "C1"})),
        (
            "/v2/schedules",
            1,
            json!({"name": "office", "timezone": "UTC", "hours": week}),
            json!({"timezone": "Europe/Berlin", "hours": {}}),
        ),
        ("/v2/maintenance-windows", 1, times, json!({"recurrence": "0 3 * * *", "service_ids": [1]})),
        (target, 1, slack, json!({"priority": 5, "config": {"channel_id": "C2"}})),
        ("/v2/webhooks", 1, hook, json!({"headers": {"x-key": "9876543210"}, "service_id": 1})),
        ("/v2/playbooks", 1, json!({"yaml": PLAYBOOK}), json!({"yaml": PLAYBOOK.replace('3', "4")})),
        (trigger, 2, json!({"service_pattern": "*"}), json!({"enabled": false})),
        ("/v2/scripts", 1, json!({"name": "s", "content": "a", "interpreter": "bash"}), json!({"content": "b"})),
        ("/v2/secrets", 1, json!({"name": "TOKEN", "value": "s3cr3t-1"}), json!({"value": "s3cr3t-2"})),
    ] {
        by_ops(Method::POST, collection, new).await;
        by_ops(Method::PATCH, &format!("{collection}/{id}"), change).await;
    }
    by_ops(Method::POST, "/v2/webhooks/1/rotate-secret", json!({})).await;
    let ci = json!({"name": "ci", "scopes": ["read", "write"], "rate_limit_management": 7});
    by_ops(Method::POST, "/v2/api-keys", ci).await;
    by_ops(Method::POST, "/v2/api-keys/3/rotate", json!({})).await;
    by_ops(Method::POST, "/v2/ping-keys", json!({"name": "cron"})).await;
}

#[tokio::test]
async fn each_change_of_a_configuration_entity_is_logged_with_its_actor_and_fields() {
    let system = System::start_with(&[SECRETS_KEY], None).await;
    let ops = key_named(&system, "ops").await;
    configure_everything(&system, &ops).await;
    insta::assert_snapshot!(lines(&system).await.join("\n"), @r#"
    admin created api_key 2 ops: name null -> "ops", scopes null -> ["admin"], key null -> "…"
    ops created service 1 w: heartbeat_name null -> "w", service_name null -> "worker", active null -> true, alert_interval null -> 1.5, threshold null -> 1, grace_period_seconds null -> 0, team null -> "site-reliability", priority null -> "p3", notification_mode null -> "notify_all", muted null -> false, down null -> false
    ops updated service 1 w: priority "p3" -> "p1", runbook null -> "look", muted false -> true, muted_until null -> "2026-01-06T12:00:00.000Z"
    ops created team 1 platform: name null -> "platform"
    ops updated team 1 platform: slack_channel_id null -> "C1"
    ops created schedule 1 office: name null -> "office", timezone null -> "UTC", hours null -> {"monday":["09:00-17:00"]}
    ops updated schedule 1 office: timezone "UTC" -> "Europe/Berlin", hours {"monday":["09:00-17:00"]} -> {}
    ops created maintenance_window 1 upgrade: name null -> "upgrade", start_time null -> "2026-02-01T00:00:00.000Z", end_time null -> "2026-02-01T02:00:00.000Z", timezone null -> "UTC", service_ids null -> []
    ops updated maintenance_window 1 upgrade: recurrence null -> "0 3 * * *", service_ids [] -> [1]
    ops created notification_target 1 null: type null -> "slack", priority null -> 0, enabled null -> true, period null -> "always", config.channel_id null -> "C1"
    ops updated notification_target 1 null: priority 0 -> 5, config.channel_id "C1" -> "C2"
    ops created webhook 1 null: url null -> "https://93.184.215.14/hook", headers null -> {"x-key":"…"}, enabled null -> true, max_attempts null -> 3, retry_delays_seconds null -> [1,5,30], secret null -> "…"
    ops updated webhook 1 null: headers {"x-key":"…"} -> {"x-key":"…"}, service_id null -> 1
    ops created playbook 1 restart: name null -> "restart", version null -> 1, yaml null -> "136 bytes, SHA-256 51ac01259577b7ac7bce009cffa8d76ddf7628986ca361877537a91ff8ae2b8e", trigger.service_pattern null -> "worker-*", trigger.consecutive_failures null -> 3
    ops updated playbook 1 restart: version 1 -> 2, yaml "136 bytes, SHA-256 51ac01259577b7ac7bce009cffa8d76ddf7628986ca361877537a91ff8ae2b8e" -> "136 bytes, SHA-256 026d4522c65d5ea8a70c46c09ce193a14e89aefcdcb7ed3c5f6521302b7c8b8a", trigger.consecutive_failures 3 -> 4
    ops created trigger 2 null: playbook_id null -> 1, service_pattern null -> "*", consecutive_failures null -> 1, enabled null -> true
    ops updated trigger 2 null: enabled true -> false
    ops created script 1 s: name null -> "s", content null -> "1 bytes, SHA-256 ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", interpreter null -> "bash", timeout_seconds null -> 30
    ops updated script 1 s: content "1 bytes, SHA-256 ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" -> "1 bytes, SHA-256 3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
    ops created secret 1 TOKEN: name null -> "TOKEN", allowed_hosts null -> [], allowed_scripts null -> [], value null -> "…"
    ops updated secret 1 TOKEN: value "…" -> "…"
    ops updated webhook 1 null: secret "…" -> "…"
    ops created api_key 3 ci: name null -> "ci", scopes null -> ["read","write"], rate_limit_management null -> 7, key null -> "…"
    ops updated api_key 3 ci: key "…" -> "…"
    ops created ping_key 1 cron: name null -> "cron", key null -> "…"
    "#);
}

#[tokio::test]
async fn what_is_deleted_is_logged_and_its_entries_stay() {
    let system = System::start_with(&[SECRETS_KEY], None).await;
    let ops = key_named(&system, "ops").await;
    configure_everything(&system, &ops).await;
    for path in [
        "/v2/ping-keys/1",
        "/v2/api-keys/3",
        "/v2/secrets/1",
        "/v2/scripts/1",
        "/v2/playbooks/1/triggers/2",
        "/v2/playbooks/1",
        "/v2/webhooks/1",
        "/v2/services/1/notification-targets/1",
        "/v2/maintenance-windows/1",
        "/v2/schedules/1",
        "/v2/teams/1",
        "/v2/services/1",
    ] {
        done_by(&system, &ops, Method::DELETE, path, json!({})).await;
    }
    let deleted = entries(&system, "action_type=deleted").await;
    let logged: Vec<_> = deleted.iter().rev().map(|entry| line(entry).split(": ").next().unwrap().to_owned()).collect();
    insta::assert_snapshot!(logged.join("\n"), @r#"
    ops deleted ping_key 1 cron
    ops deleted api_key 3 ci
    ops deleted secret 1 TOKEN
    ops deleted script 1 s
    ops deleted trigger 2 null
    ops deleted playbook 1 restart
    ops deleted webhook 1 null
    ops deleted notification_target 1 null
    ops deleted maintenance_window 1 upgrade
    ops deleted schedule 1 office
    ops deleted team 1 platform
    ops deleted service 1 w
    "#);
    for entry in &deleted {
        let changes = entry["details"]["changes"].as_array().unwrap();
        assert!(!changes.is_empty() && changes.iter().all(|one| one["new"].is_null()), "{entry}");
    }
    let service = deleted[0]["details"].as_object().unwrap();
    assert_eq!((&service["service_name"], &service["thing"]["name"]), (&json!("worker"), &json!("w")));
    // The log outlives what it is about.
    let kinds = |entries: &[Value]| -> Vec<_> {
        entries.iter().rev().map(|one| one["details"]["thing"]["kind"].as_str().unwrap().to_owned()).collect()
    };
    let of_service = kinds(&entries(&system, "service_id=1").await);
    let expected =
        ["service", "service", "notification_target", "notification_target", "webhook", "webhook", "webhook"];
    assert_eq!(of_service, [&expected[..], &["notification_target", "service"]].concat());
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let system = System::start_with(&[SECRETS_KEY], None).await;
    system.register("w", 3_600.0, json!({})).await;
    let mut secrets: Vec<String> =
        ["hunter2-secret", "hunter3-secret", "header-one-secret", "header-two-secret", "$argon2"]
            .map(Into::into)
            .into();
    secrets.extend(["0123456789abcdef0123456789abcdef", "fedcba98fedcba98fedcba98fedcba98"].map(Into::into));
    let mut shown = async |method, path: &str, body: Value| {
        let answer = system.send(method, path, Some(body)).await;
        assert!(answer.status.is_success(), "{path}: {answer}");
        for field in ["key", "secret"] {
            secrets.extend(answer.results()[field].as_str().map(ToOwned::to_owned));
        }
    };
    let hook = json!({"url": "https://93.184.215.14/hook", "headers": {"x-key": "header-one-secret"}});
    let target = "/v2/services/1/notification-targets";
    let pagerduty = |key: &str| json!({"type": "pagerduty", "config": {"service_key": key}});
    let webhook =
        |key: &str| json!({"type": "webhook", "config": {"url": "https://93.184.215.14/", "headers": {"x": key}}});
    shown(Method::POST, "/v2/secrets", json!({"name": "A", "value": "hunter2-secret"})).await;
    shown(Method::PATCH, "/v2/secrets/1", json!({"value": "hunter3-secret"})).await;
    shown(Method::POST, "/v2/webhooks", hook).await;
    shown(Method::PATCH, "/v2/webhooks/1", json!({"headers": {"x-key": "header-two-secret"}})).await;
    shown(Method::POST, "/v2/webhooks/1/rotate-secret", json!({})).await;
    shown(Method::POST, target, pagerduty("0123456789abcdef0123456789abcdef")).await;
    let next = json!({"config": {"service_key": "fedcba98fedcba98fedcba98fedcba98"}});
    shown(Method::PATCH, &format!("{target}/1"), next).await;
    shown(Method::POST, target, webhook("header-one-secret")).await;
    shown(Method::POST, "/v2/api-keys", json!({"name": "ci", "scopes": ["read"]})).await;
    shown(Method::POST, "/v2/api-keys/2/rotate", json!({})).await;
    shown(Method::POST, "/v2/ping-keys", json!({})).await;
    for path in ["/v2/secrets/1", "/v2/webhooks/1", "/v2/api-keys/2", "/v2/ping-keys/1", &format!("{target}/1")] {
        assert_eq!(system.delete(path).await.status, 200, "{path}");
    }
    assert_eq!(secrets.len(), 12, "each secret that was shown once is known here");
    let json = system.get(&format!("{LOG}?limit=250")).await.body.to_string();
    let csv = csv(&system, "").await.body.as_str().unwrap().to_owned();
    assert_eq!(json.matches("\"log_id\"").count(), 17);
    for secret in &secrets {
        assert!(!json.contains(secret) && !csv.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn registrations_by_version_1_and_pings_are_logged_and_heartbeats_are_not() {
    let system = System::start().await;
    let new = json!({"heartbeat_name": "a", "service_name": "worker", "alert_interval": 60});
    system.post("/service", new.clone()).await;
    // Registered before: nothing is changed, and nothing logged.
    assert_eq!(system.post("/service", new).await.status, 200);
    system.post("/service/a", json!({"muted": 1, "down": 1})).await;
    system.post("/service/a", json!({"muted": 1, "down": 1})).await;
    let key = system.post("/v2/ping-keys", json!({"name": "cron"})).await.results()["key"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        system.raw(Method::GET, &format!("/ping/{key}/b?create=1"), None, &[], None).await;
    }
    system.heartbeat("a", "UP").await;
    system.heartbeat("b", "FAILED").await;
    system.seconds(7_200).await;
    assert_eq!(system.alerts().await.len(), 3);
    insta::assert_snapshot!(lines(&system).await.join("\n"), @r#"
    admin created service 1 a: heartbeat_name null -> "a", service_name null -> "worker", active null -> true, alert_interval null -> 60, threshold null -> 1, grace_period_seconds null -> 0, team null -> "site-reliability", priority null -> "p3", notification_mode null -> "notify_all", muted null -> false, down null -> false
    admin updated service 1 a: muted false -> true, muted_until null -> "2026-01-06T12:00:00.000Z", down false -> true
    admin created ping_key 1 cron: name null -> "cron", key null -> "…"
    cron created service 2 b: heartbeat_name null -> "b", service_name null -> "b", active null -> true, alert_interval null -> 1440, threshold null -> 1, grace_period_seconds null -> 3600, team null -> "site-reliability", priority null -> "p3", notification_mode null -> "notify_all", muted null -> false, down null -> false
    "#);
}

#[tokio::test]
async fn a_webhook_that_medic_disables_has_no_actor() {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    let id = system.register("w", 3_600.0, json!({})).await;
    system.post("/v2/webhooks", json!({"url": system.receivers.hook(), "service_id": id})).await;
    system.receivers.plan_webhook([Planned::status(410)]);
    system.heartbeat("w", "FAILED").await;
    assert_eq!(system.get("/v2/webhooks/1").await.results()["enabled"], false);
    let updated = entries(&system, "service_id=1&action_type=updated").await;
    assert_eq!(updated.iter().map(line).collect::<Vec<_>>(), ["null updated webhook 1 null: enabled true -> false"]);
}

#[tokio::test]
async fn an_entry_is_written_with_its_change_or_not_at_all() {
    let check = async |fault| {
        let system = System::start().await;
        system.register("w", 3_600.0, json!({})).await;
        system.post("/v2/teams", json!({"name": "platform"})).await;
        system.post("/v2/api-keys", json!({"name": "ci", "scopes": ["read"]})).await;
        let service = json!({"heartbeat_name": "x", "service_name": "y", "alert_interval": 1});
        // How many writes each takes: the first gives a new entity its id.
        for (writes, method, path, body) in [
            (2, Method::POST, "/v2/teams", json!({"name": "other"})),
            (1, Method::PATCH, "/v2/teams/1", json!({"name": "renamed"})),
            (1, Method::DELETE, "/v2/teams/1", json!({})),
            (2, Method::POST, "/v2/services", service),
            (1, Method::PATCH, "/v2/services/1", json!({"priority": "p1"})),
            (1, Method::DELETE, "/v2/services/1", json!({})),
            (1, Method::POST, "/v2/api-keys/2/rotate", json!({})),
            (1, Method::DELETE, "/v2/api-keys/2", json!({})),
        ] {
            let before = lines(&system).await;
            for written in 0..=writes {
                system.service.dynamodb().fail_writes_after(written, fault, 1_000);
                let bytes = body.to_string().into_bytes();
                let answer = system.raw(method.clone(), path, Some(&system.key), &[], Some(bytes)).await;
                system.service.dynamodb().fail_writes(fault, 0);
                system.service.settle().await;
                let is_done = written == writes;
                let is_right = if is_done { answer.status.is_success() } else { answer.status == 503 };
                assert!(is_right, "{method} {path} after {written}: {answer}");
                let logged = lines(&system).await.len() - before.len();
                assert_eq!(logged, usize::from(is_done), "{method} {path} after {written}");
            }
        }
    };
    tokio::join!(check(Fault::Throttled), check(Fault::Internal));
}

#[tokio::test]
async fn a_change_whose_response_is_lost_is_logged_once() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    system.post("/v2/teams", json!({"name": "platform"})).await;
    system.post("/v2/api-keys", json!({"name": "ci", "scopes": ["read"]})).await;
    for (method, path, body) in [
        (Method::POST, "/v2/schedules", json!({"name": "other", "timezone": "UTC", "hours": {}})),
        (Method::PATCH, "/v2/teams/1", json!({"name": "renamed"})),
        (Method::DELETE, "/v2/teams/1", json!({})),
        (Method::PATCH, "/v2/services/1", json!({"priority": "p1", "threshold": 2})),
        (Method::POST, "/v2/api-keys/2/rotate", json!({})),
        (Method::DELETE, "/v2/api-keys/2", json!({})),
    ] {
        let before = lines(&system).await.len();
        system.service.dynamodb().lose_answers(2);
        let answer = system.send(method.clone(), path, Some(body)).await;
        system.service.dynamodb().lose_answers(0);
        assert!(answer.status.is_success(), "{method} {path}: {answer}");
        assert_eq!(lines(&system).await.len(), before + 1, "{method} {path}");
    }
}

/// The execution and the service of a step.
#[derive(Clone, Copy)]
struct StepOf {
    execution_id: Option<ExecutionId>,
    service_id: Option<i64>,
}

/// Creates an entry about a step.
fn step(at: DateTime<Utc>, n: u8, action: AuditAction, of: StepOf) -> AuditEntry {
    let StepOf { execution_id, service_id } = of;
    AuditEntry {
        id: LogId::at(at, [n; 10]),
        at,
        action,
        actor: Some(format!("actor {}", n % 2)),
        execution_id,
        service_id: service_id.map(ServiceId::new),
        details: AuditDetails { step_name: Some(format!("step {n}")), ..AuditDetails::default() },
    }
}

async fn add(system: &System, entries: &[AuditEntry]) {
    let medic = system.service.medic();
    let retention = medic.settings.audit_retention;
    for some in entries.chunks(30) {
        let mut writes = Writes::new();
        for entry in some {
            writes.add_audit(&medic.table, entry, retention).unwrap();
        }
        assert_eq!(medic.table.commit(writes).await.unwrap(), Commit::Done);
    }
}

/// Returns the names of the steps that are found, newest first.
async fn steps(system: &System, query: &str) -> String {
    let found = entries(system, query).await;
    let names = found.iter().map(|entry| entry["details"]["step_name"].as_str().unwrap()["step ".len()..].to_owned());
    names.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn filters_combine_over_days() {
    let system = System::start().await;
    system.lag(TimeDelta::days(10)).await;
    let (one, other) = (ExecutionId::at(start_of_time(), [1; 10]), ExecutionId::at(start_of_time(), [2; 10]));
    let at = |days: i64, hours: i64| start_of_time() + TimeDelta::days(days) + TimeDelta::hours(hours);
    let all = [
        step(at(0, 0), 1, AuditAction::ExecutionStarted, StepOf { execution_id: Some(one), service_id: Some(7) }),
        step(at(0, 1), 2, AuditAction::StepCompleted, StepOf { execution_id: Some(one), service_id: Some(7) }),
        step(at(3, 0), 3, AuditAction::StepCompleted, StepOf { execution_id: Some(one), service_id: Some(7) }),
        step(at(3, 11), 4, AuditAction::StepFailed, StepOf { execution_id: Some(other), service_id: Some(7) }),
        step(at(3, 12), 5, AuditAction::StepCompleted, StepOf { execution_id: Some(other), service_id: Some(8) }),
        step(at(9, 0), 6, AuditAction::Approved, StepOf { execution_id: Some(other), service_id: None }),
        step(at(9, 1), 7, AuditAction::StepCompleted, StepOf { execution_id: None, service_id: None }),
    ];
    add(&system, &all).await;
    for (query, expected) in [
        (String::new(), "7 6 5 4 3 2 1"),
        (format!("execution_id={one}"), "3 2 1"),
        (format!("execution_id={other}"), "6 5 4"),
        ("service_id=7".to_owned(), "4 3 2 1"),
        (format!("service_id=7&execution_id={other}"), "4"),
        (format!("service_id=8&execution_id={one}"), ""),
        ("action_type=step_completed".to_owned(), "7 5 3 2"),
        ("action_type=step_completed&service_id=7".to_owned(), "3 2"),
        ("actor=actor%201".to_owned(), "7 5 3 1"),
        (format!("actor=actor%200&execution_id={other}"), "6 4"),
        ("actor=Actor%201".to_owned(), ""),
        // Both ends are included; a date includes its whole day.
        ("start_date=2026-01-08T12:00:00Z&end_date=2026-01-09T00:00:00Z".to_owned(), "5 4 3"),
        ("start_date=2026-01-08T12:00:00.001Z&end_date=2026-01-08T23:59:59.999Z".to_owned(), "4"),
        ("start_date=2026-01-08&end_date=2026-01-08".to_owned(), "4 3"),
        ("end_date=2026-01-05".to_owned(), "2 1"),
        ("start_date=2026-01-09".to_owned(), "7 6 5"),
        (format!("execution_id={one}&start_date=2026-01-06&end_date=2026-01-09"), "3"),
        ("start_date=1970-01-01&end_date=9999-12-31".to_owned(), "7 6 5 4 3 2 1"),
    ] {
        assert_eq!(steps(&system, &query).await, expected, "{query}");
    }
    for (query, field) in [
        ("execution_id=1", "execution_id"),
        ("service_id=0", "service_id"),
        ("service_id=x", "service_id"),
        ("action_type=done", "action_type"),
        ("actor=", "actor"),
        ("start_date=yesterday", "start_date"),
        ("end_date=2026-13-01", "end_date"),
        ("end_date=0001-01-01", "end_date"),
        ("end_date=%2B262142-12-31", "end_date"),
        ("start_date=2026-01-02&end_date=2026-01-01", "end_date"),
        ("limit=251", "limit"),
        ("cursor=1", "cursor"),
    ] {
        let answer = system.get(&format!("{LOG}?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.message().starts_with(field)), (400, true), "{query}: {answer}");
        let csv = csv(&system, query).await;
        assert_eq!((csv.status.as_u16(), csv.message()), (400, answer.message()), "{query}");
    }
    insta::assert_snapshot!(system.get(&format!("{LOG}?service_id=8")).await, @r#"
    200
    {
      "message": "",
      "results": {
        "items": [
          {
            "action_type": "step_completed",
            "actor": "actor 1",
            "details": {
              "step_name": "step 5"
            },
            "execution_id": "[id]",
            "log_id": "[id]",
            "service_id": 8,
            "timestamp": "2026-01-09T00:00:00.000Z"
          }
        ],
        "next_cursor": null
      },
      "success": true
    }
    "#);
}

/// Reads all pages. Returns the ids of the entries, and how many pages there were.
async fn walk(system: &System, query: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let answer = system.get(&format!("{LOG}?{query}&cursor={cursor}")).await;
        assert_eq!(answer.status, 200, "{answer}");
        let items = answer.results()["items"].as_array().unwrap().clone();
        found.extend(items.iter().map(|entry| entry["log_id"].as_str().unwrap().to_owned()));
        pages += 1;
        match answer.results()["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return (found, pages),
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_none_reads_a_busy_log_whole() {
    let system = System::start().await;
    system.lag(TimeDelta::days(3)).await;
    let execution = ExecutionId::at(start_of_time(), [1; 10]);
    // Each page of a query begins and ends within a day, or at its end.
    let at = |n: i64| start_of_time() + TimeDelta::minutes(2 * n);
    let action = |n: i64| if n == 0 { AuditAction::Approved } else { AuditAction::StepCompleted };
    let all: Vec<_> = (0..1_300)
        .map(|n| step(at(n), 1, action(n), StepOf { execution_id: Some(execution), service_id: None }))
        .collect();
    add(&system, &all).await;
    let newest_first: Vec<_> = all.iter().rev().map(|entry| entry.id.to_string()).collect();
    for (query, pages) in [("limit=250", 6), ("limit=130", 10), ("limit=250&service_id=1", 1)] {
        let (found, walked) = walk(&system, query).await;
        let expected = if query.contains("service_id") { &[] } else { &newest_first[..] };
        assert_eq!((found.as_slice(), walked), (expected, pages), "{query}");
        let by_execution = format!("{query}&execution_id={execution}");
        if !query.contains("service_id") {
            assert_eq!(walk(&system, &by_execution).await, (newest_first.clone(), pages), "{query}");
        }
    }
    // The oldest entry is the one that matches: the first page reads about a thousand, and says that there may be more.
    for by in ["", &format!("&execution_id={execution}")] {
        let query = format!("action_type=approved{by}");
        let first = system.get(&format!("{LOG}?{query}")).await;
        assert_eq!(first.results()["items"], json!([]));
        assert!(first.results()["next_cursor"].is_string());
        assert_eq!(walk(&system, &query).await, (vec![all[0].id.to_string()], 2));
    }
}

#[tokio::test]
async fn what_has_expired_is_left_out() {
    let system = System::start_with(&[("MEDIC_AUDIT_RETENTION_DAYS", "2")], None).await;
    let id = system.register("w", 3_600.0, json!({"active": false})).await;
    let count = async |query: &str| entries(&system, query).await.len();
    let queries = [String::new(), format!("service_id={id}")];
    system.lag(TimeDelta::hours(24)).await;
    system.patch("/v2/services/1", json!({"priority": "p1"})).await;
    system.lag(TimeDelta::hours(24) - TimeDelta::seconds(1)).await;
    for query in &queries {
        assert_eq!(count(query).await, 2, "{query}");
    }
    system.lag(TimeDelta::seconds(1)).await;
    for query in &queries {
        assert_eq!(count(query).await, 1, "{query}");
    }
    system.lag(TimeDelta::hours(24)).await;
    for query in &queries {
        assert_eq!(count(query).await, 0, "{query}");
    }
}

async fn csv(system: &System, query: &str) -> Answer {
    let accept = [("accept", "text/csv")];
    system.raw(Method::GET, &format!("{LOG}?{query}"), Some(&system.key), &accept, None).await
}

/// Returns the rows of a file, each by the names of its columns.
fn rows(answer: &Answer) -> Vec<Value> {
    let mut reader = csv::Reader::from_reader(answer.body.as_str().unwrap().as_bytes());
    let names = reader.headers().unwrap().clone();
    let row = |row: Result<csv::StringRecord, csv::Error>| {
        let row = row.unwrap();
        names.iter().zip(&row).map(|(name, cell)| (name.to_owned(), Value::from(cell))).collect()
    };
    reader.records().map(row).collect()
}

#[tokio::test]
async fn a_file_reads_back_and_runs_nothing() {
    let system = System::start().await;
    let names = ["=HYPERLINK(\"http://evil.example\")", "+1", "-1", "@SUM(A1)", "a, \"b\"; c", "plain"];
    for name in names {
        assert_eq!(system.post("/v2/teams", json!({"name": name})).await.status, 201);
    }
    let mut failed = step(
        start_of_time() - TimeDelta::seconds(1),
        1,
        AuditAction::StepFailed,
        StepOf { execution_id: None, service_id: Some(7) },
    );
    failed.details = AuditDetails {
        duration_ms: Some(1_500),
        output: Some("\r\n=1+1\n\"quoted\"".to_owned()),
        error_message: Some("\t=1".to_owned()),
        reason: Some("  -1".to_owned()),
        ..AuditDetails::default()
    };
    add(&system, &[failed]).await;
    let answer = csv(&system, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(answer.headers["content-disposition"], "attachment; filename=\"audit-log.csv\"");
    assert_eq!(answer.headers.get("x-next-cursor"), None);
    let found = rows(&answer);
    let listed = entries(&system, "").await;
    assert_eq!(found.len(), 7);
    for (row, entry) in found.iter().zip(&listed) {
        assert_eq!((&row["log_id"], &row["timestamp"]), (&entry["log_id"], &entry["timestamp"]));
        assert!(row.as_object().unwrap().values().all(|cell| {
            let cell = cell.as_str().unwrap();
            !cell.starts_with(['\t', '\r', '\n']) && !cell.trim_start().starts_with(['=', '+', '-', '@'])
        }));
    }
    let step = found.iter().find(|row| row["action_type"] == "step_failed").unwrap();
    assert_eq!(
        [&step["output"], &step["error_message"], &step["reason"], &step["duration_ms"], &step["thing_kind"]],
        ["'\r\n=1+1\n\"quoted\"", "'\t=1", "'  -1", "1500", ""]
    );
    let teams: Vec<_> =
        found.iter().filter_map(|row| row["thing_name"].as_str()).filter(|name| !name.is_empty()).collect();
    let disarmed = ["plain", "a, \"b\"; c", "'@SUM(A1)", "'-1", "'+1", "'=HYPERLINK(\"http://evil.example\")"];
    assert_eq!(teams, disarmed);
    let changes: Value = serde_json::from_str(found[0]["changes"].as_str().unwrap()).unwrap();
    assert_eq!(changes, json!([{"field": "name", "old": null, "new": "plain"}]));
}

#[tokio::test]
async fn a_file_is_bounded_and_the_next_one_goes_on() {
    let system = System::start().await;
    let long = |n: u8| {
        let mut entry = step(
            start_of_time() + TimeDelta::seconds(n.into()),
            n,
            AuditAction::StepCompleted,
            StepOf { execution_id: None, service_id: None },
        );
        entry.details.output = Some("x".repeat(8_192));
        entry
    };
    system.lag(TimeDelta::hours(1)).await;
    let all: Vec<_> = (0..=255).map(long).collect();
    add(&system, &all[..100]).await;
    add(&system, &all[100..200]).await;
    add(&system, &all[200..]).await;
    // 2 MB hold 256 rows of 8 KB and no more.
    let first = csv(&system, "").await;
    let cursor = first.headers["x-next-cursor"].to_str().unwrap();
    let second = csv(&system, &format!("cursor={cursor}")).await;
    assert_eq!(second.headers.get("x-next-cursor"), None);
    let ids = |rows: &[Value]| rows.iter().map(|row| row["log_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let found = [ids(&rows(&first)), ids(&rows(&second))].concat();
    assert_eq!(found, all.iter().rev().map(|entry| entry.id.to_string()).collect::<Vec<_>>());
    // So is a page of JSON.
    let (paged, pages) = walk(&system, "limit=250").await;
    assert_eq!((paged, pages), (found.clone(), 2));
    let longest = system.get(&format!("{LOG}?limit=250")).await;
    assert!((200..256).contains(&longest.results()["items"].as_array().unwrap().len()));
    let two = csv(&system, "limit=2").await;
    assert_eq!(ids(&rows(&two)), found[..2]);
    assert_eq!(two.headers["x-next-cursor"].to_str().unwrap(), found[1]);
    for (accept, is_csv) in [
        ("text/csv;q=0.5, application/json;q=0.1", true),
        ("TEXT/CSV", true),
        ("application/json", false),
        ("*/*", false),
        ("text/csv;q=0, */*", false),
    ] {
        let path = format!("{LOG}?limit=1");
        let answer = system.raw(Method::GET, &path, Some(&system.key), &[("accept", accept)], None).await;
        assert_eq!(answer.body.is_string(), is_csv, "{accept}");
        assert_eq!(answer.headers["vary"], "accept", "{accept}");
    }
}
