//! Judges a soak: what was planned and really happened, what Medic made of it, and what arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alerts::{Alert, Problem};
use crate::deadlines::History;
use crate::delivery::{Delivered, Mailbox};
use crate::facts::{Cause, Disturbance, Facts};
use crate::monitoring::Case;
use crate::plan::{ServicePlan, What};
use crate::receivers::{Arrival, Kind, Trouble};
use crate::report::Figure;
use crate::wrong::Wrong;

/// All that there is to judge.
pub(crate) struct Soak {
    pub(crate) plans: Arc<[ServicePlan]>,
    pub(crate) began: DateTime<Utc>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) alerts: Vec<Alert>,
    /// In the order of `Kind::ALL`.
    pub(crate) arrivals: [Vec<Arrival>; 3],
    pub(crate) troubles: [Vec<Trouble>; 3],
}

pub(crate) struct Judgement {
    pub(crate) wrong: Vec<Wrong>,
    /// What came twice, and could not but do so.
    pub(crate) excused: Vec<String>,
    pub(crate) figures: Vec<Figure>,
}

/// What was sent before this, after a receiver was in trouble, may wait for its retry.
const WAITS_FOR_RETRY: TimeDelta = TimeDelta::seconds(75);

impl Soak {
    pub(crate) fn arrivals(&self, kind: Kind) -> &[Arrival] {
        &self.arrivals[kind as usize]
    }

    pub(crate) fn judge(&self) -> Judgement {
        let disturbances = self.facts.disturbances();
        let history = History::new(&disturbances);
        let mut by_service: BTreeMap<usize, Vec<&Alert>> = BTreeMap::new();
        for alert in &self.alerts {
            by_service.entry(alert.service).or_default().push(alert);
        }
        let (mut wrong, mut due) = (Vec::new(), Vec::new());
        let [mut silences, mut failures, mut overruns, mut borderline] = [0; 4];
        for (n, plan) in self.plans.iter().enumerate() {
            let reports = self.facts.reports(n);
            let alerts = by_service.remove(&n).unwrap_or_default();
            let verdict = Case { n, plan, reports: &reports, alerts: &alerts, history: &history }.judge();
            wrong.extend(verdict.wrong);
            due.extend(verdict.due);
            silences += verdict.silences;
            failures += verdict.failures;
            overruns += verdict.overruns;
            borderline += verdict.borderline;
        }
        let [slack, pagerduty, webhooks] = &self.arrivals;
        let delivered =
            Mailbox { plans: &self.plans, alerts: &self.alerts, slack, pagerduty, webhooks, history: &history }.judge();
        let mut figures = self.planned();
        let outages = "outages";
        figures.push(Figure::count("that had to have an alert: silences", silences, outages));
        figures.push(Figure::count("that had to have an alert: failures", failures, outages));
        figures.push(Figure::count("that had to have an alert: runs over their maximum", overruns, outages));
        figures.push(Figure::count("of borderline cases, which may or may not have one", borderline, "alerts"));
        figures.extend(self.notified(&delivered));
        figures.extend(self.latencies(&due, &delivered, &history));
        figures.extend(disturbed(&disturbances));
        wrong.extend(delivered.wrong);
        figures.push(Figure::count("WRONG", wrong.len(), ""));
        Judgement { wrong, excused: delivered.excused, figures }
    }

    fn planned(&self) -> Vec<Figure> {
        let planned =
            |what| self.plans.iter().flat_map(|plan| &plan.episodes).filter(|episode| episode.what == what).count();
        let reports: usize = (0..self.plans.len()).map(|n| self.facts.reports(n).len()).sum();
        vec![
            Figure::count("reported", self.plans.len(), "services"),
            Figure::count("sent by them, repetitions left aside", reports, "reports"),
            Figure::count("planned: silences, long and short", planned(What::Silence), "outages"),
            Figure::count("planned: failures", planned(What::Failure), "outages"),
            Figure::count("planned: runs that do not end", planned(What::Overrun), "outages"),
        ]
    }

