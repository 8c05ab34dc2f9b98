//! Executions of playbooks: from the silence of a service to its verified repair, and what may happen in between.

use chrono::TimeDelta;
use harness::{Planned, System};
use reqwest::Method;
use runtime::Clock as _;
use serde_json::{Value, json};

const LOCAL: [(&str, &str); 1] = [("MEDIC_ALLOW_PRIVATE_HOSTS", "true")];

async fn system() -> System {
    System::start_with(&LOCAL, None).await
}

/// Creates a playbook of these steps, and returns its id.
async fn playbook(system: &System, name: &str, more: &str, steps: &str) -> i64 {
    let yaml = format!("name: {name}\n{more}\nsteps:\n{steps}");
    let created = system.post("/v2/playbooks", json!({"yaml": yaml})).await;
    assert_eq!(created.status, 201, "{created}");
    created.results()["playbook_id"].as_i64().unwrap()
}

/// Runs a playbook, and returns the execution's id.
async fn run(system: &System, playbook: i64, body: Value) -> String {
    let answer = system.post(&format!("/v2/playbooks/{playbook}/execute"), body).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.results()["execution_id"].as_str().unwrap().to_owned()
}

async fn execution(system: &System, id: &str) -> Value {
    system.get(&format!("/v2/executions/{id}")).await.results().clone()
}

async fn status(system: &System, id: &str) -> String {
    execution(system, id).await["status"].as_str().unwrap().to_owned()
}

/// Returns the executions, newest first.
async fn executions(system: &System, filter: &str) -> Vec<Value> {
    let page = system.get(&format!("/v2/executions?{filter}")).await;
    page.results()["items"].as_array().unwrap().clone()
}

/// Returns each step's name, status, output and error.
fn steps(execution: &Value) -> Vec<String> {
    let steps = execution["steps"].as_array().unwrap().iter();
    let line = |step: &Value| {
        let error = step["error_message"].as_str().map(|error| format!(" ({error})")).unwrap_or_default();
        let output = step["output"].as_str().unwrap().trim_end().replace('\n', " | ");
        format!("{} {}: {output}{error}", step["step_name"].as_str().unwrap(), step["status"].as_str().unwrap())
    };
    steps.map(line).collect()
}

/// Returns the audit log of an execution, oldest first.
async fn log(system: &System, id: &str) -> Vec<String> {
    let page = system.get(&format!("/v2/audit-logs?execution_id={id}")).await;
    let mut lines: Vec<_> = page.results()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let step = entry["details"]["step_name"].as_str().map(|step| format!(" {step}")).unwrap_or_default();
            let actor = entry["actor"].as_str().map(|actor| format!(" by {actor}")).unwrap_or_default();
            let reason = entry["details"]["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{}{step}{actor}{reason}", entry["action_type"].as_str().unwrap())
        })
        .collect();
    lines.reverse();
    lines
}

