//! Judges one service and makes the transitions that are due: the only maker of transitions.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, AlertCopy, AlertId, AlertKind, Close, Decision, Expectation, Notification, NotificationKind, Opening,
    Outcome, Pending, Profile, Rule, Service, ServiceId, Timetable, Transition,
};
use store::{Commit, Outline, ServiceSnapshot, Writes};

use crate::batch::Batch;
use crate::routing::incidents_only;
use crate::{Error, Medic};

/// More transitions than one look can find, and then some lost races.
const ROUNDS: usize = 16;

impl Medic {
    /// Judges a service until nothing is to be done. Answers when it is next due.
    pub(crate) async fn judge(
        &self,
        id: ServiceId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        metrics::counter!("medic_worker_services_checked_total").increment(1);
        let mut alert_id = None;
        for _ in 0..ROUNDS {
            let read = match batch.take_snapshot(id, &self.row_turns) {
                Some(seen) => Some(seen),
                None => self.table.service_snapshot(id).await?,
            };
            let Some(seen) = read else { return Ok(None) };
            let made = match seen.service.judge(now) {
                Decision::Rest { due_at } => {
                    if due_at == seen.service.due_at || self.table.rearm(&seen, due_at).await? == Commit::Done {
                        return Ok(due_at);
                    }
                    None
                }
                Decision::Act(Transition::Remove) => {
                    self.table.delete_service(id, now).await?;
                    return Ok(None);
                }
                Decision::Act(transition @ Transition::LookAtRuns) => {
                    self.look_at_runs(id, batch, now).await?;
                    let looked = seen.service.clone().apply(transition, now).service;
                    // Refused, it is looked at again.
                    let _looked: Commit = self.table.save_state(&seen, &looked).await?;
                    None
                }
                Decision::Act(Transition::Open(opening)) => {
                    if let Some(end) = self.held_until(id, now).await? {
                        let held = seen.service.clone().held(end, now);
                        if self.table.save_state(&seen, &held).await? == Commit::Done {
                            return Ok(held.due_at);
                        }
                        None
                    } else {
                        self.open_alert(&seen, opening, (&mut alert_id, batch), now).await?
                    }
                }
                Decision::Act(transition) => self.apply_transition(&seen, transition, batch, now).await?,
            };
            // What was just written needs no other look, if nothing more is to be done about it.
            if let Some(service) = made
                && let Decision::Rest { due_at } = service.judge(now)
                && due_at == service.due_at
            {
                return Ok(due_at);
            }
        }
        Err(Error::contended(id))
    }

