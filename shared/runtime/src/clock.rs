//! The one reader of the system's time.

use std::fmt::Debug;

use chrono::{DateTime, SubsecRound as _, Utc};

/// Reads the time, to the millisecond, as the table keeps it.
pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
        Utc::now().trunc_subsecs(3)
    }
}
