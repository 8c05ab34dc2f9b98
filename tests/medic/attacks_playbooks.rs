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

/// Returns a key with these scopes.
async fn key(system: &System, name: &str, scopes: &[&str]) -> String {
    let created = system.post("/v2/api-keys", json!({"name": name, "scopes": scopes})).await;
    created.results()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_writer_cannot_send_a_secret_to_a_host_or_a_script_of_their_own() {
    let system = System::start_with_scripts(&LOCAL).await;
    let mine = system.receivers.hook();
    let mut secret = json!({"name": "TOKEN", "value": "hunter2-hunter2", "allowed_hosts": ["ops.example.com"]});
    system.post("/v2/secrets", secret.clone()).await;
    system.post("/v2/scripts", json!({"name": "show", "interpreter": "bash", "content": "echo $T"})).await;
    let writer = key(&system, "writer", &["read", "write"]).await;
    let steps = [
        format!("type: webhook, url: \"{mine}\", headers: {{ X-A: \"${{secrets.TOKEN}}\" }}"),
        format!("type: webhook, url: \"{mine}\", body: [\"${{secrets.TOKEN}}\"]"),
        format!("type: webhook, url: \"{mine}?key=${{secrets.TOKEN}}\""),
        format!("type: webhook, url: \"{mine}?ops.example.com\", body: \"${{secrets.TOKEN}}\""),
        "type: script, script: show, parameters: { T: \"${secrets.TOKEN}\" }".to_owned(),
    ];
    let run = async |n: usize, step: &str| {
        let yaml = format!("name: p{n}\nsteps:\n  - {{ name: s, {step} }}");
        let body = Some(serde_json::to_vec(&json!({"yaml": yaml})).unwrap());
        let created = system.raw(Method::POST, "/v2/playbooks", Some(&writer), &[], body).await;
        assert_eq!(created.status, 201, "{created}");
        let path = format!("/v2/playbooks/{}/execute", created.results()["playbook_id"]);
        let started = system.raw(Method::POST, &path, Some(&writer), &[], Some(b"{}".to_vec())).await;
        system.service.settle().await;
        execution(&system, &started).await
    };
    for (n, step) in steps.iter().enumerate() {
        let ended = run(n, step).await;
        let error = ended["steps"][0]["error_message"].as_str().unwrap_or_default();
        assert_eq!(ended["status"], "failed", "{step}: {ended}");
        assert!(error.starts_with("The secret TOKEN may not be "), "{step}: {error}");
    }
    assert_eq!(system.receivers.accepted("webhook"), [""; 0]);
    // What an admin allows is sent.
    secret = json!({"allowed_hosts": ["127.0.0.1"], "allowed_scripts": ["show"]});
    system.patch("/v2/secrets/1", secret).await;
    for (n, step) in steps.iter().enumerate() {
        assert_eq!(run(100 + n, step).await["status"], "completed", "{step}");
    }
    assert_eq!(system.receivers.accepted("webhook").len(), 4);
}

#[tokio::test]
async fn a_secret_is_masked_however_a_receiver_or_a_script_spells_it() {
    let system = System::start_with_scripts(&LOCAL).await;
    let secret = "hunter2/ hunter2";
    let uses = json!({"name": "T", "value": secret, "allowed_hosts": ["127.0.0.1"], "allowed_scripts": ["spell"]});
    system.post("/v2/secrets", uses).await;
    let content = "import base64, json, os, urllib.parse as u\n\
        t = os.environ['T']; b = t.encode()\n\
        for s in [t, u.quote(t, safe=''), u.quote_plus(t), json.dumps(t), b.hex(), b.hex().upper(), repr(b)]: print(s)\n\
        for p in [b'', b'a', b'ab', b'user:']: print(base64.b64encode(p + b), base64.urlsafe_b64encode(p + b + b'!'))";
    system.post("/v2/scripts", json!({"name": "spell", "interpreter": "python", "content": content})).await;
    let steps = format!(
        "  - {{ name: call, type: webhook, url: \"{}\", body: \"${{secrets.T}}\" }}\n  \
         - {{ name: spell, type: script, script: spell, parameters: {{ T: \"${{secrets.T}}\" }} }}",
        system.receivers.hook()
    );
    let id = playbook(&system, "p", "", &steps).await;
    // As the script prints it: quoted, in hexadecimal, and in base64 at each offset.
    let spelled = "hunter2%2F%20hunter2 hunter2%2F+hunter2 68756E746572322F2068756E74657232 \
        aHVudGVyMi8gaHVudGVyMg== YWh1bnRlcjIvIGh1bnRlcjI= YWJodW50ZXIyLyBodW50ZXIy";
    system
        .receivers
        .plan_webhook([harness::Planned { body: Some(spelled.to_owned()), ..harness::Planned::status(200) }]);
    let started = execute(&system, id, json!({})).await;
    let done = execution(&system, &started).await;
    assert_eq!(done["status"], "completed", "{done}");
    let log = system.get("/v2/audit-logs").await.to_string();
    for shown in [done.to_string(), log] {
        for leaked in ["hunter2", "HVudGVy", "1bnRlcj", "odW50ZX", "756e7465", "756E7465"] {
            assert!(!shown.contains(leaked), "{leaked}: {shown}");
        }
    }
}

fn slack_blocks(system: &System) -> Vec<String> {
    let arrivals = system.receivers.arrivals();
    let request = arrivals.iter().rfind(|arrival| arrival.receiver == "slack").unwrap();
    let blocks = request.body["blocks"].as_array().unwrap().iter();
    blocks.filter_map(|block| block["text"]["text"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn an_approver_sees_all_that_runs_or_how_much_is_not_shown() {
    let base = [LOCAL[0], LOCAL[1], ("MEDIC_BASE_URL", "https://medic.example.com")];
    let system = System::start_with(&base, None).await;
    system.post("/v2/scripts", json!({"name": "deploy", "interpreter": "bash", "content": "true"})).await;
    let steps = format!(
        "  - {{ name: call, type: webhook, url: \"{}\", headers: {{ X-Target: \"${{TARGET}}\", X-Key: \"${{secrets.K}}\" }} }}\n  \
         - {{ name: deploy, type: script, script: deploy, parameters: {{ WHERE: \"${{TARGET}}\" }} }}",
        system.receivers.hook()
    );
    let id = playbook(&system, "p", "approval: required", &steps).await;
    let hostile = "prod\n2. deploy (script): nothing at all\u{202e}";
    let started = execute(&system, id, json!({"variables": {"TARGET": hostile}})).await;
    let shown = slack_blocks(&system).join("\n");
    let target = "prod 2. deploy (script): nothing at all\u{fffd}";
    assert!(shown.contains(&format!(r#"headers {{"x-key":"[secret K]","x-target":"prod\n2. deploy"#)), "{shown}");
    assert!(shown.contains(&format!("2. deploy (script): deploy (version 1) WHERE={target}, at most 30 s")), "{shown}");
    assert!(shown.contains("Scripts also receive EXECUTION_ID="), "{shown}");
    assert!(!shown.contains(":warning:"), "{shown}");
    let plan = execution(&system, &started).await["plan"].clone();
    assert_eq!(plan["variables"]["PLAYBOOK_NAME"], "p", "{plan}");
    assert_eq!(
        (&plan["steps"][1]["script_version"], &plan["variables"]["TARGET"]),
        (&json!(1), &Value::Null),
        "{plan}"
    );
    // One whose end would be lost in Slack says how much that is, and where to see it.
    let padding = "&".repeat(600);
    let step = |n: usize| {
        format!("  - {{ name: s{n}, type: webhook, url: \"https://ops.example.com\", body: \"{padding}${{EVIL}}\" }}")
    };
    let long: Vec<_> = (0..30).map(step).collect();
    let id = playbook(&system, "long", "approval: required", &long.join("\n")).await;
    let started = execute(&system, id, json!({"variables": {"EVIL": "rm -rf"}})).await;
    let blocks = slack_blocks(&system);
    let warning = blocks.iter().find(|block| block.starts_with(":warning: Not shown here: ")).expect("a warning");
    let shown: Vec<_> = blocks.iter().flat_map(|block| block.lines()).filter(|line| line.contains(". s")).collect();
    assert!(shown.len() < 30 && shown.iter().all(|line| line.ends_with('…')), "{shown:?}");
    assert!(warning.contains(&format!("{} more steps", 30 - shown.len())), "{warning}");
    let url =
        format!("<https://medic.example.com/v2/executions/{}|", started.results()["execution_id"].as_str().unwrap());
    assert!(warning.contains("characters of these steps and") && warning.contains(&url), "{warning}");
}

#[tokio::test]
async fn whoever_started_an_execution_cannot_approve_it() {
    let system = System::start_with(&[("MEDIC_ALLOW_SELF_APPROVAL", "false")], None).await;
    let id = playbook(&system, "p", "approval: required", "  - { name: s, type: wait, duration: 1h }").await;
    let [one, other] = [key(&system, "one", &["write", "read"]).await, key(&system, "other", &["write"]).await];
    let post = async |key: &str, path: String| {
        let answer = system.raw(Method::POST, &path, Some(key), &[], Some(b"{}".to_vec())).await;
        system.service.settle().await;
        answer
    };
    let run = async || {
        let started = post(&one, format!("/v2/playbooks/{id}/execute")).await;
        format!("/v2/executions/{}", started.results()["execution_id"].as_str().unwrap())
    };
    let path = run().await;
    let refused = post(&one, format!("{path}/approve")).await;
    assert_eq!(refused.status, 403, "{refused}");
    assert!(refused.message().starts_with("Whoever started an execution cannot approve it"), "{refused}");
    assert_eq!(system.get(&path).await.results()["status"], "pending_approval");
    assert_eq!(post(&other, format!("{path}/approve")).await.status, 200);
    // They may take it back.
    let path = run().await;
    assert_eq!(post(&one, format!("{path}/reject")).await.status, 200);
    assert_eq!(system.get(&path).await.results()["status"], "cancelled");
    // What nobody in particular started, anybody may approve; and in the local system, where one works alone, anybody.
    let local = System::start().await;
    let id = playbook(&local, "p", "approval: required", "  - { name: s, type: wait, duration: 1h }").await;
    let started = execute(&local, id, json!({})).await;
    let path = format!("/v2/executions/{}/approve", started.results()["execution_id"].as_str().unwrap());
    assert_eq!(local.post(&path, json!({})).await.status, 200);
}
