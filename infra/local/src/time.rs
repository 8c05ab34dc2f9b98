//! Time that can be waited for: the machine's, or one that a test moves.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use runtime::{Clock, SystemClock};
use tokio::sync::oneshot;

/// A wait.
type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A clock that can be waited for.
pub trait Time: Clock {
    /// Returns a future that ends when the clock shows `at` or later.
    fn sleep_until(&self, at: DateTime<Utc>) -> Sleep;
}

/// The machine's time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTime(SystemClock);

impl Clock for SystemTime {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
}

impl Time for SystemTime {
    fn sleep_until(&self, at: DateTime<Utc>) -> Sleep {
        // Rounded up to the millisecond, so that the clock shows `at` when the wait ends.
        let wait = (at - self.now()).to_std().unwrap_or_default() + std::time::Duration::from_millis(1);
        #[expect(clippy::disallowed_methods, reason = "the local system's one wait, between two things that are due")]
        Box::pin(tokio::time::sleep(wait))
    }
}

/// A time that stands still until it is set.
#[derive(Debug, Clone)]
pub struct ManualTime(Arc<Mutex<Waits>>);

#[derive(Debug)]
struct Waits {
    now: DateTime<Utc>,
    waiting: Vec<(DateTime<Utc>, oneshot::Sender<()>)>,
}

impl ManualTime {
    pub fn starting_at(now: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(Waits { now, waiting: Vec::new() })))
    }

    /// Sets the clock and ends the waits that are over then. It never goes back.
    pub fn set(&self, now: DateTime<Utc>) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.now = waits.now.max(now);
        let now = waits.now;
        for (at, waiter) in std::mem::take(&mut waits.waiting) {
            if at <= now {
                // Whoever waited may have gone.
                waiter.send(()).unwrap_or_default();
            } else {
                waits.waiting.push((at, waiter));
            }
        }
    }
}

impl Clock for ManualTime {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now
    }
}

impl Time for ManualTime {
    fn sleep_until(&self, at: DateTime<Utc>) -> Sleep {
        let (over, wait) = oneshot::channel();
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at <= waits.now {
            return Box::pin(std::future::ready(()));
        }
        waits.waiting.retain(|(_, waiter)| !waiter.is_closed());
        waits.waiting.push((at, over));
        Box::pin(async move { wait.await.unwrap_or_default() })
    }
}
