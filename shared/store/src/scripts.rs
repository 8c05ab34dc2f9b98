//! Registered scripts: one partition, each under its id.

use domain::{Invalid, Revision, Script, ScriptId};
use serde::{Deserialize, Serialize};

use crate::entity::{Identity, RevisionItem, read_id};
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, Partition};
use crate::table::Page;
use crate::{Entity, Error, Table};

#[derive(Serialize, Deserialize)]
struct ScriptItem {
    name: String,
    content: String,
    interpreter: String,
    timeout_seconds: u32,
    #[serde(flatten)]
    revision: RevisionItem,
}

impl Entity for Script {
    type Id = ScriptId;

    const NOUN: &'static str = "script";

    fn identity(&self) -> Identity<'_, ScriptId> {
        Identity::named(self.id, &self.name, self.revision)
    }

    fn key(id: ScriptId) -> Key {
        Key::script(id)
    }

    fn revision_mut(&mut self) -> &mut Revision {
        &mut self.revision
    }

    fn write(&self) -> Result<Item, Error> {
        let Self { id, name, content, interpreter, timeout_seconds, revision } = self;
        let body = ScriptItem {
            name: name.as_str().to_owned(),
            content: content.clone(),
            interpreter: interpreter.as_str().to_owned(),
            timeout_seconds: *timeout_seconds,
            revision: RevisionItem::of(revision),
        };
        item::write(&Key::script(*id), &body)
    }

    fn read(key: &Key, item: Item) -> Result<Self, Error> {
        let ScriptItem { name, content, interpreter, timeout_seconds, revision } = item::read(item)?;
        Ok(Self {
            id: read_id(key, &key.sk)?,
            name: Self::parse_name(name).map_err(|source| corrupt(Some(key), source))?,
            content,
            interpreter: interpreter.parse().map_err(|source: Invalid| corrupt(Some(key), source))?,
            timeout_seconds,
            revision: revision.into_revision(),
        })
    }
}

impl Table {
    /// Returns scripts, newest first.
    pub async fn scripts(&self, after: Option<ScriptId>, limit: usize) -> Result<Page<Script>, Error> {
        self.page(&Partition::scripts(), after.map(ScriptId::get), limit).await
    }

    /// Finds a script by its name, in any case.
    pub async fn script_named(&self, name: &str) -> Result<Option<Script>, Error> {
        self.find_named(name, ScriptId::new).await
    }
}
