//! Secrets of playbooks: sealed with AES-256-GCM when they are written, and opened only for the steps that name them.

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use chrono::{DateTime, Utc};
use domain::{History, Label, SealedSecret, Secret, SecretId};
use store::Page;

use crate::entropy::random;
use crate::{Error, Medic};

/// What a new secret is to be. `Debug` would show its value, so there is none.
#[derive(Clone)]
pub struct NewSecret {
    pub name: Label,
    pub description: Option<String>,
    pub value: String,
}

/// An edit: what is `None` stays as it is.
#[derive(Clone, Default)]
pub struct SecretChanges {
    pub name: Option<Label>,
    pub description: Option<Option<String>>,
    pub value: Option<String>,
}

const NONCE_BYTES: usize = 12;

impl Medic {
    pub async fn create_secret(&self, new: NewSecret, now: DateTime<Utc>) -> Result<Secret, Error> {
        let NewSecret { name, description, value } = new;
        let key = self.secrets_key()?;
        let id = self.table.next_secret_id().await?;
        let sealed = seal(&key, id, &value, random()?)?;
        self.add(Secret { id, name, description, sealed, history: History::beginning(now) }).await
    }

    /// Secrets, newest first.
    pub async fn secrets(&self, after: Option<SecretId>, limit: usize) -> Result<Page<Secret>, Error> {
        Ok(self.table.secrets(after, limit).await?)
    }

    pub async fn edit_secret(
        &self,
        id: SecretId,
        changes: &SecretChanges,
        now: DateTime<Utc>,
    ) -> Result<Secret, Error> {
        let SecretChanges { name, description, value } = changes;
        let sealed = match value {
            Some(value) => Some(seal(&self.secrets_key()?, id, value, random()?)?),
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
        self.change(id, now, decide).await
    }

    /// A secret's value, for the step that names it; none if there is no such secret.
    pub async fn reveal_secret(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(Secret { id, sealed, .. }) = self.table.secret_named(name).await? else { return Ok(None) };
        open(&self.secrets_key()?, id, &sealed).map(Some)
    }

    fn secrets_key(&self) -> Result<[u8; 32], Error> {
        let missing = || Error::Conflict("Secrets cannot be kept: MEDIC_SECRETS_KEY is not set".to_owned());
        self.settings.secrets_key.ok_or_else(missing)
    }
}

/// A new key for secrets.
pub fn new_secrets_key() -> Result<[u8; 32], Error> {
    random()
}

/// Bound to the secret's id, so that one sealed text cannot stand in another's place.
fn seal(key: &[u8; 32], id: SecretId, value: &str, nonce: [u8; NONCE_BYTES]) -> Result<SealedSecret, Error> {
    let aad = id.to_string();
    let payload = Payload { msg: value.as_bytes(), aad: aad.as_bytes() };
    let sealed = Aes256Gcm::new(key.into()).encrypt(&nonce.into(), payload).map_err(|_| Error::Secret { id })?;
    Ok(SealedSecret::new([nonce.as_slice(), &sealed].concat()))
}

fn open(key: &[u8; 32], id: SecretId, sealed: &SealedSecret) -> Result<String, Error> {
    let unreadable = || Error::Secret { id };
    let (nonce, sealed) = sealed.bytes().split_first_chunk::<NONCE_BYTES>().ok_or_else(unreadable)?;
    let aad = id.to_string();
    let payload = Payload { msg: sealed, aad: aad.as_bytes() };
    let value = Aes256Gcm::new(key.into()).decrypt(nonce.into(), payload).map_err(|_| unreadable())?;
    String::from_utf8(value).map_err(|_| unreadable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_with_its_key_under_its_id_and_whole() {
        let (key, id) = ([7; 32], SecretId::new(1));
        let sealed = seal(&key, id, "s3cr3t", [1; NONCE_BYTES]).unwrap();
        assert!(!sealed.bytes().windows(6).any(|part| part == b"s3cr3t"));
        assert_eq!(open(&key, id, &sealed).unwrap(), "s3cr3t");
        assert!(open(&[8; 32], id, &sealed).is_err());
        assert!(open(&key, SecretId::new(2), &sealed).is_err());
        for at in [0, NONCE_BYTES, sealed.bytes().len() - 1] {
            let mut bytes = sealed.bytes().to_vec();
            bytes[at] ^= 1;
            assert!(open(&key, id, &SealedSecret::new(bytes)).is_err());
        }
        assert!(open(&key, id, &SealedSecret::new(vec![0; 5])).is_err());
    }
}
