//! Attacks on playbooks: what runs, what is shown and what is stored of them, each as its attacker would go about it.

use harness::{Answer, Process, System};
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
    // By name, some of these were always refused.
    let given = HOSTILE.iter().filter(|(name, _)| !["PATH", "LD_PRELOAD"].contains(name));
    let mut variables: serde_json::Map<_, _> = given.map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
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
    assert!(shown.contains(r#"headers {"x-key":"[secret K]","x-target":"prod\n2. deploy"#), "{shown}");
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

/// Returns a figure of a process's memory, in kB.
fn memory(process: &Process, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// Sends a request, and returns its status and by how many MB it made the process grow at most.
async fn growth(process: &Process, path: &str, body: Value) -> (u16, u64) {
    // From here on the peak is counted anew.
    std::fs::write(format!("/proc/{}/clear_refs", process.pid()), "5").unwrap();
    let before = memory(process, "VmRSS");
    let (status, _) = process.send(Method::POST, path, Some(body)).await.unwrap();
    (status, memory(process, "VmHWM").saturating_sub(before) / 1_024)
}

fn steps_of(body: &str) -> String {
    format!("steps:\n- {{name: s, type: webhook, url: 'https://a.example/', body: {body}}}\n")
}

#[tokio::test]
async fn no_document_and_no_variable_takes_more_than_64_megabytes() {
    const MAX_MB: u64 = 64;
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[(LOCAL[0].0, LOCAL[0].1.to_owned())]).await;
    let aliases = |anchor: &str, many: usize| format!("[{}]", vec![format!("*{anchor}"); many].join(", "));
    // A short text, written out many times over.
    let repeated = |text: String, many: usize| {
        format!("name: x\na: &a {text}\nb: &b {}\nc: {}\n{}", aliases("a", many), aliases("b", many), steps_of("*b"))
    };
    let nan = vec![".nan"; 9_000].join(", ");
    let keys: Vec<_> = (0..5_000).map(|n| format!("k{n}: 1\n")).collect();
    let bad = [
        repeated(format!("\"{}\"", "x".repeat(48_000)), 32),
        repeated(format!("\"{}\"", "${A}".repeat(12_000)), 32),
        repeated(format!("[{}]", vec!["x"; 5_000].join(", ")), 32),
        // Each of many mistakes, with the long path to it.
        format!("name: x\n{}", steps_of(&format!("{{ {}: [{nan}] }}", "k".repeat(15_000)))),
        format!("name: x\n{}\n{}", keys.concat(), steps_of("x")),
        "[".repeat(60_000),
        format!("name: x\nsteps: {}", "[".repeat(60_000)),
    ];
    for yaml in &bad {
        for path in ["/v2/playbooks/validate", "/v2/playbooks"] {
            let (status, grown) = growth(&process, path, json!({"yaml": yaml})).await;
            assert!(status < 500 && grown < MAX_MB, "{path}: {status}, {grown} MB for {}", &yaml[..60]);
        }
    }
    // What is short until it is filled in: 12,000 times a text of 8,192 bytes.
    let yaml = format!("name: many\n{}", steps_of(&format!("\"{}\"", "${A}".repeat(12_000))));
    assert!(process.post("/v2/playbooks", json!({"yaml": yaml})).await);
    let url = format!("https://a.example/{}", "${A}".repeat(12_000));
    let yaml = format!("name: url\nsteps:\n- {{name: s, type: webhook, url: \"{url}\"}}\n");
    assert!(process.post("/v2/playbooks", json!({"yaml": yaml})).await);
    let listed = process.get("/v2/playbooks").await;
    for playbook in listed["results"]["items"].as_array().unwrap() {
        let path = format!("/v2/playbooks/{}/execute", playbook["playbook_id"]);
        let (status, grown) = growth(&process, &path, json!({"variables": {"A": "x".repeat(8_192)}})).await;
        assert!(status < 500 && grown < MAX_MB, "{path}: {status}, {grown} MB");
    }
    let path = "/v2/playbooks/1/execute";
    let variables: serde_json::Map<_, _> = (0..1_000).map(|n| (format!("V{n}"), json!("x".repeat(200)))).collect();
    for variables in [json!(variables), json!({"A": vec![0; 120_000]}), json!("[".repeat(200_000))] {
        let (status, grown) = growth(&process, path, json!({"variables": variables})).await;
        assert!(status < 500 && grown < MAX_MB, "{status}, {grown} MB");
    }
}

#[tokio::test]
async fn a_value_in_an_address_stays_in_its_place() {
    let system = System::start_with(&LOCAL, None).await;
    let hook = system.receivers.hook();
    let step = format!("  - {{ name: s, type: webhook, url: \"{hook}?name=${{NAME}}&dry_run=true\" }}");
    let id = playbook(&system, "p", "", &step).await;
    let started = execute(&system, id, json!({"variables": {"NAME": "x&dry_run=false#"}})).await;
    let done = execution(&system, &started).await;
    let called = format!("{hook}?name=x%26dry_run%3Dfalse%23&dry_run=true");
    assert_eq!((&done["status"], &done["plan"]["steps"][0]["url"]), (&json!("completed"), &json!(called)), "{done}");
    // Neither by a value nor by several together does a path lead out of itself.
    let step = format!("  - {{ name: s, type: webhook, url: \"{hook}/users/${{A}}${{B}}/restart\" }}");
    let id = playbook(&system, "q", "", &step).await;
    for (a, b, inside) in [("../../admin", "?x", "..%2F..%2Fadmin%3Fx"), ("a", ".", "a.")] {
        let started = execute(&system, id, json!({"variables": {"A": a, "B": b}})).await;
        let url = execution(&system, &started).await["plan"]["steps"][0]["url"].clone();
        assert_eq!(url, format!("{hook}/users/{inside}/restart"));
    }
    for (a, b) in [("..", ""), (".", "."), ("", ".")] {
        let refused = execute(&system, id, json!({"variables": {"A": a, "B": b}})).await;
        assert_eq!(refused.status, 400, "{refused}");
        assert_eq!(refused.message(), "variables must not make a part of steps[0].url `.` or `..`");
    }
    // A whole address is the playbook's to give.
    let yaml = "name: r\nsteps:\n  - { name: s, type: webhook, url: \"${WHERE}/restart\" }";
    let refused = system.post("/v2/playbooks", json!({"yaml": yaml})).await;
    assert!(refused.status == 400 && refused.message().contains("steps[0].url must begin with http"), "{refused}");
}

async fn started(system: &System) -> usize {
    system.get("/v2/executions?limit=250").await.results()["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_ping_key_cannot_start_repairs_by_making_services_up() {
    let system = System::start().await;
    playbook(&system, "p", "trigger: { service_pattern: \"*\" }", "  - { name: s, type: wait, duration: 1s }").await;
    let created = system.post("/v2/ping-keys", json!({})).await;
    let ping_key = created.results()["key"].as_str().unwrap();
    let ping = async |end: &str| {
        let answer = system.raw(Method::GET, &format!("/ping/{ping_key}/{end}"), None, &[], None).await;
        system.service.settle().await;
        (answer.status.as_u16(), answer.body)
    };
    for n in 0..8 {
        assert_eq!(ping(&format!("made-up_{n}?create=1")).await.0, 201);
        assert_eq!(ping(&format!("made-up_{n}/fail")).await.0, 200);
    }
    assert_eq!((system.open_alerts().await, started(&system).await), (8, 0));
    // Names that nobody would choose are not registered.
    for slug in ["a%20b", "a.b", "%C3%A4", "a%2Eb%26c", "%E2%80%AEa"] {
        assert_eq!(ping(&format!("{slug}?create=1")).await, (400, json!("invalid url format")), "{slug}");
    }
    // Once somebody has edited it, it is like any other.
    let page = system.get("/service/made-up_0").await;
    let id = page.results()[0]["service_id"].as_i64().unwrap_or(1);
    system.patch(&format!("/v2/services/{id}"), json!({"service_name": "backup"})).await;
    ping("made-up_0").await;
    ping("made-up_0/fail").await;
    assert_eq!(started(&system).await, 1);
    // What is registered by hand may have any name, and creating is asked for in vain.
    system.register("a b", 60.0, json!({})).await;
    assert_eq!(ping("a%20b?create=1").await.0, 200);
}

#[tokio::test]
async fn a_flood_of_failures_starts_no_more_than_the_circuit_of_all_services_lets() {
    let system = System::start_with(&[("MEDIC_CIRCUIT_MAX_EXECUTIONS_ALL", "3")], None).await;
    let step = "  - { name: s, type: wait, duration: 1s }";
    let id = playbook(&system, "p", "trigger: { service_pattern: \"worker-*\" }", step).await;
    for n in 0..8 {
        system.register(&format!("worker-{n}"), 3_600.0, json!({})).await;
        system.heartbeat(&format!("worker-{n}"), "DOWN").await;
    }
    system.seconds(60).await;
    assert_eq!((system.open_alerts().await, started(&system).await), (8, 3));
    let said: Vec<_> = system.slack().into_iter().filter(|line| line.starts_with(":electric_plug:")).collect();
    let line = ":electric_plug: Alerts start no playbooks for now: 3 playbooks started within 1 h. People can still start them";
    assert_eq!(said, [line]);
    let metrics = system.get("/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("medic_circuit_breaker_open 1"), "{metrics}");
    // People still can, for a service or for none.
    assert_eq!(execute(&system, id, json!({"service_id": 8})).await.status, 201);
    assert_eq!(execute(&system, id, json!({})).await.status, 201);
    // An hour after what people started, alerts start playbooks again.
    system.advance(chrono::TimeDelta::hours(1)).await;
    system.heartbeat("worker-0", "UP").await;
    system.heartbeat("worker-0", "DOWN").await;
    system.seconds(1).await;
    assert_eq!(started(&system).await, 6);
}

#[tokio::test]
async fn who_acknowledged_tested_and_redelivered_is_in_the_audit_log() {
    let system = System::start_with(&LOCAL, None).await;
    let ops = key(&system, "ops", &["read", "write"]).await;
    let by_ops = async |path: &str| {
        let answer = system.raw(Method::POST, path, Some(&ops), &[], Some(b"{}".to_vec())).await;
        system.service.settle().await;
        assert_eq!(answer.status, 200, "{path}: {answer}");
    };
    let id = system.register("db", 3_600.0, json!({})).await;
    let hook = system.receivers.hook();
    let targets = format!("/v2/services/{id}/notification-targets");
    system.post(&targets, json!({"type": "webhook", "config": {"url": hook}})).await;
    system.post("/v2/webhooks", json!({"url": hook})).await;
    system.heartbeat("db", "DOWN").await;
    by_ops("/v2/alerts/1/acknowledge").await;
    by_ops(&format!("{targets}/1/test")).await;
    let deliveries = system.get("/v2/webhook-deliveries").await;
    let delivery = deliveries.results()["items"][0]["delivery_id"].as_str().unwrap();
    by_ops(&format!("/v2/webhook-deliveries/{delivery}/redeliver")).await;
    let log = system.get("/v2/audit-logs?actor=ops").await;
    let entries: Vec<_> = log.results()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let thing = &entry["details"]["thing"];
            (entry["action_type"].as_str().unwrap(), thing["kind"].as_str().unwrap(), thing["id"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(
        entries,
        [("redelivered", "webhook", 1), ("tested", "notification_target", 1), ("acknowledged", "alert", 1)],
        "{log}"
    );
    assert_eq!(log.results()["items"][0]["details"]["changes"][0]["new"], delivery, "{log}");
    assert_eq!(log.results()["items"][0]["service_id"], id, "{log}");
}

#[tokio::test]
async fn nothing_that_a_user_writes_makes_a_line_or_a_mention_in_slack() {
    let system = System::start().await;
    let forged = "fixed\u{2028}:rotating_light: [p1] db is down: @channel <!here> \u{202e}";
    let id = system.register("worker-1", 600.0, json!({"runbook": "https://run.example/a|b @channel"})).await;
    system.heartbeat("worker-1", "DOWN").await;
    let resolved = system.post("/v2/alerts/1/resolve", json!({"reason": forged})).await;
    assert_eq!(resolved.status, 200, "{id}: {resolved}");
    let playbook = playbook(&system, "p", "approval: required", "  - { name: s, type: wait, duration: 1h }").await;
    let started = execute(&system, playbook, json!({})).await;
    let path = format!("/v2/executions/{}/reject", started.results()["execution_id"].as_str().unwrap());
    assert_eq!(system.post(&path, json!({"reason": forged})).await.status, 200);
    assert_eq!(system.post(&path, json!({"reason": "two\nlines"})).await.status, 400);
    let arrivals = system.receivers.arrivals();
    let mut texts = Vec::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.body["blocks"].is_array()) {
        texts.extend(arrival.body["text"].as_str().map(str::to_owned));
        markup_of(&arrival.body["blocks"], &mut texts);
    }
    assert!(texts.iter().filter(|text| text.contains("fixed :rotating_light:")).count() >= 2, "{texts:#?}");
    for text in texts {
        let has = |forbidden: &str| text.contains(forbidden);
        assert!(!has("<!here>") && !has("\u{2028}") && !has("\u{202e}") && !has("\n:rotating"), "{text}");
    }
}

/// Collects the markup in blocks, each of which must be taken as it is written.
fn markup_of(blocks: &Value, texts: &mut Vec<String>) {
    match blocks {
        Value::Array(items) => items.iter().for_each(|item| markup_of(item, texts)),
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("mrkdwn")) {
                assert_eq!(fields.get("verbatim"), Some(&json!(true)), "{blocks}");
                texts.extend(fields["text"].as_str().map(str::to_owned));
            }
            fields.values().for_each(|value| markup_of(value, texts));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
