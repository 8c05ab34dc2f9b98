//! Who is notified of a service: its targets, in hours or after them, all or one after the other; without targets its
//! team's channel and PagerDuty. The one place that decides. Pure.

use chrono::{DateTime, Utc};

use crate::{
    Destination, NotificationKind, NotificationMode, Outcome, Period, PlaybookNotification, Receiver, ServiceId,
    Target, TargetKind, TargetPeriod,
};

/// What the choice of receivers rests on.
#[derive(Debug, Clone)]
pub struct Routing {
    pub service_id: ServiceId,
    pub mode: NotificationMode,
    /// Whether the service's schedule is in hours.
    pub period: Period,
    /// When it is not so any more; none if that never changes.
    pub period_end: Option<DateTime<Utc>>,
    /// In the order in which they are notified.
    pub targets: Vec<Target>,
    /// The team's channel, or else the general one.
    pub channel: Option<String>,
    /// Whether a routing key is configured.
    pub has_pagerduty: bool,
}

impl Routing {
    /// Returns who gets this kind of notification, in order. A target that is disabled is listed as one that failed.
    pub fn outcomes(&self, kind: NotificationKind, now: DateTime<Utc>) -> Vec<Outcome> {
        self.outcomes_for(|receiver| receiver.receives(kind), now)
    }

    /// Returns when others may have to be notified of an alert that is still open, because they are for another period.
    pub fn next_period_at(&self) -> Option<DateTime<Utc>> {
        let has_periods = self.targets.iter().any(|target| target.enabled && target.period != TargetPeriod::Always);
        self.period_end.filter(|_| has_periods)
    }

    /// Returns who is notified of an open alert only now, because its period has come: of the targets that are for this
    /// period alone those that were not notified, or the first of them where one is enough and none was.
    pub fn outcomes_of_period(&self, was_notified: impl Fn(&Receiver) -> bool, now: DateTime<Utc>) -> Vec<Outcome> {
        let targets = self.targets.iter().filter(|target| target.period != TargetPeriod::Always);
        let routing = Self { targets: targets.cloned().collect(), ..self.clone() };
        if routing.targets.is_empty() {
            return Vec::new();
        }
        let mut outcomes = routing.outcomes(NotificationKind::Opened, now);
        let is_known = |outcome: &Outcome| was_notified(&outcome.receiver);
        let is_over = self.mode == NotificationMode::NotifyUntilSuccess && outcomes.iter().any(is_known);
        outcomes.retain(|outcome| !is_over && !is_known(outcome));
        if outcomes.iter().any(Outcome::is_pending) { outcomes } else { Vec::new() }
    }

    /// Returns who gets this notification of an execution. What must reach somebody goes to the channel where no target
    /// gets it.
    pub fn outcomes_of_playbook(&self, notification: &PlaybookNotification, now: DateTime<Utc>) -> Vec<Outcome> {
        let receives = |receiver: &Receiver| notification.is_for(receiver.kind());
        let mut outcomes = self.outcomes_for(receives, now);
        if notification.must_reach_somebody() && !outcomes.iter().any(Outcome::is_pending) {
            let instead: Vec<_> = self.without_targets().filter(|outcome| receives(&outcome.receiver)).collect();
            outcomes.retain(|outcome| !instead.iter().any(|other| other.receiver == outcome.receiver));
            outcomes.extend(instead);
        }
        outcomes
    }

    /// Returns those of them that are reached in Slack.
    pub fn outcomes_in_slack(&self, now: DateTime<Utc>) -> Vec<Outcome> {
        self.outcomes_for(|receiver| receiver.kind() == TargetKind::Slack, now)
    }

