//! Judges what arrived: each receiver is notified of each alert once, and once of its end, and of nothing else. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::alerts::{Alert, Problem};
use crate::deadlines::History;
use crate::plan::ServicePlan;
use crate::receivers::{Arrival, Kind};
use crate::wrong::Wrong;

/// What all receivers got, and what of it was right.
pub(crate) struct Mailbox<'a> {
    pub(crate) plans: &'a [ServicePlan],
    pub(crate) alerts: &'a [Alert],
    pub(crate) slack: &'a [Arrival],
    pub(crate) pagerduty: &'a [Arrival],
    pub(crate) webhooks: &'a [Arrival],
    pub(crate) history: &'a History,
}

#[derive(Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) wrong: Vec<Wrong>,
    /// When each alert's opening first arrived: by the alert's id.
    pub(crate) openings: BTreeMap<(Kind, i64), DateTime<Utc>>,
    /// Messages in Slack that came twice because Medic was stopped after the first was answered and before that was recorded.
    pub(crate) excused: Vec<String>,
    /// Requests that a receiver recognises by their id as ones that it has had.
    pub(crate) repeated: usize,
}

/// The webhook of all services, and the targets of some.
pub(crate) const HOOK: &str = "/hook";
pub(crate) const TARGET: &str = "/target";

impl Mailbox<'_> {
    pub(crate) fn judge(&self) -> Delivered {
        let mut delivered = Delivered::default();
        self.judge_pagerduty(&mut delivered);
        self.judge_webhooks(HOOK, &mut delivered);
        self.judge_webhooks(TARGET, &mut delivered);
        self.judge_slack(&mut delivered);
        delivered
    }

    fn judge_pagerduty(&self, delivered: &mut Delivered) {
        let mut events: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
        for arrival in self.pagerduty {
            events.entry(arrival.body["dedup_key"].as_str().unwrap_or_default()).or_default().push(arrival);
        }
        let mut keys = BTreeSet::new();
        for alert in self.alerts.iter().filter(|alert| alert.problem != Problem::Exceeded) {
            if !keys.insert(&alert.dedup_key) {
                let what = format!("alert {} has the dedup key of another one", alert.id);
                delivered.wrong.push(Wrong::of(alert.service, what));
            }
            let events = events.remove(alert.dedup_key.as_str()).unwrap_or_default();
            self.judge_incident(alert, &events, delivered);
        }
        for (key, events) in events {
            let what = format!("PagerDuty got {} events of {key:?}, which is no alert's", events.len());
            delivered.wrong.push(Wrong { service: None, what, may_pass: false });
        }
    }

    /// Judges the events of one incident, in order.
    fn judge_incident(&self, alert: &Alert, events: &[&Arrival], delivered: &mut Delivered) {
        let actions = |action| events.iter().filter(move |event| event.body["event_action"] == action);
        let is_accepted = |action| actions(action).any(|event| event.answered.is_some());
        if let Some(first) = actions("trigger").next() {
            delivered.openings.insert((Kind::PagerDuty, alert.id), first.at);
        }
        delivered.repeated += events.len().saturating_sub(1 + usize::from(alert.is_resolved()));
        let missing = [("trigger", true), ("resolve", alert.is_resolved())];
        for (action, _) in missing.into_iter().filter(|(action, is_due)| *is_due && !is_accepted(*action)) {
            let what = format!("PagerDuty got no {action} of alert {}", alert.id);
            delivered.wrong.push(Wrong::so_far(alert.service, what));
        }
        let resolved = actions("resolve").next().map(|event| event.at);
        let is_again = |event: &&&Arrival| resolved.is_some_and(|resolved| event.at > resolved);
        if actions("trigger").any(|event| is_again(&event)) {
            let what = format!("PagerDuty got a trigger of alert {} after its resolve", alert.id);
            delivered.wrong.push(Wrong::of(alert.service, what));
        }
        let key = self.plans[alert.service].routing_key();
        if events.iter().any(|event| event.body["routing_key"] != key) {
            let what = format!("PagerDuty got alert {} under another routing key than {key}", alert.id);
            delivered.wrong.push(Wrong::of(alert.service, what));
        }
    }

    /// Judges what a webhook got: one id for each event of each alert, answered with success.
    fn judge_webhooks(&self, path: &str, delivered: &mut Delivered) {
        let mut events: BTreeMap<(i64, &str), BTreeMap<&str, Vec<&Arrival>>> = BTreeMap::new();
        for arrival in self.webhooks.iter().filter(|arrival| arrival.path == path) {
            let alert = arrival.body["data"]["alert_id"].as_i64().unwrap_or_default();
            let kind = arrival.body["type"].as_str().unwrap_or_default();
            if kind != "alert.reminder" {
                events.entry((alert, kind)).or_default().entry(&arrival.id).or_default().push(arrival);
            }
        }
        for alert in self.alerts.iter().filter(|alert| path == HOOK || self.plans[alert.service].has_targets) {
            for event in std::iter::once(alert.event()).chain(alert.is_resolved().then_some("alert.resolved")) {
                let got = events.remove(&(alert.id, event)).unwrap_or_default();
                let is_accepted = got.values().flatten().any(|arrival| arrival.answered.is_some());
                delivered.repeated += got.values().map(|same| same.len() - 1).sum::<usize>();
                if !is_accepted {
                    let what = format!("{path} got no {event} of alert {}", alert.id);
                    delivered.wrong.push(Wrong::so_far(alert.service, what));
                } else if got.len() > 1 {
                    let what = format!("{path} got {event} of alert {} under {} ids", alert.id, got.len());
                    delivered.wrong.push(Wrong::of(alert.service, what));
                }
                if let (HOOK, true) = (path, event == alert.event())
                    && let Some(first) = got.values().flatten().map(|arrival| arrival.at).min()
                {
                    delivered.openings.insert((Kind::Webhook, alert.id), first);
                }
            }
        }
        for (alert, event) in events.keys() {
            let what = format!("{path} got {event:?} of alert {alert}, which it should not get");
            delivered.wrong.push(Wrong { service: None, what, may_pass: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::*;
    use crate::facts::{Cause, Disturbance};
    use crate::plan::Rhythm;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
    }

    /// What arrived at a second and was answered half of one later, unless not at all.
    fn arrival(second: i64, is_answered: bool, id: &str, body: Value) -> Arrival {
        let answered = is_answered.then_some(at(second) + TimeDelta::milliseconds(500));
        Arrival { at: at(second), answered, path: HOOK.to_owned(), id: id.to_owned(), body }
    }

    fn slack(second: i64, is_answered: bool, text: &str) -> Arrival {
        arrival(second, is_answered, "", json!({"channel": "C0TEAM0", "text": text}))
    }

    fn pagerduty(second: i64, action: &str) -> Arrival {
        arrival(second, true, "", json!({"routing_key": "R0UTING", "event_action": action, "dedup_key": "key"}))
    }

    fn hook(second: i64, id: &str, event: &str) -> Arrival {
        arrival(second, true, id, json!({"type": event, "data": {"alert_id": 1}}))
    }

    const DOWN: &str = ":rotating_light: [p3] soak-0000 is down: late";
    const UP: &str = ":white_check_mark: soak-0000 has recovered after 1 min";

    fn judged(slack: &[Arrival], pagerduty: &[Arrival], webhooks: &[Arrival], killed: &[i64]) -> Vec<String> {
        let kill = |second: &i64| {
            let (from, to) = (at(*second), at(*second + 1));
            Disturbance { cause: Cause::Killed, from, begun: from, back: to, to }
        };
        let history = History::new(&killed.iter().map(kill).collect::<Vec<_>>());
        let plan = ServicePlan {
            name: "soak-0000".to_owned(),
            rhythm: Rhythm::Every { interval: TimeDelta::seconds(60) },
            grace: TimeDelta::zero(),
            period: TimeDelta::seconds(20),
            has_targets: false,
            team: 0,
            episodes: Vec::new(),
        };
        let alert = Alert {
            id: 1,
            service: 0,
            problem: Problem::Heartbeat,
            run: String::new(),
            opened: at(60),
            closed: Some(at(90)),
            dedup_key: "key".to_owned(),
            reason: String::new(),
        };
        let (plans, alerts) = ([plan], [alert]);
        let mailbox = Mailbox { plans: &plans, alerts: &alerts, slack, pagerduty, webhooks, history: &history };
        mailbox.judge().wrong.into_iter().map(|wrong| wrong.what).collect()
    }

    fn right() -> ([Arrival; 2], [Arrival; 2], [Arrival; 2]) {
        (
            [slack(61, true, DOWN), slack(91, true, UP)],
            [pagerduty(61, "trigger"), pagerduty(91, "resolve")],
            [hook(61, "a", "alert.opened"), hook(91, "b", "alert.resolved")],
        )
    }

    #[test]
    fn each_receiver_is_notified_of_the_opening_and_the_end() {
        let (slack, pagerduty, hooks) = right();
        assert_eq!(judged(&slack, &pagerduty, &hooks, &[]), [""; 0]);
        assert_eq!(
            judged(&slack[..1], &pagerduty[..1], &hooks[..1], &[]),
            [
                "PagerDuty got no resolve of alert 1",
                "/hook got no alert.resolved of alert 1",
                "C0TEAM0 got too few messages that say: Recovered",
            ]
        );
    }

    #[test]
    fn what_comes_twice_under_one_id_is_known_to_its_receiver() {
        let (slack, pagerduty_events, hooks) = right();
        let again = [&pagerduty_events[..1], &pagerduty_events].concat();
        let hooks_again = [&hooks[..1], &hooks].concat();
        assert_eq!(judged(&slack, &again, &hooks_again, &[]), [""; 0]);
        let late = [&pagerduty_events, &[pagerduty(95, "trigger")][..]].concat();
        let other = [&hooks, &[hook(95, "c", "alert.opened")][..]].concat();
        assert_eq!(
            judged(&slack, &late, &other, &[]),
            ["PagerDuty got a trigger of alert 1 after its resolve", "/hook got alert.opened of alert 1 under 2 ids",]
        );
    }

    #[test]
    fn slack_may_get_twice_what_it_did_not_answer_or_what_a_kill_left_unrecorded() {
        let (messages, pagerduty, hooks) = right();
        let unanswered = [&[slack(60, false, DOWN)], &messages[..]].concat();
        assert_eq!(judged(&unanswered, &pagerduty, &hooks, &[]), [""; 0]);
        let twice = [&[slack(60, true, DOWN)], &messages[..]].concat();
        assert_eq!(judged(&twice, &pagerduty, &hooks, &[]), ["Slack got 2 messages that say Down, of 1 alerts"]);
        assert_eq!(judged(&twice, &pagerduty, &hooks, &[62]), [""; 0]);
    }

    #[test]
    fn a_summary_counts_whom_it_does_not_name() {
        let (_, pagerduty, hooks) = right();
        let many = slack(61, true, ":rotating_light: 23 services are down: soak-0001 and 22 more");
        let wrong = judged(&[many, slack(91, true, UP)], &pagerduty, &hooks, &[]);
        let nobody = "C0TEAM0 got Down of soak-0001, whose channel it is not";
        assert_eq!(wrong, ["C0TEAM0 counts 22 Down, where 1 are not named", nobody]);
    }
}
