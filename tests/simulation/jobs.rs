//! The rules of job runs, derived simply and apart from `domain`: from the signals that were acknowledged, how each run
//! stands, and which alerts of it there must be, may be, or must not be.

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Heartbeat, Span, Watch, starts_playbooks};
use crate::mutes::Expectation;
use crate::planned_services::SignalKind;
use crate::rules::{instants, postponed};

/// A signal that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signal {
    pub(crate) kind: SignalKind,
    pub(crate) run: usize,
    /// When it counted.
    pub(crate) heartbeat: Heartbeat,
}

/// A run as Medic shows it.
#[derive(Debug, Clone)]
pub(crate) struct ObservedRun {
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
    /// The run is stale; otherwise it exceeded its maximum.
    pub(crate) is_stale: bool,
    pub(crate) opened: DateTime<Utc>,
    pub(crate) closed: Option<DateTime<Utc>>,
    /// Its reason names a gap.
    pub(crate) names_gap: bool,
    /// Somebody closed it by hand.
    pub(crate) is_resolved: bool,
}

/// A ping that names no run, and was acknowledged; the attempts before the last may have counted too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ping {
    pub(crate) kind: SignalKind,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) attempts: u32,
}

/// The runs of a service.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    pub(crate) max_duration: TimeDelta,
    /// In their order.
    pub(crate) signals: Vec<Signal>,
    /// In their order, of a service that names no runs.
    pub(crate) pings: Vec<Ping>,
}

/// What is known of a run.
struct Run {
    name: String,
    start: Option<Heartbeat>,
    end: Option<RunEnd>,
}

/// Why a run is over, and when it was.
#[derive(Clone, Copy)]
struct RunEnd {
    heartbeat: Heartbeat,
    /// None if a later run superseded it.
    kind: Option<SignalKind>,
}

/// When a run has lasted for its maximum, at some instant from `own_first` to `own_last`; and when it becomes stale if it has
/// not ended, from `first` to `last`.
#[derive(Clone, Copy)]
struct Deadline {
    own_first: DateTime<Utc>,
    own_last: DateTime<Utc>,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

impl Deadline {
    /// `known` are the gaps that were known when its alert opened.
    fn of(start: Heartbeat, max_duration: TimeDelta, known: &[Span], gaps: &[Span]) -> Self {
        let late = |gaps: &[Span]| -> Vec<_> {
            let all = instants(start.first, start.last, gaps);
            all.into_iter().map(|at| postponed(at + max_duration, at, max_duration, gaps)).collect()
        };
        Self {
            own_first: start.first + max_duration,
            own_last: start.last + max_duration,
            first: late(known).into_iter().min().expect("an instant"),
            last: late(gaps).into_iter().max().expect("an instant"),
        }
    }
}

pub(crate) fn name_of(run: usize) -> String {
    format!("r{run}")
}

impl Jobs {
    /// Returns whether a signal repeats one that its run knows already: it changes nothing, and is no heartbeat.
    pub(crate) fn is_repetition(&self, kind: SignalKind, number: usize) -> bool {
        let run = self.run(number);
        match kind {
            SignalKind::Start => run.start.is_some(),
            SignalKind::Complete | SignalKind::Fail => run.end.is_some_and(|end| end.kind == Some(kind)),
        }
    }

    /// Returns all that is wrong with these runs and alerts.
    pub(crate) fn run_problems(&self, observed: &[ObservedRun], alerts: &[JobAlert], watch: &Watch<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let runs = if self.pings.is_empty() { self.named_runs() } else { self.unnamed_runs(observed, &mut wrong) };
        // Of an attempt that failed nothing may be left but that a later one superseded it.
        let is_left = |run: &&ObservedRun| run.started.is_none() && run.status == "SUPERSEDED";
        let left = observed.iter().filter(is_left).count();
        let failed: u32 = self.pings.iter().map(|ping| ping.attempts - 1).sum();
        if runs.len() + left != observed.len() || left > failed as usize {
            wrong.push(format!("{} runs are shown of {}", observed.len(), runs.len()));
        }
        for run in runs {
            let own: Vec<_> = alerts.iter().filter(|alert| alert.run == run.name).collect();
            match observed.iter().find(|observed| observed.run == run.name) {
                Some(observed) => wrong.extend(run.view_problem(observed, !own.is_empty() && own[0].is_stale)),
                None => wrong.push(format!("{} is not shown", run.name)),
            }
            wrong.extend(run.alert_problems(self.max_duration, &own, watch));
        }
        wrong
    }

