//! Judges which alerts there are: each outage that lasted long enough has one, in time, and nothing else has. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alerts::{Alert, Problem};
use crate::deadlines::{Expectation, History};
use crate::facts::{Report, Said};
use crate::plan::{Rhythm, ServicePlan, expected_from};
use crate::wrong::Wrong;

/// What came of a service's reports.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) wrong: Vec<Wrong>,
    /// Outages that had to have an alert: silences, failures and overruns.
    pub(crate) silences: usize,
    pub(crate) failures: usize,
    pub(crate) overruns: usize,
    /// Alerts of what was neither sure to be late nor sure to be well.
    pub(crate) borderline: usize,
    /// When each alert of a silence could open at the earliest, where that was certain: by the alert's id.
    pub(crate) due: Vec<(i64, DateTime<Utc>)>,
}

/// Instants are kept in milliseconds.
pub(crate) const ROUNDING: TimeDelta = TimeDelta::milliseconds(5);

/// A service, what it reported, and its alerts in order.
pub(crate) struct Case<'a> {
    pub(crate) n: usize,
    pub(crate) plan: &'a ServicePlan,
    pub(crate) reports: &'a [Report],
    pub(crate) alerts: &'a [&'a Alert],
    pub(crate) history: &'a History,
}

impl Said {
    const fn is_alive(&self) -> bool {
        match self {
            Self::Registered | Self::Up | Self::Started { .. } | Self::Completed { .. } => true,
            Self::Failed { .. } => false,
        }
    }

    const fn recovers(&self) -> bool {
        matches!(self, Self::Up | Self::Completed { .. })
    }

    pub(crate) fn run(&self) -> Option<&str> {
        match self {
            Self::Started { run } | Self::Completed { run } | Self::Failed { run: Some(run) } => Some(run),
            Self::Registered | Self::Up | Self::Failed { run: None } => None,
        }
    }
}

