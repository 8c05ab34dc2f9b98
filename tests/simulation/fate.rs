//! What the seed decides: which calls fail, which handlers and instances die or stand still, what becomes of messages, what
//! receivers do, and all that is random.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use chrono::{DateTime, TimeDelta, Utc};
use local::{Fate, Fates, Fault, ManualTime, Wait};
use operations::Entropy;
use runtime::Clock as _;

use crate::plan::Outage;

/// How hard the weather is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing fails.
    Calm,
    /// Messages are lost, doubled, late or reordered.
    Lossy,
    /// And handlers and instances die or stand still, calls fail, and receivers do what they like.
    Stormy,
}

/// Decides by its number, the instant and what is decided about.
#[derive(Debug)]
pub(crate) struct Seed {
    number: u64,
    pub(crate) weather: Weather,
    pub(crate) outage: Option<Outage>,
    time: ManualTime,
    /// Faults are over.
    is_quiet: AtomicBool,
    asked: Mutex<HashMap<u64, u64>>,
    drawn: AtomicU64,
    /// All that happened, in its order.
    record: Mutex<Vec<String>>,
    /// Something was written that may come due.
    pub(crate) has_new_timers: AtomicBool,
}

thread_local! {
    /// The life of the handler that is being polled.
    static LIFE: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}

/// How an instance lives, and all its handlers with it.
#[derive(Debug)]
pub(crate) struct Host {
    is_dead: AtomicBool,
    still_until: Mutex<DateTime<Utc>>,
}

impl Host {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { is_dead: AtomicBool::new(false), still_until: Mutex::new(DateTime::UNIX_EPOCH) })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Until when the whole instance stands still.
    pub(crate) fn still_until(&self) -> DateTime<Utc> {
        *self.still_until.lock().unwrap()
    }
}

/// How a handler lives.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) host: Arc<Host>,
    is_dead: AtomicBool,
    /// What it waits for on the clock.
    waits: Mutex<Vec<(DateTime<Utc>, Waker)>>,
}

impl Life {
    pub(crate) fn on(host: &Arc<Host>) -> Arc<Self> {
        Arc::new(Self { host: Arc::clone(host), is_dead: AtomicBool::new(false), waits: Mutex::default() })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed) || self.host.is_dead()
    }

    pub(crate) fn waits(&self) -> bool {
        !self.waits.lock().unwrap().is_empty()
    }

    pub(crate) fn waits_until(&self) -> Option<DateTime<Utc>> {
        self.waits.lock().unwrap().iter().map(|(until, _)| *until).min()
    }

    /// Lets go on what has waited until `now`.
    pub(crate) fn wake(&self, now: DateTime<Utc>) {
        self.waits.lock().unwrap().extract_if(.., |(until, _)| *until <= now).for_each(|(_, waker)| waker.wake());
    }
}

/// Polls a handler that lives this life.
pub(crate) fn living<T>(life: &Arc<Life>, poll: impl FnOnce() -> T) -> T {
    let before = LIFE.replace(Some(Arc::clone(life)));
    let polled = poll();
    LIFE.set(before);
    polled
}

