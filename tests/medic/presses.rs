//! Presses of buttons in Slack: each counts from the moment at which Medic received it, however its handling fails.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::{ExecutionId, ServiceId, SlackUser, Status};
use harness::{Arrival, Lost, System, interleaved};
use local::{Fault, Queue};
use operations::{Named, Report, SlackDecision};
use outbound::Wake;
use runtime::Clock as _;
use serde_json::{Value, json};
use store::Key;

use crate::slack::{create, decide, execute, lines, press, send, start, status, value, waiting};

/// Starts a playbook that awaits approval, and returns the execution.
async fn awaiting(system: &System, approval: &str) -> String {
    let playbook = create(system, &waiting(approval)).await;
    execute(system, playbook, json!({})).await
}

/// Presses a button, and lets whoever handles that die.
async fn decide_in_vain(system: &System, action: &str, user: &str) {
    system.service.lose_workers(Queue::Playbook, 1);
    decide(system, action, user).await;
}

/// Returns what the audit log holds of decisions about an execution: who made them when.
async fn decisions(system: &System, execution: &str) -> Vec<String> {
    let page = system.get(&format!("/v2/audit-logs?execution_id={execution}")).await;
    let items = page.results()["items"].as_array().unwrap().clone();
    let is_decision = |entry: &&Value| entry["action_type"] == "approved" || entry["action_type"] == "rejected";
    let line = |entry: &Value| format!("{} {}", entry["action_type"].as_str().unwrap(), entry["actor"]);
    let shown = system.get(&format!("/v2/executions/{execution}")).await;
    let at = &shown.results()["decision"]["at"];
    items.iter().filter(is_decision).map(|entry| format!("{} {at}", line(entry))).collect()
}

