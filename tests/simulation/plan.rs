//! What a seed plans: services and their jobs with what they report, windows of maintenance, and playbooks.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::model::Span;
use crate::playbooks::Playbook;
use crate::rules::next_multiple;

/// A sequence of numbers that a seed gives (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let span = u64::try_from(high - low + 1).unwrap();
        low + i64::try_from((z ^ (z >> 31)) % span).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.between(0, i64::try_from(choices.len()).unwrap() - 1)).unwrap()]
    }
}

/// When a service must report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) every_minutes: i64,
    /// The zone of a schedule, and how far its clock is ahead of UTC; None for an interval.
    pub(crate) zone: Option<(&'static str, TimeDelta)>,
    pub(crate) grace_seconds: i64,
    pub(crate) threshold: i64,
}

impl Expected {
    fn of(dice: &mut Dice, pace: i64) -> Self {
        let zones = [("UTC", TimeDelta::zero()), ("Asia/Kathmandu", TimeDelta::minutes(345))];
        if dice.chance(30) {
            let every_minutes = dice.of(&[5, 15, 30]) * pace;
            let grace_seconds = dice.of(&[0, 30, 240]);
            return Self { every_minutes, zone: Some(dice.of(&zones)), grace_seconds, threshold: 1 };
        }
        let minutes = dice.of(&[3, 10, 20]);
        let threshold = if minutes == 3 { 1 } else { dice.of(&[1, 1, 2, 3]) };
        let grace_seconds = dice.of(&[0, 0, 30, 300]);
        Self { every_minutes: minutes * pace, zone: None, grace_seconds, threshold }
    }

    /// Returns the fields of a service that must report so.
    pub(crate) fn fields(&self) -> Value {
        let mut fields = json!({"threshold": self.threshold, "grace_period_seconds": self.grace_seconds});
        match (self.zone, self.every_minutes) {
            (None, minutes) => fields["alert_interval"] = json!(minutes),
            (Some((zone, _)), minutes) => {
                let (hours, rest) = (minutes / 60, minutes % 60);
                fields["schedule_cron"] =
                    if rest == 0 { json!(format!("0 */{hours} * * *")) } else { json!(format!("*/{rest} * * * *")) };
                fields["timezone"] = json!(zone);
            }
        }
        fields
    }
}

/// A service that a seed plans.
#[derive(Debug, Clone)]
pub(crate) struct PlannedService {
    pub(crate) expected: Expected,
    pub(crate) begins: DateTime<Utc>,
    /// Of services that run jobs.
    pub(crate) max_duration_ms: Option<i64>,
    /// What it reports when; at the end, only that it is up.
    pub(crate) reports: Vec<(DateTime<Utc>, Report)>,
    /// When another client reports that it is up, at about the same time and without waiting for the first.
    pub(crate) second_reports: Vec<DateTime<Utc>>,
    /// What operators change when.
    pub(crate) edits: Vec<(DateTime<Utc>, Edit)>,
}

/// An operator's change to a service.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit {
    Rule(Expected),
    Switch(bool),
    /// For so many minutes.
    Mute(i64),
    Unmute,
    Delete,
}

/// A span in which a receiver accepts nothing, where receivers fail at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub(crate) receiver: &'static str,
    pub(crate) span: Span,
}

impl Outage {
    fn of(dice: &mut Dice, Times { begin, quiet_from, .. }: Times) -> Self {
        let from = begin + TimeDelta::minutes(dice.between(5, 40));
        let to = from + TimeDelta::minutes(dice.between(5, 90));
        Self { receiver: dice.of(&["slack", "pagerduty", "webhook"]), span: Span { from, to: to.min(quiet_from) } }
    }
}

/// Maintenance of all services.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: DateTime<Utc>,
    pub(crate) lasts: TimeDelta,
    /// None for a window that happens once.
    pub(crate) recurrence: Option<Recurrence>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Recurrence {
    pub(crate) every_hours: i64,
    pub(crate) minute: i64,
}

impl Window {
    fn some(dice: &mut Dice, begin: DateTime<Utc>, pace: i64) -> Vec<Self> {
        let mut windows = Vec::new();
        if dice.chance(40) {
            let from = begin + TimeDelta::minutes(dice.between(10, 60) * pace);
            windows.push(Self { from, lasts: TimeDelta::minutes(dice.between(5, 40) * pace), recurrence: None });
        }
        if dice.chance(25) {
            let from = begin + TimeDelta::seconds(dice.between(1, 5_400) * pace);
            let recurrence = Recurrence { every_hours: if pace == 1 { 1 } else { 6 }, minute: dice.between(0, 59) };
            windows.push(Self {
                from,
                lasts: TimeDelta::minutes(dice.between(5, 20) * pace),
                recurrence: Some(recurrence),
            });
        }
        windows
    }

