//! Shows what the soak found: a table, `target/soak.json`, and of what was wrong what was planned and what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::alerts::Alert;
use crate::facts::{Cause, Report};
use crate::judge::Soak;
use crate::receivers::{Arrival, Kind};
use crate::wrong::Wrong;

/// A line of the table.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// Reports that are shown after an alert's end.
const AFTERWARDS: TimeDelta = TimeDelta::seconds(20);
/// Services of which all is shown.
const MAX_SHOWN: usize = 25;

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value: (value * 1e3).round() / 1e3, unit }
    }

    pub(crate) fn count(name: impl Into<String>, count: usize, unit: &'static str) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
        Self::new(name, count as f64, unit)
    }

    pub(crate) fn line(&self) -> String {
        format!("{:>10}  {:<14} {}", self.value, self.unit, self.name)
    }

    pub(crate) fn json(&self) -> Value {
        let Self { name, value, unit } = self;
        json!({"name": name, "value": value, "unit": unit})
    }
}

impl Soak {
    /// Returns what was wrong: how much of each kind, and each service with its story.
    pub(crate) fn shown(&self, wrong: &[Wrong]) -> String {
        let mut text = String::new();
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for one in wrong {
            *kinds.entry(one.kind()).or_default() += 1;
        }
        for (kind, many) in kinds {
            writeln!(text, "{many:>6} times: {kind}").unwrap_or_default();
        }
        text.push('\n');
        let mut shown = BTreeSet::new();
        for one in wrong {
            let name = one.service.map_or("", |n| self.plans[n].name.as_str());
            writeln!(text, "{name}: {}", one.what).unwrap_or_default();
            if let Some(n) = one.service
                && shown.len() < MAX_SHOWN
                && shown.insert(n)
            {
                text.push_str(&self.story(n));
            }
        }
        text
    }

    /// Returns what was planned of a service and what happened, in order.
    pub(crate) fn story(&self, n: usize) -> String {
        let plan = &self.plans[n];
        let alerts: Vec<_> = self.alerts.iter().filter(|alert| alert.service == n).collect();
        let mut events = Vec::new();
        for episode in &plan.episodes {
            let at = self.began + episode.at;
            events.push((at, format!("planned: {:?} for {} s", episode.what, episode.length.num_seconds())));
        }
        let is_near = |report: &Report| {
            let ends = |alert: &Alert| alert.closed.unwrap_or(alert.opened) + AFTERWARDS;
            let is_of = |alert: &&Alert| report.until > alert.opened - plan.until_late() && report.from < ends(alert);
            alerts.iter().any(is_of)
        };
        let reports = self.facts.reports(n);
        for report in reports.iter().filter(|report| alerts.is_empty() || is_near(report)) {
            let heard = if report.acknowledged { "acknowledged" } else { "not acknowledged" };
            events
                .push((report.from, format!("sent: {:?}, {heard} by {}", report.said, report.until.format("%T%.3f"))));
        }
        for alert in &alerts {
            let Alert { id, problem, run, opened, reason, .. } = alert;
            events.push((*opened, format!("alert {id} opened: {problem:?} {run}, {reason}")));
            events.extend(alert.closed.map(|closed| (closed, format!("alert {id} closed"))));
        }
        for kind in Kind::ALL {
            let about = self.arrivals(kind).iter().filter(|arrival| is_about(arrival, &plan.name));
            events.extend(about.map(|arrival| (arrival.at, arrived(kind, arrival, &plan.name))));
        }
        for stop in self.facts.disturbances().iter().filter(|disturbance| disturbance.cause != Cause::Unknown) {
            events.push((stop.from, format!("Medic: {:?} until {}", stop.cause, stop.to.format("%T%.3f"))));
        }
        events.sort_by_key(|(at, _)| *at);
        let mut text = format!("    {:?}, grace {} s\n", plan.rhythm, plan.grace.num_seconds());
        for (at, event) in events {
            writeln!(text, "    {} {event}", at.format("%T%.3f")).unwrap_or_default();
        }
        text
    }
}

fn is_about(arrival: &Arrival, name: &str) -> bool {
    arrival.body.to_string().contains(name)
}

fn arrived(kind: Kind, arrival: &Arrival, name: &str) -> String {
    let Arrival { answered, path, id, body, .. } = arrival;
    let what = match kind {
        Kind::Slack => {
            let lines = body["text"].as_str().unwrap_or_default().lines().filter(|line| line.contains(name));
            lines.collect::<Vec<_>>().join(" / ")
        }
        Kind::PagerDuty => format!("{} {}", body["event_action"], body["dedup_key"]),
        Kind::Webhook => format!("{path} {} {id}", body["type"]),
    };
    let answer = if answered.is_some() { "" } else { ", and got no answer" };
    format!("{} got {what}{answer}", kind.name())
}
