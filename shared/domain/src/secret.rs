//! Secrets of playbooks: written by admins, and read only by the steps that name them.

use std::fmt;

use crate::{Invalid, Label, Revision, SecretId};

/// A secret under its name, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub id: SecretId,
    /// Unique whatever the case; what stands in `${secrets.NAME}`.
    pub name: Label,
    pub description: Option<String>,
    pub uses: SecretUses,
    pub sealed: SealedSecret,
    pub revision: Revision,
}

/// Where a secret may go. Without either nobody can use it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretUses {
    /// Hosts that webhook steps may send it to, such as `example.com` or `*.example.com`.
    pub hosts: Vec<String>,
    /// The scripts that may receive it, by name.
    pub scripts: Vec<Label>,
}

impl SecretUses {
    pub const MAX: usize = 20;

    pub fn parse_scripts(names: Vec<String>) -> Result<Vec<Label>, Invalid> {
        if names.len() > Self::MAX {
            return Err(Invalid::new("allowed_scripts", "must be at most 20 scripts"));
        }
        let parse = |name| {
            crate::Script::parse_name(name).map_err(|Invalid { problem, .. }| {
                Invalid::new("allowed_scripts", format!("must hold names, each of which {problem}"))
            })
        };
        names.into_iter().map(parse).collect()
    }

    /// Returns whether a script of this name may receive it.
    pub fn allow_script(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.scripts.iter().any(|allowed| allowed.as_str().to_lowercase() == name)
    }
}

/// A secret's value under AES-256-GCM: a nonce of 12 bytes, then the ciphertext with its tag. Bound to the secret's id.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(Vec<u8>);

impl SealedSecret {
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSecret(..)")
    }
}

impl Secret {
    const MAX_NAME_CHARS: usize = 128;
    const MAX_VALUE_BYTES: usize = 8_192;
    const MAX_DESCRIPTION_CHARS: usize = 500;

    pub fn parse_name(text: impl Into<String>) -> Result<Label, Invalid> {
        let text = text.into();
        if crate::script::is_variable_name(&text) {
            return Label::parse("name", text, Self::MAX_NAME_CHARS);
        }
        Err(Invalid::new("name", "must be 1 to 128 letters, digits and _, with no digit first"))
    }

    pub fn parse_value(text: String) -> Result<String, Invalid> {
        let problem = match text.len() {
            0 => "must not be empty",
            n if n > Self::MAX_VALUE_BYTES => "must be at most 8192 bytes long",
            _ if text.contains('\0') => "must not contain NUL",
            _ => return Ok(text),
        };
        Err(Invalid::new("value", problem))
    }

    /// Reads a description; an empty one counts as none.
    pub fn parse_description(text: String) -> Result<Option<String>, Invalid> {
        if text.chars().count() > Self::MAX_DESCRIPTION_CHARS {
            return Err(Invalid::new("description", "must be at most 500 characters long"));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}
