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

/// Checks a variable: its name, and that its value is no longer than 8,192 bytes and has no NUL. `field` names it in the
/// error.
pub fn parse_variable(field: &str, name: &str, value: &str) -> Result<(), Invalid> {
    const MAX_VALUE_BYTES: usize = 8_192;
    let problem = if !is_variable_name(name) {
        "must have a name of letters, digits and _, with no digit first"
    } else if value.len() > MAX_VALUE_BYTES {
        "must be at most 8192 bytes long"
    } else if value.contains('\0') {
        "must not contain NUL"
    } else {
        return Ok(());
    };
    Err(Invalid::new(field, problem))
}

/// Checks a variable that reaches scripts as an environment variable: besides `parse_variable`, its name must not be one
/// by which a shell, the linker, an interpreter or a common tool would do something else than the script says, nor one of
/// Medic's. A script that needs such a variable sets it itself, from a parameter of another name.
pub fn parse_parameter(field: &str, name: &str, value: &str) -> Result<(), Invalid> {
    parse_variable(field, name, value)?;
    if is_reserved(name) {
        return Err(Invalid::new(
            field,
            "must have another name: this one would change how scripts and their tools run",
        ));
    }
    Ok(())
}

/// Returns whether some program takes more than a value from a variable of this name, in any case.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    RESERVED.contains(&name.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

const RESERVED: [&str; 78] = [
    // Shells and the C library.
    "CDPATH",
    "ENV",
    "FIGNORE",
    "FUNCNEST",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "HISTFILE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "INPUTRC",
    "LOCALDOMAIN",
    "LOCPATH",
    "NLSPATH",
    "NULLCMD",
    "PATH",
    "POSIXLY_CORRECT",
    "PROMPT_COMMAND",
    "SHELL",
    "SHELLOPTS",
    "TERMCAP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMPATH",
    "TMPDIR",
    "TZDIR",
    "ZDOTDIR",
    // Programs that other programs start.
    "BROWSER",
    "EDITOR",
    "MANPAGER",
    "PAGER",
    "VISUAL",
    // Archives.
    "BZIP",
    "BZIP2",
    "GZIP",
    "TAPE",
    "UNZIP",
    "ZIPOPT",
    // What fetches and connects.
    "CVS_RSH",
    "HOMEDRIVE",
    "KRB5_CONFIG",
    "MAILRC",
    "NETRC",
    "SSLKEYLOGFILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "WGETRC",
    // Compilers and make.
    "CC",
    "CFLAGS",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "GNUMAKEFLAGS",
    "GOFLAGS",
    "LDFLAGS",
    "MAKEFILES",
    "MAKEFLAGS",
    "MFLAGS",
    "RUSTFLAGS",
    // Interpreters.
    "AWKLIBPATH",
    "AWKPATH",
    "CLASSPATH",
    "GAWKEXT",
    "JAVA_HOME",
    "TCLLIBPATH",
    // Clouds and databases.
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_DATA_PATH",
    "AWS_SHARED_CREDENTIALS_FILE",
    "BOTO_CONFIG",
    "MYSQL_HOME",
    "PGPASSFILE",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PSQLRC",
    "SQLITE_HISTORY",
];

const RESERVED_PREFIXES: [&str; 46] = [
    "ANSIBLE_",
    "AWS_CONTAINER_",
    "AWS_EC2_",
    "AWS_ENDPOINT_",
    "BASH",
    "BUNDLE_",
    "CARGO",
    "COMPLUS_",
    "CONDA_",
    "CORECLR_",
    "COR_",
    "CURL_",
    "DOCKER_",
    "DOTNET_",
    "DYLD_",
    "GEM_",
    "GIT_",
    "GNUPG",
    "HELM_",
    "HG",
    "JDK_",
    "JVM_",
    "KUBE",
    "LD_",
    "LESS",
    "LUA_",
    "MALLOC_",
    "MEDIC_",
    "NODE_",
    "NPM_",
    "OPENSSL_",
    "PERL",
    "PHP",
    "PIP_",
    "PS4",
    "PSQL_",
    "PYTHON",
    "RES_",
    "RESOLV_",
    "RSYNC_",
    "RUBY",
    "SSH_",
    "SUDO_",
    "SVN_",
    "TF_CLI_",
    "XDG_",
];

/// The options variables of tools, proxies, and programs to be started.
const RESERVED_SUFFIXES: [&str; 12] = [
    "_ASKPASS",
    "_CA_BUNDLE",
    "_DEFAULTS",
    "_EDITOR",
    "_OPT",
    "_OPTIONS",
    "_OPTS",
    "_PAGER",
    "_PRELOAD",
    "_PROXY",
    "_RSH",
    "_WRAPPER",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_would_change_how_scripts_run_is_refused() {
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
            "TAR_OPTIONS",
            "PERL5OPT",
            "http_proxy",
            "ALL_PROXY",
            "GIT_SSH_COMMAND",
            "NODE_OPTIONS",
            "_JAVA_OPTIONS",
            "RUBYOPT",
            "LESSOPEN",
            "XZ_OPT",
        ] {
            assert!(parse_parameter("parameters", name, "x").is_err(), "{name}");
            assert!(parse_variable("variables", name, "x").is_ok(), "{name} is only a value");
        }
        for name in ["", "1A", "A-B", "A B", "A=B", "ä", "A\0"] {
            assert!(parse_parameter("parameters", name, "x").is_err(), "{name}");
        }
        let usual =
            ["REGION", "_x1", "LDAP", "lower", "PATHS", "HOMES", "AWS_REGION", "PGPASSWORD", "CACHE_PATH", "HOST"];
        for name in usual {
            assert!(parse_parameter("parameters", name, "\"; rm -rf /; \n").is_ok(), "{name}");
        }
        assert!(parse_variable("parameters", "A", "a\0b").is_err());
    }
}
