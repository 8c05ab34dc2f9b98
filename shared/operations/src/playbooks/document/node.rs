//! A YAML document as a tree whose every node knows its line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) line: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In their order; a key may come twice.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Returns how many bytes of text there are in it.
    fn text_bytes(&self) -> usize {
        match &self.kind {
            Kind::Null | Kind::Bool(_) | Kind::Integer(_) | Kind::Float(_) => 0,
            Kind::Text(text) => text.len(),
            Kind::List(items) => items.iter().map(Self::text_bytes).sum(),
            Kind::Map(entries) => entries.iter().map(|(key, value)| key.text_bytes() + value.text_bytes()).sum(),
        }
    }
}

impl Kind {
    /// Returns what it is, in the words of an error.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads a document within limits that no honest playbook meets. The error is the end of a sentence that begins with
/// `yaml`, and a line.
pub(super) fn parse(yaml: &str) -> Result<Node, (String, u64)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 20_000,
            max_nodes: 10_000,
            max_depth: 16,
            max_aliases: 64,
            max_anchors: 64,
            max_documents: 1,
            max_total_scalar_bytes: 262_144,
            max_merge_keys: 0,
        },
        alias_limits: alias_limits(yaml.len()),
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Node>(yaml, options) {
        Ok(node) if node.text_bytes() > MAX_TEXT_BYTES => Err((TOO_LARGE.to_owned(), 1)),
        Ok(node) => Ok(node),
        Err(error) => {
            let line = error.location().map_or(1, |location| location.line()).max(1);
            let text = error.without_snippet().to_string();
            // The position is reported separately.
            let what = text.split(" at line ").next().unwrap_or_default();
            let first = what.lines().next().unwrap_or_default();
            Err((in_words(first.trim_end_matches([':', ' '])), line))
        }
    }
}

/// Returns what the parser says, for whoever wrote the document.
fn in_words(problem: &str) -> String {
    if problem.contains("Documents {") {
        "must be one document".to_owned()
    } else if problem.contains("budget breached") || problem.contains("limit exceeded") {
        TOO_LARGE.to_owned()
    } else {
        format!("cannot be read: {problem}")
    }
}

const TOO_LARGE: &str = "must not be nested so deep, nor be so large with its aliases written out";

/// How many bytes of text a document may have, with its aliases written out.
const MAX_TEXT_BYTES: usize = 262_144;
/// How many bytes aliases may repeat while it is read. Only then is it known how many they did.
const MAX_REPEATED_BYTES: usize = 8 * 1_024 * 1_024;

/// Returns what aliases may do in a document of this length: each event that they repeat may repeat all of it.
fn alias_limits(length: usize) -> serde_saphyr::options::AliasLimits {
    let mut limits = serde_saphyr::options::AliasLimits::default();
    limits.max_total_replayed_events = (MAX_REPEATED_BYTES / length.max(1)).min(5_000);
    limits.max_replay_stack_depth = 8;
    limits.max_alias_expansions_per_anchor = 64;
    limits
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        #[expect(clippy::cast_precision_loss, reason = "no field of a playbook takes a number so large")]
        Ok(i64::try_from(value).map_or(Kind::Float(value as f64), Kind::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        Ok(Kind::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Kind, E> {
        Ok(Kind::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Kind::Map(map))
    }
}
