//! The whole of Medic in one process, with an embedded database: what `make run` starts, and what tests drive.

mod folder;
mod runner;
mod scripts;
mod server;
mod service;
mod start_error;
mod time;
mod wakes;

/// How the embedded database may be made to fail, for tests.
pub use emulators::{DynamoDb, Fate, Fates, Fault, Lag, SharedWait, Wait};
pub use runner::Queue;
pub use service::{Options, Service, create_admin_key};
pub use start_error::StartError;
pub use time::{ManualTime, SystemTime, Time};
