//! The largest configurations and the longest names that are allowed: whoever is to be notified is, exactly once.

use std::collections::BTreeMap;

use futures::future::join_all;
use harness::System;
use serde_json::{Value, json};

const TARGETS: usize = 20;
const WEBHOOKS_OF_ONE: usize = 10;
const WEBHOOKS: usize = 30;
const TRIGGERS: usize = 20;

/// Starts a system in which as many playbooks may start as there are triggers.
async fn start() -> System {
    let many = "1000";
    let more = [
        ("MEDIC_ALLOW_PRIVATE_HOSTS", "true"),
        ("MEDIC_CIRCUIT_MAX_EXECUTIONS", many),
        ("MEDIC_RATE_LIMIT_EXECUTIONS", many),
    ];
    System::start_with(&more, None).await
}

/// Sends requests that create things, a few at a time.
async fn create_all(system: &System, path: &str, bodies: Vec<Value>) {
    for some in bodies.chunks(10) {
        for created in join_all(some.iter().map(|body| system.post(path, body.clone()))).await {
            assert_eq!(created.status, 201, "{created}");
        }
    }
}

/// Registers a service with as many receivers as it may have, each with a channel or a header of its own.
async fn service_with_all(system: &System) -> i64 {
    let id = system.register("w", 60.0, json!({})).await;
    let slack = |n| json!({"type": "slack", "config": {"channel_id": format!("C0{n}")}});
    create_all(system, &format!("/v2/services/{id}/notification-targets"), (0..TARGETS).map(slack).collect()).await;
    let webhook = |n: usize| {
        let service = (n < WEBHOOKS_OF_ONE).then_some(id);
        json!({"url": system.receivers.hook(), "headers": {"x-n": n.to_string()}, "service_id": service})
    };
    create_all(system, "/v2/webhooks", (0..WEBHOOKS).map(webhook).collect()).await;
    id
}

async fn playbook(system: &System, yaml: &str) -> i64 {
    let created = system.post("/v2/playbooks", json!({"yaml": yaml})).await;
    assert_eq!(created.status, 201, "{created}");
    created.results()["playbook_id"].as_i64().unwrap()
}

/// Returns how often each channel got a line that begins so, in a message or in the update of one.
fn in_channels(system: &System, start: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for arrival in system.receivers.arrivals().iter().filter(|one| one.accepted) {
        if let ("slack" | "update", Some(channel)) = (arrival.receiver, arrival.body["channel"].as_str()) {
            let lines = arrival.body["text"].as_str().unwrap().lines().filter(|line| line.starts_with(start)).count();
            if lines > 0 {
                *counts.entry(channel.to_owned()).or_default() += lines;
            }
        }
    }
    counts
}

