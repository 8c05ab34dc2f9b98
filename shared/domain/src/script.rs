//! Registered scripts, and the names of the variables that reach them.

use std::str::FromStr;

use crate::{Invalid, Label, Revision, ScriptId};

/// A script that playbooks may run by its name. Only admins write one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub id: ScriptId,
    /// Unique whatever the case.
    pub name: Label,
    pub content: String,
    pub interpreter: Interpreter,
    /// How long it may take where its step sets no timeout.
    pub timeout_seconds: u32,
    pub revision: Revision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpreter {
    Bash,
    Python,
}

impl Interpreter {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Python => "python",
        }
    }
}

impl FromStr for Interpreter {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Bash, Self::Python]
            .into_iter()
            .find(|interpreter| interpreter.as_str() == text)
            .ok_or_else(|| Invalid::new("interpreter", "must be bash or python"))
    }
}

impl Script {
    pub const USUAL_TIMEOUT_SECONDS: u32 = 30;
    pub const MAX_SECONDS: u32 = 600;
    const MAX_NAME_CHARS: usize = 128;
    const MAX_CONTENT_BYTES: usize = 65_536;

    pub fn parse_name(text: impl Into<String>) -> Result<Label, Invalid> {
        Label::parse("name", text, Self::MAX_NAME_CHARS)
    }

    pub fn parse_content(text: String) -> Result<String, Invalid> {
        let problem = match text.len() {
            _ if text.trim().is_empty() => "must not be empty",
            n if n > Self::MAX_CONTENT_BYTES => "must be at most 65536 bytes long",
            _ if text.contains('\0') => "must not contain NUL",
            _ => return Ok(text),
        };
        Err(Invalid::new("content", problem))
    }

    pub fn parse_timeout(seconds: i64) -> Result<u32, Invalid> {
        u32::try_from(seconds)
            .ok()
            .filter(|seconds| (1..=Self::MAX_SECONDS).contains(seconds))
            .ok_or_else(|| Invalid::new("timeout_seconds", "must be a whole number from 1 to 600"))
    }
}

/// Returns whether a text can be a variable's name: letters, digits and `_`, not a digit first, at most 128.
pub(crate) fn is_variable_name(text: &str) -> bool {
    const MAX_BYTES: usize = 128;
    text.len() <= MAX_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// By these a shell, the linker, the C library or Python would do something else than the script says.
const RESERVED: [&str; 18] = [
    "CDPATH",
    "ENV",
    "FUNCNEST",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "HISTFILE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "LOCPATH",
    "NLSPATH",
    "PATH",
    "POSIXLY_CORRECT",
    "PROMPT_COMMAND",
    "TMPDIR",
    "SHELLOPTS",
];
const RESERVED_PREFIXES: [&str; 8] = ["BASH", "LD_", "MALLOC_", "MEDIC_", "PYTHON", "PS4", "RES_", "RESOLV_"];

/// Checks a variable that reaches scripts as an environment variable: its name must not be one by which a shell, a
/// linker or Python would run something else, nor one of Medic's. `field` names it in the error.
pub fn parse_variable(field: &str, name: &str, value: &str) -> Result<(), Invalid> {
    const MAX_VALUE_BYTES: usize = 8_192;
    let upper = name.to_ascii_uppercase();
    let is_reserved =
        RESERVED.contains(&upper.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
    let problem = if !is_variable_name(name) {
        "must have a name of letters, digits and _, with no digit first"
    } else if is_reserved {
        "must not be set: it would change how scripts run"
    } else if value.len() > MAX_VALUE_BYTES {
        "must be at most 8192 bytes long"
    } else if value.contains('\0') {
        "must not contain NUL"
    } else {
        return Ok(());
    };
    Err(Invalid::new(field, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_would_change_how_scripts_run_is_refused() {
        for name in [
            "PATH",
            "path",
            "BASH_ENV",
            "BASHOPTS",
            "LD_PRELOAD",
            "PYTHONPATH",
            "MEDIC_SECRETS_KEY",
            "SHELLOPTS",
            "PS4",
            "IFS",
            "ENV",
            "HOME",
        ] {
            assert!(parse_variable("parameters", name, "x").is_err(), "{name}");
        }
        for name in ["", "1A", "A-B", "A B", "A=B", "ä", "A\0"] {
            assert!(parse_variable("parameters", name, "x").is_err(), "{name}");
        }
        for name in ["REGION", "_x1", "LDAP", "lower", "PATHS", "HOMES"] {
            assert!(parse_variable("parameters", name, "\"; rm -rf /; \n").is_ok(), "{name}");
        }
        assert!(parse_variable("parameters", "A", "a\0b").is_err());
    }
}
