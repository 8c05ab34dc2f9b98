//! What all that people configure has in common: one item, perhaps with rows beside it that come and go with it, and
//! changed only as it was read.

use domain::{Configurable, Label, Revision, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::item::{self, Diff, Item, corrupt, number};
use crate::keys::{Key, Partition};
use crate::names::NameItem;
use crate::table::{Commit, EXISTS, IS_NEW, Page, Writes};
use crate::{Error, Table};

/// A kind of thing that people configure.
pub trait Entity: Configurable + Clone + PartialEq + Send + Sync + Sized {
    type Id: Copy + Send + Sync;

    /// What people call one.
    const NOUN: &'static str;
    /// What the keys of its names begin with, after `name#`.
    const KIND: &'static str;

    fn id(&self) -> Self::Id;

    /// The integer that people know it by.
    fn number(id: Self::Id) -> i64;

    fn key(id: Self::Id) -> Key;

    fn revision(&self) -> &Revision;

    fn revision_mut(&mut self) -> &mut Revision;

    /// Its name, where that must be unique whatever the case.
    fn name(&self) -> Option<&Label> {
        None
    }

    fn write(&self) -> Result<Item, Error>;

    fn read(key: &Key, item: Item) -> Result<Self, Error>;

    /// The rows that come and go with it: by itself, the one that holds its name.
    fn companion_rows(&self) -> Result<Vec<Item>, Error> {
        let id = Self::number(self.id());
        let hold = |name: &Label| item::write(&Key::name(Self::KIND, name.as_str()), &NameItem { id });
        self.name().map(hold).into_iter().collect()
    }

    /// Adds what else is written with it when it is made, or when it is made of what was `before`.
    fn write_companions(&self, _before: Option<&Self>, _table: &Table, _writes: &mut Writes) -> Result<(), Error> {
        Ok(())
    }

    /// The item that must be there when it is made.
    fn needs(&self) -> Option<Key> {
        None
    }

    /// How many there may be of those that it is one of.
    fn limit(&self) -> Option<Limit> {
        None
    }
}

/// A bound on how many things there are, which a counter item keeps exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub(crate) counter: Key,
    pub most: u32,
    /// What they are for, as the end of a sentence.
    pub of: &'static str,
}

/// What became of a thing that was to be made or changed.
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

/// A thing's history as its item holds it.
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
    /// Finds a thing. Consistent: one read unit.
    pub async fn find<T: Entity>(&self, id: T::Id) -> Result<Option<T>, Error> {
        let key = T::key(id);
        self.get(&key, true).await?.map(|item| T::read(&key, item)).transpose()
    }

    /// The things of these ids that are there, in no order. Consistent.
    pub async fn find_many<T: Entity>(&self, ids: impl IntoIterator<Item = T::Id>) -> Result<Vec<T>, Error> {
        read_all(self.get_many(ids.into_iter().map(T::key).collect()).await?)
    }

    /// Makes a thing, together with what `writes` holds.
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
            // An earlier try of this very write may have been made: nobody else has its id.
            Commit::Conflict if self.find::<T>(new.id()).await?.is_some() => Ok(Saved::Done),
            Commit::Conflict => self.failed_condition(new).await,
        }
    }

    /// Turns what was read into `new`, which has the next version, together with what `writes` holds.
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

    /// Removes a thing as it was read, together with what `writes` holds.
    pub async fn delete<T: Entity>(&self, seen: &T, mut writes: Writes) -> Result<Commit, Error> {
        let (condition, values) = as_read(seen);
        writes.table_delete_seen(self, &T::key(seen.id()), condition, values)?;
        for key in seen.companion_rows()?.iter().filter_map(Key::of) {
            writes.table_delete(self, &key, EXISTS)?;
        }
        if let Some(limit) = seen.limit() {
            writes.count_down(self, &limit)?;
        }
        match self.commit(writes).await? {
            Commit::Conflict if self.find::<T>(seen.id()).await?.is_none() => Ok(Commit::Done),
            commit @ (Commit::Done | Commit::Conflict) => Ok(commit),
        }
    }

    /// One page of a partition, newest first.
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

    /// Which of its conditions a thing did not meet.
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
        if let Some(Limit { counter, most, of: _ }) = new.limit()
            && let Some(found) = self.get(&counter, true).await?
            && item::read::<HeldItem>(found)?.held >= i64::from(most)
        {
            return Ok(Saved::Full);
        }
        Ok(Saved::Conflict)
    }
}

/// The condition that a thing is as it was read.
pub(crate) fn as_read<T: Entity>(
    seen: &T,
) -> (&'static str, [(&'static str, aws_sdk_dynamodb::types::AttributeValue); 1]) {
    ("version = :version", [(":version", number(seen.revision().version))])
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

/// Whether anything is counted by this counter.
pub(crate) fn holds_any(counter: Item) -> Result<bool, Error> {
    Ok(item::read::<HeldItem>(counter)?.held > 0)
}

impl Writes {
    fn count_up(&mut self, table: &Table, limit: Limit) -> Result<(), Error> {
        let Limit { counter, most, of: _ } = limit;
        let below = "attribute_not_exists(held) OR held < :most";
        self.table_update(table, &counter, add_held(1), below, [(":most", number(most))])
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
