use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    Approval, Condition, HttpMethod, Label, OnFailure, OnTimeout, PlannedScript, PlannedStep, PlannedWork, PlaybookId,
    ScriptId, ServiceId, Template, WebhookCall,
};

fn start() -> DateTime<Utc> {
    crate::from_millis(1_790_000_000_000)
}

fn at(seconds: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(seconds)
}

fn webhook() -> PlannedWork {
    PlannedWork::Webhook(WebhookCall {
        method: HttpMethod::Post,
        url: Template::parse("https://ops.example.com"),
        headers: BTreeMap::new(),
        body: None,
        success_codes: vec![200],
        timeout: TimeDelta::seconds(10),
    })
}

fn wait(seconds: i64) -> PlannedWork {
    PlannedWork::Wait { duration: TimeDelta::seconds(seconds) }
}

fn script() -> PlannedWork {
    PlannedWork::Script(PlannedScript {
        script_id: ScriptId::new(1),
        name: "clear".to_owned(),
        version: 1,
        parameters: BTreeMap::new(),
        timeout: TimeDelta::seconds(20),
    })
}

fn condition(on_failure: OnFailure) -> PlannedWork {
    PlannedWork::Condition(Condition {
        min_count: 2,
        status: None,
        service_id: None,
        timeout: TimeDelta::seconds(12),
        on_failure,
    })
}

fn begin_with(approval: Approval, works: Vec<PlannedWork>) -> Advance {
    let step = |(n, work)| PlannedStep { name: Label::parse("name", format!("step {n}"), 128).unwrap(), work };
    let new = NewExecution {
        id: ExecutionId::at(start(), [1; 10]),
        plan: Plan {
            playbook_id: PlaybookId::new(1),
            version: 1,
            service_id: Some(ServiceId::new(7)),
            variables: BTreeMap::new(),
            given: BTreeMap::new(),
            steps: works.into_iter().enumerate().map(step).collect(),
        },
        playbook_name: "restart".to_owned(),
        origin: Origin::Alert { alert_id: AlertId::new(1), trigger_id: TriggerId::new(1) },
        approval,
        verify_within: TimeDelta::minutes(10),
    };
    Execution::begin(new, start())
}

fn begin(works: Vec<PlannedWork>) -> Execution {
    begin_with(Approval::None, works).execution
}

fn due(execution: &Execution, seconds: i64) -> Advance {
    execution.advance(Event::Due, at(seconds))
}

fn done(execution: &Execution, step: usize, attempt: u32, succeeded: bool, seconds: i64) -> Advance {
    let outcome = Outcome { succeeded, output: "out".to_owned(), error: (!succeeded).then(|| "no".to_owned()) };
    execution.advance(Event::Done { step, attempt, outcome }, at(seconds))
}

fn cancel(execution: &Execution, seconds: i64) -> Advance {
    execution.advance(Event::Cancelled { by: Some("ops".to_owned()), reason: None }, at(seconds))
}

fn statuses(execution: &Execution) -> Vec<&'static str> {
    execution.steps.iter().map(|record| record.status.as_str()).collect()
}

fn audited(advance: &Advance) -> Vec<&'static str> {
    advance.effects.iter().filter_map(Effect::audited).map(|audited| audited.action().as_str()).collect()
}

#[test]
fn the_steps_run_in_order_to_a_verified_repair() {
    let begun = begin_with(Approval::None, vec![webhook(), wait(30), script(), condition(OnFailure::Escalate)]);
    assert_eq!(audited(&begun), ["execution_started"]);
    let claimed = due(&begun.execution, 0);
    let perform = Effect::Perform { step: 0, attempt: 1, began_at: at(0), deadline: at(40) };
    assert_eq!(claimed.effects, [perform]);
    // A second message finds the step claimed.
    assert_eq!(due(&claimed.execution, 1), Advance { execution: claimed.execution.clone(), effects: vec![] });
    let called = done(&claimed.execution, 0, 1, true, 2);
    assert_eq!(audited(&called), ["step_completed"]);
    let waiting = due(&called.execution, 2);
    assert_eq!((waiting.execution.status, waiting.execution.due_at()), (ExecutionStatus::Waiting, Some(at(32))));
    assert_eq!(waiting.effects, []);
    let waited = due(&waiting.execution, 32).execution;
    assert_eq!(waited.status, ExecutionStatus::Running);
    let run = done(&due(&waited, 32).execution, 2, 1, true, 33).execution;
    let looking = due(&run, 33).execution;
    let looked = |execution: &Execution, attempt, count, seconds| {
        execution.advance(Event::Looked { step: 3, attempt, count }, at(seconds))
    };
    let polling = looked(&looking, 1, 1, 33).execution;
    assert_eq!(polling.due_at(), Some(at(38)));
    let met = looked(&due(&polling, 38).execution, 2, 2, 38);
    assert_eq!(audited(&met), ["step_completed", "execution_completed"]);
    assert!(met.effects.contains(&Effect::NotifyFinished));
    assert_eq!(met.execution.steps[3].output, "2 heartbeats after 5.0 s");
    assert_eq!(statuses(&met.execution), ["completed"; 4]);
    let look = due(&met.execution, 68);
    assert_eq!(look.effects, [Effect::LookForReport { since: at(38), until: at(638) }]);
    let none = look.execution.advance(Event::Reported { first_at: None }, at(68)).execution;
    assert_eq!(none.verification, Verification::None);
    let verified = none.advance(Event::Reported { first_at: Some(at(70)) }, at(98)).execution;
    assert_eq!((verified.verification, verified.due_at()), (Verification::Verified { at: at(70) }, None));
    let unverified = none.advance(Event::Reported { first_at: None }, at(638)).execution;
    assert_eq!((unverified.verification, unverified.due_at()), (Verification::Unverified, None));
    assert_eq!(unverified.status, ExecutionStatus::Completed);
}

