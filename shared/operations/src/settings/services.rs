//! Registers, updates and deletes services. Nothing here makes a transition: an update makes the row due, and the sweep
//! judges it.

use chrono::{DateTime, Utc};
use domain::{
    HeartbeatName, Invalid, Label, Mute, NotificationMode, Priority, Profile, Rule, Schedule, ScheduleId, Service,
    ServiceId, ServicePatch, Team,
};
use store::{Claim, Commit, Page, ServiceRecord};

use super::teams::TeamMembership;
use crate::retry::retry_on_conflict;
use crate::{Actor, Error, Medic, TeamChoice};

/// A service to be registered.
#[derive(Debug, Clone)]
pub struct Registration {
    pub profile: Profile,
    /// Takes precedence over the profile's team.
    pub team: TeamChoice,
    pub rule: Rule,
    pub active: bool,
    pub muted: Option<Mute>,
}

/// The outcome of a registration.
#[derive(Debug)]
pub enum Registered {
    New(Box<ServiceRecord>),
    Existing,
}

/// An update: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ServiceUpdate {
    pub service_name: Option<Label>,
    pub team: TeamChoice,
    pub schedule_id: Option<Option<ScheduleId>>,
    pub priority: Option<Priority>,
    pub runbook: Option<Option<String>>,
    pub notification_mode: Option<NotificationMode>,
    pub max_duration_ms: Option<Option<u64>>,
    /// Minutes.
    pub alert_interval: Option<f64>,
    /// Replaces `alert_interval`.
    pub schedule_cron: Option<String>,
    pub timezone: Option<String>,
    pub grace_period_seconds: Option<i64>,
    pub threshold: Option<i64>,
    pub active: Option<bool>,
    pub muted: Option<bool>,
    pub muted_until: Option<Option<DateTime<Utc>>>,
    pub down: Option<bool>,
}

/// Services that are read at a time.
const PAGE: usize = 250;

impl Medic {
    pub async fn register(&self, registration: Registration, actor: &Actor) -> Result<Registered, Error> {
        let now = actor.at;
        let Registration { mut profile, team, rule, active, muted } = registration;
        // The usual repetition of a registration costs one read unit, and no id.
        if self.table.service_named(&profile.heartbeat_name, true).await?.is_some() {
            return Ok(Registered::Existing);
        }
        if let Some((name, id)) = self.resolve_team(&team).await? {
            (profile.team, profile.team_id) = (name, id);
        }
        self.check_schedule_id(profile.schedule_id).await?;
        let mut service = Service::register(self.table.next_service_id().await?, rule, now);
        service.active = active;
        service.mute = muted;
        service.due_at = service.timer();
        let writes = self.audit_of(actor, None, Some(profile.configured(&service, now)))?;
        match self.table.register(&service, &profile, writes).await? {
            Claim::Taken => Ok(Registered::Existing),
            Claim::Created => {
                if let Some(due_at) = service.due_at {
                    self.schedule_service_wakeup(service.id, due_at, now).await;
                }
                Ok(Registered::New(Box::new(self.service(service.id).await?)))
            }
        }
    }

    pub async fn service(&self, id: ServiceId) -> Result<ServiceRecord, Error> {
        let mut record = self.table.service(id).await?.ok_or_else(|| not_found(id))?;
        self.bring_up_to_date(std::slice::from_mut(&mut record)).await?;
        Ok(record)
    }

    /// Returns which of these services exist.
    pub async fn existing_services(&self, ids: impl IntoIterator<Item = ServiceId>) -> Result<Vec<ServiceId>, Error> {
        Ok(self.table.existing_services(ids).await?)
    }

    /// Makes sure that a service exists.
    pub(crate) async fn require_service(&self, id: ServiceId) -> Result<(), Error> {
        if self.table.existing_services([id]).await?.is_empty() { Err(not_found(id)) } else { Ok(()) }
    }