    pub(crate) fn fields(&self, name: &str) -> Value {
        let recurrence =
            self.recurrence.map(|Recurrence { every_hours, minute }| format!("{minute} */{every_hours} * * *"));
        json!({
            "name": name, "start_time": self.from.to_rfc3339(), "end_time": (self.from + self.lasts).to_rfc3339(),
            "timezone": "UTC", "recurrence": recurrence,
        })
    }

    /// Returns when it holds, until `end`.
    pub(crate) fn spans(&self, end: DateTime<Utc>) -> Vec<Span> {
        let span = |from| Span { from, to: from + self.lasts };
        let Some(Recurrence { every_hours, minute }) = self.recurrence else { return vec![span(self.from)] };
        let hours = TimeDelta::hours(every_hours);
        let first = next_multiple(self.from, hours, TimeDelta::minutes(minute));
        let nth = |n| Some(first + hours * n).filter(|from| *from < end);
        (0..).map_while(nth).map(span).collect()
    }
}

/// Spans in which the whole of Medic is stopped: some are short, and some long enough to be gaps.
fn stops(dice: &mut Dice, Times { begin, quiet_from, .. }: Times) -> Vec<Span> {
    let mut stops = Vec::new();
    let mut from = begin;
    for _ in 0..dice.between(1, 3) {
        from += TimeDelta::milliseconds(dice.between(15 * 60_000, 50 * 60_000));
        let lasts = dice.of(&[60_000, 240_000, 240_000, 420_000]);
        let to = from + TimeDelta::milliseconds(dice.between(lasts / 2, lasts));
        if to >= quiet_from {
            break;
        }
        stops.push(Span { from, to });
        from = to;
    }
    stops
}

/// Hours of each day by which the first service's targets are notified.
#[derive(Debug, Clone)]
pub(crate) struct Hours {
    begin: DateTime<Utc>,
    /// In minutes after the begin, which is at noon.
    ranges: Vec<(i64, i64)>,
}

impl Hours {
    fn of(dice: &mut Dice, Times { begin, pace, .. }: Times) -> Self {
        let mut ranges = Vec::new();
        let mut from = dice.between(0, 40) * pace;
        for _ in 0..dice.between(1, 3) {
            let to = from + dice.between(10, 60) * pace;
            if to >= 1_440 {
                break;
            }
            ranges.push((from, to));
            from = to + dice.between(10, 60) * pace;
        }
        Self { begin, ranges }
    }

    /// Returns the hours of every day, as a schedule has them.
    pub(crate) fn fields(&self) -> Value {
        let text = |minute: i64| format!("{:02}:{:02}", (12 + minute / 60) % 24, minute % 60);
        let ranges: Vec<_> =
            self.ranges.iter().map(|(from, to)| json!({"start": text(*from), "end": text(*to)})).collect();
        // A range that begins after midnight belongs to the day that begins then; every day is alike.
        let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
        let hours: serde_json::Map<_, _> = days.into_iter().map(|day| (day.to_owned(), json!(ranges))).collect();
        json!({"name": "shifts", "timezone": "UTC", "hours": hours})
    }

    pub(crate) fn hold(&self, at: DateTime<Utc>) -> bool {
        let minute = (at - self.begin).num_seconds().div_euclid(60).rem_euclid(1_440);
        self.ranges.iter().any(|(from, to)| (*from..*to).contains(&minute))
    }

    /// Returns the instants from `from` to `to` at which the period changes.
    pub(crate) fn changes(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let first = (from - self.begin).num_minutes() + 1;
        let last = (to - self.begin).num_minutes();
        let minutes = (first..=last).map(|minute| self.begin + TimeDelta::minutes(minute));
        minutes.filter(|at| self.hold(*at) != self.hold(*at - TimeDelta::minutes(1))).collect()
    }
}

/// What a service reports.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Report {
    Status(&'static str),
    /// A signal of a run, by its number.
    Signal(SignalKind, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalKind {
    Start,
    Complete,
    Fail,
}

impl SignalKind {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Complete => "complete",
            Self::Fail => "fail",
        }
    }

    /// The status of the heartbeat that it also is.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Start => "STARTED",
            Self::Complete => "COMPLETED",
            Self::Fail => "FAILED",
        }
    }
}

