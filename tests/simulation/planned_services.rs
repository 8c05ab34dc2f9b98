//! The services of a seed: what they report when, and what operators change.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::dice::Dice;

/// When a seed begins and ends, and how slow it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) begin: DateTime<Utc>,
    pub(crate) quiet_from: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    pub(crate) pace: i64,
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
    pub(crate) fn of(dice: &mut Dice, pace: i64) -> Self {
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
    /// It reports its runs by pings that do not name them, and nothing else.
    pub(crate) pings: bool,
    /// Its team's channel is notified of it.
    pub(crate) team: Option<Team>,
    /// What it reports when; at the end, only that it is up.
    pub(crate) reports: Vec<(DateTime<Utc>, Report)>,
    /// When another client reports that it is up, at about the same time and without waiting for the first.
    pub(crate) second_reports: Vec<DateTime<Utc>>,
    /// What operators change when.
    pub(crate) edits: Vec<(DateTime<Utc>, Edit)>,
}

/// A team that services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Team {
    Usual,
    /// One whose channel is gone, and PagerDuty does not know its services either.
    Refused,
}

impl Team {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Usual => "team",
            Self::Refused => "refused",
        }
    }

    pub(crate) const fn channel(self) -> &'static str {
        match self {
            Self::Usual => "C0TEAM",
            Self::Refused => REFUSED_CHANNEL,
        }
    }
}

/// A channel that is gone, and the one service that PagerDuty refuses.
pub(crate) const REFUSED_CHANNEL: &str = "C0REFUSED";
pub(crate) const REFUSED_SERVICE: &str = "service-refused";

/// An operator's change to a service.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit {
    Rule(Expected),
    Switch(bool),
    /// For so many minutes.
    Mute(i64),
    Unmute,
    Delete,
    /// Closes the alerts that are open, by hand.
    Resolve,
    /// Milliseconds that a run may take: longer than any does.
    MaxDuration(i64),
}

/// What a service reports.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Report {
    Status(&'static str),
    /// A signal of a run, by its number.
    Signal(SignalKind, usize),
    /// A ping that names no run.
    Ping(SignalKind),
}

impl Report {
    /// The status of the heartbeat that it is.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Status(status) => status,
            Self::Signal(kind, _) | Self::Ping(kind) => kind.status(),
        }
    }
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

