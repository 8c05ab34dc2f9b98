//! Checks the addresses and headers that users set, when they are saved.

use std::collections::BTreeMap;

use domain::Invalid;
use outbound::{UserHeaders, WEBHOOK_HEADERS};

use crate::{Error, Medic};

impl Medic {
    /// Checks an address; `field` names it in the error.
    pub async fn check_url(&self, field: &str, url: &str) -> Result<(), Error> {
        match self.guard.check(url).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.for_field(field).into()),
        }
    }
}

/// Reads the headers that go with posts to a user's address, by name in lower case.
pub fn read_headers(field: &str, headers: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Invalid> {
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let read = UserHeaders::parse(field, pairs, &WEBHOOK_HEADERS)?;
    Ok(read.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
