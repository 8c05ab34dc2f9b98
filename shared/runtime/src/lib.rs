//! What surrounds a handler: configuration, the clock, telemetry, authentication, envelopes, the batch loop.

mod access;
mod app;
mod auth;
mod batch;
mod clock;
mod config;
mod deployment;
mod descriptions;
#[cfg(feature = "lambda")]
mod emf;
mod envelope;
mod extract;
mod gauges;
#[cfg(feature = "lambda")]
pub mod lambda;
mod pings;
mod rate_limit;
mod routes;
pub mod schema;
mod source_address;
mod telemetry;
mod wiring;

pub use app::App;
pub use auth::{Caller, PingCaller};
pub use batch::{Handling, each_record};
pub use clock::{Clock, SystemClock};
pub use config::{Config, ConfigError};
pub use deployment::DEPLOYMENT_VARIABLES;
pub use envelope::{ApiError, Envelope, RateLimited, bytes_in_response, created, ok, reply};
pub use extract::{
    Body, IdPath, IdPaths, IdempotencyKey, Listing, NamePath, OptionalBody, Params, TextBody, WholeBody, present,
    read_body,
};
pub use gauges::{Gauge, gauges, record_gauges};
pub use pings::{ping_refusal, ping_response};
pub use routes::Routes;
pub use telemetry::{init_logging, prometheus};
pub use wiring::{ExternalPorts, medic, medic_with, serve};

/// What the AWS runtime hands to handlers of a queue's messages.
pub use aws_lambda_events::sqs;
