//! The rules, derived simply and apart from `domain`: from what was acknowledged, whether an alert had to be open, may have
//! been, or must not have been. Where a response was lost, an instant is a span, and both readings are allowed.

use chrono::{DateTime, TimeDelta, Utc};

use crate::jobs::Jobs;
use crate::mutes::Expectation;
use crate::resolutions::Resolution;
use crate::rules::{Rule, Timing, instants, next_multiple, postponed};

/// A heartbeat that was acknowledged: it counted at some instant between its first attempt and its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    pub(crate) status: &'static str,
}

impl Heartbeat {
    pub(crate) fn counts_as_alive(&self) -> bool {
        matches!(self.status, "UP" | "STARTED" | "COMPLETED")
    }

    pub(crate) fn recovers(&self) -> bool {
        matches!(self.status, "UP" | "COMPLETED")
    }
}

/// An alert as Medic shows it.
#[derive(Debug, Clone)]
pub(crate) struct Alert {
    pub(crate) id: i64,
    pub(crate) opened: DateTime<Utc>,
    pub(crate) closed: Option<DateTime<Utc>>,
    pub(crate) cycle: i64,
    /// Opened because the service reported it, and not because it was late.
    pub(crate) is_reported: bool,
    /// Its reason names a gap.
    pub(crate) names_gap: bool,
    /// Somebody closed it by hand.
    pub(crate) is_resolved: bool,
}

impl Alert {
    fn is_open_at(&self, at: DateTime<Utc>) -> bool {
        self.opened <= at && self.closed.is_none_or(|closed| closed > at)
    }
}

/// A span of time, its end left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: DateTime<Utc>,
    pub(crate) to: DateTime<Utc>,
}

impl Span {
    pub(crate) fn covers(&self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.to
    }
}

/// An operator's change that was acknowledged: it was written at some instant between its first attempt and its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ChangeKind {
    Rule(Rule),
    On,
    Off,
    Deleted,
    /// Until then, unless something ends it before.
    Mute(DateTime<Utc>),
    Unmute,
}

/// A service, and all that happened to it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// As it was registered.
    pub(crate) rule: Rule,
    pub(crate) registered: Heartbeat,
    /// In their order.
    pub(crate) heartbeats: Vec<Heartbeat>,
    /// Those of them that may have counted more than once: so many times.
    pub(crate) repeated: Vec<(Heartbeat, usize)>,
    /// What operators changed, in its order.
    pub(crate) changes: Vec<Change>,
    /// What people closed by hand, in its order, and when its own alerts closed so.
    pub(crate) resolutions: Vec<Resolution>,
    pub(crate) resolved: Vec<DateTime<Utc>>,
    pub(crate) maintenance: Vec<Span>,
    /// When Medic could not hear, in its order.
    pub(crate) gaps: Vec<Span>,
    pub(crate) jobs: Option<Jobs>,
}

/// How late Medic may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    /// A transition after what is its cause.
    pub(crate) late: TimeDelta,
    /// A handler's clock may be read so long before it sees the table.
    pub(crate) early: TimeDelta,
}

/// Until when a service is checked, how exactly, and when it was in maintenance.
pub(crate) struct Watch<'a> {
    pub(crate) maintenance: &'a [Span],
    pub(crate) gaps: &'a [Span],
    pub(crate) end: DateTime<Utc>,
    pub(crate) tolerance: Tolerance,
}

impl Watch<'_> {
    /// Returns whether maintenance may hold back what falls due from `first` to `last`, however late Medic is.
    pub(crate) fn may_hold(&self, first: DateTime<Utc>, last: DateTime<Utc>) -> bool {
        let late = self.tolerance.late;
        self.maintenance.iter().any(|span| span.from <= last + late && first < span.to + late)
    }
}

/// Which of the instants of a span is meant.
#[derive(Clone, Copy)]
enum Reading {
    /// The one at which the service is late soonest: no heartbeat counts that may not have been there.
    Strict,
    /// The one at which it is late last.
    Lenient,
}

