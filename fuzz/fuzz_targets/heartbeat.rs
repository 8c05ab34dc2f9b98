//! The body of a heartbeat.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Err(error) = ingest::read_heartbeat(body) {
        assert!(!error.message().is_empty());
    }
});
