//! Judges one run and makes the transitions that are due: it took too long, has not ended in time, or has ended after all.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Alert, AlertId, AlertKind, Closing, JobAlert, JobProblem, NotificationKind, Profile, Run, RunContext, RunDecision,
    RunId, RunTransition, ServiceId, elapsed,
};
use store::{Commit, RunRecord, ServiceSnapshot, Writes};

use super::alert_changes::{Audience, Judgement, count_opened, new_alert, record_lag, unheard};
use crate::batch::Batch;
use crate::notifications::incidents_only;
use crate::outbox::Outbox;
use crate::{Error, Medic};

/// A run that moves, if its service is as it was read.
struct Move<'a> {
    old: &'a Run,
    new: Run,
    service: &'a ServiceSnapshot,
}

impl Medic {
    /// Judges a run until nothing is to be done. Returns when it is next due.
    pub(crate) async fn judge_run(
        &self,
        service: ServiceId,
        id: &RunId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let mut judgement = Judgement::new(batch, now);
        for _ in 0..Judgement::ROUNDS {
            let record = self.table.run_to_judge(service, id, now).await?;
            let (run, context) = (&record.run, context_of(&record));
            if run.newest_at().is_none() {
                return Ok(None);
            }
            match self.decide_on_run(run, &context, now).await? {
                RunDecision::Rest { due_at } if due_at == run.due_at => return Ok(due_at),
                RunDecision::Rest { due_at } => {
                    if self.table.save_run(run, &run.clone().rested(due_at)).await? == Commit::Done {
                        return Ok(due_at);
                    }
                }
                RunDecision::Act(transition @ (RunTransition::GoStale(_) | RunTransition::Exceed)) => {
                    let Some(end) = self.held_until(service, now).await? else {
                        self.open_run_alert(&record, transition, &context, &mut judgement).await?;
                        continue;
                    };
                    // A run that has ended by then needs no alert.
                    let held = if transition == RunTransition::Exceed {
                        run.clone().apply(transition, &context, now)
                    } else {
                        run.clone().held(end, now)
                    };
                    if self.table.save_run(run, &held).await? == Commit::Done {
                        return Ok(held.due_at);
                    }
                }
                RunDecision::Act(transition) => {
                    if transition == RunTransition::ChangePeriod
                        && let Some(end) = self.held_until(service, now).await?
                    {
                        let held = run.clone().period_held(end, now);
                        if self.table.save_run(run, &held).await? == Commit::Done {
                            return Ok(held.due_at);
                        }
                        continue;
                    }
                    self.change_run_alert(&record, transition, &context, &judgement).await?;
                }
            }
        }
        Err(Error::contended(format!("run {id}")))
    }

    /// Opens the alert of a run; that of a run which has ended is closed at once.
    async fn open_run_alert(
        &self,
        record: &RunRecord,
        transition: RunTransition,
        context: &RunContext,
        judgement: &mut Judgement<'_>,
    ) -> Result<(), Error> {
        let RunRecord { run: old, snapshot: Some(service), profile: Some(profile) } = record else { return Ok(()) };
        let now = judgement.now;
        let id = self.alert_id(judgement).await?;
        let (problem, kind) = if transition == RunTransition::Exceed {
            (JobProblem::Exceeded, NotificationKind::Exceeded)
        } else {
            (JobProblem::Stale, NotificationKind::Opened)
        };
        let is_notified = !context.is_muted(now);
        let targets = if is_notified { self.table.targets(old.service_id).await? } else { Vec::new() };
        let routed = self.routed(old.service_id, profile.clone(), targets).await?;
        let mut alert = new_alert(id, old.service_id, &routed.profile, kind_of(old, problem, now), now);
        alert.closed_at = (problem == JobProblem::Exceeded).then_some(now);
        let deadline = transition.deadline();
        alert.reason = reason(old, problem, context.max_duration_ms, now) + &deadline.map(unheard).unwrap_or_default();
        alert.due_in_gap = deadline.is_some_and(|deadline| deadline.is_in_gap);
        let audience = if is_notified { self.audience(routed, kind, true, now).await? } else { Audience::default() };
        let mut new = match problem {
            JobProblem::Exceeded => old.clone().apply(transition, context, now),
            JobProblem::Stale => old.clone().gone_stale(id, context, now),
        };
        new.set_next_period(audience.next_period_at);
        let start = self.start_for(&mut alert, 1, now).await?;
        let outbox = Outbox { start, ..self.run_outbox(kind, &mut alert, audience, &mut new, now)? };
        let mut writes = Writes::new();
        writes.open_alert(&self.table, &alert)?;
        if self.commit_run(writes, Move { old, new, service }, &outbox, judgement).await? == Commit::Conflict {
            return Ok(());
        }
        judgement.use_alert_id();
        count_opened(&alert);
        metrics::counter!("medic_duration_alerts_total", "alert_type" => problem.as_str()).increment(1);
        if !alert.is_open() {
            metrics::counter!("medic_alerts_resolved_total").increment(1);
        }
        if let Some(deadline) = deadline {
            record_lag(now - old.due_at.map_or(deadline.at, |due_at| deadline.at.max(due_at)));
        }
        tracing::info!(service.id = %alert.service_id, alert.id = %id, reason = %alert.reason, "a run took too long");
        Ok(())
    }

