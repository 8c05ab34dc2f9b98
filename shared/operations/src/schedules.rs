//! Schedules, and whether a service is in its hours.

use chrono::{DateTime, Utc};
use domain::{History, Hours, Label, Period, Schedule, ScheduleId, ServiceId, Zone};
use store::Page;

use crate::{By, Error, Medic};

/// What a new schedule is to be.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    pub name: Label,
    pub zone: Zone,
    pub hours: Hours,
}

/// An edit: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ScheduleChanges {
    pub name: Option<Label>,
    pub zone: Option<Zone>,
    pub hours: Option<Hours>,
}

impl Medic {
    pub async fn create_schedule(&self, new: NewSchedule, by: &By) -> Result<Schedule, Error> {
        let NewSchedule { name, zone, hours } = new;
        let id = self.table.next_schedule_id().await?;
        self.add(Schedule { id, name, zone, hours, history: History::beginning(by.at) }, by).await
    }

    /// Schedules, newest first.
    pub async fn schedules(&self, after: Option<ScheduleId>, limit: usize) -> Result<Page<Schedule>, Error> {
        Ok(self.table.schedules(after, limit).await?)
    }

    pub async fn edit_schedule(&self, id: ScheduleId, changes: &ScheduleChanges, by: &By) -> Result<Schedule, Error> {
        let ScheduleChanges { name, zone, hours } = changes;
        let decide = |schedule: Schedule| {
            Ok(Schedule {
                name: name.clone().unwrap_or(schedule.name),
                zone: zone.unwrap_or(schedule.zone),
                hours: hours.clone().unwrap_or(schedule.hours),
                ..schedule
            })
        };
        self.change(id, by, decide).await
    }

    /// Whether a service is in its schedule's hours; without a schedule it always is.
    pub async fn period(&self, service: ServiceId, at: DateTime<Utc>) -> Result<Period, Error> {
        let schedule = match self.service(service).await?.profile.schedule_id {
            Some(id) => self.table.schedule(id).await?,
            None => None,
        };
        Ok(schedule.map_or(Period::DuringHours, |schedule| schedule.period(at)))
    }
}