    /// Opens an alert. `alert_id` keeps an id that a lost race did not use. Answers the service as it was written, if it was.
    async fn open_alert(
        &self,
        seen: &ServiceSnapshot,
        opening: Opening,
        (alert_id, batch): (&mut Option<AlertId>, &Batch),
        now: DateTime<Utc>,
    ) -> Result<Option<Service>, Error> {
        let service_id = seen.service.id;
        let outline = batch.take_outline(service_id).filter(|outline| !outline.has_targets);
        let (mut profile, targets, has_webhooks) = if let Some(Outline { profile, has_webhooks, .. }) = outline {
            (profile, Vec::new(), has_webhooks)
        } else {
            let Some((record, targets)) = self.table.service_and_targets(service_id).await? else {
                return Ok(None);
            };
            // Whoever is late would waste an id and a refused transaction.
            if record.snapshot.service != seen.service {
                return Ok(None);
            }
            (record.profile, targets, true)
        };
        let team = self.team_of(&profile).await?;
        if let Some(team) = &team {
            profile.team = team.name.clone();
        }
        let is_notified = seen.service.mute.is_none();
        let outcomes = if is_notified {
            self.route(service_id, &profile, team.as_ref(), targets, NotificationKind::Opened, now).await?
        } else {
            Vec::new()
        };
        let webhooks = if is_notified { self.webhooks_of(service_id, has_webhooks, now).await? } else { Vec::new() };
        let id = match *alert_id {
            Some(id) => id,
            None => *alert_id.insert(self.next_alert_id(batch).await?),
        };
        let change = seen.service.clone().opened(id, now);
        let mut alert = new_alert(id, &seen.service, &profile, opening, now);
        let start = self.triggered(&alert, 1, now).await?;
        alert.triggered.extend(start.as_ref().map(|start| start.trigger_id));
        let notification = match change.notification_at {
            Some(at) => self.notification_of(NotificationKind::Opened, &alert, outcomes, at)?,
            None => None,
        };
        let deliveries = self.deliveries_of(NotificationKind::Opened, &alert, webhooks, now)?;
        let mut writes = Writes::new();
        writes.transition(&self.table, seen, &change.service)?;
        writes.open_alert(&self.table, &alert)?;
        if let Some(start) = &start {
            writes.add_start(&self.table, start)?;
        }
        if let Some(notification) = &notification {
            writes.add_notification(&self.table, notification)?;
        }
        for delivery in &deliveries {
            writes.add_delivery(&self.table, delivery)?;
        }
        if self.table.commit(writes).await? == Commit::Done {
            // Once for each alert, however many transitions one look makes.
            *alert_id = None;
            let (priority, team) = (alert.service.priority.as_str(), alert.service.team.clone());
            metrics::counter!("medic_alerts_total", "priority" => priority, "team" => team).increment(1);
            if let Opening::Overdue { since } = opening {
                // An edit that makes a service late in hindsight also makes its row due, and counts from then.
                let since = seen.service.due_at.map_or(since, |due_at| since.max(due_at));
                metrics::histogram!("medic_detection_lag_seconds").record(seconds(now - since));
            }
            tracing::info!(service.id = %alert.service_id, alert.id = %id, reason = %alert.reason, "an alert opened");
            batch.hand_over(notification.as_ref());
            batch.hand_over_deliveries(&deliveries);
            batch.start(start.as_ref());
            return Ok(Some(change.service));
        }
        Ok(None)
    }

