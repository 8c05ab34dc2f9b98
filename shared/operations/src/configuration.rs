//! What is done alike with all that people configure: finding, making, changing and removing.

use store::{Commit, Entity, Saved};

use crate::{Actor, Error, Medic};

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

    pub async fn delete<T: Entity>(&self, id: T::Id, actor: &Actor) -> Result<(), Error> {
        for _ in 0..TRIES {
            let seen: T = self.find(id).await?;
            if self.table.delete(&seen, self.audit_of_deletion(actor, &seen)?).await? == Commit::Done {
                self.forget_configured();
                return Ok(());
            }
        }
        Err(contended::<T>(id))
    }

    pub(crate) async fn create<T: Entity>(&self, new: T, actor: &Actor) -> Result<T, Error> {
        for _ in 0..TRIES {
            if is_done(self.table.create(&new, self.audit_of_creation(actor, &new)?).await?, &new)? {
                self.forget_configured();
                return Ok(new);
            }
        }
        Err(contended::<T>(new.id()))
    }

    /// ServiceUpdate a thing as `decide` says, which is asked again when somebody else changed it meanwhile.
    pub(crate) async fn update<T: Entity>(
        &self,
        id: T::Id,
        actor: &Actor,
        decide: impl Fn(T) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..TRIES {
            let old: T = self.find(id).await?;
            let mut new = decide(old.clone())?;
            *new.revision_mut() = old.revision().changed(actor.at);
            let writes = self.audit_of_update(actor, &old, &new)?;
            if is_done(self.table.update(&old, &new, writes).await?, &new)? {
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
        Saved::Conflict => Ok(false),
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
