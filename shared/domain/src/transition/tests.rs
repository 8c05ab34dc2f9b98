use proptest::prelude::*;

use super::*;
use crate::{HeartbeatId, Mute, RecentHeartbeats, ServiceId, Stamp, Status, from_millis};

const BEGIN: i64 = 1_790_000_000_000;

fn at(second: i64) -> DateTime<Utc> {
    from_millis(BEGIN + second * 1_000)
}

/// What happened in one second of a service's life.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    Heartbeat(Status),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Nothing),
        4 => Just(Event::Heartbeat(Status::Up)),
        1 => Just(Event::Heartbeat(Status::Started)),
        1 => Just(Event::Heartbeat(Status::Failed)),
    ]
}

/// The contract's rule, read naively over the whole history: is the service late at `now`?
fn is_late(rule: &Rule, heartbeats: &[i64], failed: Option<i64>, now: i64) -> bool {
    let valid: Vec<i64> = heartbeats.iter().copied().filter(|at| failed.is_none_or(|failed| *at > failed)).collect();
    let needed = rule.threshold as usize;
    let base = if valid.len() >= needed { valid[valid.len() - needed] } else { 0 };
    let interval = rule.expectation.interval().unwrap();
    now >= base + interval.num_seconds() + rule.grace.num_seconds()
}

#[test]
fn gaps_postpone_lateness_and_nothing_else() {
    let gaps = [Gap { from: at(20), begun: at(50), to: at(95) }];
    let expectation = Expectation::Interval(TimeDelta::seconds(30));
    let rule = Rule { expectation, grace: TimeDelta::seconds(10), threshold: 1 };
    let service = Service::register(ServiceId::new(1), rule, at(0));
    assert_eq!(service.judge(&gaps, at(95)), Decision::Rest { due_at: Some(at(135)) });
    let Decision::Act(Transition::Open(Opening::Overdue(deadline))) = service.judge(&gaps, at(135)) else {
        panic!("it is late")
    };
    assert_eq!((deadline.own, deadline.gap, deadline.is_in_gap), (at(40), Some(gaps[0]), true));
    let mut failed = service.clone();
    failed.record_heartbeat(Stamp::of(HeartbeatId::at(at(96), [0; 10])), Status::Failed, at(96));
    let reported = Opening::Pending(PendingEvent::Reported(Status::Failed));
    assert_eq!(failed.judge(&gaps, at(96)), Decision::Act(Transition::Open(reported)));
    let open = service.opened(AlertId::new(1), at(40)).service;
    assert_eq!(open.judge(&gaps, at(95)), Decision::Act(Transition::Remind { intervals: 1 }));
}

#[test]
fn a_new_period_is_judged_unless_muted_or_acknowledged() {
    let rule =
        Rule { expectation: Expectation::Interval(TimeDelta::seconds(600)), grace: TimeDelta::zero(), threshold: 1 };
    let mut open = Service::register(ServiceId::new(1), rule, at(0)).opened(AlertId::new(1), at(600)).service;
    open.set_next_period(Some(at(660)));
    assert_eq!(open.due_at, Some(at(660)));
    assert_eq!(open.judge(&[], at(660)), Decision::Act(Transition::ChangePeriod));
    let mut acknowledged = open.clone();
    acknowledged.outage.as_mut().unwrap().acknowledged = true;
    assert_eq!(acknowledged.judge(&[], at(660)), Decision::Rest { due_at: Some(at(1_200)) });
    let mute = Some(Mute { since: at(601), until: at(900) });
    let muted = Service { mute, ..open.clone() };
    assert_eq!(muted.judge(&[], at(660)), Decision::Rest { due_at: Some(at(900)) });
    let unmuted = muted.apply(Transition::Unmute, at(900)).service;
    assert_eq!(unmuted.judge(&[], at(900)), Decision::Act(Transition::ChangePeriod));
    let changed = open.apply(Transition::ChangePeriod, at(660));
    assert_eq!((changed.service.due_at, changed.notification_at), (Some(at(1_200)), Some(at(660))));
}

