//! A plan as its row holds it: one text of JSON. Secrets stay names, distinguished from any text that looks like one.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::{
    Condition, Invalid, Label, Piece, Plan, PlannedScript, PlannedStep, PlannedWork, PlaybookDefinition, ScriptId,
    ServiceId, Template, Value, WebhookCall,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::item::corrupt;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlanItem {
    plan: String,
}

#[derive(Serialize, Deserialize)]
struct PlanText {
    /// In rows of an earlier release also what the caller gave.
    variables: BTreeMap<String, String>,
    #[serde(default)]
    given: BTreeMap<String, String>,
    steps: Vec<StepText>,
}

#[derive(Serialize, Deserialize)]
struct StepText {
    name: String,
    work: WorkText,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WorkText {
    Webhook {
        method: String,
        url: TemplateText,
        headers: BTreeMap<String, TemplateText>,
        body: Option<ValueText>,
        success_codes: Vec<u16>,
        timeout_ms: i64,
    },
    Wait {
        duration_ms: i64,
    },
    Script {
        script_id: i64,
        name: String,
        version: u64,
        parameters: BTreeMap<String, TemplateText>,
        timeout_ms: i64,
    },
    Condition {
        min_count: u32,
        status: Option<String>,
        service_id: Option<i64>,
        timeout_ms: i64,
        on_failure: String,
    },
}

#[derive(Serialize, Deserialize)]
struct TemplateText(Vec<PieceText>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PieceText {
    Text(String),
    Variable(String),
    Secret(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ValueText {
    Null,
    Bool(bool),
    Number(String),
    Text(TemplateText),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl PlanItem {
    pub(super) fn of(plan: &Plan) -> Result<Self, Error> {
        let steps = plan
            .steps
            .iter()
            .map(|step| StepText { name: step.name.as_str().to_owned(), work: WorkText::of(&step.work) });
        let text = PlanText { variables: plan.variables.clone(), given: plan.given.clone(), steps: steps.collect() };
        let plan = serde_json::to_string(&text).map_err(|source| corrupt(None, source))?;
        Ok(Self { plan })
    }

    /// Fills in what a plan's row holds.
    pub(super) fn fill(self, plan: &mut Plan) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let PlanText { variables, mut given, steps } = serde_json::from_str(&self.plan)?;
        let is_always_there = |name: &str| Plan::ALWAYS_THERE.contains(&name);
        let (always, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            variables.into_iter().partition(|(name, _)| is_always_there(name));
        given.extend(others);
        (plan.variables, plan.given) = (always, given);
        plan.steps = steps.into_iter().map(StepText::into_step).collect::<Result<_, Invalid>>()?;
        Ok(())
    }
}

impl StepText {
    fn into_step(self) -> Result<PlannedStep, Invalid> {
        let Self { name, work } = self;
        let name = Label::parse("name", name, PlaybookDefinition::MAX_NAME_CHARS)?;
        Ok(PlannedStep { name, work: work.into_work()? })
    }
}

impl WorkText {
    fn of(work: &PlannedWork) -> Self {
        match work {
            PlannedWork::Webhook(WebhookCall { method, url, headers, body, success_codes, timeout }) => Self::Webhook {
                method: method.as_str().to_owned(),
                url: TemplateText::of(url),
                headers: texts(headers),
                body: body.as_ref().map(ValueText::of),
                success_codes: success_codes.clone(),
                timeout_ms: timeout.num_milliseconds(),
            },
            PlannedWork::Wait { duration } => Self::Wait { duration_ms: duration.num_milliseconds() },
            PlannedWork::Script(PlannedScript { script_id, name, version, parameters, timeout }) => Self::Script {
                script_id: script_id.get(),
                name: name.clone(),
                version: *version,
                parameters: texts(parameters),
                timeout_ms: timeout.num_milliseconds(),
            },
            PlannedWork::Condition(Condition { min_count, status, service_id, timeout, on_failure }) => {
                Self::Condition {
                    min_count: *min_count,
                    status: status.map(|status| status.as_str().to_owned()),
                    service_id: service_id.map(ServiceId::get),
                    timeout_ms: timeout.num_milliseconds(),
                    on_failure: on_failure.as_str().to_owned(),
                }
            }
        }
    }

    fn into_work(self) -> Result<PlannedWork, Invalid> {
        Ok(match self {
            Self::Webhook { method, url, headers, body, success_codes, timeout_ms } => {
                PlannedWork::Webhook(WebhookCall {
                    method: method.parse()?,
                    url: url.into_template(),
                    headers: templates(headers),
                    body: body.map(ValueText::into_value),
                    success_codes,
                    timeout: TimeDelta::milliseconds(timeout_ms),
                })
            }
            Self::Wait { duration_ms } => PlannedWork::Wait { duration: TimeDelta::milliseconds(duration_ms) },
            Self::Script { script_id, name, version, parameters, timeout_ms } => PlannedWork::Script(PlannedScript {
                script_id: ScriptId::new(script_id),
                name,
                version,
                parameters: templates(parameters),
                timeout: TimeDelta::milliseconds(timeout_ms),
            }),
            Self::Condition { min_count, status, service_id, timeout_ms, on_failure } => {
                PlannedWork::Condition(Condition {
                    min_count,
                    status: status.map(|status| status.parse()).transpose()?,
                    service_id: service_id.map(ServiceId::new),
                    timeout: TimeDelta::milliseconds(timeout_ms),
                    on_failure: on_failure.parse()?,
                })
            }
        })
    }
}

fn texts(templates: &BTreeMap<String, Template>) -> BTreeMap<String, TemplateText> {
    templates.iter().map(|(name, template)| (name.clone(), TemplateText::of(template))).collect()
}

fn templates(texts: BTreeMap<String, TemplateText>) -> BTreeMap<String, Template> {
    texts.into_iter().map(|(name, text)| (name, text.into_template())).collect()
}

impl TemplateText {
    fn of(template: &Template) -> Self {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => PieceText::Text(text.clone()),
            Piece::Variable(name) => PieceText::Variable(name.clone()),
            Piece::Secret(name) => PieceText::Secret(name.clone()),
        };
        Self(template.pieces().iter().map(piece).collect())
    }

    fn into_template(self) -> Template {
        let piece = |piece| match piece {
            PieceText::Text(text) => Piece::Text(text),
            PieceText::Variable(name) => Piece::Variable(name),
            PieceText::Secret(name) => Piece::Secret(name),
        };
        Template::new(self.0.into_iter().map(piece).collect())
    }
}

impl ValueText {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.clone()),
            Value::Text(text) => Self::Text(TemplateText::of(text)),
            Value::List(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Map(fields) => {
                Self::Map(fields.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::Text(text.into_template()),
            Self::List(items) => Value::List(items.into_iter().map(Self::into_value).collect()),
            Self::Map(fields) => {
                Value::Map(fields.into_iter().map(|(name, value)| (name, value.into_value())).collect())
            }
        }
    }
}
