//! The steps of a plan in words, for whoever is asked to approve them.

use chrono::TimeDelta;

use super::{OnFailure, PlannedStep, PlannedWork, Template};

impl PlannedStep {
    /// Says what the step does, in one line: variables filled in, secrets masked.
    pub fn in_words(&self) -> String {
        let Self { name, work } = self;
        let what = match work {
            PlannedWork::Webhook(call) => {
                let body = call.body.as_ref().map(|body| format!(" {}", body.to_json(&Template::shown)));
                format!("{} {}{}", call.method.as_str(), call.url.shown(), body.unwrap_or_default())
            }
            PlannedWork::Wait { duration } => whole_units(*duration),
            PlannedWork::Script(script) => {
                let parameter = |(name, value): (&String, &Template)| format!(" {name}={}", value.shown());
                let parameters: String = script.parameters.iter().map(parameter).collect();
                format!("{}{parameters}, at most {}", script.name, whole_units(script.timeout))
            }
            PlannedWork::Condition(condition) => {
                let status = condition.status.map(|status| format!("{status} ")).unwrap_or_default();
                let many = if condition.min_count == 1 { "heartbeat" } else { "heartbeats" };
                let of = condition.service_id.map(|id| format!(" of service {id}")).unwrap_or_default();
                let on_failure = match condition.on_failure {
                    OnFailure::Fail => "",
                    OnFailure::Continue => ", otherwise continues",
                    OnFailure::Escalate => ", otherwise notifies the on-call",
                };
                format!(
                    "{} {status}{many}{of} within {}{on_failure}",
                    condition.min_count,
                    whole_units(condition.timeout)
                )
            }
        };
        let line = format!("{name} ({}): {what}", work.kind());
        // One line, whatever a variable brought in.
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// Writes a span for people in the largest unit that gives a whole number: `90 s`, `5 min`, `1 d`.
pub fn whole_units(span: TimeDelta) -> String {
    let millis = span.num_milliseconds().max(0);
    let units: &[(i64, &str)] = if millis == 0 {
        &[(1_000, "s")]
    } else {
        &[(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")]
    };
    units
        .iter()
        .find(|(unit, _)| millis % unit == 0)
        .map_or_else(|| format!("{millis} ms"), |(unit, name)| format!("{} {name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Condition, HttpMethod, PlannedScript, Value, WebhookCall};
    use super::*;
    use crate::{Label, ScriptId, Status};

    fn words(work: PlannedWork) -> String {
        PlannedStep { name: Label::parse("name", "one", 128).unwrap(), work }.in_words()
    }

    #[test]
    fn each_kind_of_step_says_what_it_does_and_shows_no_secret() {
        let body = BTreeMap::from([("service".to_owned(), Value::Text(Template::parse("w-1\n${secrets.KEY}")))]);
        let call = WebhookCall {
            method: HttpMethod::Post,
            url: Template::parse("https://ops.example.com/${secrets.PATH}"),
            headers: BTreeMap::new(),
            body: Some(Value::Map(body)),
            success_codes: vec![200],
            timeout: TimeDelta::seconds(10),
        };
        assert_eq!(
            words(PlannedWork::Webhook(call)),
            r#"one (webhook): POST https://ops.example.com/[secret PATH] {"service":"w-1\n[secret KEY]"}"#
        );
        assert_eq!(words(PlannedWork::Wait { duration: TimeDelta::seconds(90) }), "one (wait): 90 s");
        let script = PlannedScript {
            script_id: ScriptId::new(1),
            name: "clear-cache".to_owned(),
            version: 1,
            parameters: BTreeMap::from([("REGION".to_owned(), Template::parse("eu\n2"))]),
            timeout: TimeDelta::seconds(120),
        };
        assert_eq!(words(PlannedWork::Script(script)), "one (script): clear-cache REGION=eu 2, at most 2 min");
        let condition = Condition {
            min_count: 2,
            status: Some(Status::Up),
            service_id: None,
            timeout: TimeDelta::seconds(3_600),
            on_failure: OnFailure::Escalate,
        };
        assert_eq!(
            words(PlannedWork::Condition(condition)),
            "one (condition): 2 UP heartbeats within 1 h, otherwise notifies the on-call"
        );
    }
}
