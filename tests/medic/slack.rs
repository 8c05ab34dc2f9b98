//! Playbooks in Slack: notifications, approval requests with two buttons, and what pressing one does.

use std::fmt::Write as _;

use harness::{Answer, Planned, System};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use runtime::Clock as _;
use serde_json::{Value, json};
use sha2::Sha256;
use url::form_urlencoded;

pub(crate) const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const PATH: &str = "/v2/slack/interactions";

/// A playbook that requires approval, with every kind of thing that a plan shows.
const REQUIRING_APPROVAL: &str = r#"
name: restart-worker
approval: required
steps:
  - { name: restart, type: webhook, url: "https://ops.example.com/restart?key=${secrets.KEY}", body: { service: "${SERVICE_NAME}", by: "<${WHO}>" } }
  - { name: settle, type: wait, duration: 30s }
"#;

/// Returns one that does nothing but wait.
pub(crate) fn waiting(approval: &str) -> String {
    format!("name: patience\napproval: {approval}\nsteps:\n  - {{ name: settle, type: wait, duration: 30s }}\n")
}

pub(crate) async fn start() -> System {
    System::start_with(&[("SLACK_SIGNING_SECRET", SECRET)], None).await
}

pub(crate) async fn create(system: &System, yaml: &str) -> i64 {
    let created = system.post("/v2/playbooks", json!({"yaml": yaml})).await;
    assert_eq!(created.status, 201, "{created}");
    created.results()["playbook_id"].as_i64().unwrap()
}

/// Executes a playbook for a service. Returns the execution's id.
pub(crate) async fn execute(system: &System, playbook: i64, body: Value) -> String {
    let started = system.post(&format!("/v2/playbooks/{playbook}/execute"), body).await;
    assert_eq!(started.status, 201, "{started}");
    started.results()["execution_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn status(system: &System, execution: &str) -> String {
    let shown = system.get(&format!("/v2/executions/{execution}")).await;
    shown.results()["status"].as_str().unwrap_or_default().to_owned()
}

/// Returns what arrived by one of Slack's methods.
fn bodies(system: &System, receiver: &str) -> Vec<Value> {
    let arrivals = system.receivers.arrivals();
    arrivals.into_iter().filter(|arrival| arrival.receiver == receiver && arrival.accepted).map(|it| it.body).collect()
}

pub(crate) fn lines(system: &System, receiver: &str) -> Vec<String> {
    system.receivers.accepted(receiver)
}

fn buttons(message: &Value) -> Vec<Value> {
    let blocks = message["blocks"].as_array().cloned().unwrap_or_default();
    let actions = blocks.into_iter().filter(|block| block["type"] == "actions");
    actions.flat_map(|block| block["elements"].as_array().cloned().unwrap_or_default()).collect()
}

/// Returns the value that the buttons of the last approval request carry.
pub(crate) fn value(system: &System) -> String {
    let request = bodies(system, "slack").into_iter().rfind(|message| !buttons(message).is_empty()).unwrap();
    buttons(&request)[0]["value"].as_str().unwrap().to_owned()
}

fn signature(at: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("v0:{at}:").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("v0=".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub(crate) fn form(payload: &str) -> Vec<u8> {
    form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish().into_bytes()
}

/// Returns the payload that Slack sends when a button is pressed.
pub(crate) fn press(action: &str, value: &str, user: &str) -> Value {
    json!({
        "type": "block_actions",
        "user": {"id": user, "username": user.to_lowercase(), "team_id": "T1"},
        "api_app_id": "A1",
        "container": {"type": "message", "message_ts": "1767614400.000001", "channel_id": "C0ALERTS"},
        "channel": {"id": "C0ALERTS", "name": "alerts"},
        "message": {"ts": "1767614400.000001", "text": "…"},
        "actions": [{"type": "button", "block_id": "b", "action_id": action, "value": value}],
    })
}

pub(crate) async fn send_raw(system: &System, body: Vec<u8>) -> Answer {
    let at = system.time.now().timestamp();
    let (signature, at) = (signature(at, &body), at.to_string());
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-slack-signature", signature.as_str()),
        ("x-slack-request-timestamp", at.as_str()),
    ];
    system.raw(Method::POST, PATH, None, &headers, Some(body)).await
}

pub(crate) async fn send(system: &System, payload: &Value) -> Answer {
    let answer = send_raw(system, form(&payload.to_string())).await;
    system.service.settle().await;
    answer
}

/// Presses a button of the last approval request, which must be accepted.
pub(crate) async fn decide(system: &System, action: &str, user: &str) {
    let answer = send(system, &press(action, &value(system), user)).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!("")), "{answer}");
}

