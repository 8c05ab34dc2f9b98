//! The plan of an execution: a playbook's steps with their variables filled in. What is approved is this, and what runs
//! is this or nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::template::{write_json_string, write_list, write_map};
use super::{Condition, PlaybookDefinition, StepKind, Template, Variables, WebhookCall};
use crate::{Invalid, Label, PlaybookId, Script, ScriptId, ServiceId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub playbook_id: PlaybookId,
    pub version: u64,
    pub service_id: Option<ServiceId>,
    /// What is always there, by the names in `ALWAYS_THERE`. Scripts get it beside their parameters.
    pub variables: Variables,
    /// What the caller gave. It is filled into the steps, and reaches a script only as the value of a parameter.
    pub given: Variables,
    pub steps: Vec<PlannedStep>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    pub name: Label,
    pub work: PlannedWork,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedWork {
    Webhook(WebhookCall),
    Wait { duration: TimeDelta },
    Script(PlannedScript),
    Condition(Condition),
}

/// A script as it was when the plan was created: one that was updated since does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedScript {
    pub script_id: ScriptId,
    pub name: String,
    pub version: u64,
    pub parameters: BTreeMap<String, Template>,
    pub timeout: TimeDelta,
}

impl PlaybookDefinition {
    /// Returns how many bytes of text its steps have with their variables filled in. Added up, and not filled in: a short
    /// document can name a long variable ten thousand times.
    fn filled_bytes(&self, variables: &Variables) -> usize {
        /// A byte of a value that is encoded.
        const ENCODED: usize = "%00".len();
        let all = |texts: &BTreeMap<String, Template>| -> usize {
            texts.iter().map(|(name, text)| name.len() + text.filled_bytes(variables, 1)).sum()
        };
        let of_step = |kind: &StepKind| match kind {
            StepKind::Webhook(WebhookCall { url, headers, body, .. }) => {
                let body = body.as_ref().map_or(0, |body| body.filled_bytes(variables));
                url.filled_bytes(variables, ENCODED) + all(headers) + body
            }
            StepKind::Script { parameters, .. } => all(parameters),
            StepKind::Wait { .. } | StepKind::Condition(_) => 0,
        };
        self.steps.iter().map(|step| of_step(&step.kind)).sum()
    }
}

impl Plan {
    /// The longest plan, in bytes, written out: it and all that comes of its steps must be kept.
    const MAX_BYTES: usize = 100_000;

    /// The names of the variables that Medic itself gives; the last five only where an alert is behind it.
    pub const ALWAYS_THERE: [&str; 10] = [
        "EXECUTION_ID",
        "PLAYBOOK_ID",
        "PLAYBOOK_NAME",
        "SERVICE_ID",
        "SERVICE_NAME",
        "ALERT_ID",
        "ALERT_CYCLE",
        "CONSECUTIVE_FAILURES",
        "TRIGGER_ID",
        "RUN_ID",
    ];

