//! The rules, read simply and apart from `domain`: from what was acknowledged, whether an alert had to be open, may have been,
//! or must not have been. Where an answer was lost, an instant is a span, and both readings are allowed.

use chrono::{DateTime, TimeDelta, Utc};

use crate::jobs::Jobs;
use crate::rules::{Every, Rule, next_multiple};

/// A heartbeat that was acknowledged: it counted at some instant between its first try and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    pub(crate) status: &'static str,
}

impl Beat {
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
    /// Opened because the service said so, and not because it was late.
    pub(crate) is_said: bool,
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

/// An operator's change that was acknowledged: it was made at some instant between its first try and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
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
    pub(crate) registered: Beat,
    /// In their order.
    pub(crate) beats: Vec<Beat>,
    /// What operators changed, in its order.
    pub(crate) changes: Vec<Change>,
    pub(crate) maintenance: Vec<Span>,
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

/// Which of the instants of a span is meant.
#[derive(Clone, Copy)]
enum Reading {
    /// What speaks for being late: no heartbeat counts that may not have been there.
    Strict,
    /// What speaks against it.
    Lenient,
}

impl Service {
    pub(crate) fn is_deleted(&self) -> bool {
        self.changes.last().is_some_and(|change| matches!(change.what, What::Deleted))
    }

