//! What the seed decides: which calls fail, which handlers and instances die or pause, what happens to messages, what
//! receivers do, and all that is random.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use local::{Fate, Fates, Fault, Lag, ManualTime, SharedWait, Wait};
use operations::Entropy;
use runtime::Clock as _;

use crate::plan::{Outage, Plan};

/// How much goes wrong in a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultLevel {
    /// Nothing fails.
    Calm,
    /// Messages are lost, duplicated, late or reordered.
    Lossy,
    /// And handlers and instances die or pause, calls fail, and receivers fail in every way.
    Stormy,
}

/// Decides by its number, the instant and what is decided about, so that a seed replays exactly.
#[derive(Debug)]
pub(crate) struct Seed {
    number: u64,
    pub(crate) fault_level: FaultLevel,
    /// Faults are so many times rarer than elsewhere: handlers make more calls, and some must come through.
    rarity: u64,
    pub(crate) outage: Option<Outage>,
    time: ManualTime,
    /// No fault happens: before the beginning, and at the end.
    is_quiet: AtomicBool,
    /// How often each roll was made.
    rolls: Mutex<HashMap<u64, u64>>,
    drawn: AtomicU64,
    /// All that happened, in order.
    record: Mutex<Vec<String>>,
    /// A row may have been written that falls due.
    pub(crate) has_new_timers: AtomicBool,
    /// The pulse may have been renewed.
    pub(crate) has_new_pulse: AtomicBool,
}

/// So many calls in a thousand fail.
const FAULTS: u64 = 75;
const MAX_SKEW: TimeDelta = TimeDelta::milliseconds(1_500);

thread_local! {
    /// The handler that is being polled.
    static CURRENT: RefCell<Option<Arc<HandlerState>>> = const { RefCell::new(None) };
}

/// Whether an instance, and all its handlers with it, is alive or paused.
#[derive(Debug)]
pub(crate) struct InstanceState {
    is_dead: AtomicBool,
    paused_until: Mutex<DateTime<Utc>>,
}

impl InstanceState {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { is_dead: AtomicBool::new(false), paused_until: Mutex::new(DateTime::UNIX_EPOCH) })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Ends the instance, and all its handlers with it.
    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// Until when the whole instance is paused.
    pub(crate) fn paused_until(&self) -> DateTime<Utc> {
        *self.paused_until.lock().unwrap()
    }
}

/// Whether a handler is alive, and what it waits for.
#[derive(Debug)]
pub(crate) struct HandlerState {
    pub(crate) instance: Arc<InstanceState>,
    is_dead: AtomicBool,
    /// None of its calls to the table succeeds.
    fails: bool,
    timers: AtomicU64,
    /// What it waits for on the clock, by timer.
    waits: Mutex<BTreeMap<u64, (DateTime<Utc>, Waker)>>,
}

impl HandlerState {
    pub(crate) fn new(instance: &Arc<InstanceState>, fails: bool) -> Arc<Self> {
        let (instance, is_dead) = (Arc::clone(instance), AtomicBool::new(false));
        Arc::new(Self { instance, is_dead, fails, timers: AtomicU64::new(0), waits: Mutex::default() })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed) || self.instance.is_dead()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waits.lock().unwrap().is_empty()
    }

    pub(crate) fn waits_until(&self) -> Option<DateTime<Utc>> {
        self.waits.lock().unwrap().values().map(|(until, _)| *until).min()
    }

    /// Wakes what has waited until `now`.
    pub(crate) fn wake(&self, now: DateTime<Utc>) {
        self.waits
            .lock()
            .unwrap()
            .extract_if(.., |_, (until, _)| *until <= now)
            .for_each(|(_, (_, waker))| waker.wake());
    }
}

/// Waits for the clock, as a part of a handler.
struct Timer {
    until: DateTime<Utc>,
    number: u64,
    handler: Arc<HandlerState>,
    time: ManualTime,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.time.now() >= self.until {
            return Poll::Ready(());
        }
        self.handler.waits.lock().unwrap().insert(self.number, (self.until, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.handler.waits.lock().unwrap().remove(&self.number);
    }
}

/// Polls a handler, whose state the faults then change.
pub(crate) fn poll_as<T>(handler: &Arc<HandlerState>, poll: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(Some(Arc::clone(handler)));
    let polled = poll();
    CURRENT.set(before);
    polled
}

impl Seed {
    pub(crate) fn new(number: u64, fault_level: FaultLevel, plan: &Plan, time: &ManualTime) -> Self {
        Self {
            number,
            fault_level,
            rarity: plan.rarity(),
            outage: plan.outage,
            time: time.clone(),
            is_quiet: AtomicBool::new(false),
            rolls: Mutex::default(),
            drawn: AtomicU64::new(0),
            record: Mutex::default(),
            has_new_timers: AtomicBool::new(true),
            has_new_pulse: AtomicBool::new(true),
        }
    }

    pub(crate) fn set_quiet(&self, is_quiet: bool) {
        self.is_quiet.store(is_quiet, Ordering::Relaxed);
    }

    pub(crate) fn is(&self, fault_level: FaultLevel) -> bool {
        !self.is_quiet.load(Ordering::Relaxed) && self.fault_level == fault_level
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed) || self.fault_level == FaultLevel::Calm
    }

