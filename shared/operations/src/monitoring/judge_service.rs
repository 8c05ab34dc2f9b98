//! Judges one service and makes the transitions that are due. With `judge_run` the only maker of transitions.

use chrono::{DateTime, Utc};
use domain::{
    Alert, AlertKind, Change, Close, Decision, Expectation, NotificationKind, Opening, PendingEvent, Profile, Rule,
    Service, ServiceId, Target, Timetable, Transition, whole_units,
};
use store::{AlertContext, Commit, ServiceSnapshot, Writes};

use super::alert_changes::{Audience, Judgement, count_opened, new_alert, record_lag, unheard};
use crate::batch::Batch;
use crate::notifications::incidents_only;
use crate::outbox::Outbox;
use crate::{Error, Medic};

/// What one round of a judgement came to.
enum Step {
    /// The service was written so.
    Written(Box<Service>),
    /// Nothing more is to be done until then.
    Rests { due_at: Option<DateTime<Utc>> },
    /// Others have changed it, or may have: read it again.
    Again,
}

/// What is known of a service whose alert opens.
struct Opened {
    profile: Profile,
    targets: Vec<Target>,
    has_webhooks: bool,
}

impl Medic {
    /// Judges a service until nothing is to be done, then a part of its runs, if a look at them is due. Returns when it is
    /// next due; none where a wake-up for that was sent.
    pub(crate) async fn judge_service(
        &self,
        id: ServiceId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        metrics::counter!("medic_worker_services_checked_total").increment(1);
        let due_at = self.judge_state(id, batch, now).await?;
        if due_at.is_none_or(|at| now < at) {
            return Ok(due_at);
        }
        // Who is notified of the service waits for none of its runs.
        self.wake_lanes(batch, now).await;
        if !self.look_at_runs(id, batch, now).await? {
            return Ok(due_at);
        }
        if let Some(due_at) = self.judge_state(id, batch, now).await? {
            self.schedule_service_wakeup(id, due_at, now).await;
        }
        Ok(None)
    }

    /// Judges a service until nothing is to be done but a look at its runs. Returns when it is next due.
    async fn judge_state(
        &self,
        id: ServiceId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let mut judgement = Judgement::new(batch, now);
        for _ in 0..Judgement::ROUNDS {
            let read = match batch.take_snapshot(id, &self.row_turns) {
                Some(snapshot) => Some(snapshot),
                None => self.table.service_snapshot(id).await?,
            };
            let Some(snapshot) = read else { return Ok(None) };
            let step = match self.decide_on_service(&snapshot.service, now).await? {
                Decision::Rest { due_at } => self.rest(&snapshot, due_at).await?,
                Decision::Act(transition) => self.transition(&snapshot, transition, &mut judgement).await?,
            };
            match step {
                Step::Rests { due_at } => return Ok(due_at),
                // What was just written needs no other read, if nothing more is to be done about it.
                Step::Written(service) => {
                    if let Decision::Rest { due_at } = service.judge(&[], now)
                        && due_at == service.due_at
                    {
                        return Ok(due_at);
                    }
                }
                Step::Again => {}
            }
        }
        Err(Error::contended(id))
    }

    /// Makes sure that a service is due when it must be looked at next.
    async fn rest(&self, snapshot: &ServiceSnapshot, due_at: Option<DateTime<Utc>>) -> Result<Step, Error> {
        if due_at == snapshot.service.due_at || self.table.rearm(snapshot, due_at).await? == Commit::Done {
            return Ok(Step::Rests { due_at });
        }
        Ok(Step::Again)
    }

    /// Makes one transition.
    async fn transition(
        &self,
        snapshot: &ServiceSnapshot,
        transition: Transition,
        judgement: &mut Judgement<'_>,
    ) -> Result<Step, Error> {
        let (id, now) = (snapshot.service.id, judgement.now);
        match transition {
            Transition::Remove => {
                self.table.delete_service(id, now).await?;
                Ok(Step::Rests { due_at: None })
            }
            Transition::Open(opening) => match self.held_until(id, now).await? {
                None => self.open_alert(snapshot, opening, judgement).await,
                Some(end) => self.hold(snapshot, snapshot.service.clone().held(end, now)).await,
            },
            Transition::ChangePeriod => match self.held_until(id, now).await? {
                None => self.change_alert(snapshot, transition, judgement).await,
                Some(end) => self.hold(snapshot, snapshot.service.clone().period_held(end, now)).await,
            },
            Transition::Remind { .. }
            | Transition::Unmute
            | Transition::NotifyOpen
            | Transition::Close(_)
            | Transition::DropPending => self.change_alert(snapshot, transition, judgement).await,
        }
    }