impl PlannedService {
    pub(crate) const fn new(expected: Expected, begins: DateTime<Utc>, reports: Vec<(DateTime<Utc>, Report)>) -> Self {
        Self {
            expected,
            begins,
            max_duration_ms: None,
            pings: false,
            team: None,
            reports,
            second_reports: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// Returns the name of the service in this place.
    pub(crate) fn name(&self, place: usize) -> String {
        if self.team == Some(Team::Refused) { REFUSED_SERVICE.to_owned() } else { format!("service-{place}") }
    }

    pub(crate) fn of(dice: &mut Dice, times: Times) -> Self {
        let Times { begin, quiet_from, end, pace } = times;
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
        Self::new(expected, begins, reports)
    }

    /// Plans one of which two clients report at about the same time. As nobody can say in which order their heartbeats
    /// count, all say that it is up, one of them is enough, and no operator switches it.
    pub(crate) fn with_two_clients(dice: &mut Dice, times: Times) -> Self {
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

    pub(crate) fn edits(dice: &mut Dice, service: &Self, times: Times) -> Vec<(DateTime<Utc>, Edit)> {
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
    pub(crate) fn with_jobs(dice: &mut Dice, times: Times) -> Self {
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

    /// Plans one that reports runs by pings that do not name them. One heartbeat is enough for it, as a ping that is
    /// repeated counts again.
    pub(crate) fn with_pings(dice: &mut Dice, times: Times) -> Self {
        let Times { begin, quiet_from, end, pace } = times;
        let expected = Expected { threshold: 1, ..Expected::of(dice, pace) };
        let mut planned = Self::new(expected, begin + TimeDelta::seconds(dice.between(1, 120)), Vec::new());
        let max_duration_ms = dice.of(&[2, 10, 30]) * 60_000;
        (planned.max_duration_ms, planned.pings) = (Some(max_duration_ms), true);
        let interval = expected.every_minutes * 60_000;
        let mut at = planned.begins;
        let mut ping = |at, kind| planned.reports.push((at, Report::Ping(kind)));
        loop {
            let pause = if dice.chance(25) { interval * 3 } else { interval * 9 / 10 };
            at += TimeDelta::milliseconds(dice.between(interval / 4, pause));
            if at >= quiet_from {
                break;
            }
            if !dice.chance(10) {
                ping(at, SignalKind::Start);
            }
            // A host that dies ends nothing, and begins anew when it is back.
            if dice.chance(60) {
                let takes = dice.of(&[max_duration_ms / 2, max_duration_ms / 2, max_duration_ms * 2]);
                at += TimeDelta::milliseconds(dice.between(1_000, takes));
                ping(
                    at,
                    dice.of(&[SignalKind::Complete, SignalKind::Complete, SignalKind::Complete, SignalKind::Fail]),
                );
            }
        }
        planned.reports.retain(|(at, _)| *at < quiet_from);
        let mut at = quiet_from + TimeDelta::seconds(dice.between(1, 60));
        while at < end {
            planned.reports.push((at, Report::Ping(SignalKind::Complete)));
            at += TimeDelta::minutes(2);
        }
        planned
    }

    /// Plans one whose runs begin by the hundred, few of which end, and that may take longer than anything lasts: when it is
    /// muted, or their maximum changes, all of them are looked at.
    pub(crate) fn with_many_runs(dice: &mut Dice, times: Times) -> Self {
        let Times { begin, quiet_from, pace, .. } = times;
        let mut planned = Self::of(dice, times);
        planned.max_duration_ms = Some(MAX_RUN_MS);
        let mut at = begin + TimeDelta::minutes(2);
        for run in 0..usize::try_from(dice.between(200, 1_000)).unwrap() {
            at += TimeDelta::milliseconds(dice.between(1, 2_000));
            planned.reports.push((at, Report::Signal(SignalKind::Start, run)));
            if dice.chance(10) {
                let takes = dice.between(1, 1_800_000);
                planned.reports.push((at + TimeDelta::milliseconds(takes), Report::Signal(SignalKind::Complete, run)));
            }
        }
        planned.reports.retain(|(at, report)| *at < quiet_from || matches!(report, Report::Status(_)));
        planned.reports.sort_by_key(|(at, _)| *at);
        let mut at = begin + TimeDelta::minutes(10);
        while at < quiet_from {
            let edit = dice.of(&[Edit::Mute(5), Edit::Unmute, Edit::MaxDuration(0)]);
            let shorter = MAX_RUN_MS - dice.between(1, 3_600_000);
            planned
                .edits
                .push((at, if matches!(edit, Edit::MaxDuration(_)) { Edit::MaxDuration(shorter) } else { edit }));
            at += TimeDelta::milliseconds(dice.between(60_000, 20 * 60_000) * pace);
        }
        planned
    }

    /// Plans one that is well but once: then it is silent for so long that its alert is counted for up to twenty triggers.
    pub(crate) fn silent_for_long(dice: &mut Dice, times: Times) -> Self {
        let Times { begin, quiet_from, end, pace } = times;
        let expected = Expected { every_minutes: 3 * pace, zone: None, grace_seconds: 0, threshold: 1 };
        let minutes = |minutes: i64| TimeDelta::minutes(minutes * pace);
        let from = begin + minutes(dice.between(4, 20));
        let to = (from + minutes(dice.between(20, 66))).min(quiet_from);
        let mut planned = Self::new(expected, begin + TimeDelta::seconds(dice.between(1, 60)), Vec::new());
        let mut at = planned.begins;
        while at < end {
            at += if at < quiet_from { minutes(1) } else { TimeDelta::minutes(1) };
            if at < from || at >= to {
                planned.reports.push((at, Report::Status("UP")));
            }
        }
        planned
    }

    /// Has operators close its alerts by hand, now and then, until it is deleted.
    pub(crate) fn add_resolutions(&mut self, dice: &mut Dice, times: Times) {
        let deleted = self.edits.iter().find(|(_, edit)| matches!(edit, Edit::Delete)).map(|(at, _)| *at);
        let until = deleted.unwrap_or(times.quiet_from);
        for _ in 0..dice.between(1, 4) {
            let minutes = (times.quiet_from - times.begin).num_minutes();
            let at = times.begin + TimeDelta::milliseconds(dice.between(5 * 60_000, minutes * 60_000));
            if at < until {
                self.edits.push((at, Edit::Resolve));
            }
        }
    }
}

/// Longer than a seed lasts.
pub(crate) const MAX_RUN_MS: i64 = 20 * 24 * 3_600_000;
