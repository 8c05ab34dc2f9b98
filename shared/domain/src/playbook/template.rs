//! Texts with variables. A text is parsed once: what a variable's value holds is never looked at again, so that nobody
//! reaches a secret by a value that looks like one's name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::script::is_variable_name;

/// The values of variables, by name.
pub type Variables = BTreeMap<String, String>;

/// A text in its pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// `${NAME}`.
    Variable(String),
    /// `${secrets.NAME}`.
    Secret(String),
}

impl Template {
    pub fn parse(text: &str) -> Self {
        let mut template = Self::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            template.push_text(before);
            let Some(piece) = after.split_once('}').and_then(|(name, rest)| Some((Piece::named(name)?, rest))) else {
                template.push_text("${");
                rest = after;
                continue;
            };
            template.0.push(piece.0);
            rest = piece.1;
        }
        template.push_text(rest);
        template
    }

    pub const fn new(pieces: Vec<Piece>) -> Self {
        Self(pieces)
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Returns the text, if there is nothing to fill in.
    pub fn as_plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(name) => Some(name.as_str()),
            Piece::Text(_) | Piece::Variable(_) => None,
        })
    }

    /// Fills in the variables; unknown ones stay as they are written, and secrets stay secrets.
    #[must_use]
    pub fn fill(&self, variables: &Variables) -> Self {
        self.filled(|name| variables.get(name).cloned())
    }

    fn filled(&self, value: impl Fn(&str) -> Option<String>) -> Self {
        let mut filled = Self::default();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_text(text),
                Piece::Variable(name) => match value(name) {
                    Some(value) => filled.push_text(&value),
                    None => filled.push_text(&format!("${{{name}}}")),
                },
                Piece::Secret(_) => filled.0.push(piece.clone()),
            }
        }
        filled
    }

    /// Returns how many bytes `fill` makes of it; `width` is what each byte of a value may become.
    pub(super) fn filled_bytes(&self, variables: &Variables, width: usize) -> usize {
        let bytes = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Variable(name) => variables.get(name).map_or(name.len() + "${}".len(), |value| value.len() * width),
            Piece::Secret(name) => name.len() + "${secrets.}".len(),
        };
        self.0.iter().map(bytes).sum()
    }

    /// Returns whether it begins as an address does, and not with a variable: one's value is encoded, and is no address.
    pub fn begins_as_address(&self) -> bool {
        let is_scheme = |text: &str| {
            let text = text.to_ascii_lowercase();
            text.starts_with("http://") || text.starts_with("https://")
        };
        match self.0.first() {
            Some(Piece::Text(text)) => is_scheme(text),
            Some(Piece::Variable(_)) => false,
            Some(Piece::Secret(_)) | None => true,
        }
    }

    /// As `fill`, for an address: each value is percent-encoded, so that it stays in its place. None if a value would make
    /// a part of the path `.` or `..`, which leads out of it.
    pub fn fill_address(&self, variables: &Variables) -> Option<Self> {
        let encoded = |name: &str| variables.get(name).map(|value| percent_encoded(value));
        let filled = self.filled(encoded);
        let harmless = self.filled(|name| variables.get(name).map(|_| "x".to_owned()));
        let dots = |template: &Self| -> Vec<bool> {
            let address = template.written(|_| "x".to_owned());
            let path = address.split(['?', '#']).next().unwrap_or_default();
            path.split('/').map(is_dots).collect()
        };
        // Encoded, no value adds a part, or ends the path.
        (dots(&filled) == dots(&harmless)).then_some(filled)
    }

    /// Returns the text for people: secrets are masked.
    pub fn shown(&self) -> String {
        self.written(|name| format!("[secret {name}]"))
    }

    /// Returns the text as it was written.
    pub fn source(&self) -> String {
        self.written(|name| format!("${{secrets.{name}}}"))
    }

    /// Returns the text as it is sent, with the values of its secrets; the error is the name of the first that is missing.
    pub fn reveal<'a>(&'a self, secrets: &BTreeMap<String, String>) -> Result<String, &'a str> {
        match self.secrets().find(|name| !secrets.contains_key(*name)) {
            Some(missing) => Err(missing),
            None => Ok(self.written(|name| secrets.get(name).cloned().unwrap_or_default())),
        }
    }

    fn written(&self, secret: impl Fn(&str) -> String) -> String {
        let write = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => format!("${{{name}}}"),
            Piece::Secret(name) => secret(name),
        };
        self.0.iter().map(write).collect()
    }

    fn push_text(&mut self, text: &str) {
        if let Some(Piece::Text(last)) = self.0.last_mut() {
            last.push_str(text);
        } else if !text.is_empty() {
            self.0.push(Piece::Text(text.to_owned()));
        }
    }

    /// Writes the text for the digest: as a JSON string, or as a list if it holds secrets, so that no text of a
    /// variable's can pass for one.
    pub(super) fn write_json(&self, out: &mut String) {
        if let Some(text) = self.as_plain() {
            write_json_string(text, out);
            return;
        }
        write_list(out, &self.0, |piece, out| match piece {
            Piece::Text(text) => write_json_string(text, out),
            Piece::Variable(name) => write_json_string(&format!("${{{name}}}"), out),
            Piece::Secret(name) => {
                out.push_str("{\"secret\":");
                write_json_string(name, out);
                out.push('}');
            }
        });
    }
}

