//! Maintenance windows, and whether a service is in one.

use chrono::{DateTime, Utc};
use domain::{
    Invalid, Label, MaintenanceTimes, MaintenanceWindow, Occurrence, Recurrence, Revision, ServiceId, WindowId, Zone,
    in_maintenance,
};
use store::Page;

use crate::{Actor, Error, Medic};

/// A window to be created.
#[derive(Debug, Clone)]
pub struct NewWindow {
    pub name: Label,
    pub times: MaintenanceTimes,
    pub service_ids: Vec<ServiceId>,
}

/// An update: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct WindowUpdate {
    pub name: Option<Label>,
    pub start: Option<DateTime<Utc>>,
    pub end: Option<DateTime<Utc>>,
    pub zone: Option<Zone>,
    pub recurrence: Option<Option<Recurrence>>,
    pub service_ids: Option<Vec<ServiceId>>,
}

impl Medic {
    pub async fn create_window(&self, new: NewWindow, actor: &Actor) -> Result<MaintenanceWindow, Error> {
        let NewWindow { name, times, service_ids } = new;
        self.check_service_ids(&service_ids).await?;
        let id = self.table.next_window_id().await?;
        let revision = Revision::beginning(actor.at);
        let window =
            MaintenanceWindow { id, name, times, service_ids, is_announced: false, due_at: Some(actor.at), revision };
        let window = self.create(window, actor).await?;
        self.wake_window(&window, actor.at).await;
        Ok(window)
    }

    /// Returns windows, newest first.
    pub async fn windows(&self, after: Option<WindowId>, limit: usize) -> Result<Page<MaintenanceWindow>, Error> {
        Ok(self.table.window_page(after, limit).await?)
    }

    pub async fn update_window(
        &self,
        id: WindowId,
        update: &WindowUpdate,
        actor: &Actor,
    ) -> Result<MaintenanceWindow, Error> {
        let WindowUpdate { name, start, end, zone, recurrence, service_ids } = update;
        self.check_service_ids(service_ids.as_deref().unwrap_or_default()).await?;
        let decide = |window: MaintenanceWindow| {
            let times = &window.times;
            let recurrence = recurrence.clone().unwrap_or_else(|| times.recurrence().cloned());
            Ok(MaintenanceWindow {
                times: MaintenanceTimes::parse(
                    start.unwrap_or(times.start()),
                    end.unwrap_or(times.end()),
                    zone.unwrap_or(times.zone()),
                    recurrence,
                )?,
                name: name.clone().unwrap_or(window.name),
                service_ids: service_ids.clone().unwrap_or(window.service_ids),
                due_at: Some(actor.at),
                ..window
            })
        };
        let window = self.update(id, actor, decide).await?;
        self.wake_window(&window, actor.at).await;
        Ok(window)
    }

    /// Returns the window that a service is in, and the occurrence of maintenance.
    pub async fn maintenance(
        &self,
        service: ServiceId,
        at: DateTime<Utc>,
    ) -> Result<Option<(MaintenanceWindow, Occurrence)>, Error> {
        self.require_service(service).await?;
        let windows = self.table.windows().await?;
        Ok(in_maintenance(&windows, service, at).map(|(window, occurrence)| (window.clone(), occurrence)))
    }

    /// Returns until when a service's alerts wait: the end of the maintenance that it is in, where that is known; none when
    /// it is in no maintenance.
    pub(crate) async fn held_until(
        &self,
        service: ServiceId,
        now: DateTime<Utc>,
    ) -> Result<Option<Option<DateTime<Utc>>>, Error> {
        let windows = match self.windows.get(now) {
            Some(windows) => windows,
            None => self.windows.keep(self.table.windows().await?, now),
        };
        Ok(in_maintenance(&windows, service, now).map(|(_, occurrence)| occurrence.end))
    }

    async fn check_service_ids(&self, ids: &[ServiceId]) -> Result<(), Error> {
        let existing = self.table.existing_services(ids.iter().copied()).await?;
        match ids.iter().find(|id| !existing.contains(id)) {
            Some(id) => Err(Invalid::new("service_ids", format!("must be services': there is no service {id}")).into()),
            None => Ok(()),
        }
    }
}
