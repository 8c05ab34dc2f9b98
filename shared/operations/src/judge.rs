//! Judges one service and makes the transitions that are due: the only maker of transitions.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, AlertCopy, AlertId, Close, Decision, Notice, NoticeId, NoticeKind, Opening, Outcome, Pending, Profile,
    Receiver, Service, ServiceId, Transition,
};
use outbound::Wake;
use store::{Commit, Lane, Watched, Writes};

use crate::entropy::random;
use crate::{Error, Medic};

/// More transitions than one look can find, and then some lost races.
const ROUNDS: usize = 16;

impl Medic {
    /// Judges a service until nothing is to be done. Answers when it is next due.
    pub(crate) async fn judge(&self, id: ServiceId, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        metrics::counter!("medic_worker_services_checked_total").increment(1);
        let mut alert_id = None;
        for _ in 0..ROUNDS {
            let Some(seen) = self.table.watched(id).await? else {
                return Ok(None);
            };
            match seen.service.judge(now) {
                Decision::Rest { due_at } => {
                    if due_at == seen.service.due_at || self.table.rearm(&seen, due_at).await? == Commit::Done {
                        return Ok(due_at);
                    }
                }
                Decision::Act(Transition::Remove) => {
                    self.table.remove_service(id).await?;
                    return Ok(None);
                }
                Decision::Act(Transition::Open(opening)) => self.open(&seen, opening, &mut alert_id, now).await?,
                Decision::Act(transition) => self.make(&seen, transition, now).await?,
            }
        }
        Err(Error::contended(id))
    }

    /// Opens an alert. `alert_id` keeps an id that a lost race did not use.
    async fn open(
        &self,
        seen: &Watched,
        opening: Opening,
        alert_id: &mut Option<AlertId>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let Some(record) = self.table.service(seen.service.id).await? else {
            return Ok(());
        };
        let id = match *alert_id {
            Some(id) => id,
            None => *alert_id.insert(self.table.next_alert_id().await?),
        };
        let change = seen.service.clone().opened(id, now);
        let alert = new_alert(id, &seen.service, &record.profile, opening, now);
        let notice = self.notice(NoticeKind::Opened, &alert, change.notice_at)?;
        let mut writes = Writes::new();
        writes.transition(&self.table, seen, &change.service)?;
        writes.open_alert(&self.table, &alert)?;
        if let Some(notice) = &notice {
            writes.add_notice(&self.table, notice)?;
        }
        if self.table.commit(writes).await? == Commit::Done {
            // Once for each alert, however many transitions one look makes.
            *alert_id = None;
            self.transitions_made();
            let (priority, team) = (alert.service.priority.as_str(), alert.service.team.clone());
            metrics::counter!("medic_alerts_total", "priority" => priority, "team" => team).increment(1);
            if let Opening::Overdue { since } = opening {
                metrics::histogram!("medic_detection_lag_seconds").record(seconds(now - since));
            }
            tracing::info!(service.id = %alert.service_id, alert.id = %id, reason = %alert.reason, "an alert opened");
            self.hand_over(notice.as_ref(), now).await;
        }
        Ok(())
    }

    /// Makes a transition of a service that keeps or closes its alert, or has none.
    async fn make(&self, seen: &Watched, transition: Transition, now: DateTime<Utc>) -> Result<(), Error> {
        let change = seen.service.clone().apply(transition, now);
        let mut writes = Writes::new();
        writes.transition(&self.table, seen, &change.service)?;
        let alert = match seen.service.outage.as_ref().filter(|_| transition != Transition::Unmute) {
            Some(outage) => self.table.alert(outage.alert_id).await?,
            None => None,
        };
        let mut notice = None;
        if let Some(old) = &alert {
            let mut new = old.clone();
            new.cycle = change.service.outage.as_ref().map_or(old.cycle, |outage| outage.cycle);
            if matches!(transition, Transition::Close(_)) {
                new.closed_at = Some(now);
            }
            writes.change_alert(&self.table, old, &new)?;
            notice = self.notice(kind(transition), &new, change.notice_at)?;
            if transition == Transition::Close(Close::Unwatched) {
                notice = notice.and_then(incidents_only);
            }
            if let Some(notice) = &notice {
                writes.add_notice(&self.table, notice)?;
            }
        }
        if self.table.commit(writes).await? == Commit::Done {
            self.transitions_made();
            if let (Transition::Close(close), Some(alert)) = (transition, &alert) {
                metrics::counter!("medic_alerts_resolved_total").increment(1);
                tracing::info!(service.id = %alert.service_id, alert.id = %alert.id, ?close, "an alert closed");
            }
            self.hand_over(notice.as_ref(), now).await;
        }
        Ok(())
    }

