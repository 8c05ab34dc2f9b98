//! Which environment variables may reach a script. Pure.

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

/// Why a variable must not reach a script; none if it may.
pub fn refusal(name: &str, value: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let problem = if !is_name {
        "must have a name of letters, digits and _, with no digit first"
    } else if RESERVED.contains(&upper.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix)) {
        "must not be set: it would change how scripts run"
    } else if value.contains('\0') {
        "must not contain NUL"
    } else {
        return None;
    };
    Some(format!("The variable {name:?} {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_how_scripts_run_is_refused() {
        for name in [
            "PATH",
            "path",
            "BASH_ENV",
            "BASH_FUNC_ls%%",
            "BASHOPTS",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "MEDIC_EXECUTION_ID",
            "IFS",
            "ENV",
            "SHELLOPTS",
            "PS4",
            "",
            "1A",
            "A=B",
            "A B",
            "A\0",
        ] {
            assert!(refusal(name, "value").is_some(), "{name:?}");
        }
        assert_eq!(refusal("A", "one\0two").unwrap(), "The variable \"A\" must not contain NUL");
    }

    #[test]
    fn ordinary_variables_may_hold_anything_else() {
        for name in ["REGION", "_", "SERVICE_NAME", "lower", "A1"] {
            assert_eq!(refusal(name, "\"; rm -rf /; \"\n$(reboot)"), None, "{name}");
        }
    }
}