#[test]
fn a_failed_step_fails_the_execution_and_the_rest_are_skipped() {
    let claimed = due(&begin(vec![webhook(), wait(1)]), 0).execution;
    let failed = done(&claimed, 0, 1, false, 1);
    assert_eq!(audited(&failed), ["step_failed", "execution_failed"]);
    assert_eq!(statuses(&failed.execution), ["failed", "skipped"]);
    assert_eq!((failed.execution.status, failed.execution.due_at()), (ExecutionStatus::Failed, None));
    assert_eq!(done(&failed.execution, 0, 1, true, 2).execution, failed.execution);
}

#[test]
fn a_step_whose_worker_is_lost_is_tried_again_under_the_same_key_and_late_results_are_ignored() {
    let mut execution = due(&begin(vec![webhook()]), 0).execution;
    let key = execution.idempotency_key(0);
    let mut seconds = 0;
    for attempt in 2..=Execution::MAX_ATTEMPTS {
        seconds += 40;
        assert_eq!(due(&execution, seconds - 1).execution, execution);
        let again = due(&execution, seconds);
        assert!(matches!(again.effects[..], [Effect::Perform { attempt: now, .. }] if now == attempt));
        assert_eq!(done(&again.execution, 0, attempt - 1, true, seconds).execution, again.execution);
        execution = again.execution;
        assert_eq!(execution.idempotency_key(0), key);
    }
    let given_up = due(&execution, seconds + 40).execution;
    assert_eq!(given_up.status, ExecutionStatus::Failed);
    assert!(given_up.steps[0].error_message.as_ref().unwrap().ends_with("was lost, 5 times"));
    // A result that comes after the claim ended, and before anybody took over, counts.
    assert_eq!(done(&execution, 0, 5, true, seconds + 50).execution.status, ExecutionStatus::Completed);
}

#[test]
fn a_condition_that_does_not_hold_ends_as_on_failure_says() {
    for (on_failure, status, output, error) in [
        (OnFailure::Fail, "failed", "1 heartbeat of 2 within 12 s", Some("1 heartbeat of 2 within 12 s")),
        (OnFailure::Continue, "completed", "1 heartbeat of 2 within 12 s", None),
        (OnFailure::Escalate, "failed", "[ESCALATE] 1 heartbeat of 2 within 12 s", Some("Escalating to on-call")),
    ] {
        let mut execution = begin(vec![condition(on_failure)]);
        let mut looks = Vec::new();
        let last = loop {
            let seconds = (execution.due_at().unwrap() - start()).num_seconds();
            looks.push(seconds);
            let look = due(&execution, seconds).execution;
            let attempt = u32::try_from(looks.len()).unwrap();
            let looked = look.advance(Event::Looked { step: 0, attempt, count: 1 }, at(seconds));
            if looked.execution.status != ExecutionStatus::Running {
                break looked;
            }
            execution = looked.execution;
        };
        assert_eq!(looks, [0, 5, 10, 12]);
        let record = &last.execution.steps[0];
        assert_eq!(
            (record.status.as_str(), record.output.as_str(), record.error_message.as_deref()),
            (status, output, error)
        );
        assert_eq!(last.effects.contains(&Effect::Escalate { step: 0 }), on_failure == OnFailure::Escalate);
    }
}