    /// The notice of a transition, if anybody is to be told of it.
    pub(crate) fn notice(
        &self,
        kind: NoticeKind,
        alert: &Alert,
        at: Option<DateTime<Utc>>,
    ) -> Result<Option<Notice>, Error> {
        let Some(at) = at else { return Ok(None) };
        let outcomes: Vec<_> = self
            .receivers(alert.service_id)
            .filter(|receiver| receiver.hears(kind))
            .map(|receiver| Outcome { receiver, at: None, error: None })
            .collect();
        if outcomes.is_empty() {
            return Ok(None);
        }
        let id = NoticeId::at(at, random()?);
        Ok(Some(Notice { id, kind, at, alert: alert.clone(), outcomes }))
    }

    /// Who is told of a service.
    fn receivers(&self, service_id: ServiceId) -> impl Iterator<Item = Receiver> {
        let slack = self.settings.slack_channel.clone().map(|channel| Receiver::Slack { channel });
        let pagerduty = self.pagerduty.is_some().then_some(Receiver::PagerDuty { service_id });
        slack.into_iter().chain(pagerduty)
    }

    /// Wakes the senders of a notice that was committed.
    pub(crate) async fn hand_over(&self, notice: Option<&Notice>, now: DateTime<Utc>) {
        for outcome in notice.into_iter().flat_map(|notice| &notice.outcomes) {
            self.wake(Wake::Lane { lane: Lane::of(&outcome.receiver).to_string() }, now).await;
        }
    }
}

const fn kind(transition: Transition) -> NoticeKind {
    match transition {
        Transition::Close(_) => NoticeKind::Resolved,
        Transition::Remind { .. } => NoticeKind::Reminder,
        Transition::Open(_) | Transition::TellOpen | Transition::Unmute | Transition::Remove => NoticeKind::Opened,
    }
}

/// What is left of a notice that people are spared.
fn incidents_only(mut notice: Notice) -> Option<Notice> {
    notice.outcomes.retain(|outcome| matches!(outcome.receiver, Receiver::PagerDuty { .. }));
    (!notice.outcomes.is_empty()).then_some(notice)
}

fn new_alert(id: AlertId, service: &Service, profile: &Profile, opening: Opening, now: DateTime<Utc>) -> Alert {
    let rule = service.rule;
    let reason = match opening {
        Opening::Overdue { .. } if rule.threshold > 1 => {
            format!("fewer than {} heartbeats in {}", rule.threshold, span(rule.interval))
        }
        Opening::Overdue { .. } => match service.pulse.newest().time() {
            Some(last) => {
                format!("no heartbeat since {}, expected every {}", domain::format_time(last), span(rule.interval))
            }
            None => format!("no heartbeat yet, expected every {}", span(rule.interval)),
        },
        Opening::Pending(Pending::Said(status)) => format!("it reported {status}"),
        Opening::Pending(Pending::SetDown | Pending::SetUp | Pending::SwitchedOff) => {
            "it was set down by an operator".to_owned()
        }
    };
    Alert {
        id,
        service_id: service.id,
        service: AlertCopy::of(profile),
        cycle: 1,
        reason,
        created_at: now,
        closed_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
    }
}

/// A rule's span in the largest unit that gives a whole number.
fn span(span: TimeDelta) -> String {
    let millis = span.num_milliseconds();
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")]
        .into_iter()
        .find(|(unit, _)| millis % unit == 0)
        .map_or_else(|| format!("{millis} ms"), |(unit, name)| format!("{} {name}", millis / unit))
}

pub(crate) fn seconds(span: TimeDelta) -> f64 {
    span.as_seconds_f64().max(0.0)
}
