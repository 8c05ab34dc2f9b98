//! The steps of a document.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::{
    Condition, HttpMethod, Invalid, Label, OnFailure, PlaybookDefinition, ServiceId, Status, Step, StepKind, Template,
    WebhookCall, parse_parameter,
};
use outbound::UserHeaders;

use super::fields::{Fields, Reader};
use super::node::{Kind, Node};

/// The headers that Medic sets in a step's request.
const STEP_HEADERS: [&str; 2] = ["idempotency-key", "user-agent"];

pub(super) fn read_steps(reader: &mut Reader<'_>, field: &str, node: &Node) -> Option<Vec<Step>> {
    let items = reader.list(field, node)?;
    if items.is_empty() {
        return reader.problem(field, "must be at least one step", node.line);
    }
    if items.len() > PlaybookDefinition::MAX_STEPS {
        return reader.problem(field, "must be at most 50 steps", node.line);
    }
    let mut names: Vec<String> = Vec::new();
    let mut steps = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        steps.push(read_step(reader, &format!("{field}[{n}]"), item, &mut names));
    }
    steps.into_iter().collect()
}

fn read_step(reader: &mut Reader<'_>, field: &str, node: &Node, names: &mut Vec<String>) -> Option<Step> {
    let mut fields = reader.map(field, node)?;
    let name = reader.required(&mut fields, "name", |reader, field, node| {
        let text = reader.text(field, node)?;
        let name = reader.valid(node, field, Label::parse(field, text, PlaybookDefinition::MAX_NAME_CHARS))?;
        if names.iter().any(|known| known == name.as_str()) {
            return reader.problem(field, "must be unique: another step has this name", node.line);
        }
        names.push(name.as_str().to_owned());
        Some(name)
    });
    let kind = reader.required(&mut fields, "type", |reader, field, node| {
        let text = reader.text(field, node)?;
        if StepKind::NAMES.contains(&text.as_str()) {
            return Some(text);
        }
        reader.problem(field, "must be webhook, wait, script or condition", node.line)
    })?;
    let kind = match kind.as_str() {
        "webhook" => read_webhook(reader, &mut fields).map(StepKind::Webhook),
        "wait" => reader
            .required(&mut fields, "duration", |reader, field, node| reader.duration(field, node, StepKind::MAX_WAIT))
            .map(|duration| StepKind::Wait { duration }),
        "script" => read_script(reader, &mut fields),
        _ => read_condition(reader, &mut fields).map(StepKind::Condition),
    };
    reader.refuse_rest(&fields);
    Some(Step { name: name?, kind: kind? })
}

/// Reads a step's timeout; the usual one when none is given, or when it is wrong and the reader has noted so.
fn read_timeout(
    reader: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    max: TimeDelta,
    usual: Option<TimeDelta>,
) -> Option<TimeDelta> {
    reader.optional(fields, "timeout", |reader, field, node| reader.duration(field, node, max)).or(usual)
}

fn read_webhook(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<WebhookCall> {
    let before = reader.problems();
    let url = reader.required(fields, "url", |reader, field, node| {
        let text = reader.text(field, node)?;
        let template = Template::parse(&text);
        if template.as_plain().is_none() && !template.begins_as_address() {
            return reader.problem(field, "must begin with http:// or https://, or with a secret", node.line);
        }
        // One with variables is checked when it is called.
        if let Some(plain) = template.as_plain()
            && let Err(refusal) = reader.guard.read(plain)
        {
            return reader.problem(field, &refusal.to_string(), node.line);
        }
        Some(template)
    });
    let method = reader.optional(fields, "method", |reader, field, node| {
        let text = reader.text(field, node)?;
        reader.valid(node, field, text.parse::<HttpMethod>())
    });
    let headers = reader.optional(fields, "headers", read_headers);
    let body = reader.optional(fields, "body", Reader::value);
    let success_codes = reader.optional(fields, "success_codes", read_codes);
    let timeout = read_timeout(reader, fields, StepKind::MAX_WEBHOOK, Some(StepKind::WEBHOOK_TIMEOUT));
    if reader.problems() > before {
        return None;
    }
    Some(WebhookCall {
        method: method.unwrap_or(HttpMethod::Post),
        url: url?,
        headers: headers.unwrap_or_default(),
        body,
        success_codes: success_codes.unwrap_or_else(|| WebhookCall::SUCCESS_CODES.to_vec()),
        timeout: timeout?,
    })
}

/// Reads headers, by name in lower case.
fn read_headers(reader: &mut Reader<'_>, field: &str, node: &Node) -> Option<BTreeMap<String, Template>> {
    let entries = reader.map(field, node)?.into_entries();
    let mut pairs = Vec::with_capacity(entries.len());
    for (name, _, value) in &entries {
        let text = reader.scalar(&format!("{field}.{name}"), value)?;
        pairs.push((name.as_str(), text));
    }
    let checked = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    if let Err(Invalid { field, problem }) = UserHeaders::parse(field, checked, &STEP_HEADERS) {
        let is_at_fault = |(name, ..): &&(String, u64, &Node)| field.ends_with(&format!(".{}", name.to_lowercase()));
        let line = entries.iter().rev().find(is_at_fault).map_or(node.line, |(_, line, _)| *line);
        return reader.problem(&field, &problem, line);
    }
    Some(pairs.into_iter().map(|(name, value)| (name.to_lowercase(), Template::parse(&value))).collect())
}

fn read_codes(reader: &mut Reader<'_>, field: &str, node: &Node) -> Option<Vec<u16>> {
    let items = reader.list(field, node)?;
    if items.is_empty() || items.len() > WebhookCall::MAX_SUCCESS_CODES {
        return reader.problem(field, "must be 1 to 20 codes", node.line);
    }
    let mut codes = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        let field = format!("{field}[{n}]");
        let code = match &item.kind {
            Kind::Integer(number) => u16::try_from(*number).ok().filter(|code| (100..=599).contains(code)),
            Kind::Null | Kind::Bool(_) | Kind::Float(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) => None,
        };
        match code {
            Some(code) => codes.push(code),
            None => return reader.problem(&field, "must be a whole number from 100 to 599", item.line),
        }
    }
    Some(codes)
}

