//! Judges one run and makes the transitions that are due: it took too long, has not ended in time, or has ended after all.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, AlertCopy, AlertId, AlertKind, JobAlert, JobProblem, NotificationKind, Outcome, Profile, Run, RunDecision,
    RunId, RunTransition, RunWatch, ServiceId, Webhook, elapsed,
};
use store::{Commit, RunRecord, ServiceSnapshot, Writes};

use crate::batch::Batch;
use crate::routing::incidents_only;
use crate::{Error, Medic};

/// More transitions than one look can find, and then some lost races.
const ROUNDS: usize = 16;
/// Runs listed at a time.
const PAGE: usize = 100;

/// What an alert of a run is told with.
struct Telling {
    kind: NotificationKind,
    outcomes: Vec<Outcome>,
    webhooks: Vec<Webhook>,
}

impl Medic {
    /// Judges a run until nothing is to be done. Answers when it is next due.
    pub(crate) async fn judge_run(
        &self,
        service: ServiceId,
        id: &RunId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let mut alert_id = None;
        for _ in 0..ROUNDS {
            let record = self.table.run_judged(service, id, now).await?;
            let (seen, watch) = (&record.run, watch(&record));
            if seen.newest_at().is_none() {
                return Ok(None);
            }
            match seen.judge(&watch, now) {
                RunDecision::Rest { due_at } if due_at == seen.due_at => return Ok(due_at),
                RunDecision::Rest { due_at } => {
                    if self.table.save_run(seen, &seen.clone().rested(due_at)).await? == Commit::Done {
                        return Ok(due_at);
                    }
                }
                RunDecision::Act(transition @ (RunTransition::GoStale | RunTransition::Exceed)) => {
                    let held = self.held_until(service, now).await?;
                    let Some(end) = held else {
                        self.open_run_alert(&record, transition, &watch, (&mut alert_id, batch), now).await?;
                        continue;
                    };
                    // A run that has ended by then is no news.
                    let waits = if transition == RunTransition::Exceed {
                        seen.clone().apply(transition, &watch, now)
                    } else {
                        seen.clone().held(end, now)
                    };
                    if self.table.save_run(seen, &waits).await? == Commit::Done {
                        return Ok(waits.due_at);
                    }
                }
                RunDecision::Act(transition) => {
                    self.apply_run_transition(&record, transition, &watch, batch, now).await?
                }
            }
        }
        Err(Error::contended(format!("run {id}")))
    }

