//! Polls handlers one at a time, and lets the seed decide whose turn it is: nothing else decides an order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::LocalBoxFuture;
use futures::task::AtomicWaker;
use local::ManualTime;
use runtime::Clock as _;

use crate::seed::{HandlerState, InstanceState, Seed, poll_as};

/// The handlers at work.
pub(crate) struct Executor<T> {
    tasks: Vec<Task<T>>,
    /// Handlers whose instance died, or whose time was up.
    died: VecDeque<u64>,
    started: u64,
    main_waker: Arc<AtomicWaker>,
    seed: Arc<Seed>,
    time: ManualTime,
}

struct Task<T> {
    number: u64,
    state: Arc<HandlerState>,
    handler: LocalBoxFuture<'static, T>,
    waker: Arc<TaskWaker>,
    /// When its function's time is up.
    ends_at: DateTime<Utc>,
}

/// Notes that a handler can go on, and wakes the executor.
struct TaskWaker {
    is_woken: AtomicBool,
    main_waker: Arc<AtomicWaker>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.main_waker.wake();
    }
}

impl<T> Executor<T> {
    pub(crate) fn new(seed: &Arc<Seed>, time: &ManualTime) -> Self {
        Self {
            tasks: Vec::new(),
            died: VecDeque::new(),
            started: 0,
            main_waker: Arc::default(),
            seed: Arc::clone(seed),
            time: time.clone(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts a handler on an instance, whose function may take so long, and returns its number.
    pub(crate) fn start(
        &mut self,
        instance: &Arc<InstanceState>,
        time_limit: TimeDelta,
        handler: LocalBoxFuture<'static, T>,
    ) -> u64 {
        self.start_handler(HandlerState::new(instance, false), time_limit, handler)
    }

    /// Starts a handler whose calls to the table all fail.
    pub(crate) fn start_failing(
        &mut self,
        instance: &Arc<InstanceState>,
        time_limit: TimeDelta,
        handler: LocalBoxFuture<'static, T>,
    ) {
        self.start_handler(HandlerState::new(instance, true), time_limit, handler);
    }

    fn start_handler(
        &mut self,
        state: Arc<HandlerState>,
        time_limit: TimeDelta,
        handler: LocalBoxFuture<'static, T>,
    ) -> u64 {
        self.started += 1;
        let ends_at = self.time.now() + time_limit;
        let waker = Arc::new(TaskWaker { is_woken: AtomicBool::new(true), main_waker: Arc::clone(&self.main_waker) });
        self.tasks.push(Task { number: self.started, state, handler, waker, ends_at });
        self.started
    }

    /// Ends all handlers: their instances died.
    pub(crate) fn end_all(&mut self) {
        self.died.extend(self.tasks.drain(..).map(|task| task.number));
    }

    /// Waits for the next handler that ends, and returns its number and outcome; one that died has no outcome. Returns None
    /// if all are paused or wait for the clock.
    pub(crate) async fn next(&mut self) -> Option<(u64, Option<T>)> {
        std::future::poll_fn(|context| self.turn_by_turn(context)).await
    }

    fn turn_by_turn(&mut self, context: &Context<'_>) -> Poll<Option<(u64, Option<T>)>> {
        self.main_waker.register(context.waker());
        loop {
            if let Some(number) = self.died.pop_front() {
                return Poll::Ready(Some((number, None)));
            }
            let now = self.time.now();
            if let Some(place) = self.tasks.iter().position(|task| task.ends_at <= now) {
                let ended = self.tasks.remove(place);
                self.seed.record(&format!("the time of handler {} is up", ended.number));
                return Poll::Ready(Some((ended.number, None)));
            }
            self.tasks.iter().for_each(|task| task.state.wake(now));
            let is_paused = |task: &Task<T>| task.state.instance.paused_until() > now;
            let is_ready = |task: &Task<T>| !is_paused(task) && task.waker.is_woken.load(Ordering::Acquire);
            let ready: Vec<_> = (0..self.tasks.len()).filter(|place| is_ready(&self.tasks[*place])).collect();
            if ready.is_empty() {
                // Where nobody waits for the clock, somebody waits for a thread, which will wake it.
                let waits = |task: &Task<T>| is_paused(task) || task.state.is_waiting();
                let is_at_work = !self.tasks.is_empty() && !self.tasks.iter().any(waits);
                return if is_at_work { Poll::Pending } else { Poll::Ready(None) };
            }
            let place = ready[self.seed.choose("turn", ready.len())];
            if let Some(ended) = self.poll(place) {
                return Poll::Ready(Some(ended));
            }
        }
    }

    fn poll(&mut self, place: usize) -> Option<(u64, Option<T>)> {
        let task = &mut self.tasks[place];
        task.waker.is_woken.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.waker));
        let handler: Pin<&mut _> = task.handler.as_mut();
        let polled = poll_as(&task.state, || handler.poll(&mut Context::from_waker(&waker)));
        let (number, instance) = (task.number, Arc::clone(&task.state.instance));
        let ended = match polled {
            Poll::Ready(ended) => Some((number, Some(ended))),
            Poll::Pending if task.state.is_dead() => Some((number, None)),
            Poll::Pending => None,
        };
        if ended.is_some() {
            drop(self.tasks.remove(place));
        }
        if instance.is_dead() {
            let tasks = std::mem::take(&mut self.tasks);
            let (dead, alive): (Vec<_>, Vec<_>) =
                tasks.into_iter().partition(|task| Arc::ptr_eq(&task.state.instance, &instance));
            self.tasks = alive;
            self.died.extend(dead.iter().map(|task| task.number));
        }
        ended
    }

    /// Returns when the next handler goes on that is paused or waits for the clock.
    pub(crate) fn next_at(&self) -> Option<DateTime<Utc>> {
        let now = self.time.now();
        let instants = self.tasks.iter().flat_map(|task| {
            let paused_until = Some(task.state.instance.paused_until()).filter(|until| *until > now);
            let waits_until = task.state.waits_until().filter(|until| *until > now);
            paused_until.into_iter().chain(waits_until).chain([task.ends_at])
        });
        instants.min()
    }
}