    fn notified(&self, delivered: &Delivered) -> Vec<Figure> {
        let opened = |problem| self.alerts.iter().filter(|alert| alert.problem == problem).count();
        let mut figures = vec![
            Figure::count("opened of services", opened(Problem::Heartbeat), "alerts"),
            Figure::count("opened of runs that had not ended", opened(Problem::Stale), "alerts"),
            Figure::count("opened of runs that ended too late", opened(Problem::Exceeded), "alerts"),
        ];
        for kind in Kind::ALL {
            let notified = delivered.openings.keys().filter(|(of, _)| *of == kind).count();
            figures.push(Figure::count(
                format!("notified of alerts, each distinguished: {}", kind.name()),
                notified,
                "alerts",
            ));
        }
        figures.push(Figure::count("repeated under an id that its receiver knew", delivered.repeated, "requests"));
        figures.push(Figure::count(
            "twice in Slack, Medic stopped between response and record",
            delivered.excused.len(),
            "services",
        ));
        figures
    }

    /// Measures the way from a deadline to the arrival, where neither Medic nor the receiver was disturbed.
    fn latencies(&self, due: &[(i64, DateTime<Utc>)], delivered: &Delivered, history: &History) -> Vec<Figure> {
        let mut figures = Vec::new();
        for kind in Kind::ALL {
            let is_well = |from: DateTime<Utc>, to: DateTime<Utc>| {
                !self.troubles[kind as usize].iter().any(|trouble| trouble.from <= to && trouble.to >= from)
            };
            let delay = |(alert, due): &(i64, DateTime<Utc>)| {
                let at = *delivered.openings.get(&(kind, *alert))?;
                let is_undisturbed =
                    history.is_calm(*due - TimeDelta::seconds(10), at) && is_well(*due - WAITS_FOR_RETRY, at);
                is_undisturbed.then_some((at - *due).as_seconds_f64())
            };
            let mut delays: Vec<_> = due.iter().filter_map(delay).collect();
            delays.sort_by(f64::total_cmp);
            let name = format!("from deadline to {}, undisturbed", kind.name());
            figures.push(Figure::count(format!("{name}: measured"), delays.len(), "outages"));
            for (label, percent) in [("median", 50), ("p99", 99), ("longest", 100)] {
                let rank = (delays.len() * percent).div_ceil(100).max(1) - 1;
                figures.extend(delays.get(rank).map(|delay| Figure::new(format!("{name}: {label}"), *delay, "s")));
            }
        }
        for kind in Kind::ALL {
            let troubles = &self.troubles[kind as usize];
            figures.push(Figure::count(
                format!("in which it hung, failed or was gone: {}", kind.name()),
                troubles.len(),
                "spells",
            ));
        }
        figures
    }
}

fn disturbed(disturbances: &[Disturbance]) -> Vec<Figure> {
    let causes = [
        (Cause::Killed, "killed"),
        (Cause::Terminated, "ended by SIGTERM"),
        (Cause::Frozen, "stopped by SIGSTOP"),
        (Cause::SlowDisk, "on a slow disk"),
    ];
    let of = |cause| disturbances.iter().filter(move |disturbance| disturbance.cause == cause);
    let seconds = |disturbance: &Disturbance| (disturbance.to - disturbance.from).as_seconds_f64();
    let mut figures = Vec::new();
    for (cause, name) in causes {
        let lasted = of(cause).map(seconds).fold(0.0, |sum, one| sum + one);
        figures.push(Figure::count(format!("Medic {name}, for {lasted:.0} s in all"), of(cause).count(), "times"));
    }
    let is_explained = |unknown: &&Disturbance| {
        disturbances
            .iter()
            .any(|other| other.cause != Cause::Unknown && other.from <= unknown.to && other.to >= unknown.from)
    };
    let unexplained = of(Cause::Unknown).filter(|unknown| !is_explained(unknown)).map(seconds);
    figures.push(Figure::new(
        "without a response of Medic, for no reason of the soak's: longest",
        unexplained.fold(0.0, f64::max),
        "s",
    ));
    figures
}