/// A span in which a service is switched off.
#[derive(Clone, Copy)]
struct Off {
    off: Change,
    on: Option<Change>,
}

/// A rule, and from when it may hold and holds for sure.
struct DatedRule {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    rule: Rule,
}

impl Service {
    /// What bounds the check of this service.
    pub(crate) fn watch(&self, end: DateTime<Utc>, tolerance: Tolerance) -> Watch<'_> {
        Watch { maintenance: &self.maintenance, gaps: &self.gaps, end, tolerance }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.changes.last().is_some_and(|change| matches!(change.kind, ChangeKind::Deleted))
    }

    /// The rules that may hold at some instant from `from` to `to`.
    pub(crate) fn rules(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Rule> {
        let registered = DatedRule { first: self.registered.first, last: self.registered.first, rule: self.rule };
        let changed = self.changes.iter().filter_map(|change| match change.kind {
            ChangeKind::Rule(rule) => Some(DatedRule { first: change.first, last: change.last, rule }),
            ChangeKind::On | ChangeKind::Off | ChangeKind::Deleted | ChangeKind::Mute(_) | ChangeKind::Unmute => None,
        });
        let all: Vec<_> = [registered].into_iter().chain(changed).collect();
        let may_hold = |place: usize| {
            let has_begun = place == 0 || all[place].first <= to;
            has_begun && all.get(place + 1).is_none_or(|next| next.last >= from)
        };
        (0..all.len()).filter(|place| may_hold(*place)).map(|place| all[place].rule).collect()
    }

    /// Returns when an alert that opened then is counted for the second time, at the earliest.
    pub(crate) fn counted_again(&self, opened: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
        let again = self.rules(opened, end).into_iter().map(|rule| match rule.timing {
            Timing::Interval(interval) => opened + interval,
            Timing::Schedule { .. } if !self.changes.is_empty() => opened,
            Timing::Schedule { period, offset } => {
                next_multiple(opened + TimeDelta::milliseconds(1), period, offset + rule.grace)
            }
        });
        again.min().unwrap_or(opened)
    }

    /// The spans in which it is switched off.
    fn offs(&self) -> Vec<Off> {
        let is_off = |change: &&Change| matches!(change.kind, ChangeKind::Off | ChangeKind::Deleted);
        let on_after = |off: &Change| {
            self.changes
                .iter()
                .find(|change| matches!(change.kind, ChangeKind::On) && change.first >= off.last)
                .copied()
        };
        self.changes.iter().filter(is_off).map(|off| Off { off: *off, on: on_after(off) }).collect()
    }

    fn is_off(&self, at: DateTime<Utc>, reading: Reading) -> bool {
        self.offs().iter().any(|Off { off, on }| match reading {
            Reading::Strict => off.last <= at && on.is_none_or(|on| at < on.first),
            Reading::Lenient => off.first <= at && on.is_none_or(|on| at < on.last),
        })
    }

    /// Since when it counts heartbeats, as it stands at `at`.
    fn counts_from(&self, at: DateTime<Utc>, reading: Reading) -> Heartbeat {
        let is_known = |change: &&Change| match reading {
            Reading::Strict => change.last <= at,
            Reading::Lenient => change.first <= at,
        };
        let ons = self.changes.iter().filter(|change| matches!(change.kind, ChangeKind::On)).filter(is_known);
        let ons = ons.map(|on| Heartbeat { first: on.first, last: on.last, status: "UP" });
        let resolved = self.resolved.iter().filter(|resolved| **resolved <= at);
        let resolved = resolved.map(|at| Heartbeat { first: *at, last: *at, status: "UP" });
        ons.chain(resolved).max_by_key(|counts_from| counts_from.first).unwrap_or(self.registered)
    }

    /// The last change that requires more heartbeats, or others: until those have come, it counts from then.
    fn raised(&self, at: DateTime<Utc>) -> Option<Change> {
        let mut before = self.rule;
        let mut raised = None;
        for change in self.changes.iter().filter(|change| change.first <= at) {
            if let ChangeKind::Rule(rule) = change.kind {
                let is_other = (before.is_schedule() || rule.is_schedule()) && before.timing != rule.timing;
                raised = if rule.threshold > before.threshold || is_other { Some(*change) } else { raised };
                before = rule;
            }
        }
        raised
    }

    /// The gaps that were known at `at`: a gap is recorded at its end.
    fn gaps_until(&self, at: DateTime<Utc>) -> Vec<Span> {
        self.gaps.iter().filter(|gap| gap.to <= at).copied().collect()
    }

    /// From when the service is late, as it stands at `at` and as these gaps postpone it; never while it is off.
    fn overdue(&self, at: DateTime<Utc>, reading: Reading, gaps: &[Span]) -> Option<DateTime<Utc>> {
        if self.is_off(at, reading) {
            return None;
        }
        let one = |all: Vec<DateTime<Utc>>| match reading {
            Reading::Strict => all.into_iter().min(),
            Reading::Lenient => all.into_iter().max(),
        };
        let late_after = |rule: Rule, heard: &Heartbeat, is_start: bool| {
            let late = |at| rule.late(at, Some(at).filter(|_| !is_start));
            let fresh = rule.period() + rule.grace;
            let all = instants(heard.first, heard.last, gaps);
            one(all.into_iter().map(|at| postponed(late(at), at, fresh, gaps)).collect()).expect("an instant")
        };
        let is_known = |heartbeat: &&Heartbeat| match reading {
            Reading::Strict => heartbeat.last <= at,
            Reading::Lenient => heartbeat.first <= at,
        };
        let counts_from = self.counts_from(at, reading);
        let counts = |heartbeat: &&Heartbeat| match reading {
            Reading::Strict => heartbeat.first >= counts_from.last,
            Reading::Lenient => heartbeat.last >= counts_from.first,
        };
        let known: Vec<_> = self.heartbeats.iter().filter(is_known).filter(counts).collect();
        let lives: Vec<_> =
            known.rsplit(|heartbeat| !heartbeat.counts_as_alive()).next().into_iter().flatten().collect();
        let late = |rule: Rule| {
            let late = match lives.len().checked_sub(rule.threshold) {
                Some(nth) => late_after(rule, lives[nth], false),
                None => late_after(rule, &counts_from, true),
            };
            let raised = self.raised(at).filter(|raised| {
                lives.iter().filter(|heartbeat| heartbeat.first >= raised.last).count() < rule.threshold
            });
            let raised = raised.map(|raised| Heartbeat { first: raised.first, last: raised.last, status: "UP" });
            let raised = raised.map(|raised| late_after(rule, &raised, true));
            one([late].into_iter().chain(raised).collect()).unwrap_or(late)
        };
        one(self.rules(at, at).into_iter().map(late).collect())
    }

    /// Whether an alert that opened because the service was late starts playbooks: not if it was due in a gap.
    pub(crate) fn starts_playbooks(&self, alert: &Alert) -> Expectation {
        if !alert.names_gap {
            return Expectation::Required;
        }
        let own = |reading| self.overdue(alert.opened, reading, &[]);
        let (Some(first), Some(last)) = (own(Reading::Strict), own(Reading::Lenient)) else {
            return Expectation::Allowed;
        };
        starts_playbooks(first, last, &self.gaps)
    }

    pub(crate) fn may_be_held(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.maintenance.iter().any(|span| span.from <= to && from < span.to)
    }

    fn is_held(&self, at: DateTime<Utc>) -> bool {
        self.maintenance.iter().any(|span| span.covers(at))
    }

    /// Returns whether the service's own heartbeats up to this one are enough again, by the rules until `by`.
    fn has_recovered_by(&self, place: usize, by: DateTime<Utc>, reading: Reading) -> bool {
        let heartbeat = self.heartbeats[place];
        let since = match reading {
            Reading::Strict => {
                let raised = self.raised(by).map_or(self.registered.first, |raised| raised.last);
                self.counts_from(by, Reading::Lenient).first.max(raised)
            }
            Reading::Lenient => self.registered.first,
        };
        let lives = self.heartbeats[..=place].iter().rev();
        let lives: Vec<_> =
            lives.take_while(|heartbeat| heartbeat.counts_as_alive() && heartbeat.first >= since).collect();
        let is_enough = |rule: &Rule| {
            let Some(nth) = lives.get(rule.threshold - 1) else { return false };
            let span = match reading {
                Reading::Strict => heartbeat.last - nth.first,
                Reading::Lenient => heartbeat.first - nth.last,
            };
            rule.is_schedule() || span < rule.period() + rule.grace
        };
        let rules = self.rules(heartbeat.first, by);
        heartbeat.recovers()
            && match reading {
                Reading::Strict => rules.iter().all(is_enough),
                Reading::Lenient => rules.iter().any(is_enough),
            }
    }

    /// Returns the heartbeats that were acknowledged and are not shown once, and those that are shown and were not sent.
    pub(crate) fn heartbeat_problems(&self, observed: &[(DateTime<Utc>, String)]) -> Vec<String> {
        let mut left: Vec<_> = self.heartbeats.iter().collect();
        let again = self.repeated.iter().flat_map(|(heartbeat, times)| std::iter::repeat_n(heartbeat, *times));
        let mut again: Vec<_> = again.collect();
        let mut wrong = Vec::new();
        for (at, status) in observed {
            let is_it =
                |heartbeat: &&Heartbeat| heartbeat.status == status && (heartbeat.first..=heartbeat.last).contains(at);
            match (left.iter().position(is_it), again.iter().position(is_it)) {
                (Some(place), _) => drop(left.remove(place)),
                (None, Some(place)) => drop(again.remove(place)),
                (None, None) => wrong.push(format!("{}: {status} at {at} was not sent, or sent only once", self.name)),
            }
        }
        wrong.extend(left.into_iter().map(|heartbeat| format!("{}: {heartbeat:?} is not shown", self.name)));
        wrong
    }

    /// Returns all that is wrong with these alerts, which are in their order.
    pub(crate) fn alert_problems(&self, alerts: &[Alert], end: DateTime<Utc>, tolerance: Tolerance) -> Vec<String> {
        let mut wrong = Vec::new();
        for pair in alerts.windows(2) {
            if pair[0].closed.is_none_or(|closed| closed > pair[1].opened) {
                wrong.push(format!("{}: alert {} opened while {} was open", self.name, pair[1].id, pair[0].id));
            }
        }
        let mut reported: Vec<_> = self.heartbeats.iter().filter(|heartbeat| !heartbeat.counts_as_alive()).collect();
        for (place, alert) in alerts.iter().enumerate() {
            let before = place.checked_sub(1).and_then(|before| alerts[before].closed);
            if !self.had_a_cause(alert, before, &mut reported, tolerance) {
                wrong.push(format!("{}: alert {} opened at {} without a cause", self.name, alert.id, alert.opened));
            }
            if let Some(closed) = alert.closed
                && !self.has_recovered(alert, closed, tolerance)
                && !self.may_be_switched_off(closed, tolerance)
                && !alert.is_resolved
            {
                wrong.push(format!("{}: alert {} closed at {closed} and nothing was well", self.name, alert.id));
            }
            wrong.extend(self.wrong_cycle(alert, end, tolerance));
        }
        wrong.extend(self.missed_openings(alerts, end, tolerance));
        wrong.extend(self.missed_closings(alerts, end, tolerance));
        wrong
    }

    fn wrong_cycle(&self, alert: &Alert, end: DateTime<Utc>, tolerance: Tolerance) -> Option<String> {
        let closed = alert.closed.unwrap_or(end);
        let lasted = closed - alert.opened;
        let rules = self.rules(alert.opened - tolerance.early, closed + tolerance.early);
        let counts = rules.iter().map(|rule| rule.counts(lasted - tolerance.late, lasted + tolerance.early));
        let (min, max) = counts.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1))).unwrap_or_default();
        // With another schedule it is counted anew.
        let switches = if rules.iter().any(Rule::is_schedule) { i64::try_from(rules.len()).unwrap() - 1 } else { 0 };
        let is_right = ((min - switches).max(1)..=max + switches).contains(&alert.cycle);
        (!is_right).then(|| format!("{}: alert {} has cycle {} after {lasted}", self.name, alert.id, alert.cycle))
    }

    /// Returns whether something caused the alert after the one that closed at `before`. Each report in `reported`
    /// causes one alert.
    fn had_a_cause(
        &self,
        alert: &Alert,
        before: Option<DateTime<Utc>>,
        reported: &mut Vec<&Heartbeat>,
        tolerance: Tolerance,
    ) -> bool {
        let latest = alert.opened + tolerance.early;
        if self.is_held(alert.opened) && self.is_held(latest) && self.is_held(alert.opened - tolerance.early) {
            return false;
        }
        if alert.is_reported {
            let cause = reported.iter().position(|heartbeat| {
                let is_new = before.is_none_or(|before| heartbeat.last + tolerance.early >= before);
                let held =
                    self.maintenance.iter().find(|span| span.covers(heartbeat.last) || span.covers(heartbeat.first));
                let last = held.map_or(heartbeat.last, |span| span.to.max(heartbeat.last)) + tolerance.late;
                is_new && heartbeat.first <= latest && alert.opened <= last
            });
            return cause.map(|cause| reported.drain(..=cause)).is_some();
        }
        let instants = self.heartbeats.iter().flat_map(|heartbeat| [heartbeat.first, heartbeat.last]);
        let instants = instants.chain(self.changes.iter().flat_map(|change| [change.first, change.last]));
        let instants = instants.chain(self.resolved.iter().copied());
        // A heartbeat in the millisecond of the opening may have come after it.
        let just_before = alert.opened - TimeDelta::milliseconds(1);
        let instants = instants.filter(|at| (alert.opened..=latest).contains(at)).chain([just_before, alert.opened]);
        let gaps = self.gaps_until(alert.opened);
        instants.into_iter().any(|at| self.overdue(at, Reading::Strict, &gaps).is_some_and(|late| alert.opened >= late))
    }

    pub(crate) fn has_recovered(&self, alert: &Alert, closed: DateTime<Utc>, tolerance: Tolerance) -> bool {
        (0..self.heartbeats.len()).any(|place| {
            let heartbeat = self.heartbeats[place];
            // An alert on a report may open after the heartbeats that followed the report.
            let since = if alert.is_reported { alert.opened - tolerance.late } else { alert.opened - tolerance.early };
            heartbeat.first <= closed + tolerance.early
                && heartbeat.last >= since
                && self.has_recovered_by(place, closed + tolerance.early, Reading::Lenient)
        })
    }

    /// Returns whether an alert that closed then may have closed because the service was switched off.
    pub(crate) fn may_be_switched_off(&self, closed: DateTime<Utc>, tolerance: Tolerance) -> bool {
        self.offs()
            .iter()
            .any(|Off { off, .. }| off.first <= closed + tolerance.early && closed <= off.last + tolerance.late)
    }

    /// Returns what had to be open for longer than Medic may be late, and was not.
    fn missed_openings(&self, alerts: &[Alert], end: DateTime<Utc>, tolerance: Tolerance) -> Vec<String> {
        let mut wrong = Vec::new();
        let heartbeats = self.heartbeats.iter().map(|heartbeat| (heartbeat.first, heartbeat.last));
        let mut events: Vec<_> =
            heartbeats.chain(self.changes.iter().map(|change| (change.first, change.last))).collect();
        events.extend(self.resolved.iter().map(|at| (*at, *at)));
        events.sort_unstable();
        let begin = [self.registered.last].into_iter().chain(events.iter().map(|(_, last)| *last));
        let until = events.iter().map(|(first, _)| *first).chain([end]);
        for (from, until) in begin.zip(until) {
            let Some(overdue) = self.overdue(from, Reading::Lenient, &self.gaps) else { continue };
            let mut late = overdue.max(from);
            while let Some(span) = self.maintenance.iter().find(|span| span.covers(late)) {
                late = span.to;
            }
            let by = late + tolerance.late;
            let is_held = self.maintenance.iter().any(|span| span.from < by && span.to > late);
            if by < until && !is_held && !alerts.iter().any(|alert| alert.is_open_at(by)) {
                wrong.push(format!("{}: late from {late}, and no alert was open at {by}", self.name));
            }
        }
        for heartbeat in self.heartbeats.iter().filter(|heartbeat| !heartbeat.counts_as_alive()) {
            let by = heartbeat.last + tolerance.late;
            let has_alert = alerts.iter().any(|alert| {
                alert.opened <= by && alert.closed.is_none_or(|closed| closed + tolerance.early >= heartbeat.first)
            });
            let is_held =
                self.maintenance.iter().any(|span| span.from < by && span.to + tolerance.late > heartbeat.first);
            // What it reported as it was switched off no longer matters.
            let is_off = self
                .offs()
                .iter()
                .any(|Off { off, on }| off.first <= by && on.is_none_or(|on| heartbeat.first <= on.last));
            if by < end && !is_held && !is_off && !has_alert {
                wrong.push(format!(
                    "{}: it reported {} at {}, and no alert opened",
                    self.name, heartbeat.status, heartbeat.first
                ));
            }
        }
        wrong
    }

    /// Returns what had to be closed for longer than Medic may be late, and was not.
    fn missed_closings(&self, alerts: &[Alert], end: DateTime<Utc>, tolerance: Tolerance) -> Vec<String> {
        let mut wrong = Vec::new();
        let left_at = |since: DateTime<Utc>, by| {
            alerts.iter().find(|alert| alert.opened + tolerance.early < since && alert.is_open_at(by))
        };
        for (place, heartbeat) in self.heartbeats.iter().enumerate() {
            let by = heartbeat.last + tolerance.late;
            let rest = self.heartbeats[place..].iter().take_while(|heartbeat| heartbeat.first <= by).count();
            let is_well = (place..place + rest).all(|place| self.has_recovered_by(place, by, Reading::Strict));
            if let Some(alert) = left_at(heartbeat.first, by).filter(|_| is_well && by < end) {
                wrong.push(format!("{}: alert {} was open at {by}, after {}", self.name, alert.id, heartbeat.first));
            }
        }
        for Off { off, .. } in self.offs() {
            let by = off.last + tolerance.late;
            if let Some(alert) = left_at(off.first, by).filter(|_| by < end) {
                wrong.push(format!("{}: alert {} was open at {by}, and it was off", self.name, alert.id));
            }
        }
        wrong
    }
}

/// Whether an alert starts playbooks of what was due from `first` to `last`: not if that was in a gap.
pub(crate) fn starts_playbooks(first: DateTime<Utc>, last: DateTime<Utc>, gaps: &[Span]) -> Expectation {
    let covers = |gap: &Span, at| gap.from <= at && at <= gap.to;
    if gaps.iter().any(|gap| covers(gap, first) && covers(gap, last)) {
        Expectation::Forbidden
    } else if gaps.iter().any(|gap| gap.from <= last && first <= gap.to) {
        Expectation::Allowed
    } else {
        Expectation::Required
    }
}