    /// Makes a transition of a service that keeps or closes its alert, or has none.
    /// Answers the service as it was written, if it was.
    async fn apply_transition(
        &self,
        seen: &ServiceSnapshot,
        transition: Transition,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<Service>, Error> {
        let change = seen.service.clone().apply(transition, now);
        let mut writes = Writes::new();
        writes.transition(&self.table, seen, &change.service)?;
        let alert = match seen.service.outage.as_ref().filter(|_| transition != Transition::Unmute) {
            Some(outage) => self.table.alert(outage.alert_id).await?,
            None => None,
        };
        let (mut notification, mut deliveries, mut start) = (None, Vec::new(), None);
        if let Some(old) = &alert {
            let mut new = old.clone();
            new.cycle = change.service.outage.as_ref().map_or(old.cycle, |outage| outage.cycle);
            if matches!(transition, Transition::Close(_)) {
                new.closed_at = Some(now);
                self.close_starts(&mut writes, &new, now)?;
            }
            let kind = kind(transition);
            let is_held = kind == NotificationKind::Reminder && self.held_until(new.service_id, now).await?.is_some();
            if kind == NotificationKind::Reminder && !is_held {
                start = self.triggered(&new, new.cycle, now).await?;
                new.triggered.extend(start.as_ref().map(|start| start.trigger_id));
            }
            if let Some(start) = &start {
                writes.add_start(&self.table, start)?;
            }
            writes.update_alert(&self.table, old, &new)?;
            if let Some(at) = change.notification_at
                && !is_held
            {
                let outcomes = self.receivers_of(transition, kind, &new, now).await?;
                notification = self.notification_of(kind, &new, outcomes, at)?;
                if transition != Transition::Close(Close::Unwatched) {
                    let webhooks = self.webhooks_for(new.service_id, now).await?;
                    deliveries = self.deliveries_of(kind, &new, webhooks, now)?;
                }
            }
            if let Some(notification) = &notification {
                writes.add_notification(&self.table, notification)?;
            }
            for delivery in &deliveries {
                writes.add_delivery(&self.table, delivery)?;
            }
        }
        if self.table.commit(writes).await? == Commit::Done {
            if let (Transition::Close(close), Some(alert)) = (transition, &alert) {
                metrics::counter!("medic_alerts_resolved_total").increment(1);
                tracing::info!(service.id = %alert.service_id, alert.id = %alert.id, ?close, "an alert closed");
            }
            batch.hand_over(notification.as_ref());
            batch.hand_over_deliveries(&deliveries);
            batch.start(start.as_ref());
            if matches!(transition, Transition::Close(_)) {
                batch.closed(alert.as_ref());
            }
            return Ok(Some(change.service));
        }
        Ok(None)
    }

    /// Who is told of a transition of an open alert: of news whoever it is for now, of its end whoever heard of it.
    async fn receivers_of(
        &self,
        transition: Transition,
        kind: NotificationKind,
        alert: &Alert,
        now: DateTime<Utc>,
    ) -> Result<Vec<Outcome>, Error> {
        if !kind.raises_alert() {
            let heard = self.notified_receivers(alert.id, kind).await?;
            return Ok(if transition == Transition::Close(Close::Unwatched) { incidents_only(heard) } else { heard });
        }
        match self.table.service_and_targets(alert.service_id).await? {
            Some((record, targets)) => {
                let team = self.team_of(&record.profile).await?;
                self.route(alert.service_id, &record.profile, team.as_ref(), targets, kind, now).await
            }
            None => Ok(Vec::new()),
        }
    }

    /// Wakes the senders of a notification that was committed.
    pub(crate) async fn hand_over(&self, notification: Option<&Notification>, now: DateTime<Utc>) {
        let batch = Batch::default();
        batch.hand_over(notification);
        self.wake_lanes(&batch, now).await;
    }
}

const fn kind(transition: Transition) -> NotificationKind {
    match transition {
        Transition::Close(_) => NotificationKind::Resolved,
        Transition::Remind { .. } => NotificationKind::Reminder,
        Transition::Open(_)
        | Transition::NotifyOpen
        | Transition::Unmute
        | Transition::LookAtRuns
        | Transition::Remove => NotificationKind::Opened,
    }
}

fn new_alert(id: AlertId, service: &Service, profile: &Profile, opening: Opening, now: DateTime<Utc>) -> Alert {
    let reason = match opening {
        Opening::Overdue { since } => lateness(service, since),
        Opening::Pending(Pending::Reported(status)) => format!("it reported {status}"),
        Opening::Pending(Pending::SetDown | Pending::SetUp | Pending::SwitchedOff) => {
            "it was set down by an operator".to_owned()
        }
    };
    Alert {
        id,
        service_id: service.id,
        service: AlertCopy::of(profile),
        kind: AlertKind::Heartbeat,
        cycle: 1,
        reason,
        created_at: now,
        closed_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        passed_on: 0,
        triggered: Vec::new(),
    }
}

/// Why a service is late that has been since `since`.
fn lateness(service: &Service, since: DateTime<Utc>) -> String {
    let Rule { expectation, grace, threshold } = &service.rule;
    let expected = match expectation {
        Expectation::Interval(interval) if *threshold > 1 => {
            return format!("fewer than {threshold} heartbeats in {}", span(*interval));
        }
        Expectation::Interval(interval) => format!("expected every {}", span(*interval)),
        Expectation::Timetable(Timetable { cron, zone }) => {
            format!("expected at {} by its schedule {cron} ({zone})", domain::format_time(since - *grace))
        }
    };
    match service.recent.newest().time() {
        Some(last) => format!("no heartbeat since {}, {expected}", domain::format_time(last)),
        None => format!("no heartbeat yet, {expected}"),
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
