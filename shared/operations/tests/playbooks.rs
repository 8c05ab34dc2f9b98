//! Playbooks as people write them: what is wrong with each is named with its field and line, all of it at once.
//!
//! Each file of `bad_playbooks` marks its own lines: `# ! field` at the end of the line that the error names, or
//! `# !! field line` where a comment cannot stand there.

use std::path::Path;
use std::sync::Arc;

use domain::{Approval, Condition, OnFailure, OnTimeout, PlaybookDefinition, StepKind, Template};
use operations::{Document, Problem};
use outbound::{AllowedHosts, Guard, SystemLookup};
use proptest::prelude::*;

fn guard() -> Guard {
    Guard::new(false, AllowedHosts::default(), Arc::new(SystemLookup))
}

fn read(yaml: &str) -> Document {
    Document::read(yaml, &guard())
}

fn errors(yaml: &str) -> Vec<Problem> {
    read(yaml).definition.err().unwrap_or_default()
}

fn definition(yaml: &str) -> Result<PlaybookDefinition, Vec<Problem>> {
    read(yaml).definition
}

/// The marks of a document, in the order of its lines.
fn expected(yaml: &str) -> Vec<(String, String)> {
    let mut marks = Vec::new();
    for (n, line) in yaml.lines().enumerate() {
        if let Some((_, field)) = line.split_once("# ! ") {
            marks.push((field.to_owned(), (n + 1).to_string()));
        } else if let Some((field, line)) = line.split_once("# !! ").and_then(|(_, mark)| mark.split_once(' ')) {
            marks.push((field.to_owned(), line.to_owned()));
        }
    }
    marks
}

