//! Schedules: one partition, each under its id.

use std::collections::BTreeMap;

use domain::{Hours, Revision, Schedule, ScheduleId, Zone};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, read_id};
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition};
use crate::table::Page;
use crate::{Entity, Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct ScheduleItem {
    name: String,
    timezone: String,
    /// Start and end of each range of a day.
    hours: BTreeMap<String, Vec<(String, String)>>,
    #[serde(flatten)]
    revision: RevisionItem,
}

impl Entity for Schedule {
    type Id = ScheduleId;

    const NOUN: &'static str = "schedule";

    fn identity(&self) -> Identity<'_, ScheduleId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: ScheduleId) -> Key {
        Key::schedule(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, zone, hours, revision } = self;
        let body = ScheduleItem {
            name: name.as_str().to_owned(),
            timezone: zone.as_str().to_owned(),
            hours: hours.days().map(|(day, ranges)| (day.to_owned(), ranges)).collect(),
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::schedule(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let ScheduleItem { name, timezone, hours, revision } = item::read(item)?;
        let invalid = |source: domain::Invalid| corrupt(Some(key), source);
        Ok(Self {
            id: read_id(key, &key.sk)?,
            name: Self::parse_name(name).map_err(invalid)?,
            zone: Zone::parse(&timezone).map_err(invalid)?,
            hours: Hours::parse(&hours).map_err(invalid)?,
            revision: revision.into_revision(),
        })
    }
}

impl Table {
    pub async fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, Error> {
        self.find(id).await
    }

    /// Returns schedules, newest first.
    pub async fn schedules(&self, after: Option<ScheduleId>, limit: usize) -> Result<Page<Schedule>, Error> {
        self.page(&Partition::schedules(), after.map(ScheduleId::get), limit).await
    }
}