#[test]
fn approval_waits_for_a_person_and_the_first_decision_stands() {
    let asked = begin_with(Approval::Required, vec![wait(1)]);
    assert_eq!(audited(&asked), ["approval_requested"]);
    assert!(asked.effects.contains(&Effect::RequestApproval));
    let asked = asked.execution;
    assert_eq!((asked.status, asked.due_at()), (ExecutionStatus::PendingApproval, Some(at(7 * 86_400))));
    let by = |name: &str, seconds| Decided { by: Some(name.to_owned()), reason: None, at: at(seconds) };
    let approved = asked.advance(Event::Approved(by("ann", 5)), at(5));
    assert_eq!(audited(&approved), ["approved", "execution_started"]);
    let rejected = approved.execution.advance(Event::Rejected(by("bob", 6)), at(6));
    assert_eq!(rejected, Advance { execution: approved.execution, effects: vec![] });
    let rejected = asked.advance(Event::Rejected(by("bob", 5)), at(5));
    assert_eq!(audited(&rejected), ["rejected", "execution_cancelled"]);
    assert_eq!(statuses(&rejected.execution), ["skipped"]);
    assert!(!rejected.execution.awaits_decision());
    let expired = due(&asked, 7 * 86_400);
    assert_eq!(expired.execution.status, ExecutionStatus::Cancelled);
    let closed = asked.advance(Event::AlertClosed, at(9)).execution;
    assert_eq!(closed.status, ExecutionStatus::Cancelled);
    let running = begin(vec![webhook()]);
    assert_eq!(running.advance(Event::AlertClosed, at(9)).execution, running);
}

#[test]
fn an_approval_that_times_out_proceeds_or_expires() {
    let asked = |then| begin_with(Approval::Timeout { after: TimeDelta::minutes(15), then }, vec![wait(1)]).execution;
    let proceeded = due(&asked(OnTimeout::Proceed), 900);
    assert_eq!(audited(&proceeded), ["approved", "execution_started"]);
    let decision = proceeded.execution.decision.unwrap();
    assert_eq!((decision.by, decision.reason.as_deref()), (None, Some("timeout")));
    assert_eq!(due(&asked(OnTimeout::Proceed), 899).execution.status, ExecutionStatus::PendingApproval);
    let expired = due(&asked(OnTimeout::Cancel), 900);
    assert_eq!(audited(&expired), ["execution_cancelled"]);
}

#[test]
fn a_decision_counts_from_when_it_was_made_however_late_it_is_handled() {
    let timeout = Approval::Timeout { after: TimeDelta::minutes(15), then: OnTimeout::Proceed };
    let asked = begin_with(timeout, vec![wait(1)]).execution;
    let made = |seconds| Decided { by: Some("bob".to_owned()), reason: None, at: at(seconds) };
    let in_time = asked.advance(Event::Rejected(made(899)), at(5_000));
    assert_eq!(audited(&in_time), ["rejected", "execution_cancelled"]);
    assert_eq!((in_time.execution.decision, in_time.execution.completed_at), (Some(made(899)), Some(at(5_000))));
    assert_eq!(asked.advance(Event::Rejected(made(900)), at(5_000)), due(&asked, 5_000));
    // By a clock that is behind the decision's, the timeout is yet to come.
    assert_eq!(asked.advance(Event::Rejected(made(900)), at(899)), due(&asked, 899));
}

#[test]
fn cancelling_works_in_every_state_and_records_the_step_that_is_being_done() {
    let asked = begin_with(Approval::Required, vec![wait(1)]).execution;
    let ready = begin(vec![webhook(), webhook()]);
    let waiting = due(&begin(vec![wait(9), webhook()]), 0).execution;
    let looking = due(&begin(vec![condition(OnFailure::Fail)]), 0).execution;
    let polling = looking.advance(Event::Looked { step: 0, attempt: 1, count: 0 }, at(0)).execution;
    for execution in [asked, ready.clone(), waiting, looking, polling] {
        let cancelled = cancel(&execution, 1);
        assert_eq!(audited(&cancelled), ["execution_cancelled"]);
        assert!(statuses(&cancelled.execution).iter().all(|status| *status == "skipped"));
        assert_eq!(cancel(&cancelled.execution, 2).effects, []);
    }
    let claimed = due(&ready, 0).execution;
    let cancelling = cancel(&claimed, 1);
    assert_eq!((cancelling.execution.status, cancelling.effects.len()), (ExecutionStatus::Running, 0));
    assert!(!cancelling.execution.can_be_cancelled());
    let ended = done(&cancelling.execution, 0, 1, true, 2);
    assert_eq!(audited(&ended), ["step_completed", "execution_cancelled"]);
    assert_eq!(statuses(&ended.execution), ["completed", "skipped"]);
    assert_eq!(ended.execution.cancelled_by.unwrap().by.as_deref(), Some("ops"));
    let lost = due(&cancelling.execution, 40).execution;
    assert_eq!((lost.status, statuses(&lost)), (ExecutionStatus::Cancelled, vec!["failed", "skipped"]));
    let completed = done(&due(&begin(vec![webhook()]), 0).execution, 0, 1, true, 1).execution;
    assert_eq!(cancel(&completed, 2).execution, completed);
}

