//! The revision of a configuration entity: its version, and when it was created and updated.

use chrono::{DateTime, Utc};

/// An update is made of the entity as it was read, on the condition that it still has the version that it had then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// 1 at first, and 1 more with each update.
    pub version: u64,
    pub date_added: DateTime<Utc>,
    pub date_modified: Option<DateTime<Utc>>,
}

impl Revision {
    pub const fn beginning(now: DateTime<Utc>) -> Self {
        Self { version: 1, date_added: now, date_modified: None }
    }

    #[must_use]
    pub const fn changed(self, now: DateTime<Utc>) -> Self {
        Self { version: self.version + 1, date_added: self.date_added, date_modified: Some(now) }
    }
}