/// Hides ids and digests, which differ each time.
fn masked(value: &Value, execution: &str, digest: &str) -> String {
    serde_json::to_string_pretty(value).unwrap().replace(execution, "[execution]").replace(digest, "[digest]")
}

fn digest_in(value: &str) -> &str {
    value.split_once(' ').unwrap().1
}

async fn request_approval(system: &System) -> String {
    let secret = system
        .post("/v2/secrets", json!({"name": "KEY", "value": "hunter2", "allowed_hosts": ["ops.example.com"]}))
        .await;
    assert_eq!(secret.status, 201, "{secret}");
    let service = system.register("worker-1", 600.0, json!({"runbook": "https://run.example/worker"})).await;
    let playbook = create(system, REQUIRING_APPROVAL).await;
    execute(system, playbook, json!({"service_id": service, "variables": {"WHO": "R&D"}})).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "two whole messages")]
async fn an_approval_request_shows_the_plan_and_the_decision_replaces_it() {
    let system = start().await;
    let execution = request_approval(&system).await;
    assert_eq!(status(&system, &execution).await, "pending_approval");
    let request = bodies(&system, "slack").pop().unwrap();
    let value = value(&system);
    insta::assert_snapshot!(masked(&request, &execution, digest_in(&value)), @r#"
    {
      "blocks": [
        {
          "text": {
            "text": ":hourglass: Playbook restart-worker is awaiting approval for worker-1: started by admin",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "fields": [
            {
              "text": "*Playbook*\nrestart-worker (version 1)",
              "type": "mrkdwn",
              "verbatim": true
            },
            {
              "text": "*Service*\nworker",
              "type": "mrkdwn",
              "verbatim": true
            },
            {
              "text": "*Team*\nsite-reliability",
              "type": "mrkdwn",
              "verbatim": true
            },
            {
              "text": "*Until*\n<!date^1768219200^{date_short_pretty} {time_secs}|2026-01-12T12:00:00.000Z>, then it expires",
              "type": "mrkdwn",
              "verbatim": true
            }
          ],
          "type": "section"
        },
        {
          "text": {
            "text": "1. restart (webhook): POST https://ops.example.com/restart?key=[secret KEY] {\"by\":\"&lt;R&amp;D&gt;\",\"service\":\"worker\"}\n2. settle (wait): 30 s",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "elements": [
            {
              "text": "Plan `[digest]`",
              "type": "mrkdwn",
              "verbatim": true
            }
          ],
          "type": "context"
        },
        {
          "elements": [
            {
              "action_id": "approve_playbook",
              "style": "primary",
              "text": {
                "text": "Approve",
                "type": "plain_text"
              },
              "type": "button",
              "value": "[execution] [digest]"
            },
            {
              "action_id": "reject_playbook",
              "style": "danger",
              "text": {
                "text": "Reject",
                "type": "plain_text"
              },
              "type": "button",
              "value": "[execution] [digest]"
            }
          ],
          "type": "actions"
        }
      ],
      "channel": "C0ALERTS",
      "text": ":hourglass: Playbook restart-worker is awaiting approval for worker-1: started by admin",
      "unfurl_links": false
    }
    "#);
    assert!(!request.to_string().contains("hunter2"));

    decide(&system, "approve_playbook", "U0ALICE").await;
    assert_ne!(status(&system, &execution).await, "pending_approval");
    let [update] = <[Value; 1]>::try_from(bodies(&system, "update")).unwrap();
    assert!(buttons(&update).is_empty());
    insta::assert_snapshot!(masked(&update, &execution, digest_in(&value)), @r#"
    {
      "blocks": [
        {
          "text": {
            "text": ":+1: Playbook restart-worker for worker-1 was approved by <@U0ALICE>, <!date^1767614400^{date_short_pretty} {time_secs}|2026-01-05T12:00:00.000Z>",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "fields": [
            {
              "text": "*Playbook*\nrestart-worker (version 1)",
              "type": "mrkdwn",
              "verbatim": true
            },
            {
              "text": "*Service*\nworker",
              "type": "mrkdwn",
              "verbatim": true
            },
            {
              "text": "*Team*\nsite-reliability",
              "type": "mrkdwn",
              "verbatim": true
            },
            {
              "text": "*Until*\n<!date^1768219200^{date_short_pretty} {time_secs}|2026-01-12T12:00:00.000Z>, then it expires",
              "type": "mrkdwn",
              "verbatim": true
            }
          ],
          "type": "section"
        },
        {
          "text": {
            "text": "1. restart (webhook): POST https://ops.example.com/restart?key=[secret KEY] {\"by\":\"&lt;R&amp;D&gt;\",\"service\":\"worker\"}\n2. settle (wait): 30 s",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "elements": [
            {
              "text": "Plan `[digest]`",
              "type": "mrkdwn",
              "verbatim": true
            }
          ],
          "type": "context"
        }
      ],
      "channel": "C0ALERTS",
      "text": ":+1: Playbook restart-worker for worker-1 was approved by <@U0ALICE>, <!date^1767614400^{date_short_pretty} {time_secs}|2026-01-05T12:00:00.000Z>",
      "ts": "1767614400.000001"
    }
    "#);
    assert_eq!(lines(&system, "post_ephemeral"), [""; 0]);
    let audited = system.get(&format!("/v2/audit-logs?execution_id={execution}&action_type=approved")).await;
    assert_eq!(audited.results()["items"][0]["actor"], "slack:u0alice (U0ALICE)", "{audited}");
    // The step's address cannot be reached, and so it fails; that is notified too.
    system.seconds(600).await;
    insta::assert_snapshot!(lines(&system, "slack").join("\n"), @r#"
    :hourglass: Playbook restart-worker is awaiting approval for worker-1: started by admin
    :robot_face: Playbook restart-worker started for worker-1: started by admin, approved by u0alice
    :x: Playbook restart-worker failed for worker-1 at step restart: the host name did not resolve
    :rotating_light: [p3] worker-1 is down: no heartbeat yet, expected every 10 min
    "#);
}

#[tokio::test]
async fn a_rejection_ends_the_execution_and_shows_in_the_message_alone() {
    let system = start().await;
    let playbook = create(&system, &waiting("required")).await;
    let execution = execute(&system, playbook, json!({})).await;
    decide(&system, "reject_playbook", "U0BOB").await;
    assert_eq!(status(&system, &execution).await, "cancelled");
    insta::assert_snapshot!(lines(&system, "slack").join("\n"), @":hourglass: Playbook patience is awaiting approval: started by admin");
    insta::assert_snapshot!(lines(&system, "update").join("\n"), @":-1: Playbook patience was rejected by <@U0BOB>, <!date^1767614400^{date_short_pretty} {time_secs}|2026-01-05T12:00:00.000Z>");
}

#[tokio::test]
async fn a_press_that_does_not_count_is_explained_to_whoever_pressed() {
    let more = [("SLACK_SIGNING_SECRET", SECRET), ("MEDIC_SLACK_APPROVERS", "U0ALICE, U0BOB")];
    let system = System::start_with(&more, None).await;
    let playbook = create(&system, &waiting("required")).await;
    let execution = execute(&system, playbook, json!({})).await;
    decide(&system, "approve_playbook", "U0MALLORY").await;
    let value = value(&system);
    let mut other = value.clone();
    let last = if other.pop() == Some('0') { '1' } else { '0' };
    other.push(last);
    send(&system, &press("approve_playbook", &other, "U0ALICE")).await;
    let gone = value.replace(&execution, "01a0c450-6c7b-7303-8303-030303030303");
    send(&system, &press("approve_playbook", &gone, "U0ALICE")).await;
    assert_eq!(status(&system, &execution).await, "pending_approval");
    decide(&system, "approve_playbook", "U0ALICE").await;
    let decided = system.get(&format!("/v2/executions/{execution}")).await;
    // The same press again changes nothing and says nothing.
    decide(&system, "approve_playbook", "U0ALICE").await;
    decide(&system, "reject_playbook", "U0ALICE").await;
    decide(&system, "reject_playbook", "U0BOB").await;
    assert_eq!(system.get(&format!("/v2/executions/{execution}")).await.results(), decided.results());
    let again = execute(&system, playbook, json!({})).await;
    system.post(&format!("/v2/executions/{again}/cancel"), json!({})).await;
    decide(&system, "approve_playbook", "U0BOB").await;
    assert_eq!(status(&system, &again).await, "cancelled");
    let messages: Vec<_> = bodies(&system, "post_ephemeral")
        .iter()
        .map(|it| format!("{} {} {}", it["channel"], it["user"], it["text"]))
        .collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    "C0ALERTS" "U0MALLORY" "You are not allowed to approve or reject playbooks."
    "C0ALERTS" "U0ALICE" "The plan has changed since you were shown it."
    "C0ALERTS" "U0ALICE" "This execution no longer exists."
    "C0ALERTS" "U0ALICE" "It was already approved by u0alice."
    "C0ALERTS" "U0BOB" "It was already approved by u0alice."
    "C0ALERTS" "U0BOB" "It no longer needs a decision: it was cancelled by admin."
    "#);
}

#[tokio::test]
async fn of_twenty_presses_and_requests_at_once_the_first_stands() {
    let system = start().await;
    let playbook = create(&system, &waiting("required")).await;
    let execution = execute(&system, playbook, json!({})).await;
    let value = value(&system);
    let presses = (0..20).map(|n| {
        let action = if n % 2 == 0 { "approve_playbook" } else { "reject_playbook" };
        let body = form(&press(action, &value, &format!("U{n}")).to_string());
        send_raw(&system, body)
    });
    let answers = futures::future::join_all(presses).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    system.service.settle().await;
    let of = |kind: &str| format!("/v2/audit-logs?execution_id={execution}&action_type={kind}");
    let count = async |kind: &str| system.get(&of(kind)).await.results()["items"].as_array().unwrap().len();
    assert_eq!(count("approved").await + count("rejected").await, 1);
    assert_eq!((lines(&system, "update").len(), lines(&system, "post_ephemeral").len()), (1, 19));
    // By the API it is too late as well.
    let late = system.post(&format!("/v2/executions/{execution}/approve"), json!({})).await;
    assert_eq!(late.status, 409, "{late}");
}

#[tokio::test]
async fn a_decision_by_the_api_shows_in_slack_and_a_press_comes_too_late() {
    let system = start().await;
    let playbook = create(&system, &waiting("required")).await;
    let execution = execute(&system, playbook, json!({})).await;
    let approved = system.post(&format!("/v2/executions/{execution}/approve"), json!({"reason": "go <on>"})).await;
    assert_eq!(approved.status, 200, "{approved}");
    decide(&system, "reject_playbook", "U0BOB").await;
    insta::assert_snapshot!(lines(&system, "update").join("\n"), @":+1: Playbook patience was approved by admin, <!date^1767614400^{date_short_pretty} {time_secs}|2026-01-05T12:00:00.000Z>: go &lt;on&gt;");
    insta::assert_snapshot!(lines(&system, "post_ephemeral").join("\n"), @"It was already approved by admin.");
    system.seconds(60).await;
    insta::assert_snapshot!(lines(&system, "slack").join("\n"), @r#"
    :hourglass: Playbook patience is awaiting approval: started by admin
    :robot_face: Playbook patience started: started by admin, approved by admin
    :heavy_check_mark: Playbook patience completed after 30 s
    "#);
}

#[tokio::test]
async fn a_timeout_decides_when_nobody_does() {
    let system = start().await;
    let proceeding = create(&system, &waiting("timeout:15m")).await;
    let expiring =
        create(&system, &waiting("timeout:15m\napproval_on_timeout: cancel").replace("patience", "impatience")).await;
    let (going, ending) = (execute(&system, proceeding, json!({})).await, execute(&system, expiring, json!({})).await);
    system.seconds(899).await;
    assert_eq!(lines(&system, "update"), [""; 0]);
    system.seconds(60).await;
    assert_eq!(
        (status(&system, &going).await, status(&system, &ending).await),
        ("completed".into(), "cancelled".into())
    );
    // Two that end at one instant may share a message, in either order.
    let messages = [lines(&system, "update"), lines(&system, "slack")].concat();
    let mut lines: Vec<_> = messages.iter().flat_map(|message| message.lines()).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    :+1: Playbook patience was approved by timeout, <!date^1767615300^{date_short_pretty} {time_secs}|2026-01-05T12:15:00.000Z>: nobody decided in time
    :heavy_check_mark: Playbook patience completed after 30 s
    :hourglass: Playbook impatience is awaiting approval: started by admin
    :hourglass: Playbook patience is awaiting approval: started by admin
    :no_entry_sign: Playbook impatience was cancelled, <!date^1767615300^{date_short_pretty} {time_secs}|2026-01-05T12:15:00.000Z>: nobody decided in time
    :no_entry_sign: Playbook impatience was cancelled: nobody decided in time
    :robot_face: Playbook patience started: started by admin, approved by timeout
    "#);
}

#[tokio::test]
async fn an_approval_request_that_slack_did_not_accept_is_dropped_once_it_is_decided() {
    let system = start().await;
    let playbook = create(&system, &waiting("required")).await;
    system.receivers.plan_slack([Planned::status(503)]);
    let execution = execute(&system, playbook, json!({})).await;
    assert_eq!(lines(&system, "slack"), [""; 0]);
    system.post(&format!("/v2/executions/{execution}/reject"), json!({})).await;
    system.seconds(600).await;
    assert_eq!((lines(&system, "slack"), lines(&system, "update")), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn approval_requests_share_no_message_with_other_notifications() {
    let system = start().await;
    let playbook = create(&system, &waiting("required")).await;
    system.receivers.plan_slack([Planned::status(503)]);
    for n in 0..3 {
        system.register(&format!("down-{n}"), 600.0, json!({})).await;
        system.heartbeat(&format!("down-{n}"), "DOWN").await;
        execute(&system, playbook, json!({})).await;
    }
    system.seconds(30).await;
    let messages = bodies(&system, "slack");
    let requests: Vec<_> = messages.iter().filter(|message| !buttons(message).is_empty()).collect();
    assert_eq!(requests.len(), 3);
    for message in requests {
        assert_eq!(buttons(message).len(), 2);
        assert_eq!(message["text"].as_str().unwrap().lines().count(), 1, "{message}");
    }
    assert_eq!(system.slack().iter().filter(|line| line.contains("is down")).count(), 3);
}

#[tokio::test]
async fn an_update_that_slack_does_not_accept_is_retried() {
    let system = start().await;
    let playbook = create(&system, &waiting("required")).await;
    execute(&system, playbook, json!({})).await;
    system
        .receivers
        .plan_updates([Planned::status(503), Planned { error: Some("ratelimited"), ..Planned::status(200) }]);
    decide(&system, "reject_playbook", "U0BOB").await;
    assert_eq!(lines(&system, "update"), [""; 0]);
    system.seconds(30).await;
    assert_eq!(lines(&system, "update").len(), 1);
}

#[tokio::test]
async fn the_buttons_of_an_unknown_message_are_removed_when_they_are_pressed() {
    let system = start().await;
    let playbook = create(&system, &waiting("required")).await;
    execute(&system, playbook, json!({})).await;
    decide(&system, "reject_playbook", "U0BOB").await;
    let mut orphan = press("approve_playbook", &value(&system), "U0ALICE");
    orphan["message"]["ts"] = json!("1767614400.999999");
    send(&system, &orphan).await;
    let updates = bodies(&system, "update");
    let places: Vec<_> = updates.iter().map(|update| update["ts"].as_str().unwrap_or_default()).collect();
    assert_eq!((places.len(), places[1]), (2, "1767614400.999999"));
    assert_eq!(updates[0]["text"], updates[1]["text"]);
}

#[tokio::test]
async fn without_slack_approval_requests_and_decisions_are_printed() {
    let more = [("SLACK_SIGNING_SECRET", SECRET), ("SLACK_API_TOKEN", "")];
    let system = System::start_with(&more, None).await;
    let playbook = create(&system, &waiting("required")).await;
    let execution = execute(&system, playbook, json!({})).await;
    system.post(&format!("/v2/executions/{execution}/approve"), json!({})).await;
    system.seconds(60).await;
    let printed = system.get("/v2/notifications").await;
    let lines: Vec<_> = printed.results()["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|notification| notification["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    :hourglass: Playbook patience is awaiting approval: started by admin
    :+1: Playbook patience was approved by admin, 2026-01-05T12:00:00.000Z
    :robot_face: Playbook patience started: started by admin, approved by admin
    :heavy_check_mark: Playbook patience completed after 30 s
    "#);
}

#[tokio::test]
async fn a_muted_service_gets_approval_requests_and_no_other_notifications() {
    let system = start().await;
    let service = system.register("worker-1", 6_000.0, json!({"muted": true})).await;
    let asking = create(&system, &waiting("required")).await;
    let going = create(&system, &waiting("none").replace("patience", "going")).await;
    execute(&system, going, json!({"service_id": service})).await;
    execute(&system, asking, json!({"service_id": service})).await;
    decide(&system, "approve_playbook", "U0ALICE").await;
    system.seconds(60).await;
    assert_eq!((lines(&system, "slack").len(), lines(&system, "update").len()), (1, 1));
}

#[tokio::test]
async fn a_playbook_notifies_the_team_of_its_service() {
    let more = [("SLACK_SIGNING_SECRET", SECRET), ("MEDIC_ALLOW_PRIVATE_HOSTS", "true")];
    let system = System::start_with(&more, None).await;
    system.post("/v2/teams", json!({"name": "platform", "slack_channel_id": "C0PLATFORM"})).await;
    let of_team = system.register("worker-1", 6_000.0, json!({"team": "platform"})).await;
    let of_targets = system.register("worker-2", 6_000.0, json!({"team": "platform"})).await;
    let targets = format!("/v2/services/{of_targets}/notification-targets");
    system.post(&targets, json!({"type": "pagerduty", "config": {"service_key": "K1"}})).await;
    let playbook = create(&system, &waiting("none")).await;
    let asking = create(&system, &waiting("required").replace("patience", "asking")).await;
    let hook = json!({"url": system.receivers.hook(), "service_id": of_team});
    assert_eq!(system.post("/v2/webhooks", hook).await.status, 201);
    execute(&system, playbook, json!({"service_id": of_team})).await;
    execute(&system, playbook, json!({"service_id": of_targets})).await;
    // Somebody must be able to decide.
    execute(&system, asking, json!({"service_id": of_targets})).await;
    system.seconds(60).await;
    let messages: Vec<_> =
        bodies(&system, "slack").iter().map(|it| format!("{} {}", it["channel"], it["text"])).collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    "C0PLATFORM" ":robot_face: Playbook patience started for worker-1: started by admin"
    "C0PLATFORM" ":hourglass: Playbook asking is awaiting approval for worker-2: started by admin"
    "C0PLATFORM" ":heavy_check_mark: Playbook patience completed for worker-1 after 30 s"
    "#);
    assert_eq!(system.pagerduty(), [""; 0]);
    let events: Vec<_> = bodies(&system, "webhook").iter().map(|it| hide(it.clone())).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&events).unwrap(), @r#"
    [
      {
        "data": {
          "alert_id": null,
          "completed_at": null,
          "execution_id": "[execution]",
          "heartbeat_name": "worker-1",
          "playbook_id": 1,
          "playbook_name": "patience",
          "service_id": 1,
          "service_name": "worker",
          "started_at": "2026-01-05T12:00:00.000Z",
          "status": "running",
          "steps": [
            {
              "status": "pending",
              "step_name": "settle"
            }
          ],
          "version": 1
        },
        "timestamp": "2026-01-05T12:00:00.000Z",
        "type": "playbook.started"
      },
      {
        "data": {
          "alert_id": null,
          "completed_at": "2026-01-05T12:00:30.000Z",
          "execution_id": "[execution]",
          "heartbeat_name": "worker-1",
          "playbook_id": 1,
          "playbook_name": "patience",
          "service_id": 1,
          "service_name": "worker",
          "started_at": "2026-01-05T12:00:00.000Z",
          "status": "completed",
          "steps": [
            {
              "status": "completed",
              "step_name": "settle"
            }
          ],
          "version": 1
        },
        "timestamp": "2026-01-05T12:00:30.000Z",
        "type": "playbook.finished"
      }
    ]
    "#);
}

fn hide(mut event: Value) -> Value {
    event["data"]["execution_id"] = json!("[execution]");
    event
}

#[tokio::test]
async fn an_escalation_pages_the_on_call_under_a_key_of_its_own() {
    let system = start().await;
    let service =
        system.register("worker-1", 6_000.0, json!({"priority": "p1", "runbook": "https://run.example"})).await;
    let yaml = "name: verify\nsteps:\n  - { name: look, type: condition, check: heartbeat_received, parameters: { min_count: 1 }, timeout: 10s, on_failure: escalate }\n";
    let playbook = create(&system, yaml).await;
    let execution = execute(&system, playbook, json!({"service_id": service})).await;
    system.seconds(60).await;
    assert_eq!(status(&system, &execution).await, "failed");
    assert_eq!(system.pagerduty(), [format!("trigger medic-{execution}-worker-1")]);
    let page = bodies(&system, "pagerduty").pop().unwrap();
    insta::assert_snapshot!(masked(&page, &execution, "no digest"), @r#"
    {
      "client": "Medic",
      "dedup_key": "medic-[execution]-worker-1",
      "event_action": "trigger",
      "links": [
        {
          "href": "https://run.example",
          "text": "Runbook"
        }
      ],
      "payload": {
        "class": "playbook",
        "component": "worker",
        "custom_details": {
          "execution_id": "[execution]",
          "playbook_name": "verify",
          "problem": "0 heartbeats of 1 within 10 s",
          "runbook": "https://run.example",
          "service_id": 1,
          "step": "look"
        },
        "group": "site-reliability",
        "severity": "critical",
        "source": "worker-1",
        "summary": "Medic - Playbook verify needs attention for worker-1: step look: 0 heartbeats of 1 within 10 s",
        "timestamp": "2026-01-05T12:00:10.000Z"
      },
      "routing_key": "R0UTING"
    }
    "#);
    insta::assert_snapshot!(lines(&system, "slack").join("\n"), @r#"
    :robot_face: Playbook verify started for worker-1: started by admin
    :sos: Playbook verify needs attention for worker-1: step look: 0 heartbeats of 1 within 10 s
    :x: Playbook verify failed for worker-1 at step look: Escalating to on-call
    "#);
}

#[tokio::test]
async fn a_circuit_that_opens_is_notified_once() {
    let system = start().await;
    create(&system, &waiting("none").replace("steps:", "trigger: { service_pattern: \"worker-*\" }\nsteps:")).await;
    system.register("worker-1", 60.0, json!({})).await;
    for _ in 0..8 {
        system.heartbeat("worker-1", "DOWN").await;
        system.heartbeat("worker-1", "UP").await;
        system.seconds(5).await;
    }
    let lines: Vec<_> = system.slack().into_iter().filter(|line| line.starts_with(":electric_plug:")).collect();
    insta::assert_snapshot!(lines.join("\n"), @":electric_plug: Alerts of worker-1 start no playbooks for now: 5 playbooks started within 1 h. People can still start them");
    assert_eq!(system.slack().iter().filter(|line| line.starts_with(":robot_face:")).count(), 5);
}

#[tokio::test]
async fn only_requests_that_slack_signed_are_accepted() {
    let system = start().await;
    let body = form(&json!({"type": "view_closed"}).to_string());
    let at = system.time.now().timestamp();
    let attempt = async |at: Option<i64>, signed: Option<String>, body: &[u8]| {
        let at = at.map(|at| at.to_string());
        let headers: Vec<(&str, &str)> = [("x-slack-request-timestamp", &at), ("x-slack-signature", &signed)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
        system.raw(Method::POST, PATH, None, &headers, Some(body.to_vec())).await.status.as_u16()
    };
    assert_eq!(attempt(Some(at), Some(signature(at, &body)), &body).await, 200);
    for (off, expected) in [(-300, 200), (300, 200), (-301, 401), (301, 401)] {
        let at = at + off;
        assert_eq!(attempt(Some(at), Some(signature(at, &body)), &body).await, expected, "{off}");
    }
    for n in 0..body.len() {
        let mut changed = body.clone();
        changed[n] ^= 1;
        assert_eq!(attempt(Some(at), Some(signature(at, &body)), &changed).await, 401, "{n}");
    }
    assert_eq!(attempt(None, Some(signature(at, &body)), &body).await, 401);
    assert_eq!(attempt(Some(at), None, &body).await, 401);
    assert_eq!(attempt(Some(at), Some(signature(at + 1, &body)), &body).await, 401);
    // An unsigned body is not read, and a key does not replace the signature.
    let key = Some(system.key.as_str());
    let answer = system.raw(Method::POST, PATH, key, &[], Some(b"payload=".to_vec())).await;
    insta::assert_snapshot!(answer, @r#"
    401
    {
      "message": "Slack's signature is missing, wrong or too old",
      "results": "",
      "success": false
    }
    "#);
    assert!(!answer.headers.contains_key("x-ratelimit-limit"));

    let system = System::start().await;
    let answer = system.raw(Method::POST, PATH, None, &[], Some(body)).await;
    insta::assert_snapshot!(answer, @r#"
    503
    {
      "message": "SLACK_SIGNING_SECRET is not set: nobody can decide in Slack",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn payloads_without_a_decision_are_accepted_and_unreadable_ones_refused() {
    let system = start().await;
    let pressed = press("approve_playbook", "", "U1");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut payload = pressed.clone();
        change(&mut payload);
        payload.to_string()
    };
    let cases = [
        json!({"type": "view_submission"}).to_string(),
        json!({"type": "block_actions"}).to_string(),
        with(&|it| it["actions"][0]["action_id"] = json!("other")),
        with(&|it| it["actions"] = json!([])),
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        json!({"type": 3}).to_string(),
        json!({}).to_string(),
        pressed.to_string(),
        with(&|it| it["actions"][0]["value"] = json!(null)),
        with(&|it| it["actions"][0]["value"] = json!("x y")),
        with(&|it| it["actions"][0]["value"] = json!(format!("x {}", "0".repeat(64)))),
        with(&|it| {
            it["actions"][0]["value"] = json!(format!("01a0c450-6c7b-7303-8303-030303030303 {}", "0".repeat(64)));
            it["user"]["id"] = json!("<!channel>");
        }),
        with(&|it| {
            it["actions"][0]["value"] = json!(format!("01a0c450-6c7b-7303-8303-030303030303 {}", "0".repeat(64)));
            it.as_object_mut().unwrap().remove("user");
        }),
    ];
    let mut answers = Vec::new();
    for case in cases {
        let answer = send_raw(&system, form(&case)).await;
        answers.push(format!("{} {}", answer.status.as_u16(), answer.message()));
    }
    answers.push(send_raw(&system, b"other=1".to_vec()).await.message().to_owned());
    insta::assert_snapshot!(answers.join("\n"), @r#"
    200 
    200 
    200 
    200 
    400 payload must be the JSON of an interaction of Slack's
    400 payload must be the JSON of an interaction of Slack's
    400 payload must be the JSON of an interaction of Slack's
    400 payload must be the JSON of an interaction of Slack's
    400 payload must be the JSON of an interaction of Slack's
    400 payload must be the JSON of an interaction of Slack's
    400 actions[].value must be that of a button of Medic's
    400 actions[].value must be that of a button of Medic's
    400 actions[].value must be that of a button of Medic's
    400 actions[].value must be that of a button of Medic's
    400 user.id must be an id of letters and digits
    400 user is missing
    payload is missing
    "#);
}
