//! Reads values out of a document's tree, and gathers what is wrong with them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::{Invalid, Template, Value};
use outbound::Guard;

use super::node::{Kind, Node};
use super::problem::Problem;

/// Collects problems. What reads a value returns none when it is wrong, and adds the problem here.
pub(super) struct Reader<'a> {
    pub(super) guard: &'a Guard,
    /// The first ones.
    problems: Vec<Problem>,
    found: usize,
}

/// The fields of a map that were not read yet.
pub(super) struct Fields<'n> {
    path: String,
    line: u64,
    entries: Vec<(String, u64, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// Reads the fields of a map. Keys that come twice, or are no names, are problems.
    pub(super) fn new(reader: &mut Reader<'_>, path: String, line: u64, entries: &'n [(Node, Node)]) -> Self {
        let mut fields = Self { path, line, entries: Vec::with_capacity(entries.len()) };
        for (key, value) in entries {
            let Some(name) = key_text(&key.kind) else {
                let field = if fields.path.is_empty() { "yaml" } else { &fields.path };
                reader.problem::<()>(field, "must have names as its keys", key.line);
                continue;
            };
            if fields.entries.iter().any(|(known, ..)| *known == name) {
                reader.problem::<()>(&fields.path_of(&name), "must be given once", key.line);
            } else {
                fields.entries.push((name, key.line, value));
            }
        }
        fields
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &str) -> Option<&'n Node> {
        let at = self.entries.iter().position(|(known, ..)| known == name)?;
        Some(self.entries.remove(at).2)
    }

    /// Returns the fields that nobody read, with their lines.
    pub(super) fn rest(&self) -> impl Iterator<Item = (String, u64)> {
        self.entries.iter().map(|(name, line, _)| (self.path_of(name), *line))
    }

    pub(super) fn into_entries(self) -> Vec<(String, u64, &'n Node)> {
        self.entries
    }
}

fn key_text(key: &Kind) -> Option<String> {
    match key {
        Kind::Text(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Kind::Integer(number) => Some(number.to_string()),
        Kind::Bool(value) => Some(value.to_string()),
        Kind::Null | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => None,
    }
}

impl<'a> Reader<'a> {
    /// Of more problems only the first are reported: a document can have one for each of its bytes.
    const MAX_PROBLEMS: usize = 100;

    pub(super) const fn new(guard: &'a Guard) -> Self {
        Self { guard, problems: Vec::new(), found: 0 }
    }

    /// Returns the problems in the order of the document.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }

    /// Returns how many problems there are so far.
    pub(super) const fn problems(&self) -> usize {
        self.found
    }

    pub(super) fn problem<T>(&mut self, field: &str, message: &str, line: u64) -> Option<T> {
        self.found += 1;
        if self.problems.len() < Self::MAX_PROBLEMS {
            self.problems.push(Problem::at(field, message, line));
        }
        None
    }

    fn mismatch<T>(&mut self, field: &str, expected: &str, node: &Node) -> Option<T> {
        self.problem(field, &format!("must be {expected}, not {}", node.kind.name()), node.line)
    }

    /// Returns what a rule of the domain accepted, or adds the problem.
    pub(super) fn valid<T>(&mut self, node: &Node, field: &str, read: Result<T, Invalid>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(Invalid { field: _, problem }) => self.problem(field, &problem, node.line),
        }
    }

    pub(super) fn required<T>(
        &mut self,
        fields: &mut Fields<'_>,
        name: &str,
        read: impl FnOnce(&mut Self, &str, &Node) -> Option<T>,
    ) -> Option<T> {
        let field = fields.path_of(name);
        let line = fields.line;
        match fields.take(name) {
            Some(node) => read(self, &field, node),
            None => self.problem(&field, "must be given", line),
        }
    }

    pub(super) fn optional<T>(
        &mut self,
        fields: &mut Fields<'_>,
        name: &str,
        read: impl FnOnce(&mut Self, &str, &Node) -> Option<T>,
    ) -> Option<T> {
        let field = fields.path_of(name);
        let node = fields.take(name)?;
        read(self, &field, node)
    }

    pub(super) fn refuse_rest(&mut self, fields: &Fields<'_>) {
        for (field, line) in fields.rest() {
            self.problem::<()>(&field, "is not a field that is known here", line);
        }
    }

    pub(super) fn map<'n>(&mut self, field: &str, node: &'n Node) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &node.kind else { return self.mismatch(field, "a map", node) };
        Some(Fields::new(self, field.to_owned(), node.line, entries))
    }

    pub(super) fn list<'n>(&mut self, field: &str, node: &'n Node) -> Option<&'n [Node]> {
        let Kind::List(items) = &node.kind else { return self.mismatch(field, "a list", node) };
        Some(items)
    }

    pub(super) fn text(&mut self, field: &str, node: &Node) -> Option<String> {
        let Kind::Text(text) = &node.kind else { return self.mismatch(field, "text", node) };
        Some(text.clone())
    }

    pub(super) fn integer(&mut self, field: &str, node: &Node) -> Option<i64> {
        let Kind::Integer(number) = &node.kind else { return self.mismatch(field, "a whole number", node) };
        Some(*number)
    }

    /// Reads a text, or what can stand for one.
    pub(super) fn scalar(&mut self, field: &str, node: &Node) -> Option<String> {
        match &node.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Integer(number) => Some(number.to_string()),
            Kind::Float(number) => Some(number.to_string()),
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.mismatch(field, "text or a number", node),
        }
    }

    pub(super) fn duration(&mut self, field: &str, node: &Node, max: TimeDelta) -> Option<TimeDelta> {
        let text = match &node.kind {
            Kind::Text(text) => text.clone(),
            Kind::Integer(number) => number.to_string(),
            Kind::Null | Kind::Bool(_) | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => {
                return self.mismatch(field, "a duration such as 30s, 5m or 1h, or a number of seconds", node);
            }
        };
        match domain::read_duration(&text, max) {
            Ok(duration) => Some(duration),
            Err(problem) => self.problem(field, &problem, node.line),
        }
    }

    /// Reads the body that a webhook step sends.
    pub(super) fn value(&mut self, field: &str, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Null => Some(Value::Null),
            Kind::Bool(value) => Some(Value::Bool(*value)),
            Kind::Integer(number) => Some(Value::Number(number.to_string())),
            Kind::Float(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => Some(Value::Number(number.to_string())),
                None => self.problem(field, "must be a number that JSON can write", node.line),
            },
            Kind::Text(text) => Some(Value::Text(Template::parse(text))),
            Kind::List(items) => {
                let items: Vec<Option<Value>> =
                    items.iter().enumerate().map(|(n, item)| self.value(&format!("{field}[{n}]"), item)).collect();
                items.into_iter().collect::<Option<_>>().map(Value::List)
            }
            Kind::Map(_) => {
                let mut read = BTreeMap::new();
                for (name, _, node) in self.map(field, node)?.into_entries() {
                    let value = self.value(&format!("{field}.{name}"), node);
                    read.insert(name, value?);
                }
                Some(Value::Map(read))
            }
        }
    }
}
