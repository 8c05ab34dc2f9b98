//! Teams: one partition, each under its id.

use domain::{Revision, Team, TeamId, TeamName};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, read_id};
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition};
use crate::table::Page;
use crate::{Entity, Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct TeamItem {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slack_channel_id: Option<String>,
    #[serde(flatten)]
    revision: RevisionItem,
}

impl Entity for Team {
    type Id = TeamId;

    const NOUN: &'static str = "team";

    fn identity(&self) -> Identity<'_, TeamId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: TeamId) -> Key {
        Key::team(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, slack_channel_id, revision } = self;
        let body = TeamItem {
            name: name.as_str().to_owned(),
            slack_channel_id: slack_channel_id.clone(),
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::team(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let TeamItem { name, slack_channel_id, revision } = item::read(item)?;
        Ok(Self {
            id: read_id(key, &key.sk)?,
            name: Self::parse_name(name).map_err(|source| corrupt(Some(key), source))?,
            slack_channel_id,
            revision: revision.into_revision(),
        })
    }
}

impl Table {
    pub async fn team(&self, id: TeamId) -> Result<Option<Team>, Error> {
        self.find(id).await
    }

    /// Finds a team by its name, in any case.
    pub async fn team_named(&self, name: &TeamName) -> Result<Option<Team>, Error> {
        self.find_named(name.as_str(), TeamId::new).await
    }

    /// Returns teams, newest first.
    pub async fn teams(&self, after: Option<TeamId>, limit: usize) -> Result<Page<Team>, Error> {
        self.page(&Partition::teams(), after.map(TeamId::get), limit).await
    }
}
