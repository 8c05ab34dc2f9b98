//! What really happened, with the spans within which Medic cannot know it otherwise.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use runtime::Clock as _;
use runtime::SystemClock;

/// Returns the time.
pub(crate) fn now() -> DateTime<Utc> {
    SystemClock.now()
}

/// Waits until an instant.
pub(crate) async fn sleep_until(at: DateTime<Utc>) {
    sleep(at - now()).await;
}

pub(crate) async fn sleep(span: TimeDelta) {
    #[expect(clippy::disallowed_methods, reason = "real processes live in the machine's time")]
    tokio::time::sleep(span.to_std().unwrap_or_default()).await;
}

/// What a service reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// It was registered, and counts from then.
    Registered,
    Up,
    Failed {
        run: Option<String>,
    },
    Started {
        run: String,
    },
    Completed {
        run: String,
    },
}

/// A report that Medic may have heard.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) said: Said,
    /// The earliest instant at which it may count: the first try that reached somebody.
    pub(crate) from: DateTime<Utc>,
    /// The latest one.
    pub(crate) until: DateTime<Utc>,
    /// Whether Medic acknowledged it: if not, it may count or not.
    pub(crate) acknowledged: bool,
}

/// Why Medic could not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Killed,
    Terminated,
    Frozen,
    SlowDisk,
    /// None that the soak knows of: the machine was busy, or Medic.
    Unknown,
}

/// A span in which Medic could not work, or not well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disturbance {
    pub(crate) cause: Cause,
    pub(crate) from: DateTime<Utc>,
    /// When it had certainly begun.
    pub(crate) begun: DateTime<Utc>,
    /// Until when it certainly went on; Medic worked again by `to`.
    pub(crate) back: DateTime<Utc>,
    pub(crate) to: DateTime<Utc>,
}

impl Disturbance {
    /// Returns whether Medic heard nothing in it.
    pub(crate) const fn is_stop(&self) -> bool {
        match self.cause {
            Cause::Killed | Cause::Terminated | Cause::Frozen => true,
            Cause::SlowDisk | Cause::Unknown => false,
        }
    }
}

/// All that happened but what arrived.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// By service, in order.
    reports: Vec<Mutex<Vec<Report>>>,
    disturbances: Mutex<Vec<Disturbance>>,
}

impl Facts {
    pub(crate) fn new(services: usize) -> Self {
        Self { reports: (0..services).map(|_| Mutex::default()).collect(), disturbances: Mutex::default() }
    }

    pub(crate) fn report(&self, service: usize, report: Report) {
        locked(&self.reports[service]).push(report);
    }

    pub(crate) fn disturb(&self, disturbance: Disturbance) {
        locked(&self.disturbances).push(disturbance);
    }

    pub(crate) fn reports(&self, service: usize) -> Vec<Report> {
        locked(&self.reports[service]).clone()
    }

    /// Returns the disturbances by their beginnings.
    pub(crate) fn disturbances(&self) -> Vec<Disturbance> {
        let mut disturbances = locked(&self.disturbances).clone();
        disturbances.sort_by_key(|disturbance| disturbance.from);
        disturbances
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