    /// Saves a service that maintenance holds.
    async fn hold(&self, snapshot: &ServiceSnapshot, held: Service) -> Result<Step, Error> {
        Ok(match self.table.save_state(snapshot, &held).await? {
            Commit::Done => Step::Rests { due_at: held.due_at },
            Commit::Conflict => Step::Again,
        })
    }

    /// Opens an alert.
    async fn open_alert(
        &self,
        snapshot: &ServiceSnapshot,
        opening: Opening,
        judgement: &mut Judgement<'_>,
    ) -> Result<Step, Error> {
        let (service_id, now) = (snapshot.service.id, judgement.now);
        let Some(opened) = self.read_for_alert(snapshot, judgement.batch).await? else { return Ok(Step::Again) };
        let Opened { profile, targets, has_webhooks } = opened;
        let service = self.routed(service_id, profile, targets).await?;
        let profile = service.profile.clone();
        let kind = NotificationKind::Opened;
        let audience = if snapshot.service.mute.is_none() {
            self.audience(service, kind, has_webhooks, now).await?
        } else {
            Audience::default()
        };
        let id = self.alert_id(judgement).await?;
        let Change { mut service, notification_at } = snapshot.service.clone().opened(id, now);
        service.set_next_period(audience.next_period_at);
        let mut alert = new_alert(id, service_id, &profile, AlertKind::Heartbeat, now);
        alert.reason = reason(&snapshot.service, opening);
        alert.due_in_gap = matches!(opening, Opening::Overdue(deadline) if deadline.is_in_gap);
        let start = self.start_for(&mut alert, 1, now).await?;
        let outbox = Outbox { start, ..self.outbox(kind, &mut alert, audience, notification_at, now)? };
        let mut writes = Writes::new();
        writes.transition(&self.table, snapshot, &service)?;
        writes.open_alert(&self.table, &alert)?;
        outbox.add_to(&mut writes, &self.table)?;
        if self.table.commit(writes).await? == Commit::Conflict {
            return Ok(Step::Again);
        }
        judgement.use_alert_id();
        judgement.batch.remember(&outbox);
        count_opened(&alert);
        if let Opening::Overdue(deadline) = opening {
            // An edit that makes a service late in hindsight also makes its row due, and counts from then.
            record_lag(now - snapshot.service.due_at.map_or(deadline.at, |due_at| deadline.at.max(due_at)));
        }
        tracing::info!(service.id = %alert.service_id, alert.id = %id, reason = %alert.reason, "an alert opened");
        Ok(Step::Written(Box::new(service)))
    }

    /// Reads what an alert shows of its service, and who may be notified. None if the service has changed meanwhile.
    async fn read_for_alert(&self, snapshot: &ServiceSnapshot, batch: &Batch) -> Result<Option<Opened>, Error> {
        let id = snapshot.service.id;
        if let Some(context) = batch.take_alert_context(id).filter(|context| !context.has_targets) {
            let AlertContext { profile, has_webhooks, .. } = context;
            return Ok(Some(Opened { profile, targets: Vec::new(), has_webhooks }));
        }
        // Whoever is late would waste an id and a conflicting transaction.
        let found = self.table.service_and_targets(id).await?;
        let found = found.filter(|(record, _)| record.snapshot.service == snapshot.service);
        Ok(found.map(|(record, targets)| Opened { profile: record.profile, targets, has_webhooks: true }))
    }

    /// Makes a transition of a service that keeps or closes its alert, or has none.
    async fn change_alert(
        &self,
        snapshot: &ServiceSnapshot,
        transition: Transition,
        judgement: &Judgement<'_>,
    ) -> Result<Step, Error> {
        let now = judgement.now;
        let mut change = snapshot.service.clone().apply(transition, now);
        let mut writes = Writes::new();
        let keeps_alert = matches!(transition, Transition::Unmute | Transition::DropPending);
        let alert = match snapshot.service.outage.as_ref().filter(|_| !keeps_alert) {
            Some(outage) => self.table.alert(outage.alert_id).await?,
            None => None,
        };
        let mut outbox = Outbox::default();
        if let Some(old) = &alert {
            let mut new = old.clone();
            outbox = self.changed_alert(&mut new, transition, &mut change, now).await?;
            writes.update_alert(&self.table, old, &new)?;
            outbox.add_to(&mut writes, &self.table)?;
        }
        writes.transition(&self.table, snapshot, &change.service)?;
        if self.table.commit(writes).await? == Commit::Conflict {
            return Ok(Step::Again);
        }
        judgement.batch.remember(&outbox);
        if let (Transition::Close(close), Some(alert)) = (transition, &alert) {
            metrics::counter!("medic_alerts_resolved_total").increment(1);
            tracing::info!(service.id = %alert.service_id, alert.id = %alert.id, ?close, "an alert closed");
        }
        Ok(Step::Written(Box::new(change.service)))
    }

