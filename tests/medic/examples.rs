//! The examples of the OpenAPI document: what one story through the whole API sent and got, with random texts replaced.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use harness::{Answer, System};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use runtime::Clock as _;
use serde_json::{Value, json};
use sha2::Sha256;
use url::form_urlencoded;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions/api/examples.json");

const SLACK: &str = "/v2/slack/interactions";
const FORM: &str = "application/x-www-form-urlencoded";

const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const ENVIRONMENT: [(&str, &str); 5] = [
    ("MEDIC_ALLOW_PRIVATE_HOSTS", "true"),
    ("SLACK_SIGNING_SECRET", SIGNING_SECRET),
    ("MEDIC_WEBHOOK_SECRET", "let-me-in-0123456"),
    ("MEDIC_SECRETS_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="),
    ("MEDIC_CIRCUIT_MAX_EXECUTIONS", "100"),
];

const PLAYBOOK: &str = "name: restart-worker
approval: required
steps:
  - { name: settle, type: wait, duration: 10s }
  - { name: verify, type: condition, check: heartbeat_received, timeout: 5m }
";

/// A system, and what each operation was sent first with success, and returned.
struct Story {
    system: System,
    /// Paths as the document has them, with their operations.
    paths: Value,
    examples: BTreeMap<String, Value>,
    /// What differs from run to run, with what stands for it.
    replaced: Vec<(String, String)>,
}

impl Story {
    async fn begin() -> Self {
        let system = System::start_with(&ENVIRONMENT, None).await;
        let paths = system.get("/docs/openapi.json").await.body["paths"].clone();
        let replaced = vec![(system.receivers.hook(), "https://hooks.example.com/medic".to_owned())];
        Self { system, paths, examples: BTreeMap::new(), replaced }
    }

    /// Returns the id of the operation that serves a request: of two paths that match, the one with fewer parameters.
    fn operation(&self, method: &Method, path: &str) -> String {
        let path: Vec<_> = path.split('?').next().unwrap().split('/').collect();
        let matches = |template: &str| {
            let template: Vec<_> = template.split('/').collect();
            template.len() == path.len()
                && template.iter().zip(&path).all(|(wanted, part)| wanted == part || wanted.starts_with('{'))
        };
        let candidates = self.paths.as_object().unwrap().iter().filter(|(template, _)| matches(template));
        let operations = candidates.filter_map(|(template, item)| {
            let id = item[method.as_str().to_lowercase()]["operationId"].as_str()?;
            Some((template.matches('{').count(), id.to_owned()))
        });
        let operation = operations.min();
        assert!(operation.is_some(), "no operation is {method} {path:?}");
        operation.unwrap().1
    }

    /// Keeps the first request of an operation, and its first response of each status and media type. A second passes,
    /// because ids of the same millisecond sort by chance.
    async fn keep(&mut self, method: &Method, path: &str, request: Value, answer: &Answer) {
        assert!(answer.status.is_success(), "{method} {path}: {answer}");
        let operation = self.operation(method, path);
        let sent = if path == SLACK { json!({FORM: request}) } else { json!({"application/json": request}) };
        let sent = if request.is_null() { json!({}) } else { sent };
        let example = self.examples.entry(operation).or_insert_with(|| json!({"request": sent, "responses": {}}));
        if let Some(media_type) = answer.headers.get("content-type") {
            let media_type = media_type.to_str().unwrap().split(';').next().unwrap();
            let kept = &mut example["responses"][answer.status.as_str()][media_type];
            if kept.is_null() {
                *kept = answer.body.clone();
            }
        }
        self.system.seconds(1).await;
    }

    async fn ask(&mut self, method: Method, path: &str, body: Value) -> Value {
        let sent = Some(body.clone()).filter(|body| !body.is_null());
        let answer = self.system.send(method.clone(), path, sent).await;
        self.keep(&method, path, body, &answer).await;
        answer.results().clone()
    }