    /// Whether an alert of a run starts playbooks: not if the run was due in a gap.
    pub(crate) fn starts_playbooks(&self, alert: &JobAlert, observed: &[ObservedRun], gaps: &[Span]) -> Expectation {
        let runs = if self.pings.is_empty() { self.named_runs() } else { self.unnamed_runs(observed, &mut Vec::new()) };
        let start = runs.into_iter().find(|run| run.name == alert.run).and_then(|run| run.start);
        match start.filter(|_| alert.names_gap) {
            Some(start) => starts_playbooks(start.first + self.max_duration, start.last + self.max_duration, gaps),
            None => Expectation::Required,
        }
    }

    fn named_runs(&self) -> Vec<Run> {
        let mut numbers: Vec<_> = self.signals.iter().map(|signal| signal.run).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| self.run(number)).collect()
    }

    /// Returns the runs that pings began, under the names that Medic gave them: each start supersedes the one before it, if
    /// that is open, and each end ends the one that is. Each attempt of a start may have begun a run, which the next one
    /// superseded.
    fn unnamed_runs(&self, observed: &[ObservedRun], wrong: &mut Vec<String>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for Ping { kind, heartbeat, attempts } in &self.pings {
            let open = runs.last_mut().filter(|run| run.end.is_none());
            if *kind != SignalKind::Start {
                if let Some(run) = open {
                    run.end = Some(RunEnd { heartbeat: *heartbeat, kind: Some(*kind) });
                }
                continue;
            }
            let superseded = Some(RunEnd { heartbeat: *heartbeat, kind: None });
            if let Some(run) = open {
                run.end = superseded;
            }
            let began = |run: &&ObservedRun| run.started.is_some_and(|at| is_within(at, *heartbeat));
            let mut begun: Vec<_> = observed.iter().filter(began).collect();
            begun.sort_by_key(|run| run.started);
            if begun.is_empty() || begun.len() > *attempts as usize {
                wrong.push(format!("{attempts} pings began {begun:?}, {heartbeat:?}"));
            }
            runs.extend(begun.iter().map(|run| Run {
                name: run.run.clone(),
                start: Some(*heartbeat),
                end: superseded.filter(|_| !std::ptr::eq(*run, begun[begun.len() - 1])),
            }));
        }
        runs
    }

    /// Returns a run: its first start, unless the end came before it, and its first end.
    fn run(&self, number: usize) -> Run {
        let own = || self.signals.iter().filter(|signal| signal.run == number);
        let end = own().find(|signal| signal.kind != SignalKind::Start);
        let end = end.map(|signal| RunEnd { heartbeat: signal.heartbeat, kind: Some(signal.kind) });
        let start = own().find(|signal| signal.kind == SignalKind::Start).map(|signal| signal.heartbeat);
        let start = start.filter(|start| end.is_none_or(|end| start.first < end.heartbeat.first));
        Run { name: name_of(number), start, end }
    }
}

fn is_within(at: DateTime<Utc>, heartbeat: Heartbeat) -> bool {
    (heartbeat.first..=heartbeat.last).contains(&at)
}

impl Run {
    fn finish(&self) -> Option<Heartbeat> {
        self.end.map(|end| end.heartbeat)
    }

    fn is_superseded(&self) -> bool {
        self.end.is_some_and(|end| end.kind.is_none())
    }

    fn view_problem(&self, observed: &ObservedRun, was_stale: bool) -> Option<String> {
        let status = match self.end.map(|end| end.kind) {
            Some(None) => "SUPERSEDED",
            Some(Some(SignalKind::Fail)) => "FAILED",
            Some(Some(SignalKind::Complete | SignalKind::Start)) => "COMPLETED",
            None if was_stale => "STALE_ALERTED",
            None => "STARTED",
        };
        // A start that was sent at the instant of the end may have come before it.
        let may_have_started = |at| self.finish().is_some_and(|finish| is_within(at, finish));
        let is_start_right = match (observed.started, self.start) {
            (Some(at), Some(start)) => is_within(at, start),
            (Some(at), None) => may_have_started(at),
            (None, start) => start.is_none(),
        };
        let is_end_right = match (observed.ended, self.finish().filter(|_| !self.is_superseded())) {
            (Some(at), Some(finish)) => is_within(at, finish),
            (ended, finish) => ended.is_none() && finish.is_none(),
        };
        let took =
            observed.ended.map(|ended| observed.started.map_or(0, |started| (ended - started).num_milliseconds()));
        let is_right = observed.status == status && is_start_right && is_end_right && took == observed.duration_ms;
        (!is_right).then(|| format!("{} is {status}, and shown as {observed:?}", self.name))
    }

