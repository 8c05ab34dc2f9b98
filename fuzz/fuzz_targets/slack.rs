//! Slack's interactions, which are presses of buttons: what is no decision is refused with a message.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match api::read_interaction(body) {
        Ok(decision) => drop(decision),
        Err(error) => assert!(!error.message().is_empty()),
    }
});
