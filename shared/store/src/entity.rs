//! What all configuration entities have in common: each is one item, perhaps with companion rows that are created and
//! deleted with it, and is changed only as it was read.

use std::str::FromStr;

use domain::{Configurable, Label, Revision, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, Diff, Item, corrupt, number};
use crate::keys::{Key, Partition, id_in};
use crate::names::NameItem;
use crate::table::{Commit, EXISTS, IS_NEW, Page, Writes};
use crate::{Error, Table};

/// A configuration entity.
pub trait Entity: Configurable + Clone + PartialEq + Send + Sync + Sized {
    type Id: Copy + Send + Sync;

    /// What people call one.
    const NOUN: &'static str;
    /// What the keys of its names begin with, after `name#`.
    const KIND: &'static str = Self::NOUN;

    fn identity(&self) -> Identity<'_, Self::Id>;

    fn key(id: Self::Id) -> Key;

    fn revision_mut(&mut self) -> &mut Revision;

    fn write(&self) -> Result<Item, Error>;

    fn read(key: &Key, item: Item) -> Result<Self, Error>;

    fn id(&self) -> Self::Id {
        self.identity().id
    }

    /// Returns the integer that people know it by, which its key ends in.
    fn number(id: Self::Id) -> i64 {
        let Key { pk, sk } = Self::key(id);
        id_in(&sk).or_else(|| id_in(&pk)).unwrap_or_default()
    }

    /// Returns its name, where that must be unique whatever the case.
    fn name(&self) -> Option<&Label> {
        self.identity().name
    }

    fn revision(&self) -> Revision {
        self.identity().revision
    }

    /// Returns the rows that are created and deleted with it: unless said otherwise, the one that holds its name.
    fn companion_rows(&self) -> Result<Vec<Item>, Error> {
        let id = Self::number(self.id());
        let hold = |name: &Label| item::write(&Key::name(Self::KIND, name.as_str()), &NameItem { id });
        self.name().map(hold).into_iter().collect()
    }

    /// Adds what else is written when it is created, or updated from what was `before`.
    fn write_companions(&self, _before: Option<&Self>, _table: &Table, _writes: &mut Writes) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the key of the item that must exist for it to be created.
    fn needs(&self) -> Option<Key> {
        None
    }

    /// Returns how many of its kind there may be.
    fn limit(&self) -> Option<Limit> {
        None
    }
}

/// What every configuration entity has.
#[derive(Debug)]
pub struct Identity<'a, Id> {
    pub id: Id,
    /// Where it must be unique whatever the case.
    pub name: Option<&'a Label>,
    pub revision: Revision,
}

impl<'a, Id> Identity<'a, Id> {
    /// Returns the identity of an entity with a unique name.
    pub(crate) const fn named(id: Id, name: &'a Label, revision: Revision) -> Self {
        Self { id, name: Some(name), revision }
    }

    /// Returns the identity of an entity that is known by its id alone.
    pub(crate) const fn unnamed(id: Id, revision: Revision) -> Self {
        Self { id, name: None, revision }
    }
}

/// Reads an id at the end of a part of an entity's key.
pub(crate) fn read_id<Id: FromStr>(key: &Key, part: &str) -> Result<Id, Error> {
    id_in(part).ok_or_else(|| corrupt(Some(key), "its key holds no such id"))
}

/// A limit on the number of entities, which a counter item keeps exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub(crate) counter: Key,
    pub max: u32,
    /// What they are for, as the end of a sentence.
    pub of: &'static str,
}

/// The result of creating or updating an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Saved {
    Done,
    /// Another has its name.
    NameTaken,
    /// There are as many as there may be.
    Full,
    /// What it belongs to is gone.
    OwnerGone,
    /// It is not as it was read: read again and decide again.
    Conflict,
}

/// An entity's revision as its item holds it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RevisionItem {
    version: u64,
    date_added: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date_modified: Option<i64>,
}

