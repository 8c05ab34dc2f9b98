//! An address that a user configured, with its headers.

use std::collections::BTreeMap;
use std::fmt;

/// Where Medic posts to. The guard and the rules for users' headers have accepted it; both check again at each call.
/// `Debug` shows nothing: address and headers may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub url: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(..)")
    }
}
