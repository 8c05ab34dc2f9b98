//! Judges what arrived in Slack, by the names in each message. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alerts::{Alert, Problem};
use crate::delivery::{Delivered, Mailbox};
use crate::receivers::{Arrival, Kind};
use crate::slack::{Content, News};
use crate::wrong::Wrong;

/// What Slack got about a service.
#[derive(Debug, Default)]
struct Heard {
    /// In messages that were answered with success, by when they arrived.
    answered: Vec<DateTime<Utc>>,
    excused: usize,
}

/// Of how many services messages gave only the number.
#[derive(Debug, Default)]
struct Counted {
    all: usize,
    excused: usize,
}

/// How long after a response it may not yet be recorded.
const RECORDED_WITHIN: TimeDelta = TimeDelta::seconds(5);

impl Mailbox<'_> {
    pub(crate) fn judge_slack(&self, delivered: &mut Delivered) {
        let mut channels: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
        for arrival in self.slack {
            channels.entry(arrival.body["channel"].as_str().unwrap_or_default()).or_default().push(arrival);
        }
        let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (n, plan) in self.plans.iter().enumerate() {
            members.entry(plan.channel()).or_default().push(n);
        }
        for (channel, members) in &members {
            let messages = channels.remove(channel.as_str()).unwrap_or_default();
            self.judge_channel(channel, members, &messages, delivered);
        }
        for (channel, messages) in channels {
            let what = format!("Slack got {} messages in {channel:?}, which is nobody's", messages.len());
            delivered.wrong.push(Wrong { service: None, what, may_pass: false });
        }
    }

    /// Judges a channel. A message of many names only the first of them, so that what is missing by name may be counted
    /// there.
    fn judge_channel(&self, channel: &str, members: &[usize], messages: &[&Arrival], delivered: &mut Delivered) {
        let mut heard: BTreeMap<(News, String), Heard> = BTreeMap::new();
        let mut counted: BTreeMap<News, Counted> = BTreeMap::new();
        for message in messages {
            let content = Content::read(message.body["text"].as_str().unwrap_or_default());
            for line in content.unknown {
                let what = format!("Slack got a line in {channel} that nobody understands: {line}");
                delivered.wrong.push(Wrong { service: None, what, may_pass: false });
            }
            // What was not answered comes again.
            let Some(answered) = message.answered else { continue };
            let is_excused = self.history.was_stopped(message.at, answered + RECORDED_WITHIN);
            for said in content.named {
                let heard = heard.entry(said).or_default();
                heard.answered.push(message.at);
                heard.excused += usize::from(is_excused);
            }
            for (news, many) in content.counted {
                let counted = counted.entry(news).or_default();
                counted.all += many;
                counted.excused += if is_excused { many } else { 0 };
            }
        }
        for news in [News::Down, News::Overran, News::Recovered] {
            let mut missing = Vec::new();
            for n in members {
                let heard = heard.remove(&(news, self.plans[*n].name.clone())).unwrap_or_default();
                missing.extend(vec![*n; self.judge_news(*n, news, &heard, delivered)]);
            }
            let Counted { all, excused } = counted.remove(&news).unwrap_or_default();
            if missing.len() > all {
                let what = |n| Wrong::so_far(n, format!("{channel} got too few messages that say: {news:?}"));
                delivered.wrong.extend(missing.into_iter().map(what));
            } else if missing.len() < all - excused {
                let what = format!("{channel} counts {all} {news:?}, where {} are not named", missing.len());
                delivered.wrong.push(Wrong { service: None, what, may_pass: false });
            }
        }
        heard.retain(|(news, _), _| *news != News::Reminder);
        for ((news, name), _) in heard {
            let what = format!("{channel} got {news:?} of {name}, whose channel it is not");
            delivered.wrong.push(Wrong { service: None, what, may_pass: false });
        }
    }

    /// Judges what a channel got about one service. Returns of how many alerts it got nothing by name.
    fn judge_news(&self, n: usize, news: News, heard: &Heard, delivered: &mut Delivered) -> usize {
        let is_news = |alert: &&Alert| match news {
            News::Down => alert.problem == Problem::Heartbeat,
            News::Overran => alert.problem != Problem::Heartbeat,
            News::Recovered => alert.is_resolved(),
            News::Reminder => false,
        };
        let alerts: Vec<_> = self.alerts.iter().filter(|alert| alert.service == n).filter(is_news).collect();
        let twice = heard.answered.len().saturating_sub(alerts.len());
        if twice > heard.excused {
            let what =
                format!("Slack got {} messages that say {news:?}, of {} alerts", heard.answered.len(), alerts.len());
            delivered.wrong.push(Wrong::of(n, what));
        } else {
            let name = &self.plans[n].name;
            let times = heard.answered.iter().map(|at| at.format("%T%.3f").to_string()).collect::<Vec<_>>().join(", ");
            delivered.excused.extend((twice > 0).then(|| format!("Slack got {news:?} of {name} at {times}")));
        }
        if twice == 0 && news != News::Recovered && heard.answered.len() == alerts.len() {
            for (alert, at) in alerts.iter().zip(&heard.answered) {
                delivered.openings.insert((Kind::Slack, alert.id), *at);
            }
        }
        alerts.len().saturating_sub(heard.answered.len())
    }
}
