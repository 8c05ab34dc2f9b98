//! The whole of Medic in one process, with an embedded database: what `make run` starts, and what tests drive.

mod runner;
mod scripts;
mod service;
mod time;
mod wakes;

/// How the embedded database may be made to fail, for tests.
pub use emulators::{DynamoDb, Fate, Fates, Fault, Lag, SharedWait, Wait};
pub use runner::Queue;
pub use service::{Options, Service, StartError};
pub use time::{ManualTime, SystemTime, Time};
