//! What a seed plans: services, windows of maintenance, playbooks, stops, and what is at its maximum.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::model::Span;
use crate::planned_services::{MAX_RUN_MS, PlannedService, Team, Times};
use crate::playbooks::Playbook;
use crate::rules::next_multiple;

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
    /// Everything of which the first service, or a playbook, may have a limited number is there so often.
    pub(crate) is_largest: bool,
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
        let mut plan =
            Self { services, windows, playbooks, outage, stops, hours, is_largest: false, pace, quiet_from, end };
        plan.add_special(&mut dice, times);
        plan
    }

    /// Makes some seeds larger than others, adds services that few seeds have, and lets operators close alerts by hand.
    fn add_special(&mut self, dice: &mut Dice, times: Times) {
        match dice.between(0, 99) {
            0..5 => {
                self.is_largest = true;
                self.services = vec![PlannedService::silent_for_long(dice, times)];
                self.playbooks = Playbook::for_each_failure(dice, MAX_TRIGGERS);
            }
            5..24 => self.services.push(PlannedService::with_pings(dice, times)),
            24..30 => self.services.push(PlannedService::with_many_runs(dice, times)),
            30..40 => {
                let refused = PlannedService::of(dice, times);
                self.services.push(PlannedService { team: Some(Team::Refused), ..refused });
            }
            _ => {}
        }
        for service in &mut self.services {
            service.team = service.team.or_else(|| dice.chance(30).then_some(Team::Usual));
            if dice.chance(50) && service.second_reports.is_empty() {
                service.add_resolutions(dice, times);
            }
        }
    }

    /// Returns how many times rarer calls fail than elsewhere: where one handler makes hundreds of them, it would hardly ever
    /// come to its end.
    pub(crate) fn rarity(&self) -> u64 {
        let has_many_runs = self.services.iter().any(|service| service.max_duration_ms == Some(MAX_RUN_MS));
        if self.is_largest || has_many_runs { 10 } else { 1 }
    }

    /// Returns how many executions may start in an hour for one service.
    pub(crate) const fn max_starts(&self) -> usize {
        if self.is_largest { 1_000 } else { 3 }
    }
}

/// Triggers of the largest configuration, and its targets and webhooks.
const MAX_TRIGGERS: i64 = 20;
