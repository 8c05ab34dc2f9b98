//! Polls handlers one at a time, and lets the seed say whose turn it is: nothing else decides an order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use chrono::{DateTime, Utc};
use futures::future::LocalBoxFuture;
use futures::task::AtomicWaker;
use local::ManualTime;
use runtime::Clock as _;

use crate::fate::{Host, Life, Seed, living};

/// The handlers at work.
pub(crate) struct Turns<T> {
    works: Vec<Work<T>>,
    /// Those whose instance died under them.
    died: VecDeque<u64>,
    started: u64,
    outside: Arc<AtomicWaker>,
    seed: Arc<Seed>,
    time: ManualTime,
}

struct Work<T> {
    number: u64,
    life: Arc<Life>,
    handler: LocalBoxFuture<'static, T>,
    bell: Arc<Bell>,
}

/// Says that a handler can go on.
struct Bell {
    has_rung: AtomicBool,
    outside: Arc<AtomicWaker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.outside.wake();
    }
}

impl<T> Turns<T> {
    pub(crate) fn new(seed: &Arc<Seed>, time: &ManualTime) -> Self {
        Self {
            works: Vec::new(),
            died: VecDeque::new(),
            started: 0,
            outside: Arc::default(),
            seed: Arc::clone(seed),
            time: time.clone(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.works.is_empty()
    }

    /// Puts a handler to work on an instance. Answers its number.
    pub(crate) fn start(&mut self, host: &Arc<Host>, handler: LocalBoxFuture<'static, T>) -> u64 {
        self.started += 1;
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(true), outside: Arc::clone(&self.outside) });
        self.works.push(Work { number: self.started, life: Life::on(host), handler, bell });
        self.started
    }

    /// What ends next, by its number; what died has no outcome. Nothing, if all stand still or wait for the clock.
    pub(crate) async fn next(&mut self) -> Option<(u64, Option<T>)> {
        std::future::poll_fn(|context| self.turn_by_turn(context)).await
    }

    fn turn_by_turn(&mut self, context: &Context<'_>) -> Poll<Option<(u64, Option<T>)>> {
        self.outside.register(context.waker());
        loop {
            if let Some(number) = self.died.pop_front() {
                return Poll::Ready(Some((number, None)));
            }
            let now = self.time.now();
            self.works.iter().for_each(|work| work.life.wake(now));
            let may_go_on = |work: &Work<T>| work.life.host.still_until() <= now;
            let has_rung = |work: &Work<T>| work.bell.has_rung.load(Ordering::Acquire);
            let ready: Vec<_> =
                (0..self.works.len()).filter(|at| may_go_on(&self.works[*at]) && has_rung(&self.works[*at])).collect();
            if ready.is_empty() {
                // One that nobody here will wake waits for a thread; whoever waits for a turn waits for one that is ready.
                let is_at_work = |work: &Work<T>| may_go_on(work) && !work.life.waits();
                let is_anyone = self.works.iter().any(is_at_work);
                return if is_anyone { Poll::Pending } else { Poll::Ready(None) };
            }
            let place = ready[self.seed.choose("turn", ready.len())];
            if let Some(ended) = self.poll(place) {
                return Poll::Ready(Some(ended));
            }
        }
    }

    fn poll(&mut self, place: usize) -> Option<(u64, Option<T>)> {
        let work = &mut self.works[place];
        work.bell.has_rung.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&work.bell));
        let handler: Pin<&mut _> = work.handler.as_mut();
        let polled = living(&work.life, || handler.poll(&mut Context::from_waker(&waker)));
        let (number, host) = (work.number, Arc::clone(&work.life.host));
        let ended = match polled {
            Poll::Ready(ended) => Some((number, Some(ended))),
            Poll::Pending if work.life.is_dead() => Some((number, None)),
            Poll::Pending => None,
        };
        if ended.is_some() {
            drop(self.works.remove(place));
        }
        if host.is_dead() {
            let works = std::mem::take(&mut self.works);
            let (dead, alive): (Vec<_>, Vec<_>) =
                works.into_iter().partition(|work| Arc::ptr_eq(&work.life.host, &host));
            self.works = alive;
            self.died.extend(dead.iter().map(|work| work.number));
        }
        ended
    }

    /// When the next of those goes on who stand still or wait for the clock.
    pub(crate) fn next_at(&self) -> Option<DateTime<Utc>> {
        let now = self.time.now();
        let instants = self.works.iter().flat_map(|work| {
            let still_until = Some(work.life.host.still_until()).filter(|until| *until > now);
            still_until.into_iter().chain(work.life.waits_until().filter(|until| *until > now))
        });
        instants.min()
    }
}
