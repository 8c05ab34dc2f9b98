use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::{Mute, RunContext, RunDecision, RunTransition, from_millis};

const BEGIN: i64 = 1_790_000_000_000;
const MAX: u64 = 500;

fn at(millis: i64) -> DateTime<Utc> {
    from_millis(BEGIN + millis)
}

fn new(n: usize) -> Run {
    Run::new(ServiceId::new(1), RunId::parse(format!("run-{n}")).unwrap())
}

/// One signal of one of four runs, received at its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    at: i64,
    kind: SignalKind,
    run: usize,
}

fn sent() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![Just(SignalKind::Start), Just(SignalKind::Complete), Just(SignalKind::Fail)];
    (0_i64..2_000, kind, 0_usize..4).prop_map(|(at, kind, run)| Sent { at, kind, run })
}

type Shown = (Option<DateTime<Utc>>, Option<RunEnd>, Option<u64>, RunStatus, Option<(u64, u64)>);

/// What users see of a run.
fn shown(run: &Run) -> Shown {
    (run.started_at, run.end, run.duration_ms(), run.status(), run.exceeded())
}

fn context() -> RunContext {
    RunContext { is_monitored: true, max_duration_ms: Some(MAX), mute: None }
}

/// The contract's rule, read naively over signals in order: the first start that comes before the first end.
fn naive(signals: &[Sent], run: usize) -> (Option<i64>, Option<i64>) {
    let (mut start, mut end) = (None, None);
    for signal in signals.iter().filter(|signal| signal.run == run) {
        if end.is_none() {
            if signal.kind.is_end() { end = Some(signal.at) } else { start = start.or(Some(signal.at)) }
        }
    }
    (start, end)
}

proptest! {
    /// However signals are interleaved, repeated and reordered, and whenever the sweep looks, each run comes to what its
    /// signals say in order and once each; no duration is negative, and a run is stale once at most.
    #[test]
    fn runs_come_to_the_same_in_any_order(
        (ordered, arriving) in prop::collection::vec(sent(), 1..24).prop_flat_map(|mut signals| {
            signals.sort_unstable();
            let repeated: Vec<_> = signals.iter().chain(&signals).copied().collect();
            (Just(signals.clone()), prop::sample::subsequence(repeated.clone(), 0..=repeated.len()).prop_map(
                move |more| signals.iter().chain(&more).copied().collect::<Vec<_>>(),
            ).prop_shuffle())
        }),
        looks in prop::collection::vec(0_i64..4_000, 64),
    ) {
        let mut in_order: Vec<Run> = (0..4).map(new).collect();
        for Sent { at: sent_at, kind, run } in &ordered {
            in_order[*run].record_signal(*kind, at(*sent_at), Some(MAX), at(*sent_at));
        }
        let mut runs: Vec<Run> = (0..4).map(new).collect();
        let mut stale = [0; 4];
        for (n, Sent { at: sent_at, kind, run }) in arriving.iter().enumerate() {
            let now = at(looks[n % looks.len()]);
            runs[*run].record_signal(*kind, at(*sent_at), Some(MAX), now);
            let run_now = &mut runs[*run];
            while let RunDecision::Act(transition) = run_now.judge(&context(), &[], now) {
                *run_now = if matches!(transition, RunTransition::GoStale(_)) {
                    stale[*run] += 1;
                    run_now.clone().gone_stale(AlertId::new(1), &context(), now)
                } else {
                    run_now.clone().apply(transition, &context(), now)
                };
            }
        }
        for n in 0..4 {
            let (run, wanted) = (&runs[n], &in_order[n]);
            prop_assert_eq!((run.started_at, run.end), (wanted.started_at, wanted.end));
            prop_assert_eq!(run.duration_ms(), wanted.duration_ms());
            prop_assert!(run.duration_ms().is_none_or(|duration| duration < 2_000));
            prop_assert!(stale[n] <= 1);
            if run.end.is_some() {
                prop_assert_eq!(run.status(), wanted.status());
                prop_assert!(!run.is_stale_open() && !run.is_pending());
            }
            let (start, end) = naive(&ordered, n);
            prop_assert_eq!((run.started_at, run.end.map(|end| end.at)), (start.map(at), end.map(at)));
        }
    }
}

#[test]
fn a_run_lasts_from_its_first_start_to_its_first_end() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(10), Some(MAX), at(10));
    assert_eq!((run.status(), run.duration_ms(), run.due_at), (RunStatus::Started, None, Some(at(510))));
    run.record_signal(SignalKind::Complete, at(510), Some(MAX), at(510));
    assert_eq!(
        (run.status(), run.duration_ms(), run.due_at, run.exceeded()),
        (RunStatus::Completed, Some(500), None, None)
    );
    let ended = run.clone();
    for kind in [SignalKind::Start, SignalKind::Complete, SignalKind::Fail] {
        run.record_signal(kind, at(600), Some(MAX), at(600));
    }
    assert_eq!(run, ended, "signals after its end change nothing");
}