    /// Plans a version of a playbook. `variables` are those that are always there, which `given` ones cannot replace.
    /// `script` finds a script by its name, in any case.
    pub fn of<'a>(
        definition: &PlaybookDefinition,
        playbook_id: PlaybookId,
        version: u64,
        service_id: Option<ServiceId>,
        variables: Variables,
        given: Variables,
        script: impl Fn(&str) -> Option<&'a Script>,
    ) -> Result<Self, Invalid> {
        let mut all = given.clone();
        all.extend(variables.clone());
        let all = &all;
        if definition.filled_bytes(all) > Self::MAX_BYTES {
            return Err(Self::too_long());
        }
        let fill = |texts: &BTreeMap<String, Template>| -> BTreeMap<String, Template> {
            texts.iter().map(|(name, text)| (name.clone(), text.fill(all))).collect()
        };
        let mut steps = Vec::with_capacity(definition.steps.len());
        for (n, step) in definition.steps.iter().enumerate() {
            let work = match &step.kind {
                StepKind::Webhook(call) => PlannedWork::Webhook(WebhookCall {
                    method: call.method,
                    url: call.url.fill_address(all).ok_or_else(|| {
                        Invalid::new("variables", format!("must not make a part of steps[{n}].url `.` or `..`"))
                    })?,
                    headers: fill(&call.headers),
                    body: call.body.as_ref().map(|body| body.fill(all)),
                    success_codes: call.success_codes.clone(),
                    timeout: call.timeout,
                }),
                StepKind::Wait { duration } => PlannedWork::Wait { duration: *duration },
                StepKind::Script { script: name, parameters, timeout } => {
                    let found = script(name).ok_or_else(|| {
                        Invalid::new(
                            format!("steps[{n}].script"),
                            format!("must be registered: there is no script {name}"),
                        )
                    })?;
                    PlannedWork::Script(PlannedScript {
                        script_id: found.id,
                        name: found.name.as_str().to_owned(),
                        version: found.revision.version,
                        parameters: fill(parameters),
                        timeout: timeout.unwrap_or_else(|| TimeDelta::seconds(found.timeout_seconds.into())),
                    })
                }
                StepKind::Condition(condition) => PlannedWork::Condition(*condition),
            };
            steps.push(PlannedStep { name: step.name.clone(), work });
        }
        let plan = Self { playbook_id, version, service_id, variables, given, steps };
        if plan.canonical().len() > Self::MAX_BYTES { Err(Self::too_long()) } else { Ok(plan) }
    }

    fn too_long() -> Invalid {
        Invalid::new("variables", format!("must not make the plan longer than {} bytes", Self::MAX_BYTES))
    }

    /// Returns the SHA-256 of the whole plan, in lower-case hexadecimal. Secrets enter by their names.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.canonical()))
    }

    /// Returns the names of the secrets in it.
    pub fn secrets(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.steps.iter().flat_map(|step| step.work.secrets()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Writes the plan as JSON with its keys in order: two plans that differ in anything differ in this.
    fn canonical(&self) -> String {
        let Self { playbook_id, version, service_id, variables, given, steps } = self;
        let service = service_id.map_or_else(|| "null".to_owned(), |id| id.to_string());
        let mut out = format!("{{\"playbook_id\":{playbook_id},\"version\":{version},\"service_id\":{service},");
        out.push_str("\"variables\":");
        write_map(&mut out, variables, |value, out| write_json_string(value, out));
        if !given.is_empty() {
            out.push_str(",\"given\":");
            write_map(&mut out, given, |value, out| write_json_string(value, out));
        }
        out.push_str(",\"steps\":");
        write_list(&mut out, steps, PlannedStep::write);
        out.push('}');
        out
    }
}

impl PlannedWork {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Wait { .. } => "wait",
            Self::Script(_) => "script",
            Self::Condition(_) => "condition",
        }
    }

    /// Returns the names of the secrets in it.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Webhook(WebhookCall { method: _, url, headers, body, success_codes: _, timeout: _ }) => {
                let texts = std::iter::once(url).chain(headers.values()).flat_map(Template::secrets);
                texts.chain(body.iter().flat_map(super::Value::secrets)).collect()
            }
            Self::Script(script) => script.parameters.values().flat_map(Template::secrets).collect(),
            Self::Wait { .. } | Self::Condition(_) => Vec::new(),
        }
    }
}

impl PlannedStep {
    fn write(&self, out: &mut String) {
        let Self { name, work } = self;
        out.push_str("{\"name\":");
        write_json_string(name.as_str(), out);
        write!(out, ",\"type\":\"{}\"", work.kind()).unwrap_or_default();
        match work {
            PlannedWork::Webhook(WebhookCall { method, url, headers, body, success_codes, timeout }) => {
                write!(out, ",\"method\":\"{}\",\"url\":", method.as_str()).unwrap_or_default();
                url.write_json(out);
                out.push_str(",\"headers\":");
                write_map(out, headers, Template::write_json);
                out.push_str(",\"body\":");
                match body {
                    Some(body) => body.write(out, &Template::write_json),
                    None => out.push_str("\"\""),
                }
                write!(out, ",\"has_body\":{},\"success_codes\":{success_codes:?}", body.is_some()).unwrap_or_default();
                write_timeout(*timeout, out);
            }
            PlannedWork::Wait { duration } => {
                write!(out, ",\"duration_seconds\":{}", duration.num_seconds()).unwrap_or_default();
            }
            PlannedWork::Script(PlannedScript { script_id, name, version, parameters, timeout }) => {
                write!(out, ",\"script_id\":{script_id},\"script_version\":{version},\"script\":").unwrap_or_default();
                write_json_string(name, out);
                out.push_str(",\"parameters\":");
                write_map(out, parameters, Template::write_json);
                write_timeout(*timeout, out);
            }
            PlannedWork::Condition(Condition { min_count, status, service_id, timeout, on_failure }) => {
                let status = status.map_or("null".to_owned(), |status| format!("\"{}\"", status.as_str()));
                let service = service_id.map_or_else(|| "null".to_owned(), |id| id.to_string());
                write!(
                    out,
                    ",\"min_count\":{min_count},\"status\":{status},\"service_id\":{service},\"on_failure\":\"{}\"",
                    on_failure.as_str()
                )
                .unwrap_or_default();
                write_timeout(*timeout, out);
            }
        }
        out.push('}');
    }
}

