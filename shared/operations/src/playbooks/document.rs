//! The YAML of playbooks: reads a document and names everything that is wrong with it at once, each with its field and
//! line. Pure but for the guard, which looks at addresses without resolving them.

mod fields;
mod node;
mod problem;
mod steps;

use domain::{Approval, Label, OnTimeout, PlaybookDefinition, TriggerTerms, read_duration};
use outbound::Guard;

use crate::Medic;
use fields::{Fields, Reader};
use node::{Kind, Node};

pub use problem::Problem;

/// A document as it was read: what is wrong with it, or else what it defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub definition: Result<PlaybookDefinition, Vec<Problem>>,
    /// Fields that are kept and mean nothing to Medic.
    pub warnings: Vec<Problem>,
}

/// The longest document, in bytes.
const MAX_BYTES: usize = 65_536;
/// Of more, only the first are reported.
const MAX_WARNINGS: usize = 100;

impl Medic {
    /// Reads a playbook's document, and names what is wrong with it.
    pub fn validate_playbook(&self, yaml: &str) -> Document {
        Document::read(yaml, &self.guard)
    }
}

impl Document {
    pub fn read(yaml: &str, guard: &Guard) -> Self {
        let whole = |message: String, line| Self {
            definition: Err(vec![Problem::at("yaml", &message, line)]),
            warnings: Vec::new(),
        };
        if yaml.len() > MAX_BYTES {
            return whole(format!("must be at most {MAX_BYTES} bytes long"), 1);
        }
        let node = match node::parse(yaml) {
            Ok(node) => node,
            Err((message, line)) => return whole(message, line),
        };
        let line = node.line;
        let Kind::Map(entries) = &node.kind else {
            return whole("must be a map with at least name and steps".to_owned(), line.max(1));
        };
        let mut reader = Reader::new(guard);
        let mut fields = Fields::new(&mut reader, String::new(), line, entries);
        let definition = read_definition(&mut reader, &mut fields);
        let warnings = fields
            .rest()
            .take(MAX_WARNINGS)
            .map(|(name, line)| Problem::at(&name, "is kept, and means nothing to Medic", line))
            .collect();
        let errors = reader.into_problems();
        let definition = match definition {
            Some(definition) if errors.is_empty() => Ok(definition),
            Some(_) | None => Err(errors),
        };
        Self { definition, warnings }
    }
}

fn read_definition(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<PlaybookDefinition> {
    let name = reader.required(fields, "name", |reader, field, node| {
        let text = reader.text(field, node)?;
        reader.valid(node, field, Label::parse(field, text, PlaybookDefinition::MAX_NAME_CHARS))
    });
    let description = reader.optional(fields, "description", |reader, field, node| {
        let text = reader.text(field, node)?;
        if text.chars().count() <= PlaybookDefinition::MAX_DESCRIPTION_CHARS {
            return Some(text);
        }
        reader.problem(field, "must be at most 2000 characters long", node.line)
    });
    let trigger = reader.optional(fields, "trigger", read_trigger);
    let approval = read_approval(reader, fields);
    let verify_within = reader.optional(fields, "verify_within", |reader, field, node| {
        reader.duration(field, node, PlaybookDefinition::MAX_VERIFY_WITHIN)
    });
    let steps = reader.required(fields, "steps", steps::read_steps);
    Some(PlaybookDefinition {
        name: name?,
        description: description.filter(|text| !text.is_empty()),
        trigger,
        approval: approval?,
        verify_within: verify_within.unwrap_or(PlaybookDefinition::VERIFY_WITHIN),
        steps: steps?,
    })
}

fn read_trigger(reader: &mut Reader<'_>, field: &str, node: &Node) -> Option<TriggerTerms> {
    let mut fields = reader.map(field, node)?;
    let service_pattern = reader.required(&mut fields, "service_pattern", |reader, field, node| {
        let text = reader.text(field, node)?;
        reader.valid(node, field, TriggerTerms::parse_pattern(text))
    });
    let consecutive_failures = reader.optional(&mut fields, "consecutive_failures", |reader, field, node| {
        let number = reader.integer(field, node)?;
        reader.valid(node, field, TriggerTerms::parse_failures(number))
    });
    reader.refuse_rest(&fields);
    Some(TriggerTerms { service_pattern: service_pattern?, consecutive_failures: consecutive_failures.unwrap_or(1) })
}

fn read_approval(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Approval> {
    const EXPECTED: &str = "must be none, required, or timeout: and a duration, such as timeout:15m";
    let before = reader.problems();
    let approval = reader.optional(fields, "approval", |reader, field, node| {
        let text = reader.text(field, node)?;
        match text.split_once(':') {
            None if text == "none" => Some(Approval::None),
            None if text == "required" => Some(Approval::Required),
            Some(("timeout", time)) => match read_duration(time.trim(), Approval::MAX) {
                Ok(after) => Some(Approval::Timeout { after, then: OnTimeout::Proceed }),
                Err(problem) => reader.problem(field, &format!("{problem}, after timeout:"), node.line),
            },
            Some(_) | None => reader.problem(field, EXPECTED, node.line),
        }
    });
    let is_bad = reader.problems() > before;
    let then = reader.optional(fields, "approval_on_timeout", |reader, field, node| {
        let text = reader.text(field, node)?;
        match text.as_str() {
            "cancel" => Some((OnTimeout::Cancel, node.line)),
            "proceed" => Some((OnTimeout::Proceed, node.line)),
            _ => reader.problem(field, "must be cancel or proceed", node.line),
        }
    });
    match (approval.unwrap_or(Approval::None), then) {
        (Approval::Timeout { after, .. }, Some((then, _))) => Some(Approval::Timeout { after, then }),
        (Approval::None | Approval::Required, Some((_, line))) if !is_bad => {
            reader.problem("approval_on_timeout", "goes only with an approval of timeout:", line)
        }
        (approval, _) => Some(approval),
    }
}