impl Piece {
    fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("secrets.") {
            Some(secret) => is_variable_name(secret).then(|| Self::Secret(secret.to_owned())),
            None => is_variable_name(name).then(|| Self::Variable(name.to_owned())),
        }
    }
}

/// What a webhook step sends: JSON, with texts to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(String),
    Text(Template),
    List(Vec<Self>),
    /// Keys are taken as they are.
    Map(BTreeMap<String, Self>),
}

impl Value {
    #[must_use]
    pub fn fill(&self, variables: &Variables) -> Self {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => self.clone(),
            Self::Text(text) => Self::Text(text.fill(variables)),
            Self::List(items) => Self::List(items.iter().map(|item| item.fill(variables)).collect()),
            Self::Map(fields) => {
                Self::Map(fields.iter().map(|(name, value)| (name.clone(), value.fill(variables))).collect())
            }
        }
    }

    /// Returns how many bytes `fill` makes of it.
    pub(super) fn filled_bytes(&self, variables: &Variables) -> usize {
        match self {
            Self::Null | Self::Bool(_) => "false".len(),
            Self::Number(number) => number.len(),
            Self::Text(text) => text.filled_bytes(variables, 1),
            Self::List(items) => items.iter().map(|item| item.filled_bytes(variables)).sum(),
            Self::Map(fields) => fields.iter().map(|(name, value)| name.len() + value.filled_bytes(variables)).sum(),
        }
    }

    /// Returns the names of the secrets in it.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => Vec::new(),
            Self::Text(text) => text.secrets().collect(),
            Self::List(items) => items.iter().flat_map(Self::secrets).collect(),
            Self::Map(fields) => fields.values().flat_map(Self::secrets).collect(),
        }
    }

    /// Returns it as JSON, with each text as `text` writes it.
    pub fn to_json(&self, text: &impl Fn(&Template) -> String) -> String {
        let mut out = String::new();
        self.write(&mut out, &|template, out| write_json_string(&text(template), out));
        out
    }

    pub(super) fn write(&self, out: &mut String, text: &impl Fn(&Template, &mut String)) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(number),
            Self::Text(template) => text(template, out),
            Self::List(items) => write_list(out, items, |item, out| item.write(out, text)),
            Self::Map(fields) => write_map(out, fields, |value, out| value.write(out, text)),
        }
    }
}

/// Encodes all but what has no meaning in any part of an address (RFC 3986, 2.3).
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

/// Returns whether a part of a path leads out of it, as URLs are read: also when its dots are encoded.
fn is_dots(part: &str) -> bool {
    matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

pub(super) fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() && c.is_ascii() => write!(out, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            c => out.push(c),
        }
    }
    out.push('"');
}

