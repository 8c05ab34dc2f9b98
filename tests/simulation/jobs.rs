//! The rules of job runs, read simply and apart from `domain`: from the signals that were acknowledged, how each run stands,
//! and which alerts of it there must be, may be, or must not be.

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Beat, Span, Tolerance};
use crate::plan::Kind;

/// A signal that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signal {
    pub(crate) kind: Kind,
    pub(crate) run: usize,
    /// When it was taken.
    pub(crate) beat: Beat,
}

/// A run as Medic shows it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) run: String,
    pub(crate) status: String,
    pub(crate) started: Option<DateTime<Utc>>,
    pub(crate) ended: Option<DateTime<Utc>>,
    pub(crate) duration_ms: Option<i64>,
}

/// An alert of a run as Medic shows it.
#[derive(Debug, Clone)]
pub(crate) struct JobAlert {
    pub(crate) id: i64,
    pub(crate) run: String,
    /// And not that it exceeded its maximum.
    pub(crate) is_stale: bool,
    pub(crate) opened: DateTime<Utc>,
    pub(crate) closed: Option<DateTime<Utc>>,
}

/// The runs of a service.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    pub(crate) longest: TimeDelta,
    /// In their order.
    pub(crate) signals: Vec<Signal>,
}

/// What is known of a run.
struct Run {
    name: String,
    start: Option<Beat>,
    end: Option<(Beat, Kind)>,
}

pub(crate) fn name_of(run: usize) -> String {
    format!("r{run}")
}

impl Jobs {
    /// Whether a signal is one that its run knows already: it changes nothing, and is no heartbeat.
    pub(crate) fn is_repetition(&self, kind: Kind, number: usize) -> bool {
        let run = self.run(number);
        match kind {
            Kind::Start => run.start.is_some(),
            Kind::Complete | Kind::Fail => run.end.is_some_and(|(_, known)| known == kind),
        }
    }

    /// All that is wrong with these runs and alerts of a service whose watch ended at `end`.
    pub(crate) fn judge(
        &self,
        (shown, alerts): (&[Shown], &[JobAlert]),
        maintenance: &[Span],
        end: DateTime<Utc>,
        tolerance: Tolerance,
    ) -> Vec<String> {
        let mut numbers: Vec<_> = self.signals.iter().map(|signal| signal.run).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut wrong = Vec::new();
        if numbers.len() != shown.len() {
            wrong.push(format!("{} runs are shown of {}", shown.len(), numbers.len()));
        }
        for number in numbers {
            let run = self.run(number);
            let own: Vec<_> = alerts.iter().filter(|alert| alert.run == run.name).collect();
            match shown.iter().find(|shown| shown.run == run.name) {
                Some(shown) => wrong.extend(run.misshown(shown, !own.is_empty() && own[0].is_stale)),
                None => wrong.push(format!("{} is not shown", run.name)),
            }
            wrong.extend(run.misjudged(self.longest, &own, maintenance, end, tolerance));
        }
        wrong
    }

    /// The first start, unless the end came before it, and the first end.
    fn run(&self, number: usize) -> Run {
        let own = || self.signals.iter().filter(|signal| signal.run == number);
        let end = own().find(|signal| signal.kind != Kind::Start).map(|signal| (signal.beat, signal.kind));
        let start = own().find(|signal| signal.kind == Kind::Start).map(|signal| signal.beat);
        let start = start.filter(|start| end.is_none_or(|(end, _)| start.first < end.first));
        Run { name: name_of(number), start, end }
    }
}

fn is_within(at: DateTime<Utc>, beat: Beat) -> bool {
    (beat.first..=beat.last).contains(&at)
}

impl Run {
    fn misshown(&self, shown: &Shown, was_stale: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let status = match self.end {
            Some((_, Kind::Fail)) => "FAILED",
            Some((_, Kind::Complete | Kind::Start)) => "COMPLETED",
            None if was_stale => "STALE_ALERTED",
            None => "STARTED",
        };
        // A start that was sent at the instant of the end may have come before it.
        let may_have_started = |at| self.end.is_some_and(|(end, _)| is_within(at, end));
        let is_started_right = match (shown.started, self.start) {
            (Some(at), Some(start)) => is_within(at, start),
            (Some(at), None) => may_have_started(at),
            (None, start) => start.is_none(),
        };
        let is_ended_right = match (shown.ended, self.end) {
            (Some(at), Some((end, _))) => is_within(at, end),
            (ended, end) => ended.is_none() && end.is_none(),
        };
        let took = shown.ended.map(|ended| shown.started.map_or(0, |started| (ended - started).num_milliseconds()));
        if shown.status != status || !is_started_right || !is_ended_right || took != shown.duration_ms {
            wrong.push(format!("{} is {status}, and shown as {shown:?}", self.name));
        }
        wrong
    }