#[test]
fn an_end_alone_is_a_record_of_no_duration_that_is_not_measured() {
    let mut run = new(1);
    run.record_signal(SignalKind::Complete, at(10), Some(MAX), at(10));
    run.record_signal(SignalKind::Start, at(20), Some(MAX), at(20));
    assert_eq!((run.status(), run.started_at, run.duration_ms()), (RunStatus::Completed, None, Some(0)));
    assert!(!run.is_measured() && run.due_at.is_none());
}

#[test]
fn a_run_that_ends_over_its_maximum_is_notified_once() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    run.record_signal(SignalKind::Fail, at(501), Some(MAX), at(501));
    assert_eq!((shown(&run).4, run.due_at), (Some((1, MAX)), Some(at(501))));
    assert_eq!(run.judge(&context(), &[], at(501)), RunDecision::Act(RunTransition::Exceed));
    let run = run.apply(RunTransition::Exceed, &context(), at(501));
    assert_eq!(run.judge(&context(), &[], at(900)), RunDecision::Rest { due_at: None });
}

#[test]
fn a_stale_run_that_ends_has_recovered_and_is_not_reported_as_exceeded() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    assert_eq!(run.judge(&context(), &[], at(499)), RunDecision::Rest { due_at: Some(at(500)) });
    let stale = RunDecision::Act(RunTransition::GoStale(Deadline::at(at(500))));
    assert_eq!(run.judge(&context(), &[], at(500)), stale);
    let mut run = run.gone_stale(AlertId::new(3), &context(), at(500));
    assert_eq!((run.status(), run.due_at), (RunStatus::StaleAlerted, None));
    run.record_signal(SignalKind::Complete, at(700), Some(MAX), at(700));
    assert!(run.has_recovered());
    assert_eq!((run.status(), run.exceeded(), run.due_at), (RunStatus::Completed, Some((200, MAX)), Some(at(700))));
    assert_eq!(run.judge(&context(), &[], at(700)), RunDecision::Act(RunTransition::Recover));
    let run = run.apply(RunTransition::Recover, &context(), at(700));
    assert_eq!(run.judge(&context(), &[], at(700)), RunDecision::Rest { due_at: None });
}

#[test]
fn a_run_whose_end_may_have_come_in_a_gap_gets_its_maximum_again() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    let gaps = [Gap { from: at(400), begun: at(400), to: at(900) }];
    assert_eq!(run.judge(&context(), &gaps, at(900)), RunDecision::Rest { due_at: Some(at(1_400)) });
    let RunDecision::Act(RunTransition::GoStale(deadline)) = run.judge(&context(), &gaps, at(1_400)) else {
        panic!("it is stale")
    };
    assert_eq!((deadline.own, deadline.gap, deadline.is_in_gap), (at(500), Some(gaps[0]), true));
    let later = [Gap { from: at(501), begun: at(501), to: at(900) }];
    assert_eq!(run.deadline(Some(MAX), &later), Some(Deadline::at(at(500))));
}

#[test]
fn a_muted_service_is_notified_of_a_stale_run_when_the_mute_ends() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    let muted = RunContext { mute: Some(Mute { since: at(0), until: at(900) }), ..context() };
    let run = run.gone_stale(AlertId::new(3), &muted, at(500));
    assert_eq!((run.due_at, run.stale.map(|stale| stale.notified)), (Some(at(900)), Some(false)));
    assert_eq!(run.judge(&muted, &[], at(900)), RunDecision::Act(RunTransition::Notify));
    let notified = run.apply(RunTransition::Notify, &muted, at(900));
    assert_eq!((notified.due_at, notified.stale.map(|stale| stale.notified)), (None, Some(true)));
}

#[test]
fn a_service_that_is_switched_off_lets_its_runs_go() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    let off = RunContext { is_monitored: false, ..context() };
    assert_eq!(run.judge(&off, &[], at(1)), RunDecision::Act(RunTransition::LetGo));
    let mut run = run.apply(RunTransition::LetGo, &off, at(1));
    assert_eq!((run.due_at, run.judge(&context(), &[], at(900))), (None, RunDecision::Rest { due_at: None }));
    run.record_signal(SignalKind::Complete, at(900), Some(MAX), at(900));
    assert_eq!((run.duration_ms(), run.due_at), (Some(900), None));
}

#[test]
fn another_maximum_moves_the_timer_of_a_run_that_goes_on() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), None, at(0));
    assert_eq!(run.due_at, None);
    for (max, due_at) in [(Some(700), Some(at(700))), (Some(300), Some(at(300))), (None, None)] {
        let context = RunContext { max_duration_ms: max, ..context() };
        assert_eq!(run.judge(&context, &[], at(200)), RunDecision::Rest { due_at });
    }
}

