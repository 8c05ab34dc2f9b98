//! What is done alike with all configuration entities: finding, creating, updating and deleting them.

use store::{Commit, Entity, Saved};

use crate::retry::retry_on_conflict;
use crate::{Actor, Error, Medic};

impl Medic {
    /// Returns an entity, or says that there is none.
    pub async fn find<T: Entity>(&self, id: T::Id) -> Result<T, Error> {
        let not_found = || Error::NotFound(format!("There is no {}", described::<T>(id)));
        self.table.find(id).await?.ok_or_else(not_found)
    }

    /// Makes this process read anew what it remembers of the configuration.
    pub(crate) fn forget_configuration(&self) {
        self.windows.forget();
        self.webhooks_of_all.forget();
        self.triggers.forget();
    }

    pub async fn delete<T: Entity>(&self, id: T::Id, actor: &Actor) -> Result<(), Error> {
        retry_on_conflict(described::<T>(id), || async move {
            let snapshot: T = self.find(id).await?;
            let commit = self.table.delete(&snapshot, self.audit_of_deletion(actor, &snapshot)?).await?;
            Ok((commit == Commit::Done).then(|| self.forget_configuration()))
        })
        .await
    }

    pub(crate) async fn create<T: Entity>(&self, new: T, actor: &Actor) -> Result<T, Error> {
        let wanted = &new;
        retry_on_conflict(described::<T>(new.id()), || async move {
            let saved = self.table.create(wanted, self.audit_of_creation(actor, wanted)?).await?;
            Ok(is_saved(saved, wanted)?.then(|| self.forget_configuration()))
        })
        .await?;
        Ok(new)
    }

    /// Updates an entity as `decide` says, which is asked again when somebody else updated it meanwhile.
    pub(crate) async fn update<T: Entity>(
        &self,
        id: T::Id,
        actor: &Actor,
        decide: impl Fn(T) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let decide = &decide;
        retry_on_conflict(described::<T>(id), || async move {
            let old: T = self.find(id).await?;
            let mut new = decide(old.clone())?;
            *new.revision_mut() = old.revision().changed(actor.at);
            let writes = self.audit_of_update(actor, &old, &new)?;
            let is_saved = is_saved(self.table.update(&old, &new, writes).await?, &new)?;
            Ok(is_saved.then(|| {
                self.forget_configuration();
                new
            }))
        })
        .await
    }
}

/// Returns whether an entity was saved; if not, somebody else was first.
pub(crate) fn is_saved<T: Entity>(saved: Saved, entity: &T) -> Result<bool, Error> {
    match saved {
        Saved::Done => Ok(true),
        Saved::Conflict => Ok(false),
        Saved::NameTaken => {
            let name = entity.name().map(ToString::to_string).unwrap_or_default();
            let article = if T::NOUN.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
            Err(Error::Conflict(format!("name is taken: there is {article} {} named {name}", T::NOUN)))
        }
        Saved::Full => {
            let (max, of) = entity.limit().map(|limit| (limit.max, limit.of)).unwrap_or_default();
            Err(Error::Conflict(format!("There may be at most {max} {}s {of}", T::NOUN)))
        }
        Saved::OwnerGone => Err(Error::NotFound(format!("What the {} belongs to is gone", T::NOUN))),
    }
}

/// Returns how a sentence names an entity.
pub(crate) fn described<T: Entity>(id: T::Id) -> String {
    format!("{} {}", T::NOUN, T::number(id))
}