#[tokio::test]
async fn a_silent_worker_is_restarted_and_reports_again() {
    let system = System::start_with_scripts(&LOCAL).await;
    system
        .post(
            "/v2/scripts",
            json!({
                "name": "clear-cache", "interpreter": "bash", "content": "echo cleared in $REGION for $SERVICE_NAME"
            }),
        )
        .await;
    let hook = system.receivers.hook();
    let steps_yaml = format!(
        r#"
  - {{ name: restart, type: webhook, url: "{hook}", method: POST, body: {{ service: "${{SERVICE_NAME}}" }}, success_codes: [200, 202], timeout: 10s }}
  - {{ name: settle, type: wait, duration: 30s }}
  - {{ name: clear-cache, type: script, script: clear-cache, parameters: {{ REGION: eu }}, timeout: 20s }}
  - {{ name: verify, type: condition, check: heartbeat_received, parameters: {{ min_count: 1, status: UP }}, timeout: 60s, on_failure: escalate }}
"#
    );
    let trigger = "trigger: { service_pattern: \"worker-*\", consecutive_failures: 3 }\napproval: none";
    playbook(&system, "restart-worker", trigger, &steps_yaml).await;
    let service = system.register("worker-1", 60.0, json!({})).await;
    system.heartbeat("worker-1", "UP").await;
    system.seconds(179).await;
    assert_eq!(executions(&system, "").await, [json!(null); 0], "two failures are not three");
    system.seconds(1).await;
    let [started] = <[Value; 1]>::try_from(executions(&system, "").await).unwrap();
    let id = started["execution_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&started["status"], &started["service_id"], &started["current_step"], &started["alert_id"]),
        (&json!("waiting"), &json!(service), &json!(1), &json!(1))
    );
    let restart = system.receivers.arrivals().into_iter().find(|arrival| arrival.receiver == "webhook").unwrap();
    assert_eq!(restart.body, json!({"service": "worker"}));
    assert_eq!(restart.headers["idempotency-key"], format!("{id}-0"));
    system.seconds(31).await;
    assert_eq!(status(&system, &id).await, "running");
    system.seconds(7).await;
    system.heartbeat("worker-1", "UP").await;
    system.seconds(5).await;
    let done = execution(&system, &id).await;
    assert_eq!(done["status"], "completed", "{done}");
    insta::assert_snapshot!(steps(&done).join("\n").replace(&hook, "[hook]"), @r#"
    restart completed: POST [hook] | 200 | {"ok":true,"status":"success"}
    settle completed: 
    clear-cache completed: cleared in eu for worker
    verify completed: 1 heartbeat after 10.0 s
    "#);
    // A heartbeat that comes after it completed verifies it.
    system.heartbeat("worker-1", "UP").await;
    system.seconds(60).await;
    assert_eq!(execution(&system, &id).await["verification"], "verified");
    insta::assert_snapshot!(log(&system, &id).await.join("\n"), @"
    execution_started
    step_completed restart
    step_completed settle
    step_completed clear-cache
    step_completed verify
    execution_completed
    ");
    let effect = system.get("/v2/playbooks/1/effectiveness").await;
    insta::assert_snapshot!(effect, @r#"
    200
    {
      "message": "",
      "results": {
        "median_seconds_to_recovery": 43.0,
        "runs": 1,
        "verified": 1,
        "verified_share": 1.0
      },
      "success": true
    }
    "#);
    assert_eq!(executions(&system, "").await.len(), 1, "once for an alert and a trigger");
}

#[tokio::test]
async fn two_instances_that_see_an_alert_at_once_start_one_execution() {
    let system = system().await;
    playbook(&system, "p", "trigger: { service_pattern: \"*\" }", "  - { name: s, type: wait, duration: 1h }").await;
    system.register("db", 60.0, json!({})).await;
    system.heartbeat("db", "UP").await;
    system.seconds(59).await;
    let (here, there) = (system.service.medic(), system.another_instance());
    let now = system.time.now() + chrono::TimeDelta::seconds(2);
    let row = || store::Key::service(domain::ServiceId::new(1));
    futures::join!(here.handle_row(row(), now), there.handle_row(row(), now));
    let (alert, trigger) = (domain::AlertId::new(1), domain::TriggerId::new(1));
    let (one, other) =
        futures::join!(here.start_triggered(alert, trigger, now), there.start_triggered(alert, trigger, now));
    one.and(other).unwrap();
    system.seconds(3).await;
    assert_eq!((system.open_alerts().await, executions(&system, "").await.len()), (1, 1));
}

#[tokio::test]
async fn a_failed_step_ends_it_and_the_rest_is_skipped() {
    let system = system().await;
    let hook = system.receivers.hook();
    let id = playbook(
        &system,
        "p",
        "",
        &format!(
            "  - {{ name: call, type: webhook, url: \"{hook}\" }}\n  - {{ name: rest, type: wait, duration: 1s }}"
        ),
    )
    .await;
    system.receivers.plan_webhook([Planned { body: Some("no".to_owned()), ..Planned::status(500) }]);
    let run = run(&system, id, json!({})).await;
    let failed = execution(&system, &run).await;
    assert_eq!(failed["status"], "failed");
    insta::assert_snapshot!(steps(&failed).join("\n").replace(&hook, "[hook]"), @"
    call failed: POST [hook] | 500 | no (the status 500 is not one of success_codes)
    rest skipped:
    ");
    assert_eq!(failed["verification"], Value::Null);
}

#[tokio::test]
async fn a_wait_of_days_holds_nothing_and_can_be_cancelled() {
    let system = system().await;
    let id = playbook(
        &system,
        "p",
        "",
        "  - { name: long, type: wait, duration: 720h }\n  - { name: rest, type: wait, duration: 1s }",
    )
    .await;
    let first = run(&system, id, json!({})).await;
    let second = run(&system, id, json!({})).await;
    system.lag(chrono::TimeDelta::days(29)).await;
    assert_eq!(status(&system, &first).await, "waiting");
    let cancelled = system.post(&format!("/v2/executions/{first}/cancel"), json!({"reason": "not needed"})).await;
    assert_eq!(cancelled.results()["status"], "cancelled");
    assert_eq!(steps(cancelled.results()), ["long skipped: ", "rest skipped: "]);
    assert_eq!(system.post(&format!("/v2/executions/{first}/cancel"), json!({})).await.status, 409);
    system.lag(chrono::TimeDelta::hours(25)).await;
    system.seconds(2).await;
    assert_eq!(status(&system, &second).await, "completed");
    assert_eq!(log(&system, &first).await, ["execution_started by admin", "execution_cancelled by admin: not needed"]);
}

#[tokio::test]
async fn an_execution_is_approved_or_rejected_once() {
    let system = system().await;
    let id = playbook(&system, "p", "approval: required", "  - { name: s, type: wait, duration: 1s }").await;
    let run = run(&system, id, json!({})).await;
    let waiting = execution(&system, &run).await;
    assert_eq!(
        (&waiting["status"], waiting["plan"]["digest"].as_str().unwrap().len()),
        (&json!("pending_approval"), 64)
    );
    let decide = async |n: usize| {
        let path = format!("/v2/executions/{run}/{}", if n.is_multiple_of(2) { "approve" } else { "reject" });
        system.post(&path, json!({"reason": format!("{n}")})).await.status.as_u16()
    };
    let answers = futures::future::join_all((0..20).map(decide)).await;
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 409).count(), 19, "{answers:?}");
    system.seconds(2).await;
    let log = log(&system, &run).await;
    assert_eq!(
        log.iter().filter(|line| line.starts_with("approved") || line.starts_with("rejected")).count(),
        1,
        "{log:?}"
    );
}

#[tokio::test]
async fn an_approval_request_times_out_as_its_playbook_says() {
    let system = system().await;
    let wait = "  - { name: s, type: wait, duration: 1s }";
    let required = playbook(&system, "a", "approval: required", wait).await;
    let proceeds = playbook(&system, "b", "approval: timeout:15m", wait).await;
    let expires = playbook(&system, "c", "approval: timeout:15m\napproval_on_timeout: cancel", wait).await;
    let (a, b, c) = (
        run(&system, required, json!({})).await,
        run(&system, proceeds, json!({})).await,
        run(&system, expires, json!({})).await,
    );
    system.seconds(15 * 60 - 1).await;
    assert_eq!(
        (status(&system, &b).await.as_str(), status(&system, &c).await.as_str()),
        ("pending_approval", "pending_approval")
    );
    system.seconds(2).await;
    assert_eq!((status(&system, &b).await.as_str(), status(&system, &c).await.as_str()), ("completed", "cancelled"));
    assert_eq!(log(&system, &b).await[..2], ["approval_requested by admin", "approved: timeout"]);
    system.lag(chrono::TimeDelta::days(7)).await;
    assert_eq!(status(&system, &a).await, "cancelled");
}

#[tokio::test]
async fn an_execution_awaiting_approval_is_cancelled_when_its_alert_closes() {
    let system = system().await;
    playbook(
        &system,
        "p",
        "trigger: { service_pattern: \"*\" }\napproval: required",
        "  - { name: s, type: wait, duration: 1s }",
    )
    .await;
    system.register("db", 60.0, json!({})).await;
    system.heartbeat("db", "DOWN").await;
    let [pending] = <[Value; 1]>::try_from(executions(&system, "status=pending_approval").await).unwrap();
    let metrics = system.get("/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("medic_playbook_executions_pending_approval 1"), "{metrics}");
    system.heartbeat("db", "UP").await;
    let id = pending["execution_id"].as_str().unwrap();
    assert_eq!(status(&system, id).await, "cancelled");
    assert_eq!(log(&system, id).await.last().unwrap(), "execution_cancelled: the alert closed");
}

#[tokio::test]
async fn the_circuit_opens_at_the_sixth_alert_in_an_hour_and_people_still_can() {
    let system = system().await;
    let id =
        playbook(&system, "p", "trigger: { service_pattern: \"db\" }", "  - { name: s, type: wait, duration: 1s }")
            .await;
    let service = system.register("db", 600.0, json!({})).await;
    for _ in 0..7 {
        system.heartbeat("db", "DOWN").await;
        system.heartbeat("db", "UP").await;
        system.seconds(10).await;
    }
    assert_eq!(executions(&system, &format!("service_id={service}")).await.len(), 5);
    assert_eq!(system.get(&format!("/v2/services/{service}")).await.results()["circuit_open"], true);
    run(&system, id, json!({"service_id": service})).await;
    assert_eq!(executions(&system, &format!("service_id={service}")).await.len(), 6);
    system.advance(chrono::TimeDelta::hours(1)).await;
    assert_eq!(system.get(&format!("/v2/services/{service}")).await.results()["circuit_open"], false);
    system.heartbeat("db", "UP").await;
    system.heartbeat("db", "DOWN").await;
    assert_eq!(executions(&system, &format!("service_id={service}")).await.len(), 7);
}

#[tokio::test]
async fn during_maintenance_nothing_is_triggered() {
    let system = system().await;
    playbook(
        &system,
        "p",
        "trigger: { service_pattern: \"*\", consecutive_failures: 2 }",
        "  - { name: s, type: wait, duration: 1s }",
    )
    .await;
    let service = system.register("db", 60.0, json!({})).await;
    system.heartbeat("db", "UP").await;
    system.seconds(61).await;
    assert_eq!(system.open_alerts().await, 1);
    system.post("/v2/maintenance-windows", json!({
        "name": "w", "start_time": "2026-01-05T12:00:00Z", "end_time": "2026-01-05T12:03:30Z", "service_ids": [service]
    })).await;
    system.seconds(130).await;
    assert_eq!(executions(&system, "").await, [json!(null); 0]);
    // The next interval after the window offers the count again.
    system.seconds(60).await;
    assert_eq!(executions(&system, "").await.len(), 1);
}

#[tokio::test]
async fn secrets_are_filled_in_and_never_shown() {
    let system = System::start_with_scripts(&LOCAL).await;
    let hook = system.receivers.hook();
    system.post("/v2/secrets", json!({"name": "TOKEN", "value": "hunter2hunter2", "allowed_hosts": ["127.0.0.1"], "allowed_scripts": ["S"]})).await;
    system.post("/v2/scripts", json!({"name": "s", "interpreter": "bash", "content": "echo got $T; echo $T >&2; [ \"$T\" = hunter2hunter2 ]"})).await;
    let steps_yaml = format!(
        r#"
  - {{ name: call, type: webhook, url: "{hook}", headers: {{ X-Auth: "Bearer ${{secrets.TOKEN}}" }}, body: {{ t: "${{secrets.TOKEN}}" }} }}
  - {{ name: run, type: script, script: s, parameters: {{ T: "${{secrets.TOKEN}}" }} }}
"#
    );
    let id = playbook(&system, "p", "", &steps_yaml).await;
    system
        .receivers
        .plan_webhook([Planned { body: Some("you said hunter2hunter2".to_owned()), ..Planned::status(200) }]);
    let run = run(&system, id, json!({"variables": {"EVIL": "${secrets.TOKEN}"}})).await;
    let sent = system.receivers.arrivals().into_iter().find(|arrival| arrival.receiver == "webhook").unwrap();
    assert_eq!(
        (&sent.body, &sent.headers["x-auth"]),
        (&json!({"t": "hunter2hunter2"}), &"Bearer hunter2hunter2".parse().unwrap())
    );
    let done = system.get(&format!("/v2/executions/{run}")).await;
    assert_eq!(done.results()["status"], "completed", "{done}");
    let log = system.get(&format!("/v2/audit-logs?execution_id={run}")).await;
    for shown in [done.to_string(), log.to_string()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn a_condition_that_does_not_hold_escalates_continues_or_fails() {
    let system = system().await;
    system.register("db", 3600.0, json!({})).await;
    for (on_failure, ended) in [("fail", "failed"), ("continue", "completed"), ("escalate", "failed")] {
        let step = format!(
            "  - {{ name: c, type: condition, check: heartbeat_received, timeout: 12s, on_failure: {on_failure} }}"
        );
        let id = playbook(&system, on_failure, "", &step).await;
        let run = run(&system, id, json!({"service_id": 1})).await;
        system.seconds(13).await;
        let done = execution(&system, &run).await;
        assert_eq!(done["status"], ended, "{on_failure}: {done}");
        if on_failure == "escalate" {
            assert_eq!(steps(&done), ["c failed: [ESCALATE] 0 heartbeats of 1 within 12 s (Escalating to on-call)"]);
        }
    }
}

#[tokio::test]
async fn deleting_a_playbook_ends_its_open_executions_and_keeps_them() {
    let system = system().await;
    let id = playbook(&system, "p", "", "  - { name: s, type: wait, duration: 1h }").await;
    let run = run(&system, id, json!({})).await;
    assert_eq!(system.delete(&format!("/v2/playbooks/{id}")).await.status, 200);
    assert_eq!(status(&system, &run).await, "cancelled");
    assert_eq!(log(&system, &run).await.last().unwrap(), "execution_cancelled by admin: the playbook was deleted");
}

#[tokio::test]
async fn the_trigger_route_requires_its_secret_and_is_limited_by_address() {
    let system = System::start_with(&[("MEDIC_WEBHOOK_SECRET", "s3cr3t-of-triggers")], None).await;
    let id = playbook(&system, "p", "", "  - { name: s, type: wait, duration: 1s }").await;
    let path = format!("/v2/webhooks/playbooks/{id}/trigger");
    let post = async |secret: Option<&'static str>| {
        let headers: Vec<_> = secret.map(|secret| ("x-webhook-secret", secret)).into_iter().collect();
        system.raw(reqwest::Method::POST, &path, None, &headers, Some("{}".into())).await
    };
    for wrong in [None, Some(""), Some("s3cr3"), Some("s3cr3tt")] {
        assert_eq!(post(wrong).await.status, 401, "{wrong:?}");
    }
    for n in 0..10 {
        let answer = post(Some("s3cr3t-of-triggers")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.headers["x-ratelimit-remaining"].to_str().unwrap()),
            (201, format!("{}", 9 - n).as_str())
        );
    }
    assert_eq!(post(Some("s3cr3t-of-triggers")).await.status, 429);
    let unset = System::start().await;
    let answer = unset
        .raw(
            reqwest::Method::POST,
            "/v2/webhooks/playbooks/1/trigger",
            None,
            &[("x-webhook-secret", "")],
            Some("{}".into()),
        )
        .await;
    assert_eq!(answer.status, 503, "{answer}");
}

#[tokio::test]
async fn executions_have_a_limit_of_their_own() {
    let system = System::start_with(&[("MEDIC_RATE_LIMIT_EXECUTIONS", "2")], None).await;
    let id = playbook(&system, "p", "", "  - { name: s, type: wait, duration: 1s }").await;
    let path = format!("/v2/playbooks/{id}/execute");
    let statuses =
        [system.post(&path, json!({})).await, system.post(&path, json!({})).await, system.post(&path, json!({})).await];
    assert_eq!(statuses.map(|answer| answer.status.as_u16()), [201, 201, 429]);
    assert_eq!(system.get("/v2/executions").await.status, 200);
}

#[tokio::test]
async fn a_job_that_ran_too_long_triggers_with_its_run() {
    let system = system().await;
    let hook = system.receivers.hook();
    playbook(&system, "p", "trigger: { service_pattern: nightly }", &format!("  - {{ name: call, type: webhook, url: \"{hook}\", body: {{ run: \"${{RUN_ID}}\", alert: \"${{ALERT_ID}}\", failures: \"${{CONSECUTIVE_FAILURES}}\", trigger: \"${{TRIGGER_ID}}\" }} }}")).await;
    let service = system.register("nightly", 86_400.0, json!({"max_duration_ms": 1_000})).await;
    system.post(&format!("/v2/heartbeat/{service}/start"), json!({"run_id": "r1"})).await;
    system.seconds(2).await;
    let sent = system.receivers.arrivals().into_iter().find(|arrival| arrival.receiver == "webhook").unwrap();
    assert_eq!(sent.body, json!({"run": "r1", "alert": "1", "failures": "1", "trigger": "1"}));
}

#[tokio::test]
async fn commands_to_an_execution_need_no_body() {
    let system = system().await;
    let id = playbook(&system, "p", "approval: required", "  - { name: s, type: wait, duration: 1h }").await;
    let post = async |path: String| system.raw(reqwest::Method::POST, &path, Some(&system.key), &[], None).await;
    let started = post(format!("/v2/playbooks/{id}/execute")).await;
    assert_eq!(started.status, 201, "{started}");
    let run = started.results()["execution_id"].as_str().unwrap().to_owned();
    for (command, status) in [("approve", 200), ("reject", 409), ("cancel", 200), ("cancel", 409)] {
        assert_eq!(post(format!("/v2/executions/{run}/{command}")).await.status, status, "{command}");
    }
}

#[tokio::test]
async fn a_body_of_null_counts_as_no_body() {
    let system = system().await;
    let id = playbook(&system, "p", "approval: required", "  - { name: s, type: wait, duration: 1h }").await;
    let post = async |path: String| {
        system.raw(reqwest::Method::POST, &path, Some(&system.key), &[], Some(b" null ".to_vec())).await
    };
    let started = post(format!("/v2/playbooks/{id}/execute")).await;
    assert_eq!(started.status, 201, "{started}");
    let run = started.results()["execution_id"].as_str().unwrap().to_owned();
    assert_eq!(post(format!("/v2/executions/{run}/approve")).await.status, 200);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong_and_start_nothing() {
    let system = system().await;
    let id = playbook(&system, "p", "", "  - { name: s, type: wait, duration: 1h }").await;
    let path = format!("/v2/playbooks/{id}/execute");
    let long = "x".repeat(8_193);
    for (body, named) in [
        (json!({"service_id": 99}), "service_id"),
        (json!({"service_id": "x"}), "service_id"),
        (json!({"variables": {"A B": "x"}}), "variables.A B"),
        (json!({"variables": {"A": {"b": 1}}}), "variables.A"),
        (json!({"variables": {"A": "a\0b"}}), "variables.A"),
        (json!({"variables": {"A": long}}), "variables.A"),
        (json!({"unknown": 1}), "unknown"),
    ] {
        let answer = system.post(&path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer}");
        assert!(answer.message().contains(named), "{body}: {answer}");
    }
    assert_eq!(system.post("/v2/playbooks/99/execute", json!({})).await.status, 404);
    assert_eq!(system.get("/v2/executions?status=nonsense").await.status, 400);
    assert_eq!(system.get("/v2/executions/nonsense").await.status, 400);
    assert_eq!(executions(&system, "").await, [json!(null); 0]);
}

#[tokio::test]
async fn a_start_that_is_repeated_starts_one_execution() {
    let system = System::start_with(&[LOCAL[0], ("MEDIC_WEBHOOK_SECRET", "secret-of-the-pipeline")], None).await;
    let call = format!("  - {{ name: call, type: webhook, url: \"{}\" }}", system.receivers.hook());
    let playbook = playbook(&system, "restart", "approval: none", &call).await;
    let start = async |path: String, key: &str| {
        let headers = [("idempotency-key", key), ("x-webhook-secret", "secret-of-the-pipeline")];
        let answer = system.raw(Method::POST, &path, Some(&system.key), &headers, None).await;
        assert_eq!(answer.status, 201, "{answer}");
        system.seconds(5).await;
        answer.results()["execution_id"].as_str().unwrap().to_owned()
    };
    for path in [format!("/v2/playbooks/{playbook}/execute"), format!("/v2/webhooks/playbooks/{playbook}/trigger")] {
        let before = executions(&system, "").await.len();
        let keys = [format!("{path} 1"), format!("{path} 2")];
        let first = start(path.clone(), &keys[0]).await;
        assert_eq!(start(path.clone(), &keys[0]).await, first);
        assert_ne!(start(path.clone(), &keys[1]).await, first);
        assert_eq!(executions(&system, "").await.len(), before + 2);
        system.lag(TimeDelta::hours(25)).await;
        assert_ne!(start(path, &keys[0]).await, first, "an idempotency key is known for a day");
    }
    let called = system.receivers.arrivals().into_iter().filter(|arrival| arrival.receiver == "webhook").count();
    assert_eq!(called, 6);
}