    async fn get(&mut self, path: &str) -> Value {
        self.ask(Method::GET, path, Value::Null).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    async fn patch(&mut self, path: &str, body: Value) -> Value {
        self.ask(Method::PATCH, path, body).await
    }

    async fn delete(&mut self, path: &str) -> Value {
        self.ask(Method::DELETE, path, Value::Null).await
    }

    /// Notes a secret that a response shows, with what stands for it in examples.
    fn replace(&mut self, secret: &Value, with: &str) -> String {
        let secret = secret.as_str().unwrap().to_owned();
        self.replaced.push((secret.clone(), with.to_owned()));
        secret
    }

    /// Returns the examples by the operations' ids, with nothing in them that differs from run to run.
    fn end(self) -> Value {
        let mut text = serde_json::to_string(&self.examples).unwrap();
        for (n, id) in distinct(&text, is_uuid).into_iter().enumerate() {
            text = text.replace(&id, &format!("019b8e2f-{n:04x}-7c3a-9b1d-5e8f0a2c4d61"));
        }
        for (n, digest) in distinct(&text, is_digest).into_iter().enumerate() {
            text = text.replace(&digest, &format!("{n:04x}").repeat(16));
        }
        for (random, sample) in &self.replaced {
            text = text.replace(random, sample);
        }
        serde_json::from_str(&text).unwrap()
    }
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns whether it is a SHA-256, as that of a plan, which holds the execution's id.
fn is_digest(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns such words of a text, each once, in order of appearance.
fn distinct(text: &str, is_such: fn(&str) -> bool) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '-').filter(|word| is_such(word));
    let mut found: Vec<String> = Vec::new();
    for word in words {
        if !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
    }
    found
}

async fn services_and_schedules(story: &mut Story) {
    let hours = json!({"monday": [{"start": "09:00", "end": "17:00"}], "friday": [{"start": "09:00", "end": "15:00"}]});
    story.post("/v2/teams", json!({"name": "payments", "slack_channel_id": "C0PAYMENTS"})).await;
    story.post("/v2/schedules", json!({"name": "office", "timezone": "Europe/Berlin", "hours": hours})).await;
    let checkout = json!({
        "heartbeat_name": "checkout", "service_name": "Checkout", "alert_interval": 5, "team": "payments",
        "priority": "p2", "schedule_id": 1, "runbook": "https://wiki.example.com/checkout",
    });
    story.post("/v2/services", checkout).await;
    let backup = json!({
        "heartbeat_name": "nightly-backup", "service_name": "Database backup", "schedule_cron": "0 2 * * *",
        "timezone": "Europe/Berlin", "grace_period_seconds": 300, "max_duration_ms": 7_200_000,
    });
    story.post("/v2/services", backup).await;
    for _ in 0..2 {
        let invoices = json!({"heartbeat_name": "invoices", "service_name": "Invoices", "alert_interval": 60});
        story.post("/service", invoices).await;
    }
    for path in [
        "/v2/teams",
        "/v2/teams/1",
        "/v2/schedules",
        "/v2/schedules/1",
        "/v2/schedules/1/period",
        "/v2/services/1/period",
        "/v2/services",
        "/v2/services/1",
        "/service",
        "/service/checkout",
        "/v2/services/2/expectations?limit=2",
    ] {
        story.get(path).await;
    }
    story.patch("/v2/teams/1", json!({"slack_channel_id": "C0CHECKOUT"})).await;
    story.patch("/v2/schedules/1", json!({"timezone": "Europe/London"})).await;
    story.patch("/v2/services/1", json!({"grace_period_seconds": 60})).await;
    story.post("/service/invoices", json!({"muted": 1})).await;
}

async fn signals(story: &mut Story) {
    story.post("/heartbeat", json!({"heartbeat_name": "checkout", "status": "UP"})).await;
    let batch = json!({"heartbeats": [
        {"heartbeat_name": "checkout", "status": "UP"},
        {"service_id": 3, "status": "UP"},
    ]});
    story.post("/v2/heartbeats", batch).await;
    let with_unknown = json!({"heartbeats": [{"service_id": 3, "status": "UP"}, {"service_id": 99, "status": "UP"}]});
    story.post("/v2/heartbeats", with_unknown).await;
    story.post("/v2/heartbeat/2/start", json!({"run_id": "2026-01-05"})).await;
    story.system.seconds(90).await;
    story.post("/v2/heartbeat/2/complete", json!({"run_id": "2026-01-05"})).await;
    story.get("/v2/services/2/runs").await;
    story.get("/v2/services/2/stats").await;

    let key = story.post("/v2/ping-keys", json!({"name": "cron jobs"})).await["key"].clone();
    let key = story.replace(&key, "Xk3vPq9LmT2wZr8sBn5dYc");
    for (n, method) in [Method::GET, Method::POST].into_iter().enumerate() {
        for (name, action) in [("checkout", ""), ("checkout", "/start")] {
            let path = format!("/ping/{key}/{name}{action}");
            story.ask(method.clone(), &path, Value::Null).await;
            let new = format!("/ping/{key}/new-{n}{}{action}?create=1", action.len());
            story.ask(method.clone(), &new, Value::Null).await;
        }
    }
    let failed = format!("/ping/{key}/checkout/fail");
    let answer = story.system.raw(Method::POST, &failed, None, &[], Some("disk is full".into())).await;
    story.keep(&Method::POST, &failed, Value::Null, &answer).await;
    story.get("/v2/ping-keys").await;
    story.get("/v2/ping-keys/1").await;
    let heartbeats = story.get("/v2/services/1/heartbeats?limit=2").await;
    story.get("/heartbeat?heartbeat_name=checkout&maxCount=2").await;
    let id = heartbeats["items"][0]["heartbeat_id"].as_str().unwrap().to_owned();
    story.get(&format!("/v2/services/1/heartbeats/{id}/body")).await;
}

async fn receivers(story: &mut Story) {
    let hook = story.system.receivers.hook();
    let pagerduty =
        json!({"type": "pagerduty", "config": {"service_key": "R0UT1NGK3YR0UT1NGK3Y"}, "period": "during_hours"});
    story.post("/v2/services/1/notification-targets", pagerduty).await;
    story.get("/v2/services/1/notification-targets").await;
    story.get("/v2/services/1/notification-targets/1").await;
    story.patch("/v2/services/1/notification-targets/1", json!({"period": "always"})).await;
    story.post("/v2/services/1/notification-targets/1/test", Value::Null).await;
    let secret = story.post("/v2/webhooks", json!({"url": hook, "service_id": 1})).await["secret"].clone();
    story.replace(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    story.get("/v2/webhooks").await;
    story.get("/v2/webhooks/1").await;
    story.patch("/v2/webhooks/1", json!({"max_attempts": 4})).await;
}

async fn an_outage(story: &mut Story) {
    story.system.seconds(600).await;
    story.post("/heartbeat", json!({"heartbeat_name": "checkout", "status": "UP"})).await;
    story.system.seconds(600).await;
    for path in ["/v2/alerts", "/v2/alerts/1", "/alerts", "/v2/alerts/1/notifications", "/v2/notifications"] {
        story.get(path).await;
    }
    let open = story.get("/v2/alerts?active=1").await["items"][0]["alert_id"].clone();
    story.post(&format!("/v2/alerts/{open}/acknowledge"), Value::Null).await;
    let deliveries = story.get("/v2/webhook-deliveries").await;
    let id = deliveries["items"][0]["delivery_id"].as_str().unwrap().to_owned();
    story.get(&format!("/v2/webhook-deliveries/{id}")).await;
    story.post(&format!("/v2/webhook-deliveries/{id}/redeliver"), Value::Null).await;
    let secret = story.post("/v2/webhooks/1/rotate-secret", Value::Null).await["secret"].clone();
    story.replace(&secret, "whsec_C2FVsBQIhrscChlQIMV4b5sSYspob7oD");
}

async fn maintenance(story: &mut Story) {
    let window = json!({
        "name": "Database upgrade", "start_time": "2026-01-05T12:00:00Z", "end_time": "2026-01-05T14:00:00Z",
        "service_ids": [2],
    });
    story.post("/v2/maintenance-windows", window).await;
    story.get("/v2/maintenance-windows").await;
    story.get("/v2/maintenance-windows/1").await;
    story.get("/v2/services/2/maintenance").await;
    story.patch("/v2/maintenance-windows/1", json!({"end_time": "2026-01-05T15:00:00Z"})).await;
    story.delete("/v2/maintenance-windows/1").await;
}

async fn playbooks(story: &mut Story) {
    story
        .post("/v2/scripts", json!({"name": "restart", "content": "systemctl restart worker", "interpreter": "bash"}))
        .await;
    story
        .post(
            "/v2/secrets",
            json!({
                "name": "DEPLOY_TOKEN", "value": "s3cr3t", "description": "Of the deploy API",
                "allowed_hosts": ["deploy.example.com"], "allowed_scripts": ["clear-cache"]
            }),
        )
        .await;
    for path in ["/v2/scripts", "/v2/scripts/1", "/v2/secrets", "/v2/secrets/1"] {
        story.get(path).await;
    }
    story.patch("/v2/scripts/1", json!({"timeout_seconds": 60})).await;
    story.patch("/v2/secrets/1", json!({"value": "n3w-s3cr3t"})).await;
    story.post("/v2/playbooks/validate", json!({"yaml": PLAYBOOK})).await;
    story.post("/v2/playbooks", json!({"yaml": PLAYBOOK})).await;
    story.get("/v2/playbooks").await;
    story.get("/v2/playbooks/1").await;
    story.patch("/v2/playbooks/1", json!({"yaml": PLAYBOOK.replace("10s", "20s")})).await;
    story.post("/v2/playbooks/1/triggers", json!({"service_pattern": "checkout*", "consecutive_failures": 2})).await;
    story.get("/v2/playbooks/1/triggers").await;
    story.get("/v2/playbooks/1/triggers/1").await;
    story.patch("/v2/playbooks/1/triggers/1", json!({"enabled": false})).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let started = story.post("/v2/playbooks/1/execute", json!({"service_id": 1})).await;
        ids.push(started["execution_id"].as_str().unwrap().to_owned());
    }
    let secret = [("x-webhook-secret", "let-me-in-0123456")];
    let (path, body) = ("/v2/webhooks/playbooks/1/trigger", json!({"service_id": 1}));
    let answer = story.system.raw(Method::POST, path, None, &secret, Some(body.to_string().into())).await;
    story.keep(&Method::POST, path, body, &answer).await;
    press_approve(story, &ids[3]).await;
    for (id, decision) in ids.iter().zip(["approve", "reject", "cancel"]) {
        story.post(&format!("/v2/executions/{id}/{decision}"), json!({"reason": "Discussed in #payments"})).await;
    }
    story.get("/v2/executions?limit=2").await;
    story.get(&format!("/v2/executions/{}", ids[0])).await;
    story.get("/v2/playbooks/1/effectiveness").await;
}

/// Sends what Slack sends when somebody presses a button.
async fn press_approve(story: &mut Story, execution: &str) {
    let plan = story.get(&format!("/v2/executions/{execution}")).await["plan"]["digest"].clone();
    let value = format!("{execution} {}", plan.as_str().unwrap());
    let payload = json!({
        "type": "block_actions",
        "user": {"id": "U0ANNA", "username": "anna"},
        "channel": {"id": "C0ALERTS"},
        "message": {"ts": "1767614400.000001"},
        "actions": [{"action_id": outbound::APPROVE, "value": value}],
    });
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
    let at = story.system.time.now().timestamp();
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()).unwrap();
    mac.update(format!("v0:{at}:{form}").as_bytes());
    let signature = mac.finalize().into_bytes().iter().fold("v0=".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let at = at.to_string();
    let headers = [("x-slack-request-timestamp", at.as_str()), ("x-slack-signature", signature.as_str())];
    let answer = story.system.raw(Method::POST, SLACK, None, &headers, Some(form.clone().into())).await;
    story.keep(&Method::POST, SLACK, form.into(), &answer).await;
}

async fn keys_and_the_audit_log(story: &mut Story) {
    let new = json!({"name": "ci", "scopes": ["read", "heartbeat"], "rate_limit_heartbeats": 500});
    let key = story.post("/v2/api-keys", new).await["key"].clone();
    story.replace(&key, "mdk_2_q7Jd0xv1bS5nE3hWkP8uRtYmZ4aLcG6fVoIiXjQeN2s");
    story.get("/v2/api-keys?limit=1").await;
    story.get("/v2/api-keys/2").await;
    story.patch("/v2/api-keys/2", json!({"rate_limit_heartbeats": 600})).await;
    let key = story.post("/v2/api-keys/2/rotate", Value::Null).await["key"].clone();
    story.replace(&key, "mdk_2_T9wKfZc2yQ6mHs4rVb8gXn1pLe5uJd7aOi0tRkEqSxY");
    story.get("/v2/audit-logs?limit=2").await;
    let (path, accept) = ("/v2/audit-logs?limit=2", [("accept", "text/csv")]);
    let key = story.system.key.clone();
    let answer = story.system.raw(Method::GET, path, Some(&key), &accept, None).await;
    story.keep(&Method::GET, path, Value::Null, &answer).await;
    for path in ["/health", "/health/live", "/health/ready", "/v1/healthcheck/network"] {
        story.get(path).await;
    }
}

async fn a_false_alarm(story: &mut Story) {
    let open = story.get("/v2/alerts?active=1").await["items"][0]["alert_id"].clone();
    story.post(&format!("/v2/alerts/{open}/resolve"), json!({"reason": "The backup was run by hand"})).await;
}

async fn deletions(story: &mut Story) {
    for path in [
        "/v2/api-keys/2",
        "/v2/ping-keys/1",
        "/v2/scripts/1",
        "/v2/secrets/1",
        "/v2/playbooks/1/triggers/1",
        "/v2/playbooks/1",
        "/v2/webhooks/1",
        "/v2/services/1/notification-targets/1",
        "/v2/services/1",
        "/v2/schedules/1",
        "/v2/teams/1",
    ] {
        story.delete(path).await;
    }
}

#[tokio::test]
async fn the_examples_are_what_the_api_returns() {
    let mut story = Story::begin().await;
    services_and_schedules(&mut story).await;
    signals(&mut story).await;
    receivers(&mut story).await;
    an_outage(&mut story).await;
    maintenance(&mut story).await;
    playbooks(&mut story).await;
    // Signals of a run that fails come last: its alert would take the numbers of others.
    story.post("/v2/heartbeat/2/fail", json!({"run_id": "2026-01-06"})).await;
    keys_and_the_audit_log(&mut story).await;
    a_false_alarm(&mut story).await;
    deletions(&mut story).await;
    let examples = story.end();
    #[expect(clippy::disallowed_methods, reason = "set by `make openapi`, which writes the file")]
    let update = std::env::var("UPDATE_OPENAPI").is_ok();
    if update {
        std::fs::write(FILE, format!("{examples:#}\n")).unwrap();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(FILE).unwrap()).unwrap();
    for (operation, example) in examples.as_object().unwrap() {
        assert_eq!(example, &kept[operation], "{operation}: run `make openapi`");
    }
    assert_eq!(kept.as_object().unwrap().len(), examples.as_object().unwrap().len());
}
