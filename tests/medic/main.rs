//! Black-box tests: they come in by the front door, over HTTP, and see what receivers see.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end where it stands")]

mod outage;
