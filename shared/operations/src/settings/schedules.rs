//! Schedules, and whether a service is in its hours.

use chrono::{DateTime, Utc};
use domain::{Hours, Label, Period, Revision, Schedule, ScheduleId, ServiceId, Zone};
use store::Page;

use crate::{Actor, Error, Medic};

/// A schedule to be created.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    pub name: Label,
    pub zone: Zone,
    pub hours: Hours,
}

/// An update: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ScheduleUpdate {
    pub name: Option<Label>,
    pub zone: Option<Zone>,
    pub hours: Option<Hours>,
}

impl Medic {
    pub async fn create_schedule(&self, new: NewSchedule, actor: &Actor) -> Result<Schedule, Error> {
        let NewSchedule { name, zone, hours } = new;
        let id = self.table.next_schedule_id().await?;
        self.create(Schedule { id, name, zone, hours, revision: Revision::beginning(actor.at) }, actor).await
    }

    /// Returns schedules, newest first.
    pub async fn schedules(&self, after: Option<ScheduleId>, limit: usize) -> Result<Page<Schedule>, Error> {
        Ok(self.table.schedules(after, limit).await?)
    }

    pub async fn update_schedule(
        &self,
        id: ScheduleId,
        update: &ScheduleUpdate,
        actor: &Actor,
    ) -> Result<Schedule, Error> {
        let ScheduleUpdate { name, zone, hours } = update;
        let decide = |schedule: Schedule| {
            Ok(Schedule {
                name: name.clone().unwrap_or(schedule.name),
                zone: zone.unwrap_or(schedule.zone),
                hours: hours.clone().unwrap_or(schedule.hours),
                ..schedule
            })
        };
        self.update(id, actor, decide).await
    }

    /// Returns whether a service is in its schedule's hours; without a schedule it always is.
    pub async fn period(&self, service: ServiceId, at: DateTime<Utc>) -> Result<Period, Error> {
        let schedule = match self.service(service).await?.profile.schedule_id {
            Some(id) => self.table.schedule(id).await?,
            None => None,
        };
        Ok(schedule.map_or(Period::DuringHours, |schedule| schedule.period(at)))
    }
}