impl Seed {
    pub(crate) fn new(number: u64, weather: Weather, outage: Option<Outage>, time: &ManualTime) -> Self {
        Self {
            number,
            weather,
            outage,
            time: time.clone(),
            is_quiet: AtomicBool::new(false),
            asked: Mutex::default(),
            drawn: AtomicU64::new(0),
            record: Mutex::default(),
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

    pub(crate) fn is_out(&self, receiver: &str) -> bool {
        let now = self.time.now();
        let is_out = self.outage.is_some_and(|outage| outage.receiver == receiver && outage.span.covers(now));
        is_out && self.is(Weather::Stormy)
    }

    /// A number below `below` for this instant and `about`; another one each time that it is asked for.
    pub(crate) fn roll(&self, about: impl Hash, below: u64) -> u64 {
        let mut key = DefaultHasher::new();
        (self.number, self.time.now(), about).hash(&mut key);
        let key = key.finish();
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(key).or_default();
        *times += 1;
        hash((key, *times)) % below
    }

    /// One of so many.
    pub(crate) fn choose(&self, about: impl Hash, many: usize) -> usize {
        if many < 2 { 0 } else { usize::try_from(self.roll(about, many as u64)).unwrap() }
    }

    /// Keeps what happened, for the comparison of two runs.
    pub(crate) fn record(&self, line: &str) {
        let now = self.time.now().format("%d %H:%M:%S%.3f");
        self.record.lock().unwrap().push(format!("{now} {line}"));
    }

    pub(crate) fn take_record(&self) -> Vec<String> {
        std::mem::take(&mut self.record.lock().unwrap())
    }

    fn in_a_while(&self, about: impl Hash) -> DateTime<Utc> {
        let millis = 1 + i64::try_from(self.roll(about, 27_000)).expect("a small number");
        self.time.now() + TimeDelta::milliseconds(millis)
    }

    /// Ends when the clock shows `until`. For handlers.
    pub(crate) async fn wait(&self, until: DateTime<Utc>) {
        std::future::poll_fn(|context| {
            if self.time.now() >= until {
                return Poll::Ready(());
            }
            let life = LIFE.with_borrow(Clone::clone).expect("whoever waits for the clock is a handler");
            life.waits.lock().unwrap().push((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

pub(crate) fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

impl Entropy for Seed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), operations::Error> {
        for part in bytes.chunks_mut(8) {
            let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
            let number = hash((self.number, "entropy", drawn)).to_be_bytes();
            part.copy_from_slice(&number[..part.len()]);
        }
        Ok(())
    }
}

/// The first value of `name` in a request.
fn first<'a>(body: &'a str, name: &str) -> &'a str {
    let Some(place) = body.find(name) else { return "" };
    body[place + name.len()..].split('"').next().unwrap_or_default()
}

impl Fates for Seed {
    fn of(&self, operation: &str, body: &[u8]) -> Fate {
        let text = String::from_utf8_lossy(body);
        if text.contains("due_at") && operation != "Query" {
            self.has_new_timers.store(true, Ordering::Relaxed);
        }
        let about = (operation, first(&text, "\"pk\":{\"S\":\""), first(&text, "\"sk\":{\"S\":\""));
        let Some(life) = LIFE.with_borrow(Clone::clone) else { return Fate::Served };
        // Where nothing fails, handlers get in each other's way all the same.
        let roll = if self.is(Weather::Stormy) { self.roll(about, 1_000) } else { 75 + self.roll(about, 925) };
        self.record(&format!("{operation} {} {}: {roll}", about.1, about.2));
        let never = || -> Wait { Box::pin(std::future::pending()) };
        let yields = || -> Wait { Box::pin(yields(1 + self.roll(about, 8))) };
        let die = || life.is_dead.store(true, Ordering::Relaxed);
        let end_all = || life.host.is_dead.store(true, Ordering::Relaxed);
        let stand_still = || *life.host.still_until.lock().unwrap() = self.in_a_while(about);
        match roll {
            0..3 => {
                die();
                Fate::Before(never())
            }
            3..6 => {
                die();
                Fate::After(never())
            }
            6 => {
                end_all();
                Fate::Before(never())
            }
            7 => {
                end_all();
                Fate::After(never())
            }
            8..14 => {
                stand_still();
                Fate::Before(yields())
            }
            14..20 => {
                stand_still();
                Fate::After(yields())
            }
            20..35 => Fate::Failed(Fault::Throttled),
            35..40 => Fate::Failed(Fault::Internal),
            40..50 => Fate::TimedOut,
            50..60 => Fate::Unanswered,
            60..75 => Fate::Failed(Fault::Conflict),
            75..250 => Fate::Before(yields()),
            250..350 => Fate::After(yields()),
            _ => Fate::Served,
        }
    }
}

/// Lets others go first, so many times.
pub(crate) async fn yields(times: u64) {
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
