//! Why something could not be done. Nothing of HTTP is in it.

use domain::{Invalid, SecretId};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The sentence says what was not found.
    #[error("{0}")]
    NotFound(String),
    /// A name is taken, or the state forbids it; the sentence says which.
    #[error("{0}")]
    Conflict(String),
    /// This caller may not; the sentence says why.
    #[error("{0}")]
    Forbidden(String),
    /// The service is registered and switched off.
    #[error("Heartbeat is not active: {0}")]
    Inactive(String),
    #[error("the table failed")]
    Store(#[from] store::Error),
    #[error("a key could not be hashed: {0}")]
    Hash(String),
    #[error("secret {id} cannot be sealed or opened with this key")]
    Secret { id: SecretId },
    /// The caller waits no longer.
    #[error("the table did not respond in time")]
    TimedOut,
    #[error("the handling panicked")]
    Panicked,
    #[error("the operating system gave no random bytes: {0}")]
    Entropy(String),
}

impl Error {
    /// Others kept changing the same thing; the caller may try again.
    pub(crate) fn contended(key: impl std::fmt::Display) -> Self {
        Self::Store(store::Error::Contended { key: format!("{key}") })
    }
}

/// Returns an error with its causes, for a log.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let chain: Vec<_> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    chain.join(": ")
}
