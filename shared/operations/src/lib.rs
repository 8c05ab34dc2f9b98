//! What Medic does, one file each: load, decide (`domain`), commit (`store`), send (`outbound`).

mod alerts;
mod api_keys;
mod entropy;
mod error;
mod heartbeats;
mod judge;
mod keyring;
mod medic;
mod notify;
mod services;
mod sweep;

pub use alerts::Actor;
pub use api_keys::{NewApiKey, bootstrap_key};
pub use error::{Error, error_chain};
pub use heartbeats::{Named, Report, Taken};
pub use keyring::{AuthFailure, Keyring};
pub use medic::{Medic, Settings, SlackDelivery};
pub use notify::{Drained, Now};
pub use services::{Changes, Registered, Registration};
pub use sweep::Swept;