    /// Makes a transition of a run that keeps or closes its alert, or has none.
    async fn change_run_alert(
        &self,
        record: &RunRecord,
        transition: RunTransition,
        context: &RunContext,
        judgement: &Judgement<'_>,
    ) -> Result<(), Error> {
        let (old, now) = (&record.run, judgement.now);
        let mut new = old.clone().apply(transition, context, now);
        let stale = old.stale.filter(|_| old.is_stale_open());
        let alert = match stale {
            Some(stale) => self.table.alert(stale.alert_id).await?,
            None => None,
        };
        let (Some(old_alert), Some(service)) = (alert, &record.snapshot) else {
            let _again: Commit = self.table.save_run(old, &new).await?;
            return Ok(());
        };
        let mut alert = old_alert.clone();
        let outbox = if matches!(transition, RunTransition::Notify | RunTransition::ChangePeriod) {
            let audience = self.audience_of_run(record, transition, alert.id, now).await?;
            // Of one that somebody acknowledged nobody else is notified.
            new.set_next_period(audience.next_period_at.filter(|_| alert.acknowledged_at.is_none()));
            self.run_outbox(NotificationKind::Opened, &mut alert, audience, &mut new, now)?
        } else {
            alert.closed_at = Some(old.newest_at().filter(|_| old.is_over()).unwrap_or(now).max(alert.created_at));
            alert.closing = closing_of(old, transition, alert.closing);
            let was_notified = stale.is_some_and(|stale| stale.notified);
            let audience = self.audience_of_end(&alert, was_notified, transition, now).await?;
            let mut outbox = self.run_outbox(NotificationKind::Resolved, &mut alert, audience, &mut new, now)?;
            outbox.close_starts(&alert);
            outbox
        };
        let mut writes = Writes::new();
        writes.update_alert(&self.table, &old_alert, &alert)?;
        let commit = self.commit_run(writes, Move { old, new, service }, &outbox, judgement).await?;
        if commit == Commit::Done && !alert.is_open() {
            metrics::counter!("medic_alerts_resolved_total").increment(1);
            tracing::info!(service.id = %alert.service_id, alert.id = %alert.id, ?transition, "a run's alert closed");
        }
        Ok(())
    }

    /// Returns who is notified of an open alert of a run, now that the mute has ended or another period begun.
    async fn audience_of_run(
        &self,
        record: &RunRecord,
        transition: RunTransition,
        alert: AlertId,
        now: DateTime<Utc>,
    ) -> Result<Audience, Error> {
        let service_id = record.run.service_id;
        let Some(profile) = &record.profile else {
            return Ok(Audience { webhooks: self.webhooks_for(service_id, now).await?, ..Audience::default() });
        };
        let targets = self.table.targets(service_id).await?;
        let service = self.routed(service_id, profile.clone(), targets).await?;
        if transition == RunTransition::ChangePeriod {
            return self.audience_of_period(alert, service, now).await;
        }
        self.audience(service, NotificationKind::Opened, true, now).await
    }

    /// Returns who is notified of the end of a run's alert.
    async fn audience_of_end(
        &self,
        alert: &Alert,
        was_notified: bool,
        transition: RunTransition,
        now: DateTime<Utc>,
    ) -> Result<Audience, Error> {
        if !was_notified {
            return Ok(Audience::default());
        }
        let notified = self.notified_receivers(alert.id, NotificationKind::Resolved).await?;
        if transition == RunTransition::LetGo {
            return Ok(Audience { outcomes: incidents_only(notified), ..Audience::default() });
        }
        let webhooks = self.webhooks_for(alert.service_id, now).await?;
        Ok(Audience { outcomes: notified, webhooks, ..Audience::default() })
    }

    /// Returns what a change of a run's alert sends. A notification takes the next instant of the run's own order.
    fn run_outbox(
        &self,
        kind: NotificationKind,
        alert: &mut Alert,
        audience: Audience,
        run: &mut Run,
        now: DateTime<Utc>,
    ) -> Result<Outbox, Error> {
        let at = (!audience.outcomes.is_empty()).then(|| run.next_notification_at(now));
        self.outbox(kind, alert, audience, at, now)
    }

    /// Commits a transition of a run with its alert and what it sends, if its service is as it was read.
    async fn commit_run(
        &self,
        mut writes: Writes,
        Move { old, new, service }: Move<'_>,
        outbox: &Outbox,
        judgement: &Judgement<'_>,
    ) -> Result<Commit, Error> {
        writes.update_run(&self.table, old, &new)?;
        writes.check_snapshot(&self.table, service)?;
        outbox.add_to(&mut writes, &self.table)?;
        let commit = self.table.commit(writes).await?;
        if commit == Commit::Done {
            judgement.batch.remember(outbox);
        }
        Ok(commit)
    }
}

fn context_of(record: &RunRecord) -> RunContext {
    let service = record.snapshot.as_ref().map(|snapshot| &snapshot.service);
    RunContext {
        is_monitored: record.profile.is_some() && service.is_some_and(|service| service.active && !service.deleted),
        max_duration_ms: record.profile.as_ref().and_then(|profile: &Profile| profile.max_duration_ms),
        mute: service.and_then(|service| service.mute),
    }
}

/// Returns why a run's alert closes, where the run did not report so. `asked` is what somebody asked for by hand.
fn closing_of(run: &Run, transition: RunTransition, asked: Option<Closing>) -> Option<Closing> {
    match transition {
        RunTransition::Resolve => asked,
        RunTransition::Recover if run.end.is_none() => Some(Closing::Superseded),
        RunTransition::Recover
        | RunTransition::LetGo
        | RunTransition::Exceed
        | RunTransition::GoStale(_)
        | RunTransition::Notify
        | RunTransition::ChangePeriod => None,
    }
}

fn kind_of(run: &Run, problem: JobProblem, now: DateTime<Utc>) -> AlertKind {
    let started_at = run.started_at.unwrap_or(now);
    AlertKind::Job(JobAlert { problem, run_id: run.id.clone(), started_at })
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
