//! Why Medic will not call an address that a user set.

use domain::Invalid;

/// What is wrong with an address, as the end of a sentence that begins with the field. Repeats nothing of the address,
/// which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("must be at most 2048 bytes long")]
    TooLong,
    #[error("must not contain spaces, control characters or backslashes")]
    Character,
    #[error("must begin with http:// or https://")]
    Scheme,
    #[error("must have a host")]
    NoHost,
    #[error("must be a valid URL ({0})")]
    Unreadable(url::ParseError),
    #[error("must not have a user name or password")]
    UserName,
    #[error("must not have a fragment (#)")]
    Fragment,
    #[error("must not have the port 0")]
    Port,
    #[error("must have a host that MEDIC_ALLOWED_HOSTS allows")]
    NotAllowed,
    #[error("must not lead to a private, loopback or otherwise internal address")]
    Inside,
    #[error("must have a host that resolves")]
    Unresolved,
}

impl Refusal {
    /// Returns the same as an error of the field that holds the address.
    pub fn for_field(self, field: &str) -> Invalid {
        Invalid::new(field, self.to_string())
    }
}
