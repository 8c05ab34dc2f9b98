//! Maintenance windows: one partition, each under its id, so that judging a service reads them all at once.

use domain::{
    MaintenanceTimes, MaintenanceWindow, Recurrence, Revision, ServiceId, WindowId, Zone, from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, as_read, read_id};
use crate::item::{self, Diff, Item, corrupt};
use crate::keys::{Key, Partition};
use crate::table::{Page, Writes};
use crate::{Entity, Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct WindowItem {
    name: String,
    start_at: i64,
    end_at: i64,
    timezone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recurrence: Option<String>,
    service_ids: Vec<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_announced: bool,
    #[serde(default, skip_serializing)]
    due_at: Option<i64>,
    #[serde(flatten)]
    revision: RevisionItem,
}

impl Entity for MaintenanceWindow {
    type Id = WindowId;

    const NOUN: &'static str = "maintenance window";
    const KIND: &'static str = "window";

    fn identity(&self) -> Identity<'_, WindowId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: WindowId) -> Key {
        Key::window(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, times, service_ids, is_announced, due_at, revision } = self;
        let key = Key::window(*id);
        let body = WindowItem {
            name: name.as_str().to_owned(),
            start_at: to_millis(times.start()),
            end_at: to_millis(times.end()),
            timezone: times.zone().as_str().to_owned(),
            recurrence: times.recurrence().map(ToString::to_string),
            service_ids: service_ids.iter().map(|id| id.get()).collect(),
            is_announced: *is_announced,
            due_at: None,
            revision: RevisionItem::of(revision),
        };
        let mut item = item::write(&key, &body)?;
        item::set_due(&mut item, &key, due_at.map(to_millis));
        Ok(item)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let WindowItem { name, start_at, end_at, timezone, recurrence, service_ids, is_announced, due_at, revision } =
            item::read(item)?;
        let invalid = |source: domain::Invalid| corrupt(Some(key), source);
        let zone = Zone::parse(&timezone).map_err(invalid)?;
        let recurrence = recurrence.map(Recurrence::parse).transpose().map_err(invalid)?;
        let (start, end) = (from_millis(start_at), from_millis(end_at));
        Ok(Self {
            id: read_id(key, &key.sk)?,
            name: Self::parse_name(name).map_err(invalid)?,
            times: MaintenanceTimes::parse(start, end, zone, recurrence).map_err(invalid)?,
            service_ids: service_ids.into_iter().map(ServiceId::new).collect(),
            is_announced,
            due_at: due_at.map(from_millis),
            revision: revision.into_revision(),
        })
    }
}

impl Writes {
    /// Updates a window from what was read to `new`, which has the next version.
    pub fn update_window(
        &mut self,
        table: &Table,
        old: &MaintenanceWindow,
        new: &MaintenanceWindow,
    ) -> Result<(), Error> {
        let Some(diff) = Diff::between(&old.write()?, &new.write()?) else { return Ok(()) };
        let (condition, values) = as_read(old);
        self.table_update(table, &Key::window(new.id), diff, condition, values)
    }
}

impl Table {
    /// Returns all windows, newest first. Consistent.
    pub async fn windows(&self) -> Result<Vec<MaintenanceWindow>, Error> {
        Ok(self.window_page(None, usize::MAX).await?.items)
    }

    /// Returns windows, newest first.
    pub async fn window_page(&self, after: Option<WindowId>, limit: usize) -> Result<Page<MaintenanceWindow>, Error> {
        self.page(&Partition::windows(), after.map(WindowId::get), limit).await
    }
}
