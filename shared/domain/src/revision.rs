//! When a thing that people configure was made and changed.

use chrono::{DateTime, Utc};

/// A change is made on what was read of a thing, and conditions on the version that it then had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// 1 at first, and 1 more with each change.
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