    /// Gives services their teams' present names, and clears teams and schedules that are gone.
    pub(crate) async fn bring_up_to_date(&self, records: &mut [ServiceRecord]) -> Result<(), Error> {
        let teams: Vec<Team> = self.table.find_many(records.iter().filter_map(|record| record.profile.team_id)).await?;
        let schedule_ids = records.iter().filter_map(|record| record.profile.schedule_id);
        let schedules: Vec<Schedule> = self.table.find_many(schedule_ids).await?;
        for profile in records.iter_mut().map(|record| &mut record.profile) {
            let team = teams.iter().find(|team| Some(team.id) == profile.team_id);
            profile.team_id = team.map(|team| team.id);
            if let Some(team) = team {
                profile.team = team.name.clone();
            }
            profile.schedule_id = profile.schedule_id.filter(|id| schedules.iter().any(|schedule| schedule.id == *id));
        }
        Ok(())
    }

    async fn check_schedule_id(&self, id: Option<ScheduleId>) -> Result<(), Error> {
        match id {
            Some(id) if self.table.schedule(id).await?.is_none() => {
                Err(Invalid::new("schedule_id", format!("must be a schedule's: there is no schedule {id}")).into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Finds a service by a name as a user wrote it, whatever its case.
    pub async fn service_by_name(&self, name: &str) -> Result<Option<ServiceRecord>, Error> {
        let Ok(name) = HeartbeatName::parse(name) else {
            return Ok(None);
        };
        let Some(id) = self.table.service_named(&name, true).await? else {
            return Ok(None);
        };
        let mut found = self.table.service(id).await?;
        self.bring_up_to_date(found.as_mut_slice()).await?;
        Ok(found)
    }

    /// Returns services, newest first.
    pub async fn services(
        &self,
        service_name: Option<&str>,
        after: Option<ServiceId>,
        limit: usize,
    ) -> Result<Page<ServiceRecord>, Error> {
        let after = after.map(|id| format!("{:019}", id.get()));
        let mut page = self.table.services(service_name, after.as_deref(), limit).await?;
        page.items.retain(|record| service_name.is_none_or(|wanted| record.profile.service_name.as_str() == wanted));
        self.bring_up_to_date(&mut page.items).await?;
        Ok(page)
    }

    /// Returns the services of a name, or all, newest first. None if there are more than `max`.
    pub async fn services_up_to(
        &self,
        max: usize,
        service_name: Option<&str>,
    ) -> Result<Option<Vec<ServiceRecord>>, Error> {
        let mut page = self.services(service_name, None, PAGE).await?;
        while let Some(next) = page.next.take() {
            let more = self.services(service_name, Some(next.parse()?), PAGE).await?;
            page.items.extend(more.items);
            page.next = more.next;
            if page.items.len() > max {
                break;
            }
        }
        Ok(Some(page.items).filter(|services| services.len() <= max))
    }

    /// Applies an update and returns the service as it then is.
    pub async fn update_service(
        &self,
        id: ServiceId,
        update: &ServiceUpdate,
        actor: &Actor,
    ) -> Result<ServiceRecord, Error> {
        let now = actor.at;
        let team = self.resolve_team(&update.team).await?;
        self.check_schedule_id(update.schedule_id.flatten()).await?;
        let team = team.as_ref();
        retry_on_conflict(id, || async move {
            let record = self.service(id).await?;
            let (service, profile) = update.apply(&record, team, now)?;
            let before = record.profile.configured(&record.snapshot.service, now);
            let writes = self.audit_of(actor, Some(before), Some(profile.configured(&service, now)))?;
            if self.table.save_edit(&record, &service, &profile, writes).await? == Commit::Conflict {
                return Ok(None);
            }
            if service.version != record.snapshot.service.version {
                self.wake_service(id, now).await;
            }
            Ok(Some(()))
        })
        .await?;
        self.service(id).await
    }

    /// Deletes a service. Its alert, if one is open, is closed by the sweep, and nobody is notified.
    pub async fn delete_service(&self, id: ServiceId, actor: &Actor) -> Result<(), Error> {
        let now = actor.at;
        retry_on_conflict(id, || async move {
            let record = self.service(id).await?;
            let mut service = record.snapshot.service.clone();
            service.deleted = true;
            service.edit(&ServicePatch { active: Some(false), ..ServicePatch::default() }, now);
            let writes = self.audit_of(actor, Some(record.profile.configured(&record.snapshot.service, now)), None)?;
            if self.table.mark_deleted(&record, &service, writes).await? == Commit::Conflict {
                return Ok(None);
            }
            self.names.forget(&record.profile.heartbeat_name.folded());
            self.wake_service(id, now).await;
            Ok(Some(()))
        })
        .await
    }
}

fn not_found(id: ServiceId) -> Error {
    Error::NotFound(format!("There is no service {id}"))
}

impl ServiceUpdate {
    fn apply(
        &self,
        record: &ServiceRecord,
        team: Option<&TeamMembership>,
        now: DateTime<Utc>,
    ) -> Result<(Service, Profile), Error> {
        let Self {
            service_name,
            team: _,
            schedule_id,
            priority,
            runbook,
            notification_mode,
            max_duration_ms,
            alert_interval,
            schedule_cron,
            timezone,
            grace_period_seconds,
            threshold,
            active,
            muted,
            muted_until,
            down,
        } = self;
        let (mut service, mut profile) = (record.snapshot.service.clone(), record.profile.clone());
        let old = service.rule.clone();
        let rule = Rule::parse(
            old.expectation.edited(*alert_interval, schedule_cron.as_deref(), timezone.as_deref())?,
            grace_period_seconds.unwrap_or(old.grace.num_seconds()),
            threshold.unwrap_or_else(|| i64::from(old.threshold)),
        )?;
        let patch = ServicePatch {
            rule: Some(rule).filter(|rule| *rule != old),
            active: active.filter(|active| *active != service.active),
            mute: mute(service.mute, *muted, *muted_until, now)?,
            down: *down,
            has_new_maximum: max_duration_ms.is_some_and(|max| max != profile.max_duration_ms),
        };
        if patch != ServicePatch::default() {
            service.edit(&patch, now);
        }
        if let Some(service_name) = service_name {
            profile.service_name = service_name.clone();
        }
        if let Some((name, id)) = team {
            (profile.team, profile.team_id) = (name.clone(), *id);
        }
        profile.schedule_id = schedule_id.unwrap_or(profile.schedule_id);
        profile.priority = priority.unwrap_or(profile.priority);
        if let Some(runbook) = runbook {
            profile.runbook.clone_from(runbook);
        }
        profile.notification_mode = notification_mode.unwrap_or(profile.notification_mode);
        profile.max_duration_ms = max_duration_ms.unwrap_or(profile.max_duration_ms);
        profile.is_unedited = false;
        profile.date_modified = Some(now);
        Ok((service, profile))
    }
}

/// Returns what `muted` and `muted_until` ask for together: nothing, or the mute as it then is.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
fn mute(
    current: Option<Mute>,
    muted: Option<bool>,
    until: Option<Option<DateTime<Utc>>>,
    now: DateTime<Utc>,
) -> Result<Option<Option<Mute>>, Invalid> {
    let until = until.flatten();
    if until.is_some_and(|until| until <= now) {
        return Err(Invalid::new("muted_until", "must be in the future"));
    }
    match (muted, until) {
        (Some(false), Some(_)) => Err(Invalid::new("muted_until", "goes with muted: true")),
        (Some(false), None) => Ok(Some(None)),
        (None, None) => Ok(None),
        (Some(true), None) if current.is_some_and(|mute| now < mute.until) => Ok(None),
        (Some(true), until) => Ok(Some(Some(Mute::starting(now, until)))),
        (None, Some(until)) => match current {
            Some(mute) => Ok(Some(Some(Mute { until, ..mute }))),
            None => Err(Invalid::new("muted_until", "goes with muted: true")),
        },
    }
}

impl Registration {
    /// Returns the mute that a new service begins with.
    pub fn mute(muted: bool, until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<Option<Mute>, Invalid> {
        Ok(mute(None, Some(muted).filter(|muted| *muted), until.map(Some), now)?.flatten())
    }
}