    fn outcomes_for(&self, receives: impl Fn(&Receiver) -> bool, now: DateTime<Utc>) -> Vec<Outcome> {
        if self.targets.is_empty() {
            return self.without_targets().filter(|outcome| receives(&outcome.receiver)).collect();
        }
        let mut outcomes: Vec<Outcome> = Vec::new();
        let mut has_first = false;
        for target in self.targets.iter().filter(|target| self.is_time_for(target)) {
            let mut outcome = Outcome::to(receiver(target), Some(target.id));
            if let Destination::PagerDuty { service_key } = &target.destination {
                outcome.service_key = Some(service_key.clone());
            }
            // Two targets of one channel are one receiver.
            if !receives(&outcome.receiver) || outcomes.iter().any(|known| known.receiver == outcome.receiver) {
                continue;
            }
            if !target.enabled {
                (outcome.at, outcome.error) = (Some(now), Some("the target is disabled".to_owned()));
            } else if self.mode == NotificationMode::NotifyUntilSuccess {
                outcome.waits = has_first;
                has_first = true;
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn without_targets(&self) -> impl Iterator<Item = Outcome> {
        let slack = self.channel.clone().map(|channel| Receiver::Slack { channel });
        let pagerduty = self.has_pagerduty.then_some(Receiver::PagerDuty { service_id: self.service_id });
        slack.into_iter().chain(pagerduty).map(|receiver| Outcome::to(receiver, None))
    }

    fn is_time_for(&self, target: &Target) -> bool {
        match target.period {
            TargetPeriod::Always => true,
            TargetPeriod::DuringHours => self.period == Period::DuringHours,
            TargetPeriod::AfterHours => self.period == Period::AfterHours,
        }
    }
}

/// Returns a target's receiver. That of a Slack target is its channel: they share a lane.
fn receiver(target: &Target) -> Receiver {
    match &target.destination {
        Destination::Slack { channel_id } => Receiver::Slack { channel: channel_id.clone() },
        Destination::PagerDuty { .. } | Destination::Webhook(_) => {
            Receiver::Target { kind: target.destination.kind(), service_id: target.service_id, target_id: target.id }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Revision, TargetId, from_millis};

    fn now() -> DateTime<Utc> {
        from_millis(1_790_000_000_000)
    }

    fn slack(id: i64, period: TargetPeriod, enabled: bool) -> Target {
        let destination = Destination::Slack { channel_id: format!("C{id}") };
        let revision = Revision::beginning(now());
        let service_id = ServiceId::new(1);
        Target { id: TargetId::new(id), service_id, destination, priority: 0, enabled, period, revision }
    }

    fn notified(mode: NotificationMode, period: Period, targets: Vec<Target>) -> Vec<(String, bool, bool)> {
        let routing = Routing {
            service_id: ServiceId::new(1),
            mode,
            period,
            period_end: None,
            targets,
            channel: Some("general".to_owned()),
            has_pagerduty: true,
        };
        let outcomes = routing.outcomes(NotificationKind::Opened, now());
        let name = |outcome: &Outcome| match &outcome.receiver {
            Receiver::Slack { channel } => channel.clone(),
            Receiver::PagerDuty { .. } | Receiver::Target { .. } | Receiver::Webhook { .. } => "pagerduty".to_owned(),
        };
        outcomes.iter().map(|outcome| (name(outcome), outcome.waits, outcome.at.is_some())).collect()
    }

    #[test]
    fn without_targets_the_channel_and_pagerduty_are_notified() {
        let notified = notified(NotificationMode::NotifyUntilSuccess, Period::AfterHours, Vec::new());
        assert_eq!(notified, [("general".to_owned(), false, false), ("pagerduty".to_owned(), false, false)]);
    }

    #[test]
    fn targets_are_notified_in_their_time_and_a_disabled_one_is_not() {
        let targets = vec![
            slack(1, TargetPeriod::DuringHours, true),
            slack(2, TargetPeriod::AfterHours, true),
            slack(3, TargetPeriod::Always, false),
            slack(4, TargetPeriod::Always, true),
        ];
        let all = notified(NotificationMode::NotifyAll, Period::AfterHours, targets.clone());
        let named = |name: &str, waits, done| (name.to_owned(), waits, done);
        assert_eq!(all, [named("C2", false, false), named("C3", false, true), named("C4", false, false)]);
        let one = notified(NotificationMode::NotifyUntilSuccess, Period::DuringHours, targets);
        assert_eq!(one, [named("C1", false, false), named("C3", false, true), named("C4", true, false)]);
    }

    #[test]
    fn a_new_period_is_for_its_own_targets_that_were_not_notified() {
        let notified = |mode, known: &[&str]| {
            let targets = vec![
                slack(1, TargetPeriod::DuringHours, true),
                slack(2, TargetPeriod::Always, true),
                slack(3, TargetPeriod::AfterHours, false),
                slack(4, TargetPeriod::AfterHours, true),
                slack(5, TargetPeriod::AfterHours, true),
            ];
            let routing = Routing {
                service_id: ServiceId::new(1),
                mode,
                period: Period::AfterHours,
                period_end: Some(now()),
                targets,
                channel: None,
                has_pagerduty: true,
            };
            assert_eq!(routing.next_period_at(), Some(now()));
            let known = |receiver: &Receiver| {
                known.iter().any(|known| *receiver == Receiver::Slack { channel: (*known).to_owned() })
            };
            let outcomes = routing.outcomes_of_period(known, now());
            outcomes.iter().map(|outcome| (outcome.target_id.unwrap().get(), outcome.waits)).collect::<Vec<_>>()
        };
        let (all, one) = (NotificationMode::NotifyAll, NotificationMode::NotifyUntilSuccess);
        assert_eq!(notified(all, &["C1", "C2"]), [(3, false), (4, false), (5, false)]);
        assert_eq!(notified(all, &["C4"]), [(3, false), (5, false)]);
        assert_eq!(notified(all, &["C4", "C5"]), [], "nobody is notified through a target that is disabled");
        assert_eq!(notified(one, &["C1", "C2"]), [(3, false), (4, false), (5, true)]);
        assert_eq!(notified(one, &["C4"]), [], "one of them was enough");
    }
}