#[tokio::test]
async fn a_press_whose_handling_is_lost_is_handled_within_a_minute() {
    for approval in ["required", "timeout:15m"] {
        let system = start().await;
        let execution = awaiting(&system, approval).await;
        decide_in_vain(&system, "reject_playbook", "U0BOB").await;
        assert_eq!(status(&system, &execution).await, "pending_approval");
        system.seconds(60).await;
        assert_eq!(status(&system, &execution).await, "cancelled", "{approval}");
        system.seconds(3_600).await;
        let decided = [r#"rejected "slack:u0bob (U0BOB)" "2026-01-05T12:00:00.000Z""#];
        assert_eq!(decisions(&system, &execution).await, decided, "{approval}");
        assert_eq!((lines(&system, "slack").len(), lines(&system, "update").len()), (1, 1), "{approval}");
    }
}

#[tokio::test]
async fn a_press_in_the_last_second_comes_before_the_timeout_that_is_handled_first() {
    let system = start().await;
    let execution = awaiting(&system, "timeout:15m").await;
    system.seconds(899).await;
    decide_in_vain(&system, "reject_playbook", "U0BOB").await;
    system.seconds(1).await;
    assert_eq!(status(&system, &execution).await, "cancelled");
    system.seconds(3_600).await;
    let decided = [r#"rejected "slack:u0bob (U0BOB)" "2026-01-05T12:14:59.000Z""#];
    assert_eq!(decisions(&system, &execution).await, decided);
    insta::assert_snapshot!(lines(&system, "slack").join("\n"), @":hourglass: Playbook patience is awaiting approval: started by admin");
    assert_eq!(lines(&system, "post_ephemeral"), [""; 0], "it did count");
}

#[tokio::test]
async fn a_press_counts_before_a_timeout_however_often_its_handling_fails() {
    let system = start().await;
    let execution = awaiting(&system, "timeout:15m").await;
    system.seconds(800).await;
    // Each write that would end it fails, until after the timeout.
    system.service.dynamodb().fail_writes_holding("execution_cancelled", Fault::Internal, 100_000);
    decide(&system, "reject_playbook", "U0BOB").await;
    system.seconds(160).await;
    assert_eq!(status(&system, &execution).await, "pending_approval");
    system.service.dynamodb().fail_writes_holding("execution_cancelled", Fault::Internal, 0);
    system.seconds(60).await;
    assert_eq!(status(&system, &execution).await, "cancelled");
    let decided = [r#"rejected "slack:u0bob (U0BOB)" "2026-01-05T12:13:20.000Z""#];
    assert_eq!(decisions(&system, &execution).await, decided);
}

#[tokio::test]
async fn of_two_presses_the_first_stands_whichever_is_handled_first() {
    let system = start().await;
    let execution = awaiting(&system, "required").await;
    decide_in_vain(&system, "reject_playbook", "U0BOB").await;
    system.seconds(1).await;
    decide(&system, "approve_playbook", "U0ALICE").await;
    assert_eq!(status(&system, &execution).await, "cancelled");
    system.seconds(60).await;
    let decided = [r#"rejected "slack:u0bob (U0BOB)" "2026-01-05T12:00:00.000Z""#];
    assert_eq!(decisions(&system, &execution).await, decided);
    assert_eq!(lines(&system, "post_ephemeral"), ["It was already rejected by u0bob."], "to the second alone");
}

#[tokio::test]
async fn a_press_comes_before_a_later_decision_by_the_api() {
    let system = start().await;
    let execution = awaiting(&system, "required").await;
    decide_in_vain(&system, "reject_playbook", "U0BOB").await;
    let approved = system.post(&format!("/v2/executions/{execution}/approve"), json!({})).await;
    insta::assert_snapshot!(approved, @r#"
    409
    {
      "message": "The execution is not awaiting approval: it is cancelled, by slack:u0bob (U0BOB)",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn a_decision_after_the_timeout_is_too_late_though_the_timeout_was_not_handled() {
    let system = start().await;
    for by_api in [false, true] {
        let execution = awaiting(&system, "timeout:15m").await;
        system.seconds(899).await;
        system.service.lose_workers(Queue::Playbook, 1);
        system.seconds(1).await;
        assert_eq!(status(&system, &execution).await, "pending_approval");
        if by_api {
            let late = system.post(&format!("/v2/executions/{execution}/reject"), json!({})).await;
            assert_eq!(
                (late.status.as_u16(), late.message()),
                (409, "The execution is not awaiting approval: it is running")
            );
        } else {
            decide(&system, "reject_playbook", "U0BOB").await;
            let explanation = ["It already went ahead by itself: nobody decided in time."];
            assert_eq!(lines(&system, "post_ephemeral"), explanation);
        }
        system.seconds(60).await;
        assert_eq!(status(&system, &execution).await, "completed");
        assert_eq!(decisions(&system, &execution).await.len(), 1);
        let playbook = system.get(&format!("/v2/executions/{execution}")).await.results()["playbook_id"].clone();
        system.delete(&format!("/v2/playbooks/{playbook}")).await;
    }
}

/// Lets an alert close, while `hinder` is so, five seconds before the timeout of the playbook that it started, and returns
/// how the execution stands after it.
async fn after_closing(hinder: impl FnOnce(&System)) -> (Value, Value) {
    let system = start().await;
    let trigger = "timeout:15m\ntrigger: { service_pattern: \"worker-*\" }";
    create(&system, &waiting(trigger)).await;
    system.register("worker-1", 6_000.0, json!({})).await;
    system.heartbeat("worker-1", "DOWN").await;
    system.seconds(895).await;
    hinder(&system);
    system.heartbeat("worker-1", "UP").await;
    system.seconds(10).await;
    let listed = system.get("/v2/executions").await;
    let execution = &listed.results()["items"][0];
    (execution["status"].clone(), execution["cancellation"]["reason"].clone())
}

#[tokio::test]
async fn an_alert_that_closed_before_the_timeout_ends_what_awaits_approval() {
    let stands = after_closing(|system| system.service.lose_workers(Queue::Playbook, 1)).await;
    assert_eq!(stands, (json!("cancelled"), json!("the alert closed")));
}

#[tokio::test]
async fn an_alert_that_closed_ends_what_awaits_approval_before_its_start_knows_of_it() {
    let hinder = |system: &System| system.service.dynamodb().fail_writes_holding("start#", Fault::Internal, 100_000);
    assert_eq!(after_closing(hinder).await, (json!("cancelled"), json!("the alert closed")));
}

#[tokio::test]
async fn a_press_that_cannot_be_kept_is_503_and_does_not_count() {
    let system = start().await;
    let execution = awaiting(&system, "required").await;
    let pressed = press("reject_playbook", &value(&system), "U0BOB");
    system.service.dynamodb().fail_writes(Fault::Internal, 1_000);
    let answer = send(&system, &pressed).await;
    assert_eq!((answer.status.as_u16(), answer.message()), (503, "Storage is out of reach; try again"));
    system.service.dynamodb().fail_writes(Fault::Internal, 0);
    system.seconds(120).await;
    assert_eq!(status(&system, &execution).await, "pending_approval");
}

#[tokio::test]
async fn a_press_that_is_handled_twice_is_explained_once() {
    let more = [("SLACK_SIGNING_SECRET", crate::slack::SECRET), ("MEDIC_SLACK_APPROVERS", "U0ALICE")];
    let system = System::start_with(&more, None).await;
    let execution = awaiting(&system, "required").await;
    decide_in_vain(&system, "approve_playbook", "U0MALLORY").await;
    let rows = system.service.dynamodb().query(json!({
        "TableName": "medic", "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
        "ExpressionAttributeValues": {":pk": {"S": format!("execution#{execution}")}, ":sk": {"S": "press#"}},
    }));
    let rows = rows.unwrap();
    let press_id = rows["Items"][0]["sk"]["S"].as_str().unwrap().trim_start_matches("press#").to_owned();
    for _ in 0..3 {
        let wake = Wake::Press { execution_id: execution.clone(), press_id: press_id.clone() };
        system.service.medic().wakes.wake(wake, system.time.now()).await.unwrap();
    }
    system.service.settle().await;
    system.seconds(60).await;
    assert_eq!(lines(&system, "post_ephemeral"), ["You are not allowed to approve or reject playbooks."]);
    assert_eq!(status(&system, &execution).await, "pending_approval");
}

#[tokio::test]
async fn a_press_that_is_kept_while_the_timeout_is_being_saved_counts() {
    let system = start().await;
    let execution = awaiting(&system, "timeout:15m").await;
    let execution_id: ExecutionId = execution.parse().unwrap();
    system.seconds(899).await;
    let (at, pressed) = (system.time.now(), system.instance_with(system.service.dynamodb(), Arc::new(Lost)));
    let plan = pressed.table.execution(execution_id).await.unwrap().unwrap().execution.plan;
    let user = SlackUser::parse("U0BOB", None).unwrap();
    let decision = SlackDecision { execution_id, digest: plan.digest(), approve: false, user, message: None };
    let press = async move { pressed.receive_press(decision, at).await.unwrap() };
    let tables = interleaved(system.service.dynamodb(), ":old_version", press);
    let instance = system.instance_with(&tables, Arc::new(Lost));
    instance.work_on(execution_id, &|| at + TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(status(&system, &execution).await, "cancelled");
    system.seconds(60).await;
    assert_eq!(decisions(&system, &execution).await, [r#"rejected "slack:U0BOB" "2026-01-05T12:14:59.000Z""#]);
}

#[tokio::test]
async fn who_is_notified_of_an_alerts_end_waits_for_none_of_its_starts() {
    let system = start().await;
    create(&system, &waiting("required\ntrigger: { service_pattern: \"worker-*\" }")).await;
    let id = system.register("worker-1", 6_000.0, json!({})).await;
    system.heartbeat("worker-1", "DOWN").await;
    // Of two reports of one instant either may be the later one.
    system.seconds(1).await;
    let (id, now) = (ServiceId::new(id), system.time.now());
    let report = Report { service: Named::Id(id), status: Status::Up, run_id: None, idempotency_key: None };
    system.instance_with(system.service.dynamodb(), Arc::new(Lost)).report(report, now).await.unwrap();
    let tables = interleaved(system.service.dynamodb(), "start#", std::future::pending());
    let instance = system.instance_with(&tables, Arc::clone(&system.service.medic().wakes));
    let is_recovery = |arrival: &Arrival| arrival.receiver == "slack" && arrival.text.contains("has recovered");
    tokio::select! {
        _ = instance.handle_row(Key::service(id), now) => panic!("one of its writes hangs"),
        found = system.receivers.wait_for(std::time::Duration::from_secs(30), is_recovery) => assert!(found.is_some()),
    }
}