fn read_script(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<StepKind> {
    let before = reader.problems();
    let script = reader.required(fields, "script", |reader, field, node| {
        let text = reader.text(field, node)?;
        reader.valid(node, field, domain::Script::parse_name(text))
    });
    let parameters = reader.optional(fields, "parameters", |reader, field, node| {
        let mut read = BTreeMap::new();
        for (name, line, value) in reader.map(field, node)?.into_entries() {
            let field = format!("{field}.{name}");
            let text = reader.scalar(&field, value)?;
            if let Err(Invalid { field, problem }) = parse_parameter(&field, &name, &text) {
                return reader.problem(&field, &problem, line);
            }
            read.insert(name, Template::parse(&text));
        }
        Some(read)
    });
    let timeout = read_timeout(reader, fields, StepKind::MAX_SCRIPT, None);
    if reader.problems() > before {
        return None;
    }
    let (script, parameters) = (script?.into_string(), parameters.unwrap_or_default());
    Some(StepKind::Script { script, parameters, timeout })
}

fn read_condition(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Condition> {
    let before = reader.problems();
    reader.required(fields, "check", |reader, field, node| {
        let text = reader.text(field, node)?;
        if text == Condition::CHECK {
            return Some(());
        }
        reader.problem(field, "must be heartbeat_received", node.line)
    });
    let (min_count, status, service_id) =
        reader.optional(fields, "parameters", read_parameters).unwrap_or((1, None, None));
    let on_failure = reader.optional(fields, "on_failure", |reader, field, node| {
        let text = reader.text(field, node)?;
        reader.valid(node, field, text.parse::<OnFailure>())
    });
    let timeout = read_timeout(reader, fields, StepKind::MAX_CONDITION, Some(StepKind::CONDITION_TIMEOUT));
    if reader.problems() > before {
        return None;
    }
    Some(Condition {
        min_count,
        status,
        service_id,
        timeout: timeout?,
        on_failure: on_failure.unwrap_or(OnFailure::Fail),
    })
}

type HeartbeatParameters = (u32, Option<Status>, Option<ServiceId>);

fn read_parameters(reader: &mut Reader<'_>, field: &str, node: &Node) -> Option<HeartbeatParameters> {
    let mut fields = reader.map(field, node)?;
    let min_count = reader.optional(&mut fields, "min_count", |reader, field, node| {
        let number = reader.integer(field, node)?;
        match u32::try_from(number).ok().filter(|number| (1..=Condition::MAX_HEARTBEATS).contains(number)) {
            Some(number) => Some(number),
            None => reader.problem(field, "must be a whole number from 1 to 100", node.line),
        }
    });
    let status = reader.optional(&mut fields, "status", |reader, field, node| {
        let text = reader.text(field, node)?;
        reader.valid(node, field, text.parse::<Status>())
    });
    let service_id = reader.optional(&mut fields, "service_id", |reader, field, node| {
        let number = reader.integer(field, node)?;
        reader.valid(node, field, ServiceId::read(number))
    });
    reader.refuse_rest(&fields);
    Some((min_count.unwrap_or(1), status, service_id))
}
