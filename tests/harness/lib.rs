//! What tests, the demo and the benchmarks share: a system to drive, receivers that stand in for Slack and PagerDuty, and a
//! real process to kill.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on should end where it stands")]

mod hangs;
mod interleaved;
mod limits;
mod process;
mod receivers;
mod system;

pub use hangs::Hangs;
pub use interleaved::{Lost, interleaved, stale};
pub use process::{Launched, Process, use_all_descriptors};
pub use receivers::{Arrival, NO_CHANNEL, Planned, Receivers};
pub use system::{Answer, System, start_of_time};

/// Rate limits that no test or benchmark reaches, unless it sets others. Requests are counted all the same.
const UNLIMITED: [(&str, &str); 2] =
    [("MEDIC_RATE_LIMIT_HEARTBEATS", "1000000"), ("MEDIC_RATE_LIMIT_MANAGEMENT", "1000000")];
