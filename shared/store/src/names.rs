//! Unique names: one item a name, claimed in the transaction that creates what bears it.

use domain::{HeartbeatName, ServiceId};
use serde::{Deserialize, Serialize};

use crate::keys::Key;
use crate::{Error, Table, item};

/// The result of creating something under a name that must be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Claim {
    Created,
    Taken,
}

/// A name's item: whose it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NameItem {
    pub(crate) id: i64,
}

impl Table {
    /// Finds a service by its name, in any case. A consistent read costs one read unit, another half of one.
    pub async fn service_named(&self, name: &HeartbeatName, consistent: bool) -> Result<Option<ServiceId>, Error> {
        let Some(found) = self.get(&Key::service_name(name), consistent).await? else {
            return Ok(None);
        };
        let NameItem { id } = item::read(found)?;
        Ok(Some(ServiceId::new(id)))
    }
}