impl RevisionItem {
    pub(crate) fn of(revision: &Revision) -> Self {
        let Revision { version, date_added, date_modified } = revision;
        Self { version: *version, date_added: to_millis(*date_added), date_modified: date_modified.map(to_millis) }
    }

    pub(crate) fn into_revision(self) -> Revision {
        let Self { version, date_added, date_modified } = self;
        Revision { version, date_added: from_millis(date_added), date_modified: date_modified.map(from_millis) }
    }
}

impl Table {
    /// Finds an entity. Consistent: one read unit.
    pub async fn find<T: Entity>(&self, id: T::Id) -> Result<Option<T>, Error> {
        let key = T::key(id);
        self.get(&key, true).await?.map(|item| T::read(&key, item)).transpose()
    }

    /// Finds an entity by its name, in any case. `id` makes the id of the number that its name holds.
    pub(crate) async fn find_named<T: Entity>(
        &self,
        name: &str,
        id: impl FnOnce(i64) -> T::Id,
    ) -> Result<Option<T>, Error> {
        let Some(found) = self.get(&Key::name(T::KIND, name), true).await? else { return Ok(None) };
        let NameItem { id: number } = item::read(found)?;
        self.find(id(number)).await
    }

    /// Returns the entities of these ids that exist, in no order. Consistent.
    pub async fn find_many<T: Entity>(&self, ids: impl IntoIterator<Item = T::Id>) -> Result<Vec<T>, Error> {
        read_all(self.get_many(ids.into_iter().map(T::key).collect()).await?)
    }

    /// Creates an entity, together with what `writes` holds.
    pub async fn create<T: Entity>(&self, new: &T, mut writes: Writes) -> Result<Saved, Error> {
        if let Some(needed) = new.needs() {
            writes.table_check(self, &needed, EXISTS)?;
        }
        writes.table_put(self, new.write()?, Some(IS_NEW))?;
        for row in new.companion_rows()? {
            writes.table_put(self, row, Some(IS_NEW))?;
        }
        new.write_companions(None, self, &mut writes)?;
        if let Some(limit) = new.limit() {
            writes.count_up(self, limit)?;
        }
        match self.commit(writes).await? {
            Commit::Done => Ok(Saved::Done),
            // An earlier try of this very write may have been committed: nobody else has its id.
            Commit::Conflict if self.find::<T>(new.id()).await?.is_some() => Ok(Saved::Done),
            Commit::Conflict => self.failed_condition(new).await,
        }
    }

    /// Updates an entity from what was read to `new`, which has the next version, together with what `writes` holds.
    pub async fn update<T: Entity>(&self, old: &T, new: &T, mut writes: Writes) -> Result<Saved, Error> {
        if let Some(diff) = Diff::between(&old.write()?, &new.write()?) {
            let (condition, values) = as_read(old);
            writes.table_update(self, &T::key(new.id()), diff, condition, values)?;
        }
        let (before, after) = (old.companion_rows()?, new.companion_rows()?);
        let has = |rows: &[Item], key: &Option<Key>| rows.iter().any(|row| Key::of(row) == *key);
        for row in after.iter().filter(|row| !before.contains(row)) {
            let stays = has(&before, &Key::of(row));
            writes.table_put(self, row.clone(), if stays { None } else { Some(IS_NEW) })?;
        }
        for key in before.iter().map(Key::of).filter(|key| !has(&after, key)).flatten() {
            writes.table_delete(self, &key, EXISTS)?;
        }
        new.write_companions(Some(old), self, &mut writes)?;
        if old.limit() != new.limit() {
            if let Some(limit) = old.limit() {
                writes.count_down(self, &limit)?;
            }
            if let Some(limit) = new.limit() {
                writes.count_up(self, limit)?;
            }
        }
        match self.commit(writes).await? {
            Commit::Done => Ok(Saved::Done),
            Commit::Conflict => match self.find::<T>(new.id()).await? {
                Some(found) if found == *new => Ok(Saved::Done),
                Some(found) if found == *old => self.failed_condition(new).await,
                Some(_) | None => Ok(Saved::Conflict),
            },
        }
    }