pub(super) fn write_list<T>(out: &mut String, items: &[T], mut write: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

pub(super) fn write_map<T>(out: &mut String, fields: &BTreeMap<String, T>, mut write: impl FnMut(&T, &mut String)) {
    out.push('{');
    for (n, (name, value)) in fields.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_json_string(name, out);
        out.push(':');
        write(value, out);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn variables_are_filled_in_and_unknown_ones_stay() {
        let variables = map([("NAME", "worker"), ("A", "1")]);
        for (text, filled) in [
            ("${NAME}", "worker"),
            ("x${NAME}y${A}z", "xworkery1z"),
            ("${OTHER} ${NAME", "${OTHER} ${NAME"),
            ("${${NAME}}", "${worker}"),
            ("$NAME $${A} ${} ${a b} ${1}", "$NAME $1 ${} ${a b} ${1}"),
            ("", ""),
        ] {
            assert_eq!(Template::parse(text).fill(&variables).source(), filled, "{text}");
            assert_eq!(Template::parse(text).source(), text);
        }
    }

    #[test]
    fn a_value_stays_in_its_place_in_an_address() {
        let fill = |text: &str, value: &str| {
            let filled = Template::parse(text).fill_address(&map([("A", value), ("EMPTY", "")]));
            filled.map(|filled| filled.source())
        };
        let at = |text, value| fill(text, value).unwrap();
        assert_eq!(
            at("https://a.example/x?q=${A}&z=1", "x&force=true#"),
            "https://a.example/x?q=x%26force%3Dtrue%23&z=1"
        );
        assert_eq!(at("https://a.example/${A}/x", "../../admin?a"), "https://a.example/..%2F..%2Fadmin%3Fa/x");
        assert_eq!(at("https://${A}.a.example/", "evil.example/"), "https://evil.example%2F.a.example/");
        assert_eq!(at("https://a.example/${A}", "a b%2e\\ä"), "https://a.example/a%20b%252e%5C%C3%A4");
        assert_eq!(at("https://a.example/../${A}.1", "v"), "https://a.example/../v.1");
        assert_eq!(at("https://a.example/x?p=${A}", ".."), "https://a.example/x?p=..");
        for (text, value) in [
            ("https://a.example/${A}", ".."),
            ("https://a.example/${A}/x", "."),
            ("https://a.example/.${A}", "."),
            ("https://a.example/${A}${A}", "."),
            ("https://a.example/%2E${A}?x", "."),
            ("https://a.example/.${EMPTY}.", "x"),
        ] {
            assert_eq!(fill(text, value), None, "{text}");
        }
        assert!(!Template::parse("${A}/x").begins_as_address());
        assert!(!Template::parse("https:${A}").begins_as_address());
        assert!(Template::parse("${secrets.HOOK}").begins_as_address());
    }

    #[test]
    fn a_variable_cannot_reach_a_secret() {
        let variables = map([("EVIL", "${secrets.KEY}"), ("HALF", "secrets.KEY"), ("A", "${B}"), ("B", "b")]);
        let secrets = map([("KEY", "s3cr3t")]);
        for text in ["${EVIL}", "${${HALF}}", "$${EVIL}", "${A}"] {
            let filled = Template::parse(text).fill(&variables);
            assert_eq!(filled.secrets().count(), 0, "{text}");
            assert!(!filled.reveal(&secrets).unwrap().contains("s3cr3t"));
        }
        assert_eq!(Template::parse("${A}").fill(&variables).shown(), "${B}");
        // A variable called `secrets` is none.
        assert_eq!(Template::parse("${secrets.KEY}").fill(&map([("secrets.KEY", "x")])).shown(), "[secret KEY]");
    }

    #[test]
    fn a_secret_is_masked_wherever_it_is_shown_and_filled_in_where_it_is_sent() {
        let filled = Template::parse("Bearer ${secrets.KEY}.").fill(&Variables::new());
        assert_eq!(filled.shown(), "Bearer [secret KEY].");
        assert_eq!(filled.reveal(&map([("KEY", "s3cr3t")])), Ok("Bearer s3cr3t.".to_owned()));
        assert_eq!(filled.reveal(&map([])), Err("KEY"));
    }
}
