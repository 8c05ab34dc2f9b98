//! What Slack tells of presses of buttons: a decision names an execution, and who made it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match api::read_interaction(body) {
        Ok(decision) => drop(decision),
        Err(error) => assert!(!error.message().is_empty()),
    }
});
