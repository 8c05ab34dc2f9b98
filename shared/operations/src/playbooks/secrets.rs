//! Secrets of playbooks: sealed with AES-256-GCM when they are written, and opened only for the steps that name them.

use domain::{Invalid, Label, Revision, SealedSecret, Secret, SecretId, SecretUses};
use outbound::{AllowedHosts, Seal};
use store::Page;

use crate::entropy::{SystemEntropy, random};
use crate::{Actor, Error, Medic};

/// A secret to be created. `Debug` would show its value, so there is none.
#[derive(Clone)]
pub struct NewSecret {
    pub name: Label,
    pub description: Option<String>,
    pub uses: SecretUses,
    pub value: String,
}

/// A secret as the step gets it that names it. `Debug` would show its value, so there is none.
#[derive(Clone)]
pub struct RevealedSecret {
    pub value: String,
    pub uses: SecretUses,
}

/// An update: what is `None` stays as it is.
#[derive(Clone, Default)]
pub struct SecretUpdate {
    pub name: Option<Label>,
    pub description: Option<Option<String>>,
    pub allowed_hosts: Option<Vec<String>>,
    pub allowed_scripts: Option<Vec<Label>>,
    pub value: Option<String>,
}

impl Medic {
    pub async fn create_secret(&self, new: NewSecret, actor: &Actor) -> Result<Secret, Error> {
        let NewSecret { name, description, uses, value } = new;
        check_hosts(&uses.hosts)?;
        let seal = self.seal()?;
        let id = self.table.next_secret_id().await?;
        let sealed = sealed(seal, id, &value)?;
        let revision = Revision::beginning(actor.at);
        self.create(Secret { id, name, description, uses, sealed, revision }, actor).await
    }

    /// Returns secrets, newest first.
    pub async fn secrets(&self, after: Option<SecretId>, limit: usize) -> Result<Page<Secret>, Error> {
        Ok(self.table.secrets(after, limit).await?)
    }

    pub async fn update_secret(&self, id: SecretId, update: &SecretUpdate, actor: &Actor) -> Result<Secret, Error> {
        let SecretUpdate { name, description, allowed_hosts, allowed_scripts, value } = update;
        check_hosts(allowed_hosts.as_deref().unwrap_or_default())?;
        let sealed = match value {
            Some(value) => Some(sealed(self.seal()?, id, value)?),
            None => None,
        };
        let decide = |secret: Secret| {
            Ok(Secret {
                name: name.clone().unwrap_or(secret.name),
                description: description.clone().unwrap_or(secret.description),
                uses: SecretUses {
                    hosts: allowed_hosts.clone().unwrap_or(secret.uses.hosts),
                    scripts: allowed_scripts.clone().unwrap_or(secret.uses.scripts),
                },
                sealed: sealed.clone().unwrap_or(secret.sealed),
                ..secret
            })
        };
        self.update(id, actor, decide).await
    }

    /// Returns a secret for the step that names it; none if there is no such secret.
    pub async fn reveal_secret(&self, name: &str) -> Result<Option<RevealedSecret>, Error> {
        let Some(Secret { id, uses, sealed, .. }) = self.table.secret_named(name).await? else { return Ok(None) };
        let value = self.seal()?.open(&purpose(id), sealed.bytes()).map_err(|_| Error::Secret { id })?;
        let value = String::from_utf8(value).map_err(|_| Error::Secret { id })?;
        Ok(Some(RevealedSecret { value, uses }))
    }

    fn seal(&self) -> Result<&Seal, Error> {
        let missing = || Error::Conflict("Secrets cannot be stored: MEDIC_SECRETS_KEY is not set".to_owned());
        self.settings.seal.as_deref().ok_or_else(missing)
    }
}

fn check_hosts(hosts: &[String]) -> Result<(), Invalid> {
    if hosts.len() > SecretUses::MAX {
        return Err(Invalid::new("allowed_hosts", "must be at most 20 hosts"));
    }
    AllowedHosts::of("allowed_hosts", hosts.iter().map(String::as_str)).map(|_| ())
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