#[test]
fn every_bad_document_is_refused_with_field_and_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_playbooks");
    let (mut files, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let yaml = std::fs::read_to_string(&path).unwrap();
        files += 1;
        let found = errors(&yaml);
        let mut problems: Vec<_> = found.iter().map(|error| (error.field.clone(), error.line.to_string())).collect();
        let mut marks = expected(&yaml);
        problems.sort();
        marks.sort();
        assert!(!marks.is_empty(), "{}", path.display());
        if problems != marks {
            wrong.push(format!("{}: {marks:?}, and not {found:?}", path.file_name().unwrap().display()));
        }
    }
    assert!(files >= 60, "{files} files");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn errors_say_what_is_asked_for_and_come_in_the_order_of_the_lines() {
    let yaml = include_str!("bad_playbooks/everything_at_once.yaml");
    let problems: Vec<_> = errors(yaml).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(problems.join("\n"), @"
    name must be text, not a list (line 1)
    approval must be none, required, or timeout: and a duration, such as timeout:15m (line 2)
    trigger.service_pattern must not be empty (line 4)
    trigger.consecutive_failures must be a whole number from 1 to 1000 (line 5)
    steps[0].url must not lead to a private, loopback or otherwise internal address (line 9)
    steps[0].method must be GET, HEAD, POST, PUT, PATCH or DELETE (line 10)
    steps[0].timeout must be a duration such as 30s, 5m or 1h, or a number of seconds (line 11)
    steps[1].name must be unique: another step has this name (line 12)
    steps[1].duration must be a duration such as 30s, 5m or 1h, or a number of seconds (line 14)
    steps[1].until is not a field that is known here (line 15)
    steps[2].check must be given (line 16)
    steps[2].on_failure must be fail, continue or escalate (line 18)
    ");
}

#[test]
fn a_document_that_is_too_long_or_has_too_many_steps_is_refused() {
    let steps = |count| {
        let steps: Vec<_> = (0..count).map(|n| format!("  - {{ name: s{n}, type: wait, duration: 1s }}\n")).collect();
        format!("name: x\nsteps:\n{}", steps.concat())
    };
    assert_eq!(errors(&steps(50)), []);
    assert_eq!(errors(&steps(51))[0].to_string(), "steps must be at most 50 steps (line 3)");
    let long = format!("name: x\ndescription: {}\n", "y".repeat(65_536));
    assert_eq!(errors(&long)[0].to_string(), "yaml must be at most 65536 bytes long (line 1)");
    // Ten levels of ten aliases each, were they written out.
    let level = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
    let levels: Vec<_> = (1..10).map(level).collect();
    let bomb = format!("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}", levels.concat());
    assert_eq!(errors(&bomb)[0].field, "yaml");
    assert_eq!(errors(&"[".repeat(60_000))[0].field, "yaml");
    assert_eq!(errors(&"- ".repeat(30_000))[0].field, "yaml");
}

#[test]
fn the_example_reads_as_it_is_meant() {
    let example = r#"
name: restart-worker
description: Restart the worker and verify that it reports again
trigger: { service_pattern: "worker-*", consecutive_failures: 3 }
approval: none            # none | required | timeout:15m (see 13)
steps:
  - { name: restart, type: webhook, url: "https://ops.example.com/restart", method: POST, body: { service: "${SERVICE_NAME}" }, success_codes: [200, 202], timeout: 10s }
  - { name: settle, type: wait, duration: 30s }
  - { name: clear-cache, type: script, script: clear-cache, parameters: { REGION: eu, RETRIES: 3 }, timeout: 20s }
  - { name: verify, type: condition, check: heartbeat_received, parameters: { min_count: 1, status: UP }, timeout: 60s, on_failure: escalate }
owner: { team: platform }
"#;
    let read = read(example);
    let warnings: Vec<_> = read.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["owner is kept, and means nothing to Medic (line 11)"]);
    let definition = read.definition.unwrap();
    assert_eq!(definition.trigger.unwrap().consecutive_failures, 3);
    assert_eq!((definition.approval, definition.verify_within.num_minutes()), (Approval::None, 10));
    let kinds: Vec<_> = definition.steps.iter().map(|step| step.kind.name()).collect();
    assert_eq!(kinds, ["webhook", "wait", "script", "condition"]);
    let StepKind::Webhook(call) = &definition.steps[0].kind else { panic!("a webhook") };
    assert_eq!(call.body.as_ref().unwrap().to_json(&Template::source), r#"{"service":"${SERVICE_NAME}"}"#);
    assert_eq!((call.success_codes.as_slice(), call.timeout.num_seconds()), ([200, 202].as_slice(), 10));
    let StepKind::Script { parameters, .. } = &definition.steps[2].kind else { panic!("a script") };
    assert_eq!(parameters["RETRIES"].source(), "3");
    let StepKind::Condition(Condition { min_count, on_failure, .. }) = &definition.steps[3].kind else {
        panic!("a condition")
    };
    assert_eq!((*min_count, *on_failure), (1, OnFailure::Escalate));
}

#[test]
fn what_may_be_left_out_has_the_usual_value() {
    let definition = definition(
        "name: x\nsteps:\n- {name: a, type: webhook, url: 'https://${HOST}/'}\n- {name: b, type: script, script: s}\n\
         - {name: c, type: condition, check: heartbeat_received}\n- {name: d, type: wait, duration: 90}\n",
    )
    .unwrap();
    let StepKind::Webhook(call) = &definition.steps[0].kind else { panic!("a webhook") };
    assert_eq!((call.method.as_str(), call.success_codes.as_slice()), ("POST", [200, 201, 202].as_slice()));
    assert_eq!(call.url.source(), "https://${HOST}/");
    let StepKind::Script { timeout, .. } = &definition.steps[1].kind else { panic!("a script") };
    assert_eq!(*timeout, None);
    let StepKind::Condition(condition) = &definition.steps[2].kind else { panic!("a condition") };
    assert_eq!((condition.timeout.num_seconds(), condition.min_count, condition.status), (300, 1, None));
    assert_eq!(definition.steps[3].kind, StepKind::Wait { duration: chrono::TimeDelta::seconds(90) });
}

#[test]
fn approvals_are_read() {
    let approval = |text: &str| {
        definition(&format!("name: x\n{text}\nsteps:\n- {{name: d, type: wait, duration: 90}}\n")).unwrap().approval
    };
    let minutes = chrono::TimeDelta::minutes(15);
    assert_eq!(approval("approval: required"), Approval::Required);
    assert_eq!(approval("approval: timeout:15m"), Approval::Timeout { after: minutes, then: OnTimeout::Proceed });
    assert_eq!(
        approval("approval_on_timeout: cancel\napproval: timeout:15m"),
        Approval::Timeout { after: minutes, then: OnTimeout::Cancel }
    );
}

#[test]
fn an_alias_stands_for_what_it_names() {
    let definition = definition(
        "name: x\nanchors: &settle 30s\nsteps:\n- {name: a, type: wait, duration: *settle}\n\
         - {name: b, type: wait, duration: *settle}\n",
    )
    .unwrap();
    assert_eq!(definition.steps[0].kind, definition.steps[1].kind);
}

/// Pieces of which documents are made that are nearly playbooks.
#[expect(clippy::too_many_lines, reason = "a list of what documents are made of")]
fn any_piece() -> impl Strategy<Value = String> {
    let pieces = [
        "name: ",
        "steps:\n",
        "  - ",
        "type: ",
        "webhook",
        "wait",
        "script",
        "condition",
        "url: ",
        "https://a.example",
        "\n",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "!!binary ",
        "!x ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "? ",
        "- ",
        "duration: ",
        "30s",
        "timeout:15m",
        "approval: ",
        "trigger: ",
        "headers: ",
        "body: ",
        "${A}",
        "${secrets.B}",
        "\t",
        "\0",
        "\u{feff}",
        "\u{85}",
        "ä",
        "0x1F",
        ".inf",
        ".nan",
        "1e999",
        "-0",
        "~",
        "null",
        "true",
        "99999999999999999999",
    ];
    prop_oneof![
        8 => proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => "[ -~\n]{0,8}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_text_makes_the_reader_panic_and_every_error_has_its_place(
        pieces in proptest::collection::vec(any_piece(), 0..40),
    ) {
        let yaml = pieces.concat();
        let lines = u64::try_from(yaml.lines().count()).unwrap() + 2;
        let read = read(&yaml);
        if let Err(errors) = read.definition {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!((1..=lines).contains(&error.line), "{error} in {yaml:?}");
                prop_assert!(!error.field.is_empty() && !error.message.is_empty());
            }
        }
    }
}

#[test]
fn a_key_that_is_empty_is_no_name() {
    for yaml in ["'': 1\n", "? !\n", "name: x\nsteps:\n- {'': 1}\n"] {
        let problems = errors(yaml);
        assert!(
            problems.iter().any(|problem| problem.message == "must have names as its keys"),
            "{yaml}: {problems:?}"
        );
        assert!(problems.iter().all(|problem| !problem.field.is_empty()), "{yaml}: {problems:?}");
    }
}