    pub(crate) fn is_out(&self, receiver: &str) -> bool {
        let now = self.time.now();
        let is_out = self.outage.is_some_and(|outage| outage.receiver == receiver && outage.span.covers(now));
        is_out && self.is(FaultLevel::Stormy)
    }

    /// Returns a number below `below` for this instant and `about`; another one each time.
    pub(crate) fn roll(&self, about: impl Hash, below: u64) -> u64 {
        let mut key = DefaultHasher::new();
        (self.number, self.time.now(), about).hash(&mut key);
        let key = key.finish();
        let mut rolls = self.rolls.lock().unwrap();
        let times = rolls.entry(key).or_default();
        *times += 1;
        hash((key, *times)) % below
    }

    /// Returns by how much an instance's clock may differ from the time at most.
    pub(crate) fn max_skew(&self) -> TimeDelta {
        if self.fault_level == FaultLevel::Stormy { MAX_SKEW } else { TimeDelta::zero() }
    }

    /// Returns by how much the clock of a new instance is ahead; less than nothing, if it is behind.
    pub(crate) fn clock_ahead(&self, instance: usize) -> TimeDelta {
        let max = self.max_skew().num_milliseconds();
        let millis = self.roll(("clock", instance), u64::try_from(2 * max + 1).expect("a small number"));
        TimeDelta::milliseconds(i64::try_from(millis).expect("a small number") - max)
    }

    /// Returns one of the numbers below `many`.
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

    /// Waits until the clock shows `until`. For handlers.
    pub(crate) async fn wait(&self, until: DateTime<Utc>) {
        self.timer(until).expect("only handlers wait for the clock").await;
    }

    /// Returns a timer for the handler that is being polled.
    fn timer(&self, until: DateTime<Utc>) -> Option<Timer> {
        let handler = CURRENT.with_borrow(Clone::clone)?;
        let number = handler.timers.fetch_add(1, Ordering::Relaxed);
        Some(Timer { until, number, handler, time: self.time.clone() })
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

/// Returns the first value of `name` in a request.
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
        if text.contains("heard_at") && operation != "GetItem" {
            self.has_new_pulse.store(true, Ordering::Relaxed);
        }
        let about = (operation, first(&text, "\"pk\":{\"S\":\""), first(&text, "\"sk\":{\"S\":\""));
        let Some(handler) = CURRENT.with_borrow(Clone::clone) else { return Fate::Served };
        if handler.fails {
            self.record(&format!("{operation} {} {} fails", about.1, about.2));
            return Fate::Failed(Fault::Internal);
        }
        // Where nothing fails, handlers interleave all the same.
        let roll = match self.roll(about, 1_000 * self.rarity) {
            roll if roll < FAULTS && self.is(FaultLevel::Stormy) => roll,
            roll => FAULTS + roll % (1_000 - FAULTS),
        };
        self.record(&format!("{operation} {} {}: {roll}", about.1, about.2));
        let never = || -> Wait { Box::pin(std::future::pending()) };
        let yields = || -> Wait { Box::pin(yields(1 + self.roll(about, 8))) };
        let die = || handler.is_dead.store(true, Ordering::Relaxed);
        let die_with_instance = || handler.instance.is_dead.store(true, Ordering::Relaxed);
        let pause = || *handler.instance.paused_until.lock().unwrap() = self.in_a_while(about);
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
                die_with_instance();
                Fate::Before(never())
            }
            7 => {
                die_with_instance();
                Fate::After(never())
            }
            8..14 => {
                pause();
                Fate::Before(yields())
            }
            14..20 => {
                pause();
                Fate::After(yields())
            }
            20..35 => Fate::Failed(Fault::Throttled),
            35..40 => Fate::Failed(Fault::Internal),
            40..46 => Fate::TimedOut,
            46..50 => Fate::Before(never()),
            50..56 => Fate::Unanswered,
            56..60 => Fate::After(never()),
            60..FAULTS => Fate::Failed(Fault::Conflict),
            FAULTS..250 => Fate::Before(yields()),
            250..350 => Fate::After(yields()),
            _ => Fate::Served,
        }
    }

    fn lag(&self, pk: &str, sk: &str) -> Option<Lag> {
        if self.is_calm() {
            return None;
        }
        let about = ("lag", pk, sk);
        let max = match self.roll(about, 100) {
            0..15 => 200,
            15..25 => 4_500,
            25..27 if self.is(FaultLevel::Stormy) => 30_000,
            _ => return None,
        };
        let millis = self.roll(about, max);
        let shows_both = self.roll(about, 2) == 0;
        self.record(&format!("a change of {pk} {sk} is hidden for {millis} ms: {shows_both}"));
        Some(Lag {
            until: self.time.now() + TimeDelta::milliseconds(millis.try_into().expect("a small number")),
            shows_both,
        })
    }

    fn now(&self) -> DateTime<Utc> {
        self.time.now()
    }

    fn sleep(&self, duration: Duration) -> SharedWait {
        let until = self.time.now() + TimeDelta::from_std(duration).expect("some seconds");
        match self.timer(until) {
            Some(timer) => Box::pin(timer),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// Yields to other handlers so many times.
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