    /// Changes an alert as a transition of its service says. Returns what is sent and started because of it.
    async fn changed_alert(
        &self,
        alert: &mut Alert,
        transition: Transition,
        change: &mut Change,
        now: DateTime<Utc>,
    ) -> Result<Outbox, Error> {
        alert.cycle = change.service.outage.as_ref().map_or(alert.cycle, |outage| outage.cycle);
        let is_closing = matches!(transition, Transition::Close(_));
        if is_closing {
            alert.closed_at = Some(now);
            // Somebody may have asked for it by hand, and something else came first.
            alert.closing = alert.closing.take().filter(|_| transition == Transition::Close(Close::SetUp));
        }
        let kind = kind(transition);
        let is_reminder = kind == NotificationKind::Reminder;
        let is_held = is_reminder && self.held_until(alert.service_id, now).await?.is_some();
        let start = if is_reminder && !is_held { self.start_for(alert, alert.cycle, now).await? } else { None };
        let mut outbox = Outbox::default();
        if let Some(at) = change.notification_at.filter(|_| !is_held) {
            let known = change.service.outage.as_ref().and_then(|outage| outage.next_period_at);
            let audience = self.audience_of_change(transition, alert, known, now).await?;
            change.service.set_next_period(audience.next_period_at);
            outbox = self.outbox(kind, alert, audience, Some(at), now)?;
        }
        outbox.start = start;
        if is_closing {
            outbox.close_starts(alert);
        }
        Ok(outbox)
    }

    /// Returns who is notified of a transition of an open alert: whoever it is for now, or of its end whoever was
    /// notified of it.
    async fn audience_of_change(
        &self,
        transition: Transition,
        alert: &Alert,
        next_period_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Audience, Error> {
        let kind = kind(transition);
        if !kind.raises_alert() {
            let is_silent = transition == Transition::Close(Close::Unmonitored);
            let webhooks = if is_silent { Vec::new() } else { self.webhooks_for(alert.service_id, now).await? };
            let notified = self.notified_receivers(alert.id, kind).await?;
            let outcomes = if is_silent { incidents_only(notified) } else { notified };
            return Ok(Audience { outcomes, webhooks, ..Audience::default() });
        }
        let Some((record, targets)) = self.table.service_and_targets(alert.service_id).await? else {
            return Ok(Audience { webhooks: self.webhooks_for(alert.service_id, now).await?, ..Audience::default() });
        };
        let service = self.routed(alert.service_id, record.profile, targets).await?;
        if transition == Transition::ChangePeriod {
            return self.audience_of_period(alert.id, service, now).await;
        }
        if kind == NotificationKind::Reminder {
            let audience = self.audience_of_reminder(alert.id, service, next_period_at, now).await?;
            return Ok(Audience { webhooks: self.webhooks_for(alert.service_id, now).await?, ..audience });
        }
        self.audience(service, kind, true, now).await
    }
}

const fn kind(transition: Transition) -> NotificationKind {
    match transition {
        Transition::Close(_) => NotificationKind::Resolved,
        Transition::Remind { .. } => NotificationKind::Reminder,
        Transition::Open(_)
        | Transition::NotifyOpen
        | Transition::ChangePeriod
        | Transition::Unmute
        | Transition::DropPending
        | Transition::Remove => NotificationKind::Opened,
    }
}

/// Returns why an alert opens.
fn reason(service: &Service, opening: Opening) -> String {
    match opening {
        Opening::Overdue(deadline) => lateness(service, deadline.own) + &unheard(deadline),
        Opening::Pending(PendingEvent::Reported(status)) => format!("it reported {status}"),
        Opening::Pending(PendingEvent::SetDown | PendingEvent::SetUp | PendingEvent::SwitchedOff) => {
            "it was set down by an operator".to_owned()
        }
    }
}

/// Returns why a service that was due at `since` is late.
fn lateness(service: &Service, since: DateTime<Utc>) -> String {
    let Rule { expectation, grace, threshold } = &service.rule;
    let expected = match expectation {
        Expectation::Interval(interval) if *threshold > 1 => {
            return format!("fewer than {threshold} heartbeats in {}", whole_units(*interval));
        }
        Expectation::Interval(interval) => format!("expected every {}", whole_units(*interval)),
        Expectation::Timetable(Timetable { cron, zone }) => {
            format!("expected at {} by its schedule {cron} ({zone})", domain::format_time(since - *grace))
        }
    };
    match service.recent.newest().time() {
        Some(last) => format!("no heartbeat since {}, {expected}", domain::format_time(last)),
        None => format!("no heartbeat yet, {expected}"),
    }
}
