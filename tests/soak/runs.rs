//! Judges the alerts of runs that did not end in time. Pure.

use chrono::TimeDelta;

use crate::alerts::{Alert, Problem};
use crate::deadlines::Expectation;
use crate::facts::{Report, Said};
use crate::monitoring::{Case, ROUNDING, Verdict};
use crate::wrong::Wrong;

impl Case<'_> {
    /// A run that did not end in time has one alert, a stale one if that was certain before it ended.
    pub(crate) fn judge_runs(&self, alerts: &[&Alert], verdict: &mut Verdict) {
        let Some(max) = self.plan.rhythm.max() else {
            verdict.wrong.extend(alerts.iter().map(|alert| self.wrong(alert, "is of a run, which nobody started")));
            return;
        };
        let of_run = |run: &str| alerts.iter().copied().filter(|alert| alert.run == run).collect::<Vec<_>>();
        let mut known = 0;
        for start in self.reports.iter().filter(|report| matches!(report.said, Said::Started { .. })) {
            let run = start.said.run().unwrap_or_default();
            let ended = self
                .reports
                .iter()
                .find(|report| report.said.run() == Some(run) && !matches!(report.said, Said::Started { .. }));
            let alerts = of_run(run);
            known += alerts.len();
            // One that has not ended is judged when it has.
            if let Some(end) = ended {
                self.judge_run(start, end, max, &alerts, verdict);
            }
        }
        if known < alerts.len() {
            verdict.wrong.push(Wrong::of(self.n, "there are alerts of runs that nobody started"));
        }
    }

    fn judge_run(&self, start: &Report, end: &Report, max: TimeDelta, alerts: &[&Alert], verdict: &mut Verdict) {
        let run = start.said.run().unwrap_or_default();
        let must_be_stale =
            self.history.done_by(self.history.latest(Expectation::Within(max), start.until)) <= end.from;
        let must_overrun = end.from - start.until > max;
        verdict.overruns += usize::from(must_overrun);
        match alerts {
            [] if must_overrun => {
                verdict.wrong.push(Wrong::so_far(self.n, format!("{run} took too long, and has no alert")));
            }
            [] => {}
            [alert] if alert.problem == Problem::Stale => {
                if self.history.earliest(Expectation::Within(max), start.from) > alert.opened + ROUNDING
                    || alert.opened > end.until + ROUNDING
                {
                    verdict.wrong.push(self.wrong(alert, &format!("says that {run} is stale, and it was not")));
                }
                self.judge_end(alert, std::iter::once(end), verdict);
            }
            [alert] => {
                verdict.borderline += usize::from(!must_overrun);
                if must_be_stale {
                    verdict
                        .wrong
                        .push(self.wrong(alert, &format!("says that {run} ended too late; it was stale before")));
                } else if end.until - start.from <= max {
                    verdict.wrong.push(self.wrong(alert, &format!("says that {run} ended too late, and it did not")));
                }
            }
            [_, second, ..] => verdict.wrong.push(self.wrong(second, &format!("is the second one of {run}"))),
        }
    }
}