fn any_work() -> impl Strategy<Value = PlannedWork> {
    prop_oneof![
        Just(webhook()),
        (1..100_i64).prop_map(wait),
        Just(script()),
        prop_oneof![Just(OnFailure::Fail), Just(OnFailure::Continue), Just(OnFailure::Escalate)].prop_map(condition),
    ]
}

fn any_approval() -> impl Strategy<Value = Approval> {
    let timeout = |then| Approval::Timeout { after: TimeDelta::minutes(15), then };
    prop_oneof![
        Just(Approval::None),
        Just(Approval::Required),
        Just(timeout(OnTimeout::Proceed)),
        Just(timeout(OnTimeout::Cancel)),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let outcome = any::<bool>().prop_map(|succeeded| Outcome { succeeded, output: String::new(), error: None });
    let decided = || (0..2_000_i64).prop_map(|seconds| Decided { by: None, reason: None, at: at(seconds) });
    prop_oneof![
        6 => Just(Event::Due),
        1 => decided().prop_map(Event::Approved),
        1 => decided().prop_map(Event::Rejected),
        1 => Just(Event::AlertClosed),
        1 => Just(Event::Cancelled { by: None, reason: None }),
        6 => (0..4_usize, 1..4_u32, outcome).prop_map(|(step, attempt, outcome)| Event::Done { step, attempt, outcome }),
        4 => (0..4_usize, 1..4_u32, 0..4_u32)
            .prop_map(|(step, attempt, count)| Event::Looked { step, attempt, count }),
        1 => proptest::option::of(0..5_000_i64)
            .prop_map(|seconds| Event::Reported { first_at: seconds.map(at) }),
    ]
}

/// What must hold of a step from one state to the next: what is recorded stays, whatever comes.
fn check(before: &Execution, after: &Advance) {
    let ended = |status| matches!(status, StepStatus::Completed | StepStatus::Failed | StepStatus::Skipped);
    for (old, new) in before.steps.iter().zip(&after.execution.steps) {
        assert!(!ended(old.status) || old == new, "a result was recorded twice");
    }
    assert!(!before.status.is_terminal() || before.status == after.execution.status, "it ended twice");
    let running = after.execution.steps.iter().filter(|record| record.status == StepStatus::Running).count();
    assert!(running <= 1);
    if after.execution.status.is_terminal() {
        assert!(after.execution.steps.iter().all(|record| ended(record.status)));
        assert!(after.execution.completed_at.is_some());
    } else {
        assert!(after.execution.due_at().is_some(), "it goes on with no timer");
    }
    if after.execution == *before {
        let looks = |effect: &Effect| matches!(effect, Effect::LookForReport { .. });
        assert!(after.effects.iter().all(looks), "effects of no change");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_events_in_any_order_end_it_with_each_result_recorded_once(
        approval in any_approval(),
        works in proptest::collection::vec(any_work(), 1..5),
        events in proptest::collection::vec((any_event(), 0..60_i64), 0..60),
    ) {
        let begun = begin_with(approval, works);
        let mut recorded = vec![0; begun.execution.steps.len()];
        let mut ends = 0;
        let mut count = |advance: &Advance| {
            for effect in &advance.effects {
                if let Effect::Audit(Audited::StepCompleted { step } | Audited::StepFailed { step }) = effect {
                    recorded[*step] += 1;
                } else if let Effect::Audit(Audited::Completed | Audited::Failed | Audited::Cancelled(_)) = effect {
                    ends += 1;
                }
            }
        };
        let (mut execution, mut now) = (begun.execution, start());
        for (event, pause) in events {
            now += TimeDelta::seconds(pause);
            // Each twice: whoever handles it again finds it done.
            let once = execution.advance(event.clone(), now);
            check(&execution, &once);
            count(&once);
            let twice = once.execution.advance(event.clone(), now);
            check(&once.execution, &twice);
            count(&twice);
            execution = twice.execution;
        }
        // From here on nothing reports but the last look: its timers alone bring it to its end.
        let mut moves = 0;
        while let Some(at) = execution.due_at() {
            now = now.max(at);
            let next = execution.advance(Event::Due, now);
            check(&execution, &next);
            count(&next);
            let looks = next.effects.iter().any(|effect| matches!(effect, Effect::LookForReport { .. }));
            execution = next.execution;
            if looks {
                execution = execution.advance(Event::Reported { first_at: None }, now).execution;
            }
            moves += 1;
            prop_assert!(moves < 1_000, "it never ends");
        }
        prop_assert!(execution.status.is_terminal());
        prop_assert_eq!(ends, 1);
        for (count, record) in recorded.iter().zip(&execution.steps) {
            let was_recorded = matches!(record.status, StepStatus::Completed | StepStatus::Failed);
            prop_assert_eq!(*count, usize::from(was_recorded));
        }
    }
}