impl Case<'_> {
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let (service, jobs): (Vec<&Alert>, Vec<&Alert>) =
            self.alerts.iter().partition(|alert| alert.problem == Problem::Heartbeat);
        self.judge_alerts(&service, &mut verdict);
        self.judge_silences(&service, &mut verdict);
        self.judge_failures(&service, &mut verdict);
        self.judge_runs(&jobs, &mut verdict);
        verdict
    }

    fn expectation(&self) -> Expectation {
        match self.plan.rhythm {
            Rhythm::Every { interval } | Rhythm::Job { interval, max: _ } => {
                Expectation::Within(interval + self.plan.grace)
            }
            Rhythm::Cron { minutes } => Expectation::Cron { minutes, grace: self.plan.grace },
        }
    }

    /// Each alert has a reason of its own, and ends when the service recovers.
    fn judge_alerts(&self, alerts: &[&Alert], verdict: &mut Verdict) {
        let mut used = BTreeSet::new();
        for alert in alerts {
            match self.cause(alert, &used) {
                Some(cause) if used.insert(cause) => {}
                Some(_) => verdict.wrong.push(self.wrong(alert, "is the second one of the same outage")),
                None => verdict.wrong.push(self.wrong(alert, "opened though the service was well")),
            }
            self.judge_end(alert, self.reports.iter().filter(|report| report.said.recovers()), verdict);
        }
    }

    pub(crate) fn wrong(&self, alert: &Alert, what: &str) -> Wrong {
        Wrong::of(self.n, format!("alert {} {what}", alert.id))
    }

    /// Returns the report that an alert follows from: the failure, or the last sign of life before a silence.
    fn cause(&self, alert: &Alert, used: &BTreeSet<usize>) -> Option<usize> {
        let reports = || self.reports.iter().enumerate();
        let is_failure = |n: usize, report: &Report| {
            !report.said.is_alive()
                && !used.contains(&n)
                && report.from <= self.history.dated(alert.opened)
                && self.history.done_by(report.until) >= alert.opened
        };
        if let Some((n, _)) = reports().find(|(n, report)| is_failure(*n, report)) {
            return Some(n);
        }
        let heard = |report: &Report| report.said.is_alive() && report.acknowledged && report.until <= alert.opened;
        let (n, last) = reports().filter(|(_, report)| heard(report)).max_by_key(|(_, report)| report.until)?;
        let earliest = match (&last.said, self.plan.rhythm) {
            // What never reported is late for the first time that is expected.
            (Said::Registered, Rhythm::Cron { minutes }) => expected_from(last.from, minutes) + self.plan.grace,
            (_, Rhythm::Every { .. } | Rhythm::Cron { .. } | Rhythm::Job { .. }) => {
                self.history.earliest(self.expectation(), last.from)
            }
        };
        (earliest <= alert.opened + ROUNDING).then_some(n)
    }

    /// An alert closes because of what was reported since it opened, and soon after.
    pub(crate) fn judge_end<'a>(&self, alert: &Alert, ends: impl Iterator<Item = &'a Report>, verdict: &mut Verdict) {
        let ends: Vec<_> = ends.filter(|report| report.until + ROUNDING >= alert.opened).collect();
        let first = ends.iter().find(|report| report.acknowledged && report.from >= alert.opened);
        let by = first.map(|report| self.history.done_by(report.until));
        match (alert.closed, by) {
            (Some(closed), _) if !ends.iter().any(|report| report.from <= self.history.dated(closed)) => {
                verdict.wrong.push(self.wrong(alert, "closed though nothing was reported that ends it"));
            }
            (Some(closed), Some(by)) if closed > by => {
                let late = (closed - by).num_seconds();
                verdict.wrong.push(self.wrong(alert, &format!("closed {late} s too late")));
            }
            (Some(_), _) => {}
            (None, _) => {
                let what = format!("alert {} is still open", alert.id);
                verdict.wrong.push(Wrong::so_far(self.n, what));
            }
        }
    }

    /// A silence that lasted long enough has an alert by then.
    fn judge_silences(&self, alerts: &[&Alert], verdict: &mut Verdict) {
        // One that never reported is new, and may be silent.
        let counts = |report: &&Report| report.said.is_alive() && report.said != Said::Registered;
        let mut alive: Vec<_> = self.reports.iter().filter(counts).collect();
        alive.sort_by_key(|report| report.from);
        let mut heard = None;
        for report in alive {
            let until = if report.acknowledged { report.until } else { self.history.done_by(report.until) };
            if let Some(heard) = heard {
                let latest = self.history.latest(self.expectation(), heard);
                let by = self.history.done_by(latest);
                if by <= report.from {
                    verdict.silences += 1;
                    let found = alerts.iter().find(|alert| {
                        alert.opened <= until
                            && alert.closed.is_none_or(|closed| self.history.dated(closed) >= report.from)
                    });
                    self.judge_opening(found.copied(), "a silence", by, verdict);
                    let was_certain = |alert: &&&Alert| latest == self.expectation().due(heard) && alert.opened > heard;
                    if let Some(alert) = found.filter(was_certain) {
                        verdict.due.push((alert.id, latest));
                    }
                }
            }
            heard = heard.max(Some(until));
        }
        verdict.borderline += alerts.len().saturating_sub(verdict.silences);
    }

    fn judge_opening(&self, alert: Option<&Alert>, what: &str, by: DateTime<Utc>, verdict: &mut Verdict) {
        let by_text = by.format("%T%.3f");
        match alert {
            Some(alert) if alert.opened <= by => {}
            Some(alert) => {
                let late = (alert.opened - by).num_seconds();
                verdict.wrong.push(self.wrong(alert, &format!("opened {late} s too late for {what}")));
            }
            None => verdict.wrong.push(Wrong::of(self.n, format!("{what} has no alert, which was due by {by_text}"))),
        }
    }

    /// Each failure has an alert, also when the service reports again at once.
    fn judge_failures(&self, alerts: &[&Alert], verdict: &mut Verdict) {
        for failure in self.reports.iter().filter(|report| !report.said.is_alive() && report.acknowledged) {
            verdict.failures += 1;
            verdict.borderline = verdict.borderline.saturating_sub(1);
            let found = alerts
                .iter()
                .find(|alert| alert.closed.is_none_or(|closed| self.history.dated(closed) >= failure.from));
            self.judge_opening(found.copied(), "a failure", self.history.done_by(failure.until), verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Cause, Disturbance};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
    }

    fn report(said: Said, from: i64, until: i64) -> Report {
        Report { said, from: at(from), until: at(until), acknowledged: true }
    }

    fn alert(problem: Problem, opened: i64, closed: i64) -> Alert {
        let (run, dedup_key, reason) = ("run-1".to_owned(), "key".to_owned(), String::new());
        Alert { id: 1, service: 0, problem, run, opened: at(opened), closed: Some(at(closed)), dedup_key, reason }
    }

    /// Judges a service that must report every minute, or a job with runs of 20 s.
    fn judged(rhythm: Rhythm, reports: &[Report], alerts: &[Alert], stops: &[(i64, i64)]) -> Vec<String> {
        let stop = |(from, to): &(i64, i64)| {
            let (from, to) = (at(*from), at(*to));
            Disturbance { cause: Cause::Killed, from, begun: from, back: to, to }
        };
        let history = History::new(&stops.iter().map(stop).collect::<Vec<_>>());
        let plan = ServicePlan {
            name: "soak-0000".to_owned(),
            rhythm,
            grace: TimeDelta::zero(),
            period: TimeDelta::seconds(20),
            has_targets: false,
            team: 0,
            episodes: Vec::new(),
        };
        let alerts: Vec<_> = alerts.iter().collect();
        let case = Case { n: 0, plan: &plan, reports, alerts: &alerts, history: &history };
        case.judge().wrong.into_iter().map(|wrong| wrong.what).collect()
    }

    const MINUTE: Rhythm = Rhythm::Every { interval: TimeDelta::seconds(60) };
    const JOB: Rhythm = Rhythm::Job { interval: TimeDelta::seconds(600), max: TimeDelta::seconds(20) };

    fn silent() -> [Report; 2] {
        [report(Said::Up, 0, 1), report(Said::Up, 200, 201)]
    }

    #[test]
    fn a_silence_must_have_one_alert_in_time() {
        let down = |opened, closed| alert(Problem::Heartbeat, opened, closed);
        assert_eq!(judged(MINUTE, &silent(), &[down(61, 201)], &[]), [""; 0]);
        assert_eq!(judged(MINUTE, &silent(), &[], &[]), ["a silence has no alert, which was due by 14:14:36.000"]);
        assert_eq!(judged(MINUTE, &silent(), &[down(96, 201)], &[]), ["alert 1 opened 20 s too late for a silence"]);
        let twice = [down(61, 201), down(62, 201)];
        assert_eq!(judged(MINUTE, &silent(), &twice, &[]), ["alert 1 is the second one of the same outage"]);
        let closed = judged(MINUTE, &silent(), &[down(61, 90)], &[]);
        assert!(closed.contains(&"alert 1 closed though nothing was reported that ends it".to_owned()), "{closed:?}");
        assert_eq!(judged(MINUTE, &silent(), &[down(61, 230)], &[]), ["alert 1 closed 14 s too late"]);
    }

    #[test]
    fn who_was_well_has_no_alert_nor_who_could_not_be_heard() {
        let down = |opened, closed| [alert(Problem::Heartbeat, opened, closed)];
        let well = [report(Said::Up, 0, 1), report(Said::Up, 40, 41)];
        let wrong = ["alert 1 opened though the service was well"];
        assert_eq!(judged(MINUTE, &well, &down(30, 41), &[]), wrong);
        let stopped = [report(Said::Up, 0, 1), report(Said::Up, 101, 102)];
        assert_eq!(judged(MINUTE, &stopped, &down(100, 102), &[(10, 100)]), wrong);
        assert_eq!(judged(MINUTE, &stopped, &[], &[(10, 100)]), [""; 0]);
        assert_eq!(judged(MINUTE, &silent(), &down(160, 201), &[(10, 100)]), [""; 0], "the gap has passed");
    }

    #[test]
    fn a_failure_has_an_alert_though_life_goes_on() {
        let reports = [report(Said::Up, 0, 1), report(Said::Failed { run: None }, 20, 21), report(Said::Up, 25, 26)];
        assert_eq!(judged(MINUTE, &reports, &[alert(Problem::Heartbeat, 21, 26)], &[]), [""; 0]);
        assert_eq!(judged(MINUTE, &reports, &[], &[]), ["a failure has no alert, which was due by 14:13:56.000"]);
    }

    #[test]
    fn a_run_over_its_maximum_has_one_alert() {
        let run = || "run-1".to_owned();
        let ran =
            |end| [report(Said::Started { run: run() }, 0, 1), report(Said::Completed { run: run() }, end, end + 1)];
        let job = |end, alerts: &[Alert]| judged(JOB, &ran(end), alerts, &[]);
        let (stale, exceeded) =
            (|opened, closed| alert(Problem::Stale, opened, closed), alert(Problem::Exceeded, 31, 31));
        assert_eq!(job(60, &[stale(21, 61)]), [""; 0]);
        assert_eq!(job(60, &[]), ["run-1 took too long, and has no alert"]);
        assert_eq!(job(5, &[stale(7, 8)])[..1], ["alert 1 says that run-1 is stale, and it was not"]);
        assert_eq!(job(31, std::slice::from_ref(&exceeded)), [""; 0], "either may come first");
        assert_eq!(
            job(60, std::slice::from_ref(&exceeded)),
            ["alert 1 says that run-1 ended too late; it was stale before"]
        );
        assert_eq!(job(60, &[stale(21, 61), exceeded]), ["alert 1 is the second one of run-1"]);
    }
}
