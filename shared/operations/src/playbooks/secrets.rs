//! Secrets of playbooks: sealed with AES-256-GCM when they are written, and opened only for the steps that name them.

use domain::{Label, Revision, SealedSecret, Secret, SecretId};
use outbound::Seal;
use store::Page;

use crate::entropy::{SystemEntropy, random};
use crate::{Actor, Error, Medic};

/// A secret to be created. `Debug` would show its value, so there is none.
#[derive(Clone)]
pub struct NewSecret {
    pub name: Label,
    pub description: Option<String>,
    pub value: String,
}

/// An update: what is `None` stays as it is.
#[derive(Clone, Default)]
pub struct SecretUpdate {
    pub name: Option<Label>,
    pub description: Option<Option<String>>,
    pub value: Option<String>,
}

impl Medic {
    pub async fn create_secret(&self, new: NewSecret, actor: &Actor) -> Result<Secret, Error> {
        let NewSecret { name, description, value } = new;
        let seal = self.seal()?;
        let id = self.table.next_secret_id().await?;
        let sealed = sealed(seal, id, &value)?;
        self.create(Secret { id, name, description, sealed, revision: Revision::beginning(actor.at) }, actor).await
    }

    /// Returns secrets, newest first.
    pub async fn secrets(&self, after: Option<SecretId>, limit: usize) -> Result<Page<Secret>, Error> {
        Ok(self.table.secrets(after, limit).await?)
    }

    pub async fn update_secret(&self, id: SecretId, update: &SecretUpdate, actor: &Actor) -> Result<Secret, Error> {
        let SecretUpdate { name, description, value } = update;
        let sealed = match value {
            Some(value) => Some(sealed(self.seal()?, id, value)?),
            None => None,
        };
        let decide = |secret: Secret| {
            Ok(Secret {
                name: name.clone().unwrap_or(secret.name),
                description: description.clone().unwrap_or(secret.description),
                sealed: sealed.clone().unwrap_or(secret.sealed),
                ..secret
            })
        };
        self.update(id, actor, decide).await
    }

    /// Returns a secret's value, for the step that names it; none if there is no such secret.
    pub async fn reveal_secret(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(Secret { id, sealed, .. }) = self.table.secret_named(name).await? else { return Ok(None) };
        let value = self.seal()?.open(&purpose(id), sealed.bytes()).map_err(|_| Error::Secret { id })?;
        String::from_utf8(value).map(Some).map_err(|_| Error::Secret { id })
    }

    fn seal(&self) -> Result<&Seal, Error> {
        let missing = || Error::Conflict("Secrets cannot be stored: MEDIC_SECRETS_KEY is not set".to_owned());
        self.settings.seal.as_deref().ok_or_else(missing)
    }
}

/// Returns a new key to seal secrets with.
pub fn new_secrets_key() -> Result<[u8; 32], Error> {
    random(&SystemEntropy)
}

fn sealed(seal: &Seal, id: SecretId, value: &str) -> Result<SealedSecret, Error> {
    seal.seal(&purpose(id), value.as_bytes()).map(SealedSecret::new).map_err(|_| Error::Secret { id })
}

/// Returns what a sealed value is for. It is bound to its secret, so that it cannot stand in another's place.
fn purpose(id: SecretId) -> String {
    format!("secret#{id}")
}
