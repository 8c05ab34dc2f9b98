//! Ping keys: created, listed, revoked and checked.

use chrono::{DateTime, Utc};
use domain::{Label, PingKey, PingKeyId, PingKeyText, Revision};
use sha2::{Digest as _, Sha256};
use store::{Page, digest};

use super::keyring::{hash, is_hash_of};
use super::missing::is_trusted;
use crate::{Actor, Error, Medic};

impl Medic {
    /// Creates a key. Without a name it is named after its id.
    pub async fn create_ping_key(&self, name: Option<Label>, actor: &Actor) -> Result<(PingKey, PingKeyText), Error> {
        let text = loop {
            if let Some(text) = PingKeyText::of(&self.random::<48>()?) {
                break text;
            }
        };
        let hash = hash(text.reveal().to_owned()).await?;
        let id = self.table.next_ping_key_id().await?;
        let name = name.map_or_else(|| Label::parse("name", format!("ping-key-{id}"), usize::MAX), Ok)?;
        let key = PingKey { id, name, digest: digest(text.reveal()), hash, revision: Revision::beginning(actor.at) };
        Ok((self.create(key, actor).await?, text))
    }

    /// Returns keys, newest first.
    pub async fn ping_keys(&self, after: Option<PingKeyId>, limit: usize) -> Result<Page<PingKey>, Error> {
        Ok(self.table.ping_keys(after, limit).await?)
    }

    pub async fn revoke_ping_key(&self, id: PingKeyId, actor: &Actor) -> Result<(), Error> {
        self.delete::<PingKey>(id, actor).await?;
        self.ping_keyring.forget(id);
        Ok(())
    }

    /// Returns the id of a key, if it is valid now. A wrong key costs one read, and no argon2.
    pub async fn verify_ping_key(&self, text: &PingKeyText, now: DateTime<Utc>) -> Result<Option<PingKeyId>, Error> {
        let sha: [u8; 32] = Sha256::digest(text.reveal().as_bytes()).into();
        let known = self.ping_keyring.known(&sha);
        if let Some((key, read_at)) = &known
            && is_trusted(*read_at, now)
        {
            return Ok(Some(key.id));
        }
        if self.ping_keyring.missing.contains(&sha, now) {
            return Ok(None);
        }
        // At first consistent, as a key created a moment ago may not be everywhere yet.
        let Some(found) = self.table.ping_key_by_digest(&digest(text.reveal()), known.is_none()).await? else {
            self.ping_keyring.missing.remember(sha, now);
            if let Some((key, _)) = known {
                self.ping_keyring.forget(key.id);
            }
            return Ok(None);
        };
        if known.is_none_or(|(key, _)| key != found) {
            let _one_at_a_time = self.ping_keyring.verifying.lock().await;
            let is_known_by_now = self.ping_keyring.known(&sha).is_some_and(|(key, _)| key == found);
            if !is_known_by_now && !is_hash_of(found.hash.clone(), text.reveal().to_owned()).await? {
                return Ok(None);
            }
        }
        let id = found.id;
        self.ping_keyring.remember(sha, found, now);
        Ok(Some(id))
    }
}