/// What happens in a seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) services: Vec<PlannedService>,
    pub(crate) windows: Vec<Window>,
    pub(crate) playbooks: Vec<Playbook>,
    pub(crate) outage: Option<Outage>,
    pub(crate) stops: Vec<Span>,
    /// Of the first service, if it has targets by period.
    pub(crate) hours: Option<Hours>,
    /// How slow everything is: minutes that stand for one.
    pub(crate) pace: i64,
    /// No fault happens after this.
    pub(crate) quiet_from: DateTime<Utc>,
    /// Everything has recovered by then.
    pub(crate) end: DateTime<Utc>,
}

impl Plan {
    pub(crate) fn of(seed: u64, begin: DateTime<Utc>) -> Self {
        let mut dice = Dice::new(seed);
        // Hours, or else days.
        let pace = if dice.chance(80) { 1 } else { 12 };
        let quiet_from = begin + TimeDelta::minutes(dice.between(60, 180) * pace);
        let end = quiet_from + TimeDelta::minutes(14);
        let times = Times { begin, quiet_from, end, pace };
        let mut services: Vec<_> = (0..dice.between(1, 2)).map(|_| PlannedService::of(&mut dice, times)).collect();
        if dice.chance(30) {
            services[0] = PlannedService::with_two_clients(&mut dice, times);
        }
        let windows = Window::some(&mut dice, begin, pace);
        if dice.chance(60) {
            let service = PlannedService::with_jobs(&mut dice, times);
            services.push(service);
        }
        let playbooks = if dice.chance(60) { Playbook::some(&mut dice) } else { Vec::new() };
        for service in &mut services {
            if dice.chance(60) && service.second_reports.is_empty() {
                service.edits = PlannedService::edits(&mut dice, service, times);
            }
        }
        let outage = dice.chance(40).then(|| Outage::of(&mut dice, times));
        // Dice of their own, so that all else in a seed is as it was without them.
        let mut dice = Dice::new(seed ^ 0x0067_6170_7300_0000);
        let stops = if dice.chance(40) { stops(&mut dice, times) } else { Vec::new() };
        let hours = dice.chance(40).then(|| Hours::of(&mut dice, times));
        Self { services, windows, playbooks, outage, stops, hours, pace, quiet_from, end }
    }
}

/// When a seed begins and ends, and how slow it is.
#[derive(Debug, Clone, Copy)]
struct Times {
    begin: DateTime<Utc>,
    quiet_from: DateTime<Utc>,
    end: DateTime<Utc>,
    pace: i64,
}

impl PlannedService {
    fn of(dice: &mut Dice, Times { begin, quiet_from, end, pace }: Times) -> Self {
        let expected = Expected::of(dice, pace);
        let Expected { every_minutes, grace_seconds, threshold, .. } = expected;
        let begins = begin + TimeDelta::seconds(dice.between(1, 120));
        let (interval, step) = (every_minutes * 60_000, every_minutes * 60_000 / threshold);
        let mut reports = Vec::new();
        let mut at = begins;
        while at < quiet_from {
            for _ in 0..dice.between(2, 6) {
                at += TimeDelta::milliseconds(dice.between(step * 3 / 10, step * 9 / 10));
                reports.push((at, dice.of(&["UP", "UP", "UP", "COMPLETED", "STARTED"])));
            }
            if dice.chance(30) {
                at += TimeDelta::milliseconds(dice.between(1_000, step));
                reports.push((at, dice.of(&["FAILED", "DOWN"])));
                let pause = dice.of(&[1_000, 20_000, step, interval * 2]);
                at += TimeDelta::milliseconds(dice.between(1, pause));
                reports.push((at, "UP"));
            } else {
                let pause = dice.of(&[interval / 2, interval * 2, interval * 5]);
                at += TimeDelta::milliseconds(interval + grace_seconds * 1_000 + dice.between(0, pause));
                reports.push((at, "UP"));
            }
        }
        reports.retain(|(at, _)| *at < quiet_from);
        let mut at = quiet_from + TimeDelta::seconds(dice.between(1, 60));
        while at < end {
            reports.push((at, "UP"));
            at += TimeDelta::minutes(2);
        }
        let reports = reports.into_iter().map(|(at, status)| (at, Report::Status(status))).collect();
        Self { expected, begins, max_duration_ms: None, reports, second_reports: Vec::new(), edits: Vec::new() }
    }