    /// Deletes an entity as it was read, together with what `writes` holds.
    pub async fn delete<T: Entity>(&self, old: &T, mut writes: Writes) -> Result<Commit, Error> {
        let (condition, values) = as_read(old);
        writes.table_delete_if(self, &T::key(old.id()), condition, values)?;
        for key in old.companion_rows()?.iter().filter_map(Key::of) {
            writes.table_delete(self, &key, EXISTS)?;
        }
        if let Some(limit) = old.limit() {
            writes.count_down(self, &limit)?;
        }
        match self.commit(writes).await? {
            Commit::Conflict if self.find::<T>(old.id()).await?.is_none() => Ok(Commit::Done),
            commit @ (Commit::Done | Commit::Conflict) => Ok(commit),
        }
    }

    /// Returns one page of a partition, newest first.
    pub(crate) async fn page<T: Entity>(
        &self,
        partition: &Partition,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page<T>, Error> {
        let (items, more) = self.rows(partition, after, limit).await?;
        let items: Vec<T> = read_all(items)?;
        let next = if more { items.last().map(|last| T::number(last.id()).to_string()) } else { None };
        Ok(Page { items, next })
    }

    /// Finds out which of its conditions an entity did not meet.
    async fn failed_condition<T: Entity>(&self, new: &T) -> Result<Saved, Error> {
        if let Some(needed) = new.needs()
            && self.get(&needed, true).await?.is_none()
        {
            return Ok(Saved::OwnerGone);
        }
        for row in new.companion_rows()? {
            let Some(key) = Key::of(&row) else { continue };
            if self.get(&key, true).await?.is_some_and(|found| found.get("id") != row.get("id")) {
                return Ok(Saved::NameTaken);
            }
        }
        if let Some(Limit { counter, max, of: _ }) = new.limit()
            && let Some(found) = self.get(&counter, true).await?
            && item::read::<HeldItem>(found)?.held >= i64::from(max)
        {
            return Ok(Saved::Full);
        }
        Ok(Saved::Conflict)
    }
}

/// Returns the condition that an entity is as it was read.
pub(crate) fn as_read<T: Entity>(
    old: &T,
) -> (&'static str, [(&'static str, aws_sdk_dynamodb::types::AttributeValue); 1]) {
    ("version = :version", [(":version", number(old.revision().version))])
}

pub(crate) fn read_all<T: Entity>(items: Vec<Item>) -> Result<Vec<T>, Error> {
    let read = |item: Item| {
        let key = Key::of(&item).ok_or_else(|| corrupt(None, "an item without a key"))?;
        T::read(&key, item)
    };
    items.into_iter().map(read).collect()
}

#[derive(Debug, Deserialize)]
struct HeldItem {
    held: i64,
}

/// Returns whether this counter counts anything.
pub(crate) fn holds_any(counter: Item) -> Result<bool, Error> {
    Ok(item::read::<HeldItem>(counter)?.held > 0)
}

impl Writes {
    fn count_up(&mut self, table: &Table, limit: Limit) -> Result<(), Error> {
        let Limit { counter, max, of: _ } = limit;
        let below = "attribute_not_exists(held) OR held < :max";
        self.table_update(table, &counter, add_held(1), below, [(":max", number(max))])
    }

    fn count_down(&mut self, table: &Table, limit: &Limit) -> Result<(), Error> {
        self.table_update(table, &limit.counter, add_held(-1), EXISTS, [])
    }
}

fn add_held(amount: i64) -> Diff {
    Diff {
        expression: "ADD held :amount".to_owned(),
        values: [(":amount".to_owned(), number(amount))].into(),
        ..Diff::default()
    }
}
