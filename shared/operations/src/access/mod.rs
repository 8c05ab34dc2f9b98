//! Who may do what: API keys, ping keys, and limits on requests.

mod api_keys;
mod default_limits;
mod guesses;
mod keyring;
mod limits;
mod missing;
mod ping_keyring;
mod ping_keys;
mod request_counts;

pub use api_keys::{NewApiKey, bootstrap_key};
pub use default_limits::DefaultLimits;
pub use guesses::Guesses;
pub use keyring::{AuthFailure, Keyring};
pub(crate) use ping_keyring::PingKeyring;
pub(crate) use request_counts::RequestCounts;
