//! What is done alike with all that people configure: finding, making, changing and removing.

use store::{Commit, Entity, Saved};

use crate::{By, Error, Medic};

/// How often a write that meets another is decided anew.
pub(crate) const TRIES: usize = 10;

impl Medic {
    pub async fn find<T: Entity>(&self, id: T::Id) -> Result<T, Error> {
        let not_found = || Error::NotFound(format!("There is no {} {}", T::NOUN, T::number(id)));
        self.table.find(id).await?.ok_or_else(not_found)
    }

    /// What this process remembers of what people configure is read again.
    pub(crate) fn forget_configured(&self) {
        self.windows.forget();
        self.webhooks_of_all.forget();
        self.triggers.forget();
    }

    pub async fn remove<T: Entity>(&self, id: T::Id, by: &By) -> Result<(), Error> {
        for _ in 0..TRIES {
            let seen: T = self.find(id).await?;
            if self.table.remove(&seen, self.noted_removal(by, &seen)?).await? == Commit::Done {
                self.forget_configured();
                return Ok(());
            }
        }
        Err(contended::<T>(id))
    }

    pub(crate) async fn add<T: Entity>(&self, new: T, by: &By) -> Result<T, Error> {
        for _ in 0..TRIES {
            if is_done(self.table.make(&new, self.noted_new(by, &new)?).await?, &new)? {
                self.forget_configured();
                return Ok(new);
            }
        }
        Err(contended::<T>(new.id()))
    }

    /// Changes a thing as `decide` says, which is asked again when somebody else changed it meanwhile.
    pub(crate) async fn change<T: Entity>(
        &self,
        id: T::Id,
        by: &By,
        decide: impl Fn(T) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..TRIES {
            let old: T = self.find(id).await?;
            let mut new = decide(old.clone())?;
            *new.history_mut() = old.history().changed(by.at);
            let writes = self.noted_change(by, &old, &new)?;
            if is_done(self.table.change(&old, &new, writes).await?, &new)? {
                self.forget_configured();
                return Ok(new);
            }
        }
        Err(contended::<T>(id))
    }
}

/// Whether a thing was saved; if not, it may be tried again.
fn is_done<T: Entity>(saved: Saved, thing: &T) -> Result<bool, Error> {
    match saved {
        Saved::Done => Ok(true),
        Saved::Refused => Ok(false),
        Saved::NameTaken => {
            let name = thing.name().map(ToString::to_string).unwrap_or_default();
            Err(Error::Conflict(format!("name is taken: there is a {} named {name}", T::NOUN)))
        }
        Saved::Full => {
            let (most, of) = thing.limit().map(|limit| (limit.most, limit.of)).unwrap_or_default();
            Err(Error::Conflict(format!("There may be at most {most} {}s {of}", T::NOUN)))
        }
        Saved::OwnerGone => Err(Error::NotFound(format!("What the {} belongs to is gone", T::NOUN))),
    }
}

pub(crate) fn contended<T: Entity>(id: T::Id) -> Error {
    Error::contended(format!("{} {}", T::NOUN, T::number(id)))
}
