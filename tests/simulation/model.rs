//! The rules, read simply and apart from `domain`: from what was acknowledged, whether an alert had to be open, may have been,
//! or must not have been. Where an answer was lost, an instant is a span, and both readings are allowed.

use chrono::{DateTime, TimeDelta, Utc};

use crate::jobs::Jobs;

/// A heartbeat that was acknowledged: it counted at some instant between its first try and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    pub(crate) status: &'static str,
}

impl Beat {
    pub(crate) fn is_life(&self) -> bool {
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

/// A service, and all that happened to it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) interval: TimeDelta,
    pub(crate) grace: TimeDelta,
    pub(crate) threshold: usize,
    pub(crate) registered: Beat,
    /// In their order.
    pub(crate) beats: Vec<Beat>,
    pub(crate) maintenance: Vec<Span>,
    pub(crate) jobs: Option<Jobs>,
}

/// How late Medic may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slack {
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
    Kind,
}

impl Service {
    /// From when the service is late, as it stands at `at`.
    fn overdue(&self, at: DateTime<Utc>, reading: Reading) -> DateTime<Utc> {
        let instant = |beat: &Beat| match reading {
            Reading::Strict => beat.first,
            Reading::Kind => beat.last,
        };
        let is_known = |beat: &&Beat| match reading {
            Reading::Strict => beat.last <= at,
            Reading::Kind => beat.first <= at,
        };
        let known: Vec<_> = self.beats.iter().filter(is_known).collect();
        let lives: Vec<_> =
            known.rsplit(|beat| !beat.is_life()).next().into_iter().flatten().map(|beat| instant(beat)).collect();
        let base = lives.len().checked_sub(self.threshold).map_or_else(|| instant(&self.registered), |nth| lives[nth]);
        base + self.interval + self.grace
    }

    fn is_held(&self, at: DateTime<Utc>) -> bool {
        self.maintenance.iter().any(|span| span.covers(at))
    }

    /// Whether the service's own heartbeats up to this one are enough again.
    fn has_recovered_by(&self, place: usize, reading: Reading) -> bool {
        let beat = self.beats[place];
        let lives: Vec<_> = self.beats[..=place].iter().rev().take_while(|beat| beat.is_life()).collect();
        let Some(nth) = lives.get(self.threshold - 1) else { return false };
        let span = match reading {
            Reading::Strict => beat.last - nth.first,
            Reading::Kind => beat.first - nth.last,
        };
        beat.recovers() && span < self.interval + self.grace
    }

    /// All that is wrong with these alerts, which are in their order.
    pub(crate) fn judge(&self, alerts: &[Alert], end: DateTime<Utc>, slack: Slack) -> Vec<String> {
        let mut wrong = Vec::new();
        for pair in alerts.windows(2) {
            if pair[0].closed.is_none_or(|closed| closed > pair[1].opened) {
                wrong.push(format!("{}: alert {} opened while {} was open", self.name, pair[1].id, pair[0].id));
            }
        }
        for (place, alert) in alerts.iter().enumerate() {
            let before = place.checked_sub(1).and_then(|before| alerts[before].closed);
            if !self.had_a_cause(alert, before, slack) {
                wrong.push(format!("{}: alert {} opened at {} without a cause", self.name, alert.id, alert.opened));
            }
            if let Some(closed) = alert.closed
                && !self.was_over(alert, closed, slack)
            {
                wrong.push(format!("{}: alert {} closed at {closed} and nothing was well", self.name, alert.id));
            }
            let lasted = alert.closed.unwrap_or(end) - alert.opened;
            let count = |lasted: TimeDelta| lasted.num_milliseconds().max(0) / self.interval.num_milliseconds() + 1;
            if !(count(lasted - slack.late)..=count(lasted + slack.early)).contains(&alert.cycle) {
                wrong.push(format!("{}: alert {} has cycle {} after {lasted}", self.name, alert.id, alert.cycle));
            }
        }
        wrong.extend(self.missed_openings(alerts, end, slack));
        wrong.extend(self.missed_closings(alerts, end, slack));
        wrong
    }

