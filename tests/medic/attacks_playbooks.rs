//! Attacks on playbooks: what runs, what is shown and what is stored of them, each as its attacker would go about it.

use harness::{Answer, System};
use reqwest::Method;
use serde_json::{Value, json};

const LOCAL: [(&str, &str); 2] =
    [("MEDIC_ALLOW_PRIVATE_HOSTS", "true"), ("MEDIC_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef")];

/// Creates a playbook of these steps, and returns its id.
async fn playbook(system: &System, name: &str, more: &str, steps: &str) -> i64 {
    let yaml = format!("name: {name}\n{more}\nsteps:\n{steps}");
    let created = system.post("/v2/playbooks", json!({"yaml": yaml})).await;
    assert_eq!(created.status, 201, "{created}");
    created.results()["playbook_id"].as_i64().unwrap()
}

async fn execute(system: &System, playbook: i64, body: Value) -> Answer {
    system.post(&format!("/v2/playbooks/{playbook}/execute"), body).await
}

async fn execution(system: &System, started: &Answer) -> Value {
    let id = started.results()["execution_id"].as_str().unwrap();
    system.get(&format!("/v2/executions/{id}")).await.results().clone()
}

/// By each of these a tool or an interpreter would run something, or send somewhere else.
const HOSTILE: [(&str, &str); 8] = [
    ("TAR_OPTIONS", "--checkpoint=1 --checkpoint-action=exec=id"),
    ("PERL5OPT", "-Mevil"),
    ("http_proxy", "http://attacker.example:1"),
    ("GIT_SSH_COMMAND", "id"),
    ("NODE_OPTIONS", "--require=/tmp/evil.js"),
    ("PATH", "/tmp/evil"),
    ("LD_PRELOAD", "/tmp/evil.so"),
    ("ALERT_ID", "not Medic's"),
];

#[tokio::test]
async fn callers_variables_reach_scripts_as_values_and_never_as_their_environment() {
    let system = System::start_with_scripts(&LOCAL).await;
    system.post("/v2/scripts", json!({"name": "show", "interpreter": "bash", "content": "env"})).await;
    let step = "  - { name: show, type: script, script: show, parameters: { GREETING: \"hello ${WHO}\" } }";
    let id = playbook(&system, "p", "", step).await;
    let mut variables: serde_json::Map<_, _> =
        HOSTILE.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    variables.insert("WHO".to_owned(), json!("$(id)"));
    let path = format!("/v2/webhooks/playbooks/{id}/trigger");
    let headers = [("x-webhook-secret", LOCAL[1].1)];
    let body = serde_json::to_vec(&json!({"variables": variables})).unwrap();
    let by_secret = system.raw(Method::POST, &path, None, &headers, Some(body)).await;
    assert_eq!(by_secret.status, 201, "{by_secret}");
    system.service.settle().await;
    let by_key = execute(&system, id, json!({"variables": variables})).await;
    for started in [by_secret, by_key] {
        let done = execution(&system, &started).await;
        assert_eq!(done["status"], "completed", "{done}");
        let output = done["steps"][0]["output"].as_str().unwrap();
        let of = |name: &str| output.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        assert_eq!((of("GREETING"), of("PLAYBOOK_NAME"), of("WHO")), (Some("hello $(id)"), Some("p"), None));
        for (name, value) in HOSTILE {
            assert_ne!(of(name), Some(value), "{name}: {output}");
            assert!(name == "PATH" || of(name).is_none(), "{name}: {output}");
        }
    }
}

#[tokio::test]
async fn a_parameter_cannot_be_an_option_of_a_tool() {
    let system = System::start().await;
    for (name, _) in HOSTILE.iter().filter(|(name, _)| *name != "ALERT_ID") {
        let step = format!("  - {{ name: s, type: script, script: show, parameters: {{ {name}: \"${{WHAT}}\" }} }}");
        let refused = system.post("/v2/playbooks", json!({"yaml": format!("name: p\nsteps:\n{step}")})).await;
        let named = format!("steps[0].parameters.{name} must have another name");
        assert!(refused.status == 400 && refused.message().starts_with(&named), "{refused}");
    }
    assert_eq!(system.get("/v2/playbooks").await.results()["items"], json!([]));
}

#[tokio::test]
async fn the_audit_log_shows_what_an_execution_was_started_with() {
    let system = System::start().await;
    let id = playbook(&system, "p", "", "  - { name: s, type: wait, duration: 1s }").await;
    execute(&system, id, json!({"variables": {"WHO": "w".repeat(2_000)}})).await;
    let page = system.get("/v2/audit-logs?action_type=execution_started").await;
    let variables = &page.results()["items"][0]["details"]["variables"];
    assert_eq!(variables["PLAYBOOK_NAME"], "p", "{page}");
    assert_eq!(variables["WHO"], format!("{}…", "w".repeat(1_024)));
}
