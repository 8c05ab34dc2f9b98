//! The headers that a user adds to requests.

use std::fmt;

use domain::Invalid;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// At most 20 headers, each with a name of at most 128 bytes and a value of at most 1,024, none of them a header that
/// Medic or the connection sets. Values may be secrets, and are not shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserHeaders(HeaderMap);

/// What frames a request or belongs to its connection (RFC 9110, 7.6.1, and RFC 9112); a user who sets these could
/// smuggle a second request.
const FRAMING: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-*",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl UserHeaders {
    const MAX: usize = 20;
    const MAX_NAME_BYTES: usize = 128;
    const MAX_VALUE_BYTES: usize = 1_024;

    /// Reads pairs of name and value. `field` names them all in errors, and `reserved` lists, in lower case, what the
    /// sender sets itself; a `*` at the end stands for any rest.
    pub fn parse<'a>(
        field: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        reserved: &[&str],
    ) -> Result<Self, Invalid> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            if headers.len() == Self::MAX {
                return Err(Invalid::new(field, format!("must be at most {} headers", Self::MAX)));
            }
            let name = parse_name(field, name)?;
            let invalid = |problem: &str| Invalid::new(format!("{field}.{name}"), problem);
            if FRAMING.iter().chain(reserved).any(|pattern| is_match(name.as_str(), pattern)) {
                return Err(invalid("must not be set: Medic sets it"));
            }
            let value = parse_value(value).map_err(invalid)?;
            if headers.insert(name.clone(), value).is_some() {
                return Err(invalid("must be given once, whatever its case"));
            }
        }
        Ok(Self(headers))
    }

    /// Returns names, in lower case, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
    }

    pub fn to_map(&self) -> HeaderMap {
        self.0.clone()
    }
}

impl fmt::Debug for UserHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

fn parse_name(field: &str, name: &str) -> Result<HeaderName, Invalid> {
    let invalid = |problem: String| Invalid::new(field, problem);
    if name.len() > UserHeaders::MAX_NAME_BYTES {
        return Err(invalid(format!("must have names of at most {} bytes", UserHeaders::MAX_NAME_BYTES)));
    }
    HeaderName::try_from(name).map_err(|_| invalid(format!("must have names that are HTTP header names, not {name:?}")))
}

fn parse_value(value: &str) -> Result<HeaderValue, &'static str> {
    if value.len() > UserHeaders::MAX_VALUE_BYTES {
        return Err("must be at most 1024 bytes long");
    }
    // Only what every server reads in the same way: no line breaks, and nothing beyond ASCII.
    let mut value = HeaderValue::from_str(value)
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or("must hold printable ASCII characters only")?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_match(name: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(pairs: &[(&str, &str)]) -> String {
        UserHeaders::parse("headers", pairs.iter().copied(), &["content-type", "webhook-*"]).unwrap_err().to_string()
    }

    #[test]
    fn takes_what_users_need() {
        let pairs = [("Authorization", "Bearer x"), ("X-Team", "site reliability"), ("X-Empty", "")];
        let headers = UserHeaders::parse("headers", pairs, &[]).unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>().len(), 3);
        assert!(headers.iter().any(|pair| pair == ("authorization", "Bearer x")));
        assert_eq!(format!("{headers:?}"), r#"["authorization", "x-team", "x-empty"]"#);
    }

    #[test]
    fn refuses_what_medic_and_the_connection_set() {
        let names =
            ["Host", "CONTENT-LENGTH", "content-type", "Transfer-Encoding", "Webhook-Id", "proxy-authorization", "TE"];
        for name in names {
            assert_eq!(
                problem(&[(name, "x")]),
                format!("headers.{} must not be set: Medic sets it", name.to_lowercase())
            );
        }
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(problem(&[("a b", "x")]), r#"headers must have names that are HTTP header names, not "a b""#);
        assert_eq!(problem(&[("", "x")]), r#"headers must have names that are HTTP header names, not """#);
        assert_eq!(problem(&[(&"a".repeat(129), "x")]), "headers must have names of at most 128 bytes");
        assert_eq!(problem(&[("X-A", "1"), ("x-a", "2")]), "headers.x-a must be given once, whatever its case");
        assert_eq!(problem(&[("X-A", &"x".repeat(1_025))]), "headers.x-a must be at most 1024 bytes long");
        for value in ["a\r\nHost: b", "a\0", "ä"] {
            assert_eq!(problem(&[("X-A", value)]), "headers.x-a must hold printable ASCII characters only");
        }
        let names: Vec<_> = (0..21).map(|n| format!("x-{n}")).collect();
        let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        assert_eq!(problem(&pairs), "headers must be at most 20 headers");
    }
}