    fn had_a_cause(&self, alert: &Alert, before: Option<DateTime<Utc>>, slack: Slack) -> bool {
        let seen = alert.opened + slack.early;
        if self.is_held(alert.opened) && self.is_held(seen) && self.is_held(alert.opened - slack.early) {
            return false;
        }
        let instants = self.beats.iter().flat_map(|beat| [beat.first, beat.last]);
        let instants = instants.filter(|at| (alert.opened..=seen).contains(at)).chain([alert.opened]);
        if instants.into_iter().any(|at| alert.opened >= self.overdue(at, Reading::Strict)) {
            return true;
        }
        self.beats.iter().any(|beat| {
            let is_new = before.is_none_or(|before| beat.last + slack.early >= before);
            let held = self.maintenance.iter().find(|span| span.covers(beat.last) || span.covers(beat.first));
            let last = held.map_or(beat.last, |span| span.to.max(beat.last)) + slack.late;
            !beat.is_life() && is_new && beat.first <= seen && alert.opened <= last
        })
    }

    fn was_over(&self, alert: &Alert, closed: DateTime<Utc>, slack: Slack) -> bool {
        (0..self.beats.len()).any(|place| {
            let beat = self.beats[place];
            beat.first <= closed + slack.early
                && beat.last + slack.late >= alert.opened
                && self.has_recovered_by(place, Reading::Kind)
        })
    }

    /// What has to be open for longer than Medic may be late, and was not.
    fn missed_openings(&self, alerts: &[Alert], end: DateTime<Utc>, slack: Slack) -> Vec<String> {
        let mut wrong = Vec::new();
        let begin = [self.registered.last].into_iter().chain(self.beats.iter().map(|beat| beat.last));
        let until = self.beats.iter().map(|beat| beat.first).chain([end]);
        for (from, until) in begin.zip(until) {
            let mut late = self.overdue(from, Reading::Kind).max(from);
            while let Some(span) = self.maintenance.iter().find(|span| span.covers(late)) {
                late = span.to;
            }
            let by = late + slack.late;
            let is_held = self.maintenance.iter().any(|span| span.from < by && span.to > late);
            if by < until && !is_held && !alerts.iter().any(|alert| alert.is_open_at(by)) {
                wrong.push(format!("{}: late from {late}, and no alert was open at {by}", self.name));
            }
        }
        for beat in self.beats.iter().filter(|beat| !beat.is_life()) {
            let by = beat.last + slack.late;
            let is_told = alerts.iter().any(|alert| {
                alert.opened <= by && alert.closed.is_none_or(|closed| closed + slack.early >= beat.first)
            });
            let is_held = self.maintenance.iter().any(|span| span.from < by && span.to + slack.late > beat.first);
            if by < end && !is_held && !is_told {
                wrong.push(format!("{}: it said {} at {}, and no alert opened", self.name, beat.status, beat.first));
            }
        }
        wrong
    }

    /// What has to be closed for longer than Medic may be late, and was not.
    fn missed_closings(&self, alerts: &[Alert], end: DateTime<Utc>, slack: Slack) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, beat) in self.beats.iter().enumerate() {
            let by = beat.last + slack.late;
            let rest = self.beats[place..].iter().take_while(|beat| beat.first <= by).count();
            let is_well = (place..place + rest).all(|place| self.has_recovered_by(place, Reading::Strict));
            let left = alerts.iter().find(|alert| alert.opened + slack.early < beat.first && alert.is_open_at(by));
            if let Some(alert) = left.filter(|_| is_well && by < end) {
                wrong.push(format!("{}: alert {} was open at {by}, after {}", self.name, alert.id, beat.first));
            }
        }
        wrong
    }
}
