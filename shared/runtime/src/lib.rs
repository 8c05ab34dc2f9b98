//! What surrounds a handler: configuration, the clock, telemetry, authentication, envelopes, the batch loop.

mod app;
mod auth;
mod batch;
mod clock;
mod config;
mod envelope;
mod extract;
mod telemetry;
mod wiring;

pub use app::App;
pub use auth::Caller;
use auth::authenticate;
pub use batch::each_record;
pub use clock::{Clock, SystemClock};
pub use config::{Config, ConfigError};
use envelope::envelope_layers;
pub use envelope::{ApiError, Envelope, created, ok, reply};
pub use extract::{Body, IdPath, Listing, NamePath, Params, present};
pub use telemetry::{init_logging, prometheus};
pub use wiring::{medic, serve};

/// What the AWS runtime hands to handlers of a queue's messages.
pub use aws_lambda_events::sqs;
