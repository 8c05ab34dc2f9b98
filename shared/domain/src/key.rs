//! API keys: how one is written, and what it may do. Hashing is done where the randomness is.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::{ApiKeyId, Invalid, Label, RequestClass, Revision};

/// What a key may do. `admin` grants everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Read,
    Write,
    Admin,
    Heartbeat,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Admin, Self::Heartbeat];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Heartbeat => "heartbeat",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| Invalid::new("scopes", "may hold read, write, admin and heartbeat"))
    }
}

/// The scopes of one key: at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    pub fn parse(mut scopes: Vec<Scope>) -> Result<Self, Invalid> {
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(Invalid::new("scopes", "must name at least one of read, write, admin, heartbeat"));
        }
        Ok(Self(scopes))
    }

    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// Returns whether the key may do what requires any one of `wanted`.
    pub fn allow(&self, wanted: &[Scope]) -> bool {
        self.0.contains(&Scope::Admin) || wanted.iter().any(|scope| self.0.contains(scope))
    }
}

/// Requests a minute that a key may make, where it has limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    pub heartbeats: Option<u32>,
    pub management: Option<u32>,
}

impl RateLimits {
    pub fn of(self, class: RequestClass) -> Option<u32> {
        match class {
            RequestClass::Heartbeats => self.heartbeats,
            RequestClass::Management => self.management,
            RequestClass::Executions | RequestClass::Triggers => None,
        }
    }
}

/// A key's record. The key itself is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: Label,
    pub scopes: Scopes,
    pub limits: RateLimits,
    pub expires_at: Option<DateTime<Utc>>,
    pub rotated_at: Option<DateTime<Utc>>,
    /// The first 128 bits of the SHA-256 of the whole key, in hex.
    pub digest: String,
    /// The argon2id hash of the whole key, as a PHC string.
    pub hash: String,
    pub revision: Revision,
}

/// How the names of people begin where they act: no key may pose as one.
const PEOPLE: [&str; 2] = ["slack:", "oidc:"];

impl ApiKey {
    pub const MAX_NAME_CHARS: usize = 128;

    /// Reads the name of a key, by which it is known in the audit log.
    pub fn parse_name(text: impl Into<String>) -> Result<Label, Invalid> {
        let name = Label::parse("name", text, Self::MAX_NAME_CHARS)?;
        let lower = name.as_str().trim_start().to_lowercase();
        if PEOPLE.iter().any(|prefix| lower.starts_with(prefix)) {
            return Err(Invalid::new("name", "must not begin with slack: or oidc:, as the names of people do"));
        }
        Ok(name)
    }

    /// Returns whether it may do everything, for good. One such key stays.
    pub fn is_lasting_admin(&self) -> bool {
        self.scopes.iter().any(|scope| scope == Scope::Admin) && self.expires_at.is_none()
    }
}

/// The random part of a key: 256 bits in base64url without padding. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret(String);

impl KeySecret {
    const CHARS: usize = 43;

    pub fn parse(text: &str) -> Option<Self> {
        let fits =
            text.len() == Self::CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        fits.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

/// A key as its owner sends it: `mdk_<id>_<secret>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub id: ApiKeyId,
    pub secret: KeySecret,
}

impl Credential {
    /// Reads the value of an `Authorization` header.
    pub fn from_authorization(value: &str) -> Option<Self> {
        let (scheme, key) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        Self::parse(key.trim())
    }

    pub fn parse(key: &str) -> Option<Self> {
        let (id, secret) = key.strip_prefix("mdk_")?.split_once('_')?;
        // There is one way to write a number, so that one key has one text.
        if id.starts_with(['0', '+', '-']) {
            return None;
        }
        Some(Self { id: id.parse().ok()?, secret: KeySecret::parse(secret)? })
    }

    /// Returns the whole key, to be shown once and hashed.
    pub fn reveal(&self) -> String {
        format!("mdk_{}_{}", self.id, self.secret.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDE-_";

    #[test]
    fn a_key_reads_back_as_it_was_written() {
        let key = format!("mdk_7_{SECRET}");
        let credential = Credential::from_authorization(&format!("Bearer {key}")).unwrap();
        assert_eq!(credential.id, ApiKeyId::new(7));
        assert_eq!(credential.reveal(), key);
        assert!(!format!("{credential:?}").contains(SECRET));
    }

    #[test]
    fn what_is_not_a_key_is_none() {
        for bad in ["", "mdk_", "mdk_0_x", "mdk_x_y", "mdk_07_", "mdk_99999999999999999999_a"] {
            assert_eq!(Credential::parse(&bad.replace('y', SECRET)), None, "{bad}");
        }
        assert_eq!(Credential::parse(&format!("mdk_07_{SECRET}")), None);
        assert_eq!(Credential::from_authorization(&format!("Basic mdk_7_{SECRET}")), None);
    }
}