    /// The rules that may hold at some instant from `from` to `to`.
    pub(crate) fn rules(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Rule> {
        let registered = (self.registered.first, self.registered.first, self.rule);
        let changed = self.changes.iter().filter_map(|change| match change.what {
            What::Rule(rule) => Some((change.first, change.last, rule)),
            What::On | What::Off | What::Deleted | What::Mute(_) | What::Unmute => None,
        });
        let all: Vec<_> = [registered].into_iter().chain(changed).collect();
        let may_hold = |place: usize| {
            let has_begun = place == 0 || all[place].0 <= to;
            has_begun && all.get(place + 1).is_none_or(|(_, last, _)| *last >= from)
        };
        (0..all.len()).filter(|place| may_hold(*place)).map(|place| all[place].2).collect()
    }

    /// When an alert that opened then is counted for the second time, at the soonest.
    pub(crate) fn counted_again(&self, opened: DateTime<Utc>, end: DateTime<Utc>) -> DateTime<Utc> {
        let again = self.rules(opened, end).into_iter().map(|rule| match rule.every {
            Every::Interval(interval) => opened + interval,
            Every::Time { .. } if !self.changes.is_empty() => opened,
            Every::Time { of, after } => next_multiple(opened + TimeDelta::milliseconds(1), of, after + rule.grace),
        });
        again.min().unwrap_or(opened)
    }

    /// The changes that switched it off, each with the one that switched it on again.
    fn offs(&self) -> Vec<(Change, Option<Change>)> {
        let is_off = |change: &&Change| matches!(change.what, What::Off | What::Deleted);
        let on_after = |off: &Change| {
            self.changes.iter().find(|change| matches!(change.what, What::On) && change.first >= off.last).copied()
        };
        self.changes.iter().filter(is_off).map(|off| (*off, on_after(off))).collect()
    }

    fn is_off(&self, at: DateTime<Utc>, reading: Reading) -> bool {
        self.offs().iter().any(|(off, on)| match reading {
            Reading::Strict => off.last <= at && on.is_none_or(|on| at < on.first),
            Reading::Lenient => off.first <= at && on.is_none_or(|on| at < on.last),
        })
    }

    /// Since when it counts heartbeats, as it stands at `at`.
    fn counts_from(&self, at: DateTime<Utc>, reading: Reading) -> Beat {
        let is_known = |change: &&Change| match reading {
            Reading::Strict => change.last <= at,
            Reading::Lenient => change.first <= at,
        };
        let mut ons = self.changes.iter().filter(|change| matches!(change.what, What::On)).filter(is_known);
        ons.next_back().map_or(self.registered, |on| Beat { first: on.first, last: on.last, status: "UP" })
    }

    /// The last change that asked for more heartbeats, or for others: until those have come, it counts from then.
    fn raised(&self, at: DateTime<Utc>) -> Option<Change> {
        let mut before = self.rule;
        let mut raised = None;
        for change in self.changes.iter().filter(|change| change.first <= at) {
            if let What::Rule(rule) = change.what {
                let is_other = (before.is_timetable() || rule.is_timetable()) && before.every != rule.every;
                raised = if rule.threshold > before.threshold || is_other { Some(*change) } else { raised };
                before = rule;
            }
        }
        raised
    }

    /// From when the service is late, as it stands at `at`; never while it is off.
    fn overdue(&self, at: DateTime<Utc>, reading: Reading) -> Option<DateTime<Utc>> {
        if self.is_off(at, reading) {
            return None;
        }
        let instant = |beat: &Beat| match reading {
            Reading::Strict => beat.first,
            Reading::Lenient => beat.last,
        };
        let is_known = |beat: &&Beat| match reading {
            Reading::Strict => beat.last <= at,
            Reading::Lenient => beat.first <= at,
        };
        let counts_from = self.counts_from(at, reading);
        let known: Vec<_> = self.beats.iter().filter(is_known).filter(|beat| beat.first >= counts_from.first).collect();
        let lives: Vec<_> = known.rsplit(|beat| !beat.counts_as_alive()).next().into_iter().flatten().collect();
        let late = |rule: Rule| {
            let nth = lives.len().checked_sub(rule.threshold).map(|nth| instant(lives[nth]));
            let late = rule.late(instant(&counts_from), nth);
            let raised = self
                .raised(at)
                .filter(|raised| lives.iter().filter(|beat| beat.first >= raised.last).count() < rule.threshold);
            match (reading, raised) {
                (Reading::Lenient, Some(raised)) => late.max(rule.late(raised.last, None)),
                (Reading::Strict, Some(raised)) => late.min(rule.late(raised.first, None)),
                (Reading::Lenient | Reading::Strict, None) => late,
            }
        };
        let all = self.rules(at, at).into_iter().map(late);
        match reading {
            Reading::Strict => all.min(),
            Reading::Lenient => all.max(),
        }
    }

    pub(crate) fn may_be_held(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.maintenance.iter().any(|span| span.from <= to && from < span.to)
    }

    fn is_held(&self, at: DateTime<Utc>) -> bool {
        self.maintenance.iter().any(|span| span.covers(at))
    }

    /// Whether the service's own heartbeats up to this one are enough again, by the rules until `by`.
    fn has_recovered_by(&self, place: usize, by: DateTime<Utc>, reading: Reading) -> bool {
        let beat = self.beats[place];
        let since = match reading {
            Reading::Strict => {
                let raised = self.raised(by).map_or(self.registered.first, |raised| raised.last);
                self.counts_from(by, Reading::Lenient).first.max(raised)
            }
            Reading::Lenient => self.registered.first,
        };
        let lives = self.beats[..=place].iter().rev();
        let lives: Vec<_> = lives.take_while(|beat| beat.counts_as_alive() && beat.first >= since).collect();
        let is_enough = |rule: &Rule| {
            let Some(nth) = lives.get(rule.threshold - 1) else { return false };
            let span = match reading {
                Reading::Strict => beat.last - nth.first,
                Reading::Lenient => beat.first - nth.last,
            };
            rule.is_timetable() || span < rule.period() + rule.grace
        };
        let rules = self.rules(beat.first, by);
        beat.recovers()
            && match reading {
                Reading::Strict => rules.iter().all(is_enough),
                Reading::Lenient => rules.iter().any(is_enough),
            }
    }

    /// Whether each heartbeat that was acknowledged is shown, once, and no other.
    pub(crate) fn misheard(&self, shown: &[(DateTime<Utc>, String)]) -> Vec<String> {
        let mut left: Vec<_> = self.beats.iter().collect();
        let mut wrong = Vec::new();
        for (at, status) in shown {
            let is_it = |beat: &&Beat| beat.status == status && (beat.first..=beat.last).contains(at);
            match left.iter().position(is_it) {
                Some(place) => drop(left.remove(place)),
                None => wrong.push(format!("{}: {status} at {at} was not sent, or only once", self.name)),
            }
        }
        wrong.extend(left.into_iter().map(|beat| format!("{}: {beat:?} is not shown", self.name)));
        wrong
    }

    /// All that is wrong with these alerts, which are in their order.
    pub(crate) fn judge(&self, alerts: &[Alert], end: DateTime<Utc>, tolerance: Tolerance) -> Vec<String> {
        let mut wrong = Vec::new();
        for pair in alerts.windows(2) {
            if pair[0].closed.is_none_or(|closed| closed > pair[1].opened) {
                wrong.push(format!("{}: alert {} opened while {} was open", self.name, pair[1].id, pair[0].id));
            }
        }
        let mut said: Vec<_> = self.beats.iter().filter(|beat| !beat.counts_as_alive()).collect();
        for (place, alert) in alerts.iter().enumerate() {
            let before = place.checked_sub(1).and_then(|before| alerts[before].closed);
            if !self.had_a_cause(alert, before, &mut said, tolerance) {
                wrong.push(format!("{}: alert {} opened at {} without a cause", self.name, alert.id, alert.opened));
            }
            if let Some(closed) = alert.closed
                && !self.has_recovered(alert, closed, tolerance)
                && !self.may_be_switched_off(closed, tolerance)
            {
                wrong.push(format!("{}: alert {} closed at {closed} and nothing was well", self.name, alert.id));
            }
            let closed = alert.closed.unwrap_or(end);
            let lasted = closed - alert.opened;
            let rules = self.rules(alert.opened - tolerance.early, closed + tolerance.early);
            let counts = rules.iter().map(|rule| rule.counts(lasted - tolerance.late, lasted + tolerance.early));
            let (least, most) =
                counts.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1))).unwrap_or_default();
            // With another timetable it is counted anew.
            let switches =
                if rules.iter().any(Rule::is_timetable) { i64::try_from(rules.len()).unwrap() - 1 } else { 0 };
            if !((least - switches).max(1)..=most + switches).contains(&alert.cycle) {
                wrong.push(format!("{}: alert {} has cycle {} after {lasted}", self.name, alert.id, alert.cycle));
            }
        }
        wrong.extend(self.missed_openings(alerts, end, tolerance));
        wrong.extend(self.missed_closings(alerts, end, tolerance));
        wrong
    }

    /// Each word of `said` is the cause of one alert.
    fn had_a_cause(
        &self,
        alert: &Alert,
        before: Option<DateTime<Utc>>,
        said: &mut Vec<&Beat>,
        tolerance: Tolerance,
    ) -> bool {
        let seen = alert.opened + tolerance.early;
        if self.is_held(alert.opened) && self.is_held(seen) && self.is_held(alert.opened - tolerance.early) {
            return false;
        }
        if alert.is_said {
            let cause = said.iter().position(|beat| {
                let is_new = before.is_none_or(|before| beat.last + tolerance.early >= before);
                let held = self.maintenance.iter().find(|span| span.covers(beat.last) || span.covers(beat.first));
                let last = held.map_or(beat.last, |span| span.to.max(beat.last)) + tolerance.late;
                is_new && beat.first <= seen && alert.opened <= last
            });
            return cause.map(|cause| said.drain(..=cause)).is_some();
        }
        let instants = self.beats.iter().flat_map(|beat| [beat.first, beat.last]);
        let instants = instants.chain(self.changes.iter().flat_map(|change| [change.first, change.last]));
        // A heartbeat in the millisecond of the opening may have come after it.
        let just_before = alert.opened - TimeDelta::milliseconds(1);
        let instants = instants.filter(|at| (alert.opened..=seen).contains(at)).chain([just_before, alert.opened]);
        instants.into_iter().any(|at| self.overdue(at, Reading::Strict).is_some_and(|late| alert.opened >= late))
    }

    pub(crate) fn has_recovered(&self, alert: &Alert, closed: DateTime<Utc>, tolerance: Tolerance) -> bool {
        (0..self.beats.len()).any(|place| {
            let beat = self.beats[place];
            // What it said is followed by what it said since, though the alert may open after both.
            let since = if alert.is_said { alert.opened - tolerance.late } else { alert.opened - tolerance.early };
            beat.first <= closed + tolerance.early
                && beat.last >= since
                && self.has_recovered_by(place, closed + tolerance.early, Reading::Lenient)
        })
    }

    /// Whether an alert that closed then may have closed because nobody watches the service any more.
    pub(crate) fn may_be_switched_off(&self, closed: DateTime<Utc>, tolerance: Tolerance) -> bool {
        self.offs().iter().any(|(off, _)| off.first <= closed + tolerance.early && closed <= off.last + tolerance.late)
    }

    /// What has to be open for longer than Medic may be late, and was not.
    fn missed_openings(&self, alerts: &[Alert], end: DateTime<Utc>, tolerance: Tolerance) -> Vec<String> {
        let mut wrong = Vec::new();
        let beats = self.beats.iter().map(|beat| (beat.first, beat.last));
        let mut events: Vec<_> = beats.chain(self.changes.iter().map(|change| (change.first, change.last))).collect();
        events.sort_unstable();
        let begin = [self.registered.last].into_iter().chain(events.iter().map(|(_, last)| *last));
        let until = events.iter().map(|(first, _)| *first).chain([end]);
        for (from, until) in begin.zip(until) {
            let Some(overdue) = self.overdue(from, Reading::Lenient) else { continue };
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
        for beat in self.beats.iter().filter(|beat| !beat.counts_as_alive()) {
            let by = beat.last + tolerance.late;
            let is_told = alerts.iter().any(|alert| {
                alert.opened <= by && alert.closed.is_none_or(|closed| closed + tolerance.early >= beat.first)
            });
            let is_held = self.maintenance.iter().any(|span| span.from < by && span.to + tolerance.late > beat.first);
            // What it said as it was switched off no longer matters.
            let is_off =
                self.offs().iter().any(|(off, on)| off.first <= by && on.is_none_or(|on| beat.first <= on.last));
            if by < end && !is_held && !is_off && !is_told {
                wrong.push(format!("{}: it said {} at {}, and no alert opened", self.name, beat.status, beat.first));
            }
        }
        wrong
    }

    /// What has to be closed for longer than Medic may be late, and was not.
    fn missed_closings(&self, alerts: &[Alert], end: DateTime<Utc>, tolerance: Tolerance) -> Vec<String> {
        let mut wrong = Vec::new();
        let left_at = |since: DateTime<Utc>, by| {
            alerts.iter().find(|alert| alert.opened + tolerance.early < since && alert.is_open_at(by))
        };
        for (place, beat) in self.beats.iter().enumerate() {
            let by = beat.last + tolerance.late;
            let rest = self.beats[place..].iter().take_while(|beat| beat.first <= by).count();
            let is_well = (place..place + rest).all(|place| self.has_recovered_by(place, by, Reading::Strict));
            if let Some(alert) = left_at(beat.first, by).filter(|_| is_well && by < end) {
                wrong.push(format!("{}: alert {} was open at {by}, after {}", self.name, alert.id, beat.first));
            }
        }
        for (off, _) in self.offs() {
            let by = off.last + tolerance.late;
            if let Some(alert) = left_at(off.first, by).filter(|_| by < end) {
                wrong.push(format!("{}: alert {} was open at {by}, and it was off", self.name, alert.id));
            }
        }
        wrong
    }
}