/// Returns how often each webhook got an event of a type.
fn at_webhooks(system: &System, event_type: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for arrival in system.receivers.arrivals().iter().filter(|one| one.accepted && one.line() == event_type) {
        if let Some(n) = arrival.headers.get("x-n") {
            *counts.entry(n.to_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    counts
}

fn each_channel(times: usize) -> BTreeMap<String, usize> {
    (0..TARGETS).map(|n| (format!("C0{n}"), times)).collect()
}

fn each_webhook(times: usize) -> BTreeMap<String, usize> {
    (0..WEBHOOKS).map(|n| (n.to_string(), times)).collect()
}

/// Returns how many executions have a status.
async fn executions(system: &System, status: &str) -> usize {
    let page = system.get(&format!("/v2/executions?status={status}&limit=250")).await;
    page.results()["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_alert_of_the_largest_configuration_opens_reminds_and_closes_after_twenty_starts() {
    let system = start().await;
    let service = format!("/v2/services/{}", service_with_all(&system).await);
    let quick = playbook(&system, "name: look\nsteps:\n  - { name: settle, type: wait, duration: 1s }\n").await;
    let asking = "name: repair\napproval: required\nsteps:\n  - { name: settle, type: wait, duration: 1s }\n";
    let asking = playbook(&system, asking).await;
    for n in 1..=TRIGGERS {
        let of = if n < TRIGGERS { quick } else { asking };
        let trigger = json!({"service_pattern": "w", "consecutive_failures": n});
        create_all(&system, &format!("/v2/playbooks/{of}/triggers"), vec![trigger]).await;
    }
    // Muted, it opens and counts its failures in silence.
    assert_eq!(system.patch(&service, json!({"muted": true})).await.status, 200);
    system.seconds(60 * 20 + 1).await;
    assert_eq!(executions(&system, "completed").await, TRIGGERS - 1);
    assert_eq!(executions(&system, "pending_approval").await, 1);
    assert_eq!(system.patch(&service, json!({"muted": false})).await.status, 200);
    system.seconds(60).await;
    system.heartbeat("w", "UP").await;
    system.seconds(50).await;
    assert_eq!(system.open_alerts().await, 0, "an alert closes however many playbooks it started");
    assert_eq!(executions(&system, "cancelled").await, 1, "none still waits for approval");
    for (start, times) in [
        (":rotating_light:", 1),
        (":bell:", 1),
        (":hourglass: Playbook repair is awaiting approval", 1),
        // A decision is shown in place of its request, and the end of the execution on its own.
        (":no_entry_sign:", 2),
        (":white_check_mark:", 1),
    ] {
        assert_eq!(in_channels(&system, start), each_channel(times), "{start}");
    }
    for event in ["alert.opened", "alert.reminder", "alert.resolved"] {
        assert_eq!(at_webhooks(&system, event), each_webhook(1), "{event}");
    }
}

#[tokio::test]
async fn a_playbook_of_the_largest_configuration_asks_is_approved_and_escalates() {
    let system = start().await;
    let service = service_with_all(&system).await;
    let yaml = "name: verify\napproval: required\nsteps:\n  - { name: look, type: condition, check: heartbeat_received, \
                parameters: { min_count: 1 }, timeout: 10s, on_failure: escalate }\n";
    let id = playbook(&system, yaml).await;
    let started = system.post(&format!("/v2/playbooks/{id}/execute"), json!({"service_id": service})).await;
    assert_eq!(started.status, 201, "{started}");
    let path = format!("/v2/executions/{}", started.results()["execution_id"].as_str().unwrap());
    assert_eq!(in_channels(&system, ":hourglass:"), each_channel(1));
    let approved = system.post(&format!("{path}/approve"), json!({})).await;
    assert_eq!(approved.status, 200, "{approved}");
    system.seconds(50).await;
    assert_eq!(system.get(&path).await.results()["status"], "failed");
    for start in [":+1:", ":robot_face:", ":sos:", ":x:"] {
        assert_eq!(in_channels(&system, start), each_channel(1), "{start}");
    }
    for event in ["playbook.started", "playbook.finished"] {
        assert_eq!(at_webhooks(&system, event), each_webhook(1), "{event}");
    }
}

#[tokio::test]
async fn maintenance_is_announced_in_every_channel_of_its_services() {
    const TEAMS: usize = 120;
    let system = start().await;
    let team = |n| json!({"name": format!("team-{n}"), "slack_channel_id": format!("C0{n}")});
    create_all(&system, "/v2/teams", (0..TEAMS).map(team).collect()).await;
    let service = |n| json!({"heartbeat_name": format!("s-{n}"), "service_name": "s", "alert_interval": 60, "team": format!("team-{n}")});
    create_all(&system, "/v2/services", (0..TEAMS).map(service).collect()).await;
    let ids: Vec<_> = (1..=TEAMS).collect();
    let window = json!({
        "name": "move", "start_time": "2026-01-05T12:01:00Z", "end_time": "2026-01-05T12:02:00Z", "timezone": "UTC",
        "service_ids": ids,
    });
    create_all(&system, "/v2/maintenance-windows", vec![window]).await;
    system.seconds(180).await;
    let each: BTreeMap<_, _> = (0..TEAMS).map(|n| (format!("C0{n}"), 1)).collect();
    for start in [":construction:", ":checkered_flag:"] {
        assert_eq!(in_channels(&system, start), each, "{start}");
    }
}

#[tokio::test]
async fn what_was_committed_and_not_handed_over_is_sent_all_the_same() {
    // The response to the commit is lost for good, so that nobody hands over what it held, or those to what follows it.
    for lost_after in [0, 1, 20] {
        let system = start().await;
        service_with_all(&system).await;
        let yaml = "name: wait\nsteps:\n  - { name: settle, type: wait, duration: 1s }\n";
        playbook(&system, &yaml.replace("steps:", "trigger: { service_pattern: \"w\" }\napproval: required\nsteps:"))
            .await;
        system.heartbeat("w", "FAILED").await;
        let page = system.get("/v2/executions").await;
        let id = page.results()["items"][0]["execution_id"].as_str().unwrap().to_owned();
        // Approving commits the most: two notifications and an event.
        system.service.dynamodb().lose_answers_after(lost_after, 20);
        system.raw(reqwest::Method::POST, &format!("/v2/executions/{id}/approve"), Some(&system.key), &[], None).await;
        system.service.dynamodb().lose_answers(0);
        system.seconds(120).await;
        let _again = system.post(&format!("/v2/executions/{id}/approve"), json!({})).await;
        system.seconds(120).await;
        for start in [":+1:", ":robot_face:", ":heavy_check_mark:"] {
            assert_eq!(in_channels(&system, start), each_channel(1), "{start}, after {lost_after}");
        }
        for event in ["playbook.started", "playbook.finished"] {
            assert_eq!(at_webhooks(&system, event), each_webhook(1), "{event}, after {lost_after}");
        }
    }
}

#[tokio::test]
async fn messages_of_the_longest_names_are_within_the_limits_of_slack_and_pagerduty() {
    // Each takes two units of UTF-16 or five characters once it is escaped.
    for longest in ["𝄞", "&"] {
        let system = start().await;
        let name = longest.repeat(128);
        let team = json!({"name": name, "slack_channel_id": "C0LONGEST"});
        create_all(&system, "/v2/teams", vec![team]).await;
        let more = json!({
            "service_name": name, "team": name, "runbook": longest.repeat(2_048), "max_duration_ms": 1_000, "priority": "p1",
        });
        let id = system.register(&name, 3_600.0, more).await;
        let job = format!("/v2/heartbeat/{id}");
        system.post(&format!("{job}/start"), json!({"run_id": name})).await;
        system.seconds(5).await;
        system.post(&format!("{job}/complete"), json!({"run_id": name})).await;
        let step = format!(
            "  - {{ name: \"{name}\", type: condition, check: heartbeat_received, timeout: 1s, on_failure: escalate }}\n"
        );
        let steps = (0..50).map(|n| step.replacen(&longest.repeat(2), &format!("{n:0>2}"), 1));
        let yaml = format!("name: \"{name}\"\napproval: required\nsteps:\n{}", steps.collect::<String>());
        let playbook = playbook(&system, &yaml).await;
        for what in ["approve", "reject"] {
            let started = system.post(&format!("/v2/playbooks/{playbook}/execute"), json!({"service_id": id})).await;
            let path = format!("/v2/executions/{}/{what}", started.results()["execution_id"].as_str().unwrap());
            let decided = system.post(&path, json!({"reason": longest.repeat(500)})).await;
            assert_eq!(decided.status, 200, "{decided}");
            system.seconds(30).await;
        }
        system.seconds(7_300).await;
        system.heartbeat(&name, "UP").await;
        system.seconds(60).await;
        let refused: Vec<_> = system.receivers.arrivals().into_iter().filter(|one| !one.accepted).collect();
        let shown: Vec<_> = refused.iter().map(|one| (one.receiver, &one.text)).collect();
        assert!(refused.is_empty(), "{shown:#?}");
        assert!(system.pagerduty().len() >= 4, "{:?}", system.pagerduty());
        assert!(system.slack().len() >= 8, "{:?}", system.slack());
    }
}

#[tokio::test]
async fn many_long_lines_in_one_message_are_within_slacks_limits() {
    for longest in ["𝄞", "&"] {
        let system = start().await;
        for n in 0..20 {
            let name = format!("{n:0>2}{}", longest.repeat(126));
            system.register(&name, 60.0, json!({"service_name": name})).await;
        }
        system.lag(chrono::TimeDelta::seconds(61)).await;
        let refused = system.receivers.arrivals().iter().filter(|one| !one.accepted).count();
        assert_eq!(refused, 0);
        assert!(!system.slack().is_empty());
    }
}

#[tokio::test]
async fn a_playbook_has_at_most_twenty_triggers_whoever_creates_them_at_once() {
    let system = start().await;
    let id = playbook(&system, "name: x\nsteps:\n  - { name: settle, type: wait, duration: 1s }\n").await;
    let path = format!("/v2/playbooks/{id}/triggers");
    let new = |n: usize| json!({"service_pattern": format!("s{n}")});
    let created = join_all((0..2 * TRIGGERS).map(|n| system.post(&path, new(n)))).await;
    let count = |status: u16| created.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert_eq!((count(201), count(409)), (TRIGGERS, TRIGGERS));
    let full = created.iter().find(|answer| answer.status == 409).unwrap();
    assert_eq!(full.message(), "There may be at most 20 triggers for one playbook");
    assert_eq!(system.get(&format!("{path}?limit=250")).await.results()["items"].as_array().unwrap().len(), TRIGGERS);
}