proptest! {
    /// Looked at each second, a service opens exactly when the naive reading says that it is late or it failed,
    /// and closes only when enough valid heartbeats came and the last of them recovers.
    #[test]
    fn transitions_follow_the_naive_reading(
        interval in 2_i64..12,
        grace in 0_i64..6,
        threshold in 1_u32..4,
        events in prop::collection::vec(event(), 1..80),
    ) {
        let expectation = Expectation::Interval(TimeDelta::seconds(interval));
        let rule = Rule { expectation, grace: TimeDelta::seconds(grace), threshold };
        let mut service = Service::register(ServiceId::new(1), rule.clone(), at(0));
        let (mut heartbeats, mut failed, mut alerts) = (Vec::new(), None, 0);
        for (second, event) in (1..).zip(events) {
            let mut reported_failure = false;
            if let Event::Heartbeat(status) = event {
                let id = HeartbeatId::at(at(second), [0; 10]);
                service.record_heartbeat(Stamp::of(id), status, at(second));
                if status.counts_as_alive() { heartbeats.push(second) } else { (failed, reported_failure) = (Some(second), true) }
            }
            let was_open = service.outage.is_some();
            while let Decision::Act(transition) = service.judge(&[], at(second)) {
                service = if let Transition::Open(_) = transition {
                    alerts += 1;
                    service.opened(AlertId::new(alerts), at(second)).service
                } else {
                    service.apply(transition, at(second)).service
                };
            }
            let is_open = service.outage.is_some();
            if !was_open {
                prop_assert_eq!(is_open, reported_failure || is_late(&rule, &heartbeats, failed, second), "at {}", second);
            } else if !is_open {
                prop_assert!(matches!(event, Event::Heartbeat(Status::Up)), "closed at {second} by {event:?}");
                prop_assert!(!is_late(&rule, &heartbeats, failed, second), "closed at {second} while late");
            } else if let Event::Heartbeat(Status::Up) = event {
                let valid = heartbeats.iter().filter(|at| failed.is_none_or(|failed| **at > failed)).count();
                let enough = valid >= threshold as usize;
                prop_assert!(!enough || is_late(&rule, &heartbeats, failed, second), "still open at {second}");
            }
            // At rest it comes due, and not before now.
            prop_assert!(service.timer().is_some_and(|due| due > at(second)));
        }
    }

    /// However late it is looked at, the number of intervals counted is the number that passed.
    #[test]
    fn reminders_catch_up(interval in 1_i64..500, looks in prop::collection::vec(1_i64..3_000, 1..20)) {
        let expectation = Expectation::Interval(TimeDelta::seconds(interval));
        let rule = Rule { expectation, grace: TimeDelta::zero(), threshold: 1 };
        let mut service = Service::register(ServiceId::new(1), rule, at(0)).opened(AlertId::new(1), at(0)).service;
        let mut now = 0;
        for wait in looks {
            now += wait;
            let mut notifications = 0;
            while let Decision::Act(transition) = service.judge(&[], at(now)) {
                let change = service.apply(transition, at(now));
                notifications += u32::from(change.notification_at.is_some());
                service = change.service;
            }
            prop_assert!(notifications <= 1, "one reminder for a look");
            prop_assert_eq!(i64::from(service.consecutive_failures()), 1 + now / interval);
        }
    }
}

/// Any second of three minutes, of which the last two have not passed at `at(60)`.
fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..180).prop_map(at)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    prop_oneof![Just(Stamp::NONE), instant().prop_map(|at| Stamp::of(HeartbeatId::at(at, [0; 10])))]
}

fn rule() -> impl Strategy<Value = Rule> {
    let expectation = prop_oneof![
        (1_i64..200).prop_map(|seconds| (Expectation::Interval(TimeDelta::seconds(seconds)), 1..4_u32)),
        Just((Expectation::parse(None, Some("* * * * *"), None).unwrap(), 1..2_u32)),
    ];
    (expectation, 0_i64..20).prop_flat_map(|((expectation, thresholds), grace)| {
        let grace = TimeDelta::seconds(grace);
        thresholds.prop_map(move |threshold| Rule { expectation: expectation.clone(), grace, threshold })
    })
}

fn recent(threshold: u32) -> impl Strategy<Value = RecentHeartbeats> {
    let statuses = prop::option::of(prop::sample::select(Status::ALL.to_vec()));
    (prop::collection::vec(stamp(), threshold as usize), stamp(), statuses).prop_map(
        |(mut stamps, failed, last_status)| {
            stamps.sort_unstable_by(|one, other| other.cmp(one));
            RecentHeartbeats { stamps, failed, last_status }
        },
    )
}

