//! Names that users give.

use std::fmt;

use crate::Invalid;

/// The unique name by which a service reports: 1–128 characters, no `/` and no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeartbeatName(String);

impl HeartbeatName {
    pub const MAX_CHARS: usize = 128;

    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        let problem = match text.chars().count() {
            0 => "must not be empty",
            1..=Self::MAX_CHARS if text.trim().is_empty() => "must not be blank",
            1..=Self::MAX_CHARS if text.contains('/') => "must not contain '/'",
            1..=Self::MAX_CHARS if text.chars().any(char::is_control) => "must not contain control characters",
            1..=Self::MAX_CHARS => return Ok(Self(text)),
            _ => "must be at most 128 characters long",
        };
        Err(Invalid::new("heartbeat_name", problem))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name in lower case, which must be unique.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for HeartbeatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A short text of one line: a service's, team's or key's name, or a run's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label(String);

impl Label {
    /// Reads a text of 1 to `max` characters without control characters; `field` names it in the error.
    pub fn parse(field: &str, text: impl Into<String>, max: usize) -> Result<Self, Invalid> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(Invalid::new(field, "must not be empty"));
        }
        if text.chars().count() > max {
            return Err(Invalid::new(field, format!("must be at most {max} characters long")));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new(field, "must not contain control characters"));
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