#[test]
fn a_run_that_is_superseded_is_over_and_its_alert_closes() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    let mut calm = run.clone();
    calm.supersede(at(100));
    assert_eq!((calm.status(), calm.duration_ms(), calm.due_at), (RunStatus::Superseded, None, None));
    assert!(!calm.is_measured());
    assert_eq!(calm.judge(&context(), &[], at(900)), RunDecision::Rest { due_at: None });
    let mut run = run.gone_stale(AlertId::new(3), &context(), at(500));
    run.supersede(at(600));
    assert_eq!((run.status(), run.due_at), (RunStatus::Superseded, Some(at(600))));
    assert_eq!(run.judge(&context(), &[], at(600)), RunDecision::Act(RunTransition::Recover));
    let run = run.apply(RunTransition::Recover, &context(), at(600));
    assert_eq!(run.judge(&context(), &[], at(900)), RunDecision::Rest { due_at: None });
    let mut again = run.clone();
    again.supersede(at(900));
    assert_eq!(again, run);
}

#[test]
fn an_end_counts_whether_it_comes_before_a_later_run_or_after_it() {
    let mut ended = new(1);
    ended.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    let mut superseded = ended.clone();
    ended.record_signal(SignalKind::Complete, at(100), Some(MAX), at(100));
    ended.supersede(at(100));
    superseded.supersede(at(100));
    superseded.record_signal(SignalKind::Complete, at(100), Some(MAX), at(100));
    assert_eq!(shown(&ended), shown(&superseded));
    assert!(ended.is_measured() && superseded.is_measured());
    // One that is superseded before its start is known stays so.
    let mut unknown = new(2);
    unknown.supersede(at(5));
    unknown.record_signal(SignalKind::Start, at(4), Some(MAX), at(6));
    assert_eq!((unknown.status(), unknown.started_at, unknown.due_at), (RunStatus::Superseded, Some(at(4)), None));
}

#[test]
fn an_alert_that_is_closed_by_hand_does_not_open_again() {
    let mut run = new(1);
    run.record_signal(SignalKind::Start, at(0), Some(MAX), at(0));
    let mut run = run.gone_stale(AlertId::new(3), &context(), at(500));
    run.resolve(at(600));
    assert_eq!(
        (run.due_at, run.judge(&context(), &[], at(600))),
        (Some(at(600)), RunDecision::Act(RunTransition::Resolve))
    );
    let run = run.apply(RunTransition::Resolve, &context(), at(600));
    assert_eq!((run.status(), run.is_stale_open(), run.due_at), (RunStatus::StaleAlerted, false, None));
    assert_eq!(run.judge(&context(), &[], at(9_000)), RunDecision::Rest { due_at: None });
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..1_500).prop_map(at)
}

/// A run in any state that its fields allow, however it came into it.
fn any_run() -> impl Strategy<Value = Run> {
    let end = (instant(), any::<bool>()).prop_map(|(at, failed)| RunEnd { at, failed });
    let overrun = any::<bool>().prop_map(|settled| Overrun { max_duration_ms: MAX, settled });
    let stale = (any::<bool>(), any::<bool>(), any::<bool>(), of(instant()));
    let stale = stale.prop_map(|(notified, resolved, closed, next_period_at)| Stale {
        alert_id: AlertId::new(3),
        notified,
        resolved,
        closed,
        next_period_at,
    });
    (of(instant()), of(end), of(instant()), of(overrun), of(stale), any::<bool>(), of(instant())).prop_map(
        |(started_at, end, superseded_at, overrun, stale, let_go, due_at)| Run {
            started_at,
            end,
            superseded_at,
            overrun,
            stale,
            let_go,
            due_at,
            ..new(1)
        },
    )
}

proptest! {
    /// Whatever state a run is in, it comes to rest within a few transitions, and what is due next lies ahead.
    #[test]
    fn any_state_comes_to_rest(
        mut run in any_run(),
        is_monitored in any::<bool>(),
        max_duration_ms in of(1_u64..2_000),
        mute in of((instant(), instant()).prop_map(|(since, until)| Mute { since, until })),
    ) {
        let (context, now) = (RunContext { is_monitored, max_duration_ms, mute }, at(750));
        for _ in 0..5 {
            run = match run.judge(&context, &[], now) {
                RunDecision::Rest { due_at } => {
                    prop_assert!(due_at.is_none_or(|at| at > now), "due at {due_at:?}: {run:?}");
                    prop_assert!(!run.is_over() || !run.is_pending(), "nobody is notified: {run:?}");
                    return Ok(());
                }
                RunDecision::Act(RunTransition::GoStale(_)) => run.gone_stale(AlertId::new(3), &context, now),
                RunDecision::Act(transition) => run.apply(transition, &context, now),
            };
        }
        prop_assert!(false, "it does not come to rest: {run:?}");
    }
}
