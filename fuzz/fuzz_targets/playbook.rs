//! The YAML of playbooks: a problem names a line of the document, and a valid document reads the same again.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use operations::Document;
use outbound::{AllowedHosts, Guard, SystemLookup};

fuzz_target!(|yaml: &str| {
    // It checks addresses without resolving them.
    let guard = Guard::new(false, AllowedHosts::default(), Arc::new(SystemLookup));
    let document = Document::read(yaml, &guard);
    assert_eq!(document, Document::read(yaml, &guard));
    // In YAML a carriage return alone ends a line as well.
    let lines = yaml.matches(['\n', '\r']).count() as u64 + 1;
    let problems = document.definition.as_ref().err().into_iter().flatten();
    for problem in problems.chain(&document.warnings) {
        assert!((1..=lines).contains(&problem.line), "{problem} of {lines} lines");
        assert!(!problem.field.is_empty() && !problem.message.is_empty());
    }
    match document.definition {
        Ok(definition) => assert!((1..=50).contains(&definition.steps.len())),
        Err(problems) => assert!(!problems.is_empty()),
    }
});