    /// Judges every run of a service that goes on: its maximum, its mute or whether it is watched has changed.
    pub(crate) async fn look_at_runs(
        &self,
        service: ServiceId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.table.open_runs(service, PAGE, after.as_deref(), now).await?;
            for id in &page.items {
                let due_at = self.judge_run(service, id, batch, now).await?;
                if let Some(due_at) = due_at {
                    self.schedule_run_wakeup(service, id, due_at, now).await;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Opens the alert of a run; that of a run which has ended is closed at once. `alert_id` keeps an id that a lost race
    /// did not use.
    async fn open_run_alert(
        &self,
        record: &RunRecord,
        transition: RunTransition,
        watch: &RunWatch,
        (alert_id, batch): (&mut Option<AlertId>, &Batch),
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let RunRecord { run: seen, snapshot: Some(snapshot), profile: Some(profile) } = record else { return Ok(()) };
        let id = match *alert_id {
            Some(id) => id,
            None => *alert_id.insert(self.next_alert_id(batch).await?),
        };
        let (problem, kind) = if transition == RunTransition::Exceed {
            (JobProblem::Exceeded, NotificationKind::Exceeded)
        } else {
            (JobProblem::Stale, NotificationKind::Opened)
        };
        let mut profile = profile.clone();
        let team = self.team_of(&profile).await?;
        if let Some(team) = &team {
            profile.team = team.name.clone();
        }
        let is_notified = watch.mute.is_none_or(|mute| now >= mute.until);
        let telling = if is_notified {
            let targets = self.table.targets(seen.service_id).await?;
            Telling {
                kind,
                outcomes: self.route(seen.service_id, &profile, team.as_ref(), targets, kind, now).await?,
                webhooks: self.webhooks_for(seen.service_id, now).await?,
            }
        } else {
            Telling { kind, outcomes: Vec::new(), webhooks: Vec::new() }
        };
        let mut alert = new_alert(id, seen, &profile, problem, now);
        alert.reason = reason(seen, problem, watch.max_duration_ms, now);
        let run = match problem {
            JobProblem::Exceeded => seen.clone().apply(transition, watch, now),
            JobProblem::Stale => seen.clone().gone_stale(id, watch, now),
        };
        let start = self.triggered(&alert, 1, now).await?;
        alert.triggered.extend(start.as_ref().map(|start| start.trigger_id));
        let mut writes = Writes::new();
        writes.open_alert(&self.table, &alert)?;
        if let Some(start) = &start {
            writes.add_start(&self.table, start)?;
        }
        if self.commit_run(writes, (seen, run), snapshot, &alert, telling, (batch, now)).await? == Commit::Done {
            *alert_id = None;
            batch.start(start.as_ref());
            let (priority, team) = (alert.service.priority.as_str(), alert.service.team.clone());
            metrics::counter!("medic_alerts_total", "priority" => priority, "team" => team).increment(1);
            metrics::counter!("medic_duration_alerts_total", "alert_type" => problem.as_str()).increment(1);
            if !alert.is_open() {
                metrics::counter!("medic_alerts_resolved_total").increment(1);
            }
            if let (JobProblem::Stale, Some(since)) = (problem, seen.due_at) {
                metrics::histogram!("medic_detection_lag_seconds").record(crate::judge::seconds(now - since));
            }
            tracing::info!(service.id = %alert.service_id, alert.id = %id, reason = %alert.reason, "a run took too long");
        }
        Ok(())
    }

    /// Makes a transition of a run that keeps or closes its alert, or has none.
    async fn apply_run_transition(
        &self,
        record: &RunRecord,
        transition: RunTransition,
        watch: &RunWatch,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let seen = &record.run;
        let run = seen.clone().apply(transition, watch, now);
        let stale = seen.stale.filter(|_| seen.is_stale_open());
        let old = match stale {
            Some(stale) => self.table.alert(stale.alert_id).await?,
            None => None,
        };
        let (Some(old), Some(snapshot)) = (old, &record.snapshot) else {
            let _again: Commit = self.table.save_run(seen, &run).await?;
            return Ok(());
        };
        let was_notified = stale.is_some_and(|stale| stale.notified);
        let mut new = old.clone();
        let telling = if transition == RunTransition::Notify {
            let team = match &record.profile {
                Some(profile) => self.team_of(profile).await?,
                None => None,
            };
            let outcomes = match &record.profile {
                Some(profile) => {
                    let targets = self.table.targets(seen.service_id).await?;
                    self.route(seen.service_id, profile, team.as_ref(), targets, NotificationKind::Opened, now).await?
                }
                None => Vec::new(),
            };
            let webhooks = self.webhooks_for(seen.service_id, now).await?;
            Telling { kind: NotificationKind::Opened, outcomes, webhooks }
        } else {
            let is_silent = transition == RunTransition::LetGo;
            new.closed_at = Some(seen.end.map_or(now, |end| end.at).max(new.created_at));
            let heard = if was_notified {
                self.notified_receivers(new.id, NotificationKind::Resolved).await?
            } else {
                Vec::new()
            };
            let outcomes = if is_silent { incidents_only(heard) } else { heard };
            let webhooks =
                if was_notified && !is_silent { self.webhooks_for(seen.service_id, now).await? } else { Vec::new() };
            Telling { kind: NotificationKind::Resolved, outcomes, webhooks }
        };
        let mut writes = Writes::new();
        if !new.is_open() {
            self.close_starts(&mut writes, &new, now)?;
        }
        writes.update_alert(&self.table, &old, &new)?;
        if self.commit_run(writes, (seen, run), snapshot, &new, telling, (batch, now)).await? == Commit::Done
            && !new.is_open()
        {
            batch.closed(Some(&new));
            metrics::counter!("medic_alerts_resolved_total").increment(1);
            tracing::info!(service.id = %new.service_id, alert.id = %new.id, ?transition, "a run's alert closed");
        }
        Ok(())
    }

    /// Commits a transition of a run with its alert and what is told of it, if its service is watched as it was seen.
    async fn commit_run(
        &self,
        mut writes: Writes,
        (seen, mut run): (&Run, Run),
        snapshot: &ServiceSnapshot,
        alert: &Alert,
        telling: Telling,
        (batch, now): (&Batch, DateTime<Utc>),
    ) -> Result<Commit, Error> {
        let Telling { kind, outcomes, webhooks } = telling;
        let notification = if outcomes.is_empty() {
            None
        } else {
            let at = run.next_notification_at(now);
            self.notification_of(kind, alert, outcomes, at)?
        };
        let deliveries = self.deliveries_of(kind, alert, webhooks, now)?;
        writes.update_run(&self.table, seen, &run)?;
        writes.check_snapshot(&self.table, snapshot)?;
        if let Some(notification) = &notification {
            writes.add_notification(&self.table, notification)?;
        }
        for delivery in &deliveries {
            writes.add_delivery(&self.table, delivery)?;
        }
        let commit = self.table.commit(writes).await?;
        if commit == Commit::Done {
            batch.hand_over(notification.as_ref());
            batch.hand_over_deliveries(&deliveries);
        }
        Ok(commit)
    }
}

fn watch(record: &RunRecord) -> RunWatch {
    let service = record.snapshot.as_ref().map(|snapshot| &snapshot.service);
    RunWatch {
        is_watched: record.profile.is_some() && service.is_some_and(|service| service.active && !service.deleted),
        max_duration_ms: record.profile.as_ref().and_then(|profile| profile.max_duration_ms),
        mute: service.and_then(|service| service.mute),
    }
}

fn new_alert(id: AlertId, run: &Run, profile: &Profile, problem: JobProblem, now: DateTime<Utc>) -> Alert {
    let started_at = run.started_at.unwrap_or(now);
    Alert {
        id,
        service_id: run.service_id,
        service: AlertCopy::of(profile),
        kind: AlertKind::Job(JobAlert { problem, run_id: run.id.clone(), started_at }),
        cycle: 1,
        reason: String::new(),
        created_at: now,
        closed_at: (problem == JobProblem::Exceeded).then_some(now),
        acknowledged_at: None,
        acknowledged_by: None,
        passed_on: 0,
        triggered: Vec::new(),
    }
}

fn reason(run: &Run, problem: JobProblem, max_duration_ms: Option<u64>, now: DateTime<Utc>) -> String {
    let span = |millis: u64| elapsed(TimeDelta::milliseconds(i64::try_from(millis).unwrap_or_default()));
    let max = span(run.overrun.map(|overrun| overrun.max_duration_ms).or(max_duration_ms).unwrap_or_default());
    match problem {
        JobProblem::Exceeded => {
            let took = span(run.duration_ms().unwrap_or_default());
            format!("run {} took {took}, and its maximum is {max}", run.id)
        }
        JobProblem::Stale => {
            let took = elapsed(now - run.started_at.unwrap_or(now));
            format!("run {} has not ended after {took}, and its maximum is {max}", run.id)
        }
    }
}