    /// Plans one of which two clients report at about the same time. As nobody can say in which order their heartbeats
    /// count, all say that it is up, one of them is enough, and no operator switches it.
    fn with_two_clients(dice: &mut Dice, times: Times) -> Self {
        let mut planned = Self::of(dice, times);
        planned.expected.threshold = 1;
        planned.reports.retain(|(_, report)| matches!(report, Report::Status("UP" | "COMPLETED")));
        for (at, _) in &planned.reports {
            if dice.chance(60) {
                planned.second_reports.push(*at + TimeDelta::milliseconds(dice.between(-1_500, 1_500)));
            }
        }
        planned
    }

    fn edits(dice: &mut Dice, service: &Self, times: Times) -> Vec<(DateTime<Utc>, Edit)> {
        let Times { quiet_from, pace, .. } = times;
        let mut edits = Vec::new();
        let mut at = service.begins + TimeDelta::minutes(1);
        loop {
            at += TimeDelta::milliseconds(dice.between(60_000, 40 * 60_000) * pace);
            if at >= quiet_from {
                return edits;
            }
            match dice.between(0, 99) {
                // Notifications about its runs depend on these too, which the model of jobs does not know.
                0..70 if service.max_duration_ms.is_some() => {}
                0..30 => edits.push((at, Edit::Mute(dice.of(&[20, 60, 1_440])))),
                30..45 => edits.push((at, Edit::Unmute)),
                70.. => edits.push((at, Edit::Rule(Expected::of(dice, pace)))),
                45 | 46 => {
                    edits.push((at, Edit::Delete));
                    return edits;
                }
                _ => {
                    edits.push((at, Edit::Switch(false)));
                    let pause = dice.of(&[500, 10_000, 300_000, 1_800_000]);
                    at = (at + TimeDelta::milliseconds(dice.between(1, pause))).min(quiet_from);
                    edits.push((at, Edit::Switch(true)));
                }
            }
        }
    }

    /// Plans one that runs jobs, beside what it reports as any other.
    fn with_jobs(dice: &mut Dice, times: Times) -> Self {
        let Times { quiet_from, pace, .. } = times;
        let mut planned = Self::of(dice, times);
        let max_duration_ms = dice.of(&[2, 10, 30]) * 60_000;
        planned.max_duration_ms = Some(max_duration_ms);
        let mut at = planned.begins;
        for run in 0.. {
            at += TimeDelta::milliseconds(dice.between(60_000, 20 * 60_000) * pace);
            if at >= quiet_from {
                break;
            }
            let signals = Self::run(dice, max_duration_ms);
            let signals = signals.into_iter().map(|(after, kind)| (at + after, Report::Signal(kind, run)));
            planned.reports.extend(signals.filter(|(at, _)| *at < quiet_from));
        }
        planned.reports.sort_by_key(|(at, _)| *at);
        planned
    }

    /// Plans the signals of one run, and how long after its beginning they come.
    fn run(dice: &mut Dice, max: i64) -> Vec<(TimeDelta, SignalKind)> {
        let takes = match dice.between(0, 9) {
            0..4 => dice.between(max / 10, max * 9 / 10),
            4..7 => dice.between(max + 1_000, max * 3),
            7 => max + dice.between(-3_000, 3_000),
            _ => return vec![(TimeDelta::zero(), SignalKind::Start)],
        };
        let (end, other) = dice.of(&[
            (SignalKind::Complete, SignalKind::Fail),
            (SignalKind::Complete, SignalKind::Fail),
            (SignalKind::Fail, SignalKind::Complete),
        ]);
        let soon = dice.between(1_000, 60_000);
        let signals = match dice.between(0, 9) {
            0..5 => vec![(0, SignalKind::Start), (takes, end)],
            5 | 6 => {
                let again = dice.between(1_000, takes / 2);
                vec![(0, SignalKind::Start), (again, SignalKind::Start), (takes, end), (takes + soon, end)]
            }
            7 => vec![(0, end), (soon, SignalKind::Start)],
            8 => vec![(0, end)],
            _ => vec![(0, SignalKind::Start), (takes, end), (takes + soon, other)],
        };
        signals.into_iter().map(|(after, kind)| (TimeDelta::milliseconds(after), kind)).collect()
    }
}
