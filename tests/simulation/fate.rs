//! What the seed decides: which calls fail, which handlers die or stand still, what becomes of messages, what receivers do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use chrono::{DateTime, TimeDelta, Utc};
use local::{Fate, Fates, Fault, ManualTime, Wait};
use runtime::Clock as _;

/// How hard the weather is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing fails.
    Calm,
    /// Messages are lost, doubled, late or reordered.
    Lossy,
    /// And handlers die or stand still, calls fail, and receivers do what they like.
    Stormy,
}

/// Decides by the seed, the instant and what is decided about, so that the order of what happens at one instant matters little.
#[derive(Debug)]
pub(crate) struct Seed {
    number: u64,
    pub(crate) weather: Weather,
    time: ManualTime,
    /// Faults are over.
    is_quiet: AtomicBool,
    asked: Mutex<HashMap<u64, u64>>,
    /// Something was written that may come due.
    pub(crate) has_new_timers: AtomicBool,
}

thread_local! {
    /// The life of the handler that is being polled.
    static LIFE: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}

/// How a handler lives.
#[derive(Debug)]
pub(crate) struct Life {
    is_dead: AtomicBool,
    /// Until when its whole instance stands still.
    still_until: Arc<Mutex<DateTime<Utc>>>,
}

impl Life {
    pub(crate) fn still_until(&self) -> DateTime<Utc> {
        *self.still_until.lock().unwrap()
    }
}

/// A handler that may die between any two calls, or stand still.
pub(crate) struct Mortal<F> {
    work: Option<Pin<Box<F>>>,
    life: Arc<Life>,
    time: ManualTime,
}

impl<F: Future> Mortal<F> {
    pub(crate) fn new(work: F, time: &ManualTime, still_until: &Arc<Mutex<DateTime<Utc>>>) -> (Self, Arc<Life>) {
        let life = Arc::new(Life { is_dead: AtomicBool::new(false), still_until: Arc::clone(still_until) });
        (Self { work: Some(Box::pin(work)), life: Arc::clone(&life), time: time.clone() }, life)
    }
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.time.now() < self.life.still_until() {
            return Poll::Pending;
        }
        let before = LIFE.replace(Some(Arc::clone(&self.life)));
        let polled = self.work.as_mut().expect("polled once it ended").as_mut().poll(context);
        LIFE.set(before);
        if polled.is_ready() {
            return polled.map(Some);
        }
        if self.life.is_dead.load(Ordering::Relaxed) {
            self.work = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl Seed {
    pub(crate) fn new(number: u64, weather: Weather, time: &ManualTime) -> Self {
        Self {
            number,
            weather,
            time: time.clone(),
            is_quiet: AtomicBool::new(false),
            asked: Mutex::default(),
            has_new_timers: AtomicBool::new(true),
        }
    }

    pub(crate) fn be_quiet(&self, is_quiet: bool) {
        self.is_quiet.store(is_quiet, Ordering::Relaxed);
    }

    pub(crate) fn is(&self, weather: Weather) -> bool {
        !self.is_quiet.load(Ordering::Relaxed) && self.weather == weather
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed) || self.weather == Weather::Calm
    }

    /// A number below `below` for this instant and `about`; another one each time that it is asked for.
    pub(crate) fn roll(&self, about: impl Hash, below: u64) -> u64 {
        let mut key = DefaultHasher::new();
        (self.number, self.time.now(), about).hash(&mut key);
        let key = key.finish();
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(key).or_default();
        *times += 1;
        let mut hasher = DefaultHasher::new();
        (key, *times).hash(&mut hasher);
        hasher.finish() % below
    }
}

/// The beginning of the first value of `name` in a request: ids are random past it.
fn beginning<'a>(body: &'a str, name: &str) -> &'a str {
    let place = body.find(name).map_or(body.len(), |place| place + name.len());
    body[place..].get(..26).unwrap_or_default()
}

impl Fates for Seed {
    fn of(&self, operation: &str, body: &[u8]) -> Fate {
        let text = String::from_utf8_lossy(body);
        if text.contains("due_at") && operation != "Query" {
            self.has_new_timers.store(true, Ordering::Relaxed);
        }
        let life = LIFE.with_borrow(Clone::clone);
        let (Some(life), true) = (life, self.is(Weather::Stormy)) else { return Fate::Served };
        let about = (operation, beginning(&text, "\"pk\":{\"S\":"), beginning(&text, "\"sk\":{\"S\":"));
        let never = || -> Wait { Box::pin(std::future::pending()) };
        let die = || life.is_dead.store(true, Ordering::Relaxed);
        let stand_still = || *life.still_until.lock().unwrap() = self.in_a_while(about);
        match self.roll(about, 1_000) {
            0..4 => {
                die();
                Fate::Before(never())
            }
            4..8 => {
                die();
                Fate::After(never())
            }
            8..14 => {
                stand_still();
                Fate::Before(Box::pin(yields(1)))
            }
            14..20 => {
                stand_still();
                Fate::After(Box::pin(yields(1)))
            }
            20..35 => Fate::Failed(Fault::Throttled),
            35..40 => Fate::Failed(Fault::Internal),
            40..50 => Fate::TimedOut,
            50..60 => Fate::Unanswered,
            60..75 => Fate::Failed(Fault::Conflict),
            75..250 => Fate::Before(Box::pin(yields(1 + self.roll(about, 8)))),
            250..350 => Fate::After(Box::pin(yields(1 + self.roll(about, 8)))),
            _ => Fate::Served,
        }
    }
}

impl Seed {
    fn in_a_while(&self, about: impl Hash) -> DateTime<Utc> {
        let millis = 1 + i64::try_from(self.roll(about, 27_000)).expect("a small number");
        self.time.now() + TimeDelta::milliseconds(millis)
    }
}

/// Lets others go first, so many times.
async fn yields(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}
