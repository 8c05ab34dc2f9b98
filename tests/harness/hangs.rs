//! Calls to the table that hang, until the SDK gives them up or their function is ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use local::{Fate, Fates, ManualTime, SharedWait, Time as _};
use runtime::Clock as _;
use tokio::sync::watch;

/// Decides which calls hang. The SDK waits by the clock that the test moves.
#[derive(Debug, Clone)]
pub struct Hangs {
    time: ManualTime,
    next: Arc<Mutex<Option<Hang>>>,
    /// How many calls have hung.
    hung: Arc<watch::Sender<usize>>,
}

/// The calls that are to hang.
#[derive(Debug)]
struct Hang {
    text: &'static str,
    left: usize,
    /// The SDK gives none of them up.
    for_good: bool,
}

impl Hangs {
    pub(crate) fn new(time: &ManualTime) -> Self {
        Self { time: time.clone(), next: Arc::default(), hung: Arc::new(watch::Sender::new(0)) }
    }

    /// Makes the next `count` calls hang that hold `text`, such as a key, until the SDK gives them up. They do not reach the
    /// table.
    pub fn hang(&self, text: &'static str, count: usize) {
        self.set(Some(Hang { text, left: count, for_good: false }));
    }

    /// Makes all calls hang that hold `text`, until their function is ended.
    pub fn hang_for_good(&self, text: &'static str) {
        self.set(Some(Hang { text, left: usize::MAX, for_good: true }));
    }

    /// Makes no more calls hang.
    pub fn stop(&self) {
        self.set(None);
    }

    fn set(&self, hang: Option<Hang>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = hang;
    }

    /// Waits until so many of these calls have hung.
    pub async fn wait_for(&self, count: usize) {
        self.hung.subscribe().wait_for(|hung| *hung >= count).await.map(drop).unwrap_or_default();
    }
}

impl Fates for Hangs {
    fn of(&self, _: &str, body: &[u8]) -> Fate {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(hang) = next.as_mut().filter(|hang| hang.left > 0) else { return Fate::Served };
        if !body.windows(hang.text.len()).any(|part| part == hang.text.as_bytes()) {
            return Fate::Served;
        }
        hang.left -= 1;
        self.hung.send_modify(|hung| *hung += 1);
        Fate::Before(Box::pin(std::future::pending()))
    }

    fn now(&self) -> DateTime<Utc> {
        self.time.now()
    }

    fn sleep(&self, duration: Duration) -> SharedWait {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.as_ref().is_some_and(|hang| hang.for_good) {
            return Box::pin(std::future::pending());
        }
        let until = self.time.now() + TimeDelta::from_std(duration).unwrap_or_default();
        // A box that other threads may look at, too.
        let slept = Mutex::new(self.time.sleep_until(until));
        Box::pin(std::future::poll_fn(move |context| {
            slept.lock().unwrap_or_else(PoisonError::into_inner).as_mut().poll(context)
        }))
    }
}
