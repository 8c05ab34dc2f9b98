//! Heartbeats, pings and runs of jobs; judging whether their services are late; and the alerts that come of it.

mod alert_changes;
mod alerts;
mod gaps;
mod heartbeats;
mod judge_run;
mod judge_service;
mod look_at_runs;
mod pings;
mod read_ahead;
mod runs;
mod unnamed_runs;

pub use heartbeats::{HeartbeatReceipt, Named, Report};
pub use pings::{Ping, Pinged};
pub use runs::{Signal, SignalReceipt};