    fn alert_problems(&self, max_duration: TimeDelta, alerts: &[&JobAlert], watch: &Watch<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        if alerts.len() > 1 {
            wrong.push(format!("{} has the alerts {alerts:?}", self.name));
        }
        let Some(start) = self.start else {
            wrong.extend(alerts.first().map(|alert| format!("{} has not started, and has {alert:?}", self.name)));
            return wrong;
        };
        let is_known = |gap: &&Span| alerts.first().is_none_or(|alert| gap.to <= alert.opened);
        let known: Vec<_> = watch.gaps.iter().filter(is_known).copied().collect();
        let due = Deadline::of(start, max_duration, &known, watch.gaps);
        wrong.extend(match alerts.first() {
            Some(alert) => self.wrong_alert(alert, due, watch),
            None => self.missing_alert(due, watch),
        });
        wrong
    }

    fn wrong_alert(&self, alert: &JobAlert, due: Deadline, watch: &Watch<'_>) -> Vec<String> {
        let tolerance = watch.tolerance;
        let mut wrong = Vec::new();
        let problem =
            if alert.is_stale { self.wrong_stale(alert, due, watch) } else { self.wrong_exceeded(alert, due, watch) };
        wrong.extend(problem.map(|problem| format!("{} {problem}: {alert:?}", self.name)));
        let held = |at| watch.maintenance.iter().any(|span| span.covers(at));
        if held(alert.opened) && held(alert.opened + tolerance.early) && held(alert.opened - tolerance.early) {
            wrong.push(format!("{} has an alert that opened in maintenance: {alert:?}", self.name));
        }
        let mut latest = due.last;
        let holds = |span: &&Span, at| span.from <= at + tolerance.late && at < span.to;
        while let Some(span) = watch.maintenance.iter().find(|span| holds(span, latest)) {
            latest = span.to;
        }
        if alert.is_stale && alert.opened > latest + tolerance.late {
            wrong.push(format!("{} was found stale late: {alert:?}, due at {}", self.name, due.last));
        }
        wrong
    }

    fn wrong_exceeded(&self, alert: &JobAlert, due: Deadline, watch: &Watch<'_>) -> Option<&'static str> {
        let tolerance = watch.tolerance;
        let Some(finish) = self.finish() else { return Some("did not exceed its maximum then") };
        let span = finish.first - tolerance.early..=finish.last + tolerance.late;
        // One that went on for longer than that is stale first.
        let exceeded = !self.is_superseded()
            && finish.last > due.own_first
            && (watch.may_hold(due.own_first, due.last) || finish.first <= due.last + tolerance.late);
        let is_right = span.contains(&alert.opened) && exceeded && alert.closed == Some(alert.opened);
        (!is_right).then_some("did not exceed its maximum then")
    }

    fn wrong_stale(&self, alert: &JobAlert, due: Deadline, watch: &Watch<'_>) -> Option<&'static str> {
        let Watch { end, tolerance, .. } = *watch;
        let is_closed_by_hand = alert.is_resolved && alert.closed.is_some_and(|closed| alert.opened <= closed);
        let ended = self.finish().map_or(end, |finish| finish.last);
        if alert.opened < due.first {
            return Some("was not stale then");
        }
        if alert.opened > ended + tolerance.late {
            return Some("had ended by then");
        }
        let is_closed_right = match (alert.closed, self.finish()) {
            (Some(closed), Some(finish)) => finish.first <= closed && closed <= finish.last.max(alert.opened),
            (Some(closed), None) => end - tolerance.early <= closed && closed <= end + tolerance.late,
            (None, _) => false,
        };
        (!is_closed_right && !is_closed_by_hand).then_some("was not closed by its end")
    }

    fn missing_alert(&self, due: Deadline, watch: &Watch<'_>) -> Vec<String> {
        let Watch { maintenance, end, tolerance, .. } = *watch;
        let mut wrong = Vec::new();
        let finish = self.finish();
        // What ended in maintenance raises no alert, nor what was superseded before it was found to be stale.
        let is_required = match finish {
            Some(finish) if self.is_superseded() => {
                finish.first > due.last + tolerance.late && !watch.may_hold(due.own_first, finish.last)
            }
            Some(finish) => finish.first > due.own_last && !watch.may_hold(due.own_first, finish.last),
            None => due.last + tolerance.late < end && !watch.may_hold(due.first, due.last),
        };
        if is_required {
            wrong.push(format!("{} has no alert: it was due at {}, and ended {finish:?}", self.name, due.last));
        }
        let after = maintenance.iter().map(|span| span.to.max(due.last)).max().unwrap_or(due.last) + tolerance.late;
        if after < end && finish.is_none_or(|finish| finish.first > after) {
            wrong.push(format!("{} has no alert after maintenance, by {after}", self.name));
        }
        wrong
    }
}