fn pending() -> impl Strategy<Value = Option<PendingEvent>> {
    let reported = [Status::Down, Status::Failed].map(PendingEvent::Reported);
    let others = [PendingEvent::SetDown, PendingEvent::SetUp, PendingEvent::SwitchedOff];
    prop::option::of(prop::sample::select([&reported[..], &others[..]].concat()))
}

fn outage() -> impl Strategy<Value = Option<Outage>> {
    let fields = (stamp(), instant(), instant(), any::<bool>(), any::<bool>(), prop::option::of(instant()));
    prop::option::of(fields.prop_map(|(known, next_reminder_at, cycled_at, notified, acknowledged, next_period_at)| {
        Outage {
            alert_id: AlertId::new(1),
            known,
            next_reminder_at,
            cycled_at,
            cycle: 1,
            notified,
            acknowledged,
            next_period_at,
        }
    }))
}

/// A service in any state that its fields allow, however it came into it.
fn service() -> impl Strategy<Value = Service> {
    let mute = prop::option::of((instant(), instant()).prop_map(|(since, until)| Mute { since, until }));
    let look = prop::option::of((instant(), any::<bool>()).prop_map(|(at, last)| RunsLook { at, last, from: None }));
    let of_rule = rule().prop_flat_map(|rule| {
        let threshold = rule.threshold;
        (Just(rule), recent(threshold))
    });
    let flags = (any::<bool>(), any::<bool>());
    let timers = (instant(), prop::option::of(instant()), prop::option::of(instant()));
    (of_rule, flags, timers, pending(), outage(), mute, look).prop_map(
        |(
            (rule, recent),
            (active, deleted),
            (counts_from, due_at, last_notification_at),
            pending,
            outage,
            mute,
            look,
        )| {
            Service {
                active,
                deleted,
                counts_from,
                recent,
                pending,
                outage,
                mute,
                last_notification_at,
                runs_look: look,
                due_at,
                ..Service::register(ServiceId::new(1), rule, at(0))
            }
        },
    )
}

proptest! {
    /// Whatever state a service is in, it comes to rest within a few transitions and looks, and may then be rearmed: the
    /// row's condition for that is that nothing is pending. At rest, what is due next lies ahead.
    #[test]
    fn any_state_comes_to_a_rest_that_can_be_rearmed(mut service in service()) {
        let now = at(60);
        for _ in 0..12 {
            match service.judge(&[], now) {
                Decision::Act(Transition::Remove) => return Ok(()),
                Decision::Act(Transition::Open(_)) => service = service.opened(AlertId::new(1), now).service,
                Decision::Act(transition) => service = service.apply(transition, now).service,
                Decision::Rest { due_at } => {
                    prop_assert_eq!(service.pending, None);
                    if service.due_runs_look(now).is_none() {
                        prop_assert!(due_at.is_none_or(|at| at > now), "due at {due_at:?}: {service:?}");
                        prop_assert!(!service.deleted || service.runs_look.is_some(), "a deleted one is removed");
                        return Ok(());
                    }
                    service = service.looked_at_runs(None, now);
                }
            }
        }
        prop_assert!(false, "it does not come to rest: {service:?}");
    }
}

#[test]
fn a_look_goes_on_from_part_to_part_and_then_once_more() {
    let expectation = Expectation::Interval(TimeDelta::seconds(600));
    let rule = Rule { expectation, grace: TimeDelta::zero(), threshold: 1 };
    let mut service = Service::register(ServiceId::new(1), rule, at(0));
    service.runs_look = Some(RunsLook::beginning(at(5)));
    let (first, rest, version) = (service.runs_look, Some(Stamp::from_raw(7)), service.version);
    let service = service.looked_at_runs(rest, at(6));
    let next = at(6) + TimeDelta::milliseconds(1);
    assert_eq!(service.runs_look, Some(RunsLook { at: next, last: false, from: rest }));
    assert_eq!((service.version, service.due_runs_look(at(6)), service.timer()), (version + 1, None, Some(next)));
    let service = service.looked_at_runs(None, at(7));
    assert_eq!(service.runs_look, Some(RunsLook { at: at(17), last: true, from: None }));
    assert_eq!((service.due_runs_look(at(16)), service.timer()), (None, Some(at(17))));
    assert_eq!(service.clone().looked_at_runs(None, at(17)).runs_look, None);
    let off = Service { active: false, runs_look: first, ..service };
    assert_eq!(off.looked_at_runs(None, at(7)).runs_look, None, "nothing begins any more");
}