    fn misjudged(
        &self,
        longest: TimeDelta,
        alerts: &[&JobAlert],
        maintenance: &[Span],
        end: DateTime<Utc>,
        tolerance: Tolerance,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if alerts.len() > 1 {
            wrong.push(format!("{} has the alerts {alerts:?}", self.name));
        }
        let Some(start) = self.start else {
            wrong.extend(alerts.first().map(|alert| format!("{} has not started, and has {alert:?}", self.name)));
            return wrong;
        };
        let (due_first, due_last) = (start.first + longest, start.last + longest);
        let finish = self.end.map(|(end, _)| end);
        if let Some(alert) = alerts.first() {
            let problem = if alert.is_stale {
                self.misjudged_stale(alert, (due_first, finish.map_or(end, |finish| finish.last)), end, tolerance)
            } else {
                let span = finish.map(|finish| (finish.first - tolerance.early, finish.last + tolerance.late));
                let was_in_time = span.is_some_and(|(from, to)| (from..=to).contains(&alert.opened));
                let is_held = maintenance
                    .iter()
                    .any(|span| span.from <= due_last + tolerance.late && due_first < span.to + tolerance.late);
                // One that went on for longer than that is stale first.
                let exceeded = finish.is_some_and(|finish| {
                    finish.last > due_first && (is_held || finish.first <= due_last + tolerance.late)
                });
                let is_right = was_in_time && exceeded && alert.closed == Some(alert.opened);
                (!is_right).then_some("did not exceed its maximum then")
            };
            wrong.extend(problem.map(|problem| format!("{} {problem}: {alert:?}", self.name)));
            let held = |at| maintenance.iter().any(|span| span.covers(at));
            if held(alert.opened) && held(alert.opened + tolerance.early) && held(alert.opened - tolerance.early) {
                wrong.push(format!("{} has an alert that opened in maintenance: {alert:?}", self.name));
            }
            let mut latest = due_last;
            while let Some(span) =
                maintenance.iter().find(|span| span.from <= latest + tolerance.late && latest < span.to)
            {
                latest = span.to;
            }
            if alert.is_stale && alert.opened > latest + tolerance.late {
                wrong.push(format!("{} was found stale late: {alert:?}, due at {due_last}", self.name));
            }
        } else {
            // What ended in maintenance is no news.
            let by = due_last + tolerance.late;
            let is_held = |from, to| maintenance.iter().any(|span| span.from <= to && from < span.to + tolerance.late);
            let is_over = match finish {
                Some(finish) => finish.first > due_last && !is_held(due_first, finish.last + tolerance.late),
                None => by < end && !is_held(due_first, by),
            };
            if is_over {
                wrong.push(format!("{} was to be told of: it was due at {due_last}, and ended {finish:?}", self.name));
            }
            let after = maintenance.iter().map(|span| span.to.max(due_last)).max().unwrap_or(due_last) + tolerance.late;
            if after < end && finish.is_none_or(|finish| finish.first > after) {
                wrong.push(format!("{} was to be told of after maintenance, by {after}", self.name));
            }
        }
        wrong
    }

    fn misjudged_stale(
        &self,
        alert: &JobAlert,
        (due, ended): (DateTime<Utc>, DateTime<Utc>),
        end: DateTime<Utc>,
        tolerance: Tolerance,
    ) -> Option<&'static str> {
        let finish = self.end.map(|(finish, _)| finish);
        if alert.opened < due {
            return Some("was not stale then");
        }
        if alert.opened > ended + tolerance.late {
            return Some("had ended by then");
        }
        let is_closed_right = match (alert.closed, finish) {
            (Some(closed), Some(finish)) => finish.first <= closed && closed <= finish.last.max(alert.opened),
            (Some(closed), None) => end - tolerance.early <= closed && closed <= end + tolerance.late,
            (None, _) => false,
        };
        (!is_closed_right).then_some("was not closed by its end")
    }
}