fn write_timeout(timeout: TimeDelta, out: &mut String) {
    write!(out, ",\"timeout_seconds\":{}", timeout.num_seconds()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::super::{Approval, HttpMethod, Step, Value};
    use super::*;
    use crate::{Interpreter, Revision};

    fn definition(url: &str, body: &str) -> PlaybookDefinition {
        let label = |text: &str| Label::parse("name", text, 128).unwrap();
        let call = WebhookCall {
            method: HttpMethod::Post,
            url: Template::parse(url),
            headers: [("authorization".to_owned(), Template::parse("Bearer ${secrets.KEY}"))].into(),
            body: Some(Value::List(vec![
                Value::Text(Template::parse(body)),
                Value::Null,
                Value::Number("1".to_owned()),
            ])),
            success_codes: vec![200],
            timeout: TimeDelta::seconds(10),
        };
        let parameters = [("REGION".to_owned(), Template::parse("${REGION}"))].into();
        let script = StepKind::Script { script: "Clear".to_owned(), parameters, timeout: None };
        PlaybookDefinition {
            name: label("restart"),
            description: None,
            trigger: None,
            approval: Approval::None,
            verify_within: PlaybookDefinition::VERIFY_WITHIN,
            steps: vec![
                Step { name: label("call"), kind: StepKind::Webhook(call) },
                Step { name: label("clear"), kind: script },
            ],
        }
    }

    fn plan(definition: &PlaybookDefinition, pairs: &[(&str, &str)]) -> Result<Plan, Invalid> {
        let script = Script {
            id: ScriptId::new(1),
            name: Label::parse("name", "clear", 128).unwrap(),
            content: "true".to_owned(),
            interpreter: Interpreter::Bash,
            timeout_seconds: 20,
            revision: Revision::beginning(crate::from_millis(0)),
        };
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let find = |name: &str| name.eq_ignore_ascii_case("clear").then_some(&script);
        Plan::of(definition, PlaybookId::new(3), 2, Some(ServiceId::new(7)), Variables::new(), variables, find)
    }

    #[test]
    fn a_plan_has_its_variables_filled_in_and_its_scripts_found() {
        let plan =
            plan(&definition("https://a.example/${NAME}", "${NAME}"), &[("NAME", "w"), ("REGION", "eu")]).unwrap();
        let PlannedWork::Webhook(call) = &plan.steps[0].work else { panic!("a webhook") };
        assert_eq!(call.url.shown(), "https://a.example/w");
        assert_eq!(call.body.as_ref().unwrap().to_json(&Template::shown), r#"["w",null,1]"#);
        let PlannedWork::Script(script) = &plan.steps[1].work else { panic!("a script") };
        assert_eq!((script.timeout, script.parameters["REGION"].shown()), (TimeDelta::seconds(20), "eu".to_owned()));
        assert_eq!(plan.secrets(), ["KEY"]);
        assert_eq!(plan.digest().len(), 64);
    }

    #[test]
    fn the_digest_distinguishes_plans_in_whatever_they_differ() {
        let digest = |url, body, name| plan(&definition(url, body), &[("NAME", name)]).unwrap().digest();
        let one = digest("https://a.example", "${NAME}", "w");
        assert_eq!(one, digest("https://a.example", "${NAME}", "w"));
        assert_ne!(one, digest("https://a.example/", "${NAME}", "w"));
        assert_ne!(one, digest("https://a.example", "${NAME}", "x"));
        // Text that looks like a secret is not one.
        let secret = digest("https://a.example", "${secrets.KEY}", "");
        assert_ne!(secret, digest("https://a.example", "${NAME}", "${secrets.KEY}"));
        assert_ne!(secret, digest("https://a.example", "${NAME}", "[secret KEY]"));
    }

    #[test]
    fn a_script_that_is_not_registered_stops_the_plan() {
        let mut definition = definition("https://a.example", "x");
        if let StepKind::Script { script, .. } = &mut definition.steps[1].kind {
            "other".clone_into(script);
        }
        let problem = plan(&definition, &[]).unwrap_err().to_string();
        assert_eq!(problem, "steps[1].script must be registered: there is no script other");
    }
}
