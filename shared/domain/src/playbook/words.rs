//! The steps of a plan in words, for whoever is asked to approve them.

use chrono::TimeDelta;

use super::template::{write_json_string, write_map};
use super::{OnFailure, Plan, PlannedScript, PlannedStep, PlannedWork, Template};

impl Plan {
    /// Says what scripts receive beside their parameters, in one line; none if no script runs.
    pub fn variables_in_words(&self) -> Option<String> {
        let runs_scripts = self.steps.iter().any(|step| matches!(step.work, PlannedWork::Script(_)));
        let variable = |(name, value): (&String, &String)| format!("{name}={value}");
        let variables: Vec<_> = self.variables.iter().map(variable).collect();
        runs_scripts.then(|| one_line(&format!("Scripts also receive {}", variables.join(" "))))
    }
}

impl PlannedStep {
    /// Says what the step does, in one line: variables filled in, secrets masked.
    pub fn in_words(&self) -> String {
        let Self { name, work } = self;
        let what = match work {
            PlannedWork::Webhook(call) => {
                let body = call.body.as_ref().map(|body| format!(" {}", body.to_json(&Template::shown)));
                let mut headers = String::new();
                if !call.headers.is_empty() {
                    headers.push_str(" headers ");
                    write_map(&mut headers, &call.headers, |value, out| write_json_string(&value.shown(), out));
                }
                format!("{} {}{headers}{}", call.method.as_str(), call.url.shown(), body.unwrap_or_default())
            }
            PlannedWork::Wait { duration } => whole_units(*duration),
            PlannedWork::Script(script) => {
                let parameter = |(name, value): (&String, &Template)| format!(" {name}={}", value.shown());
                let parameters: String = script.parameters.iter().map(parameter).collect();
                let PlannedScript { name, version, timeout, .. } = script;
                format!("{name} (version {version}){parameters}, at most {}", whole_units(*timeout))
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
        // One line, whatever a variable brought in.
        one_line(&format!("{name} ({}): {what}", work.kind()))
    }
}

/// Returns a text as one line that reads as it is stored: without line breaks and other control characters, and with a
/// mark for what would turn it around or hide in it.
pub fn one_line(text: &str) -> String {
    const HIDING: &[char] = &['\u{061c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}'];
    const TURNING: [std::ops::RangeInclusive<char>; 2] = ['\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    let shown = |c: char| match c {
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
        c if HIDING.contains(&c) || TURNING.iter().any(|range| range.contains(&c)) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
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

    use super::super::{Condition, HttpMethod, Value, WebhookCall};
    use super::*;
    use crate::{Label, ScriptId, Status};

    fn words(work: PlannedWork) -> String {
        PlannedStep { name: Label::parse("name", "one", 128).unwrap(), work }.in_words()
    }

    #[test]
    fn a_line_is_one_and_hides_nothing() {
        assert_eq!(one_line("a\nb\r\tc\u{2028}d\u{202e}e\u{200b}"), "a b  c d\u{fffd}e\u{fffd}");
        assert_eq!(one_line("👩\u{200d}💻 äöü"), "👩\u{200d}💻 äöü");
    }

    #[test]
    fn each_kind_of_step_says_what_it_does_and_shows_no_secret() {
        let body = BTreeMap::from([("service".to_owned(), Value::Text(Template::parse("w-1\n${secrets.KEY}")))]);
        let call = WebhookCall {
            method: HttpMethod::Post,
            url: Template::parse("https://ops.example.com/${secrets.PATH}"),
            headers: BTreeMap::from([("x-auth".to_owned(), Template::parse("Bearer ${secrets.KEY}"))]),
            body: Some(Value::Map(body)),
            success_codes: vec![200],
            timeout: TimeDelta::seconds(10),
        };
        assert_eq!(
            words(PlannedWork::Webhook(call)),
            r#"one (webhook): POST https://ops.example.com/[secret PATH] headers {"x-auth":"Bearer [secret KEY]"} {"service":"w-1\n[secret KEY]"}"#
        );
        assert_eq!(words(PlannedWork::Wait { duration: TimeDelta::seconds(90) }), "one (wait): 90 s");
        let script = PlannedScript {
            script_id: ScriptId::new(1),
            name: "clear-cache".to_owned(),
            version: 1,
            parameters: BTreeMap::from([("REGION".to_owned(), Template::parse("eu\n2"))]),
            timeout: TimeDelta::seconds(120),
        };
        assert_eq!(
            words(PlannedWork::Script(script)),
            "one (script): clear-cache (version 1) REGION=eu 2, at most 2 min"
        );
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
