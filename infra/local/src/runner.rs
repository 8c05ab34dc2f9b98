//! What AWS does between the functions: delivers messages, fires schedules, and starts the sweep when a row is due.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use emulators::{QueueError, Queues, Received};
use futures::FutureExt as _;
use operations::Swept;
use outbound::ScriptJob;
use runtime::sqs::{SqsBatchResponse, SqsEvent};
use runtime::{App, each_record};
use script::Scripts;
use serde_json::json;
use store::SHARDS;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::Time;

/// The queues between the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Sweep,
    Notify,
    Playbook,
    Script,
    ScriptResults,
}

impl Queue {
    pub(crate) const ALL: [Self; 5] = [Self::Sweep, Self::Notify, Self::Playbook, Self::Script, Self::ScriptResults];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Notify => "notify",
            Self::Playbook => "playbook",
            Self::Script => "script",
            Self::ScriptResults => "script-results",
        }
    }

    /// Returns how long its function may take, as in `template.yaml`.
    const fn time_limit(self) -> TimeDelta {
        match self {
            Self::Sweep | Self::Notify => WORKER_TIME,
            Self::Playbook | Self::ScriptResults => TimeDelta::seconds(330),
            Self::Script => TimeDelta::seconds(660),
        }
    }

    /// Returns how long a message is hidden that was received and not deleted: six times its function's limit, as there.
    fn visibility_timeout(self) -> TimeDelta {
        self.time_limit() * 6
    }

    /// Returns how many messages a batch holds at most.
    const fn batch_size(self) -> i64 {
        match self {
            Self::Sweep | Self::Notify | Self::ScriptResults => 10,
            Self::Playbook | Self::Script => 1,
        }
    }

    /// Returns how many batches are handled at once.
    const fn concurrency(self) -> usize {
        match self {
            Self::Sweep | Self::Notify | Self::Playbook | Self::ScriptResults => CONCURRENCY,
            Self::Script => MAX_SCRIPTS,
        }
    }
}

/// How long the sweep and the senders may take.
const WORKER_TIME: TimeDelta = TimeDelta::seconds(30);
/// EventBridge's rate: a sweep comes at least this often.
const TICK: TimeDelta = TimeDelta::seconds(60);
/// How many batches of one queue are handled at once: enough that hundreds of receivers may hang while others are
/// notified.
const CONCURRENCY: usize = 64;
/// How many scripts run at once.
const MAX_SCRIPTS: usize = 4;
/// How soon a sweep that failed is repeated.
const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(1);
/// How often the pulse is renewed: nothing else proves that Medic hears.
const PULSE: TimeDelta = TimeDelta::seconds(10);
/// How often expired items are deleted.
const CLEANING: TimeDelta = TimeDelta::hours(1);

/// What is due when, and what is being done.
#[derive(Debug)]
pub(crate) struct Agenda {
    state: Mutex<State>,
    /// Signals the runner that there is something new.
    changed: Notify,
    /// Signals that something ended, to whoever waits until all is quiet.
    progress: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    sweep_at: DateTime<Utc>,
    pulse_at: DateTime<Utc>,
    clean_at: DateTime<Utc>,
    sweeping: bool,
    renewing: bool,
    /// How many batches each queue's function is handling.
    handling: [usize; 5],
    /// How many of each queue's next batches are lost with their worker.
    to_lose: [usize; 5],
    stopped: bool,
}

impl Agenda {
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        let state = State {
            sweep_at: now,
            pulse_at: now + PULSE,
            clean_at: now + CLEANING,
            sweeping: false,
            renewing: false,
            handling: [0; 5],
            to_lose: [0; 5],
            stopped: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), progress: watch::Sender::new(()) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the sweep run by `at`, when a row comes due.
    pub(crate) fn sweep_by(&self, at: DateTime<Utc>) {
        let mut state = self.state();
        state.sweep_at = state.sweep_at.min(at);
        drop(state);
        self.changed();
    }

    /// Returns when the pulse is next renewed. While it is being renewed that is not known.
    fn next_pulse_at(&self) -> DateTime<Utc> {
        let state = self.state();
        if state.renewing { DateTime::<Utc>::MAX_UTC } else { state.pulse_at }
    }

    /// Wakes the runner: a message was sent, or something ended.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
        self.progress.send_replace(());
    }

    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed();
    }

    /// Reserves a place for a batch, if there is one: before it is received, so that no message is ever received and
    /// handled by nobody.
    fn reserve(&self, queue: Queue) -> bool {
        let handling = &mut self.state().handling[queue as usize];
        let is_free = *handling < queue.concurrency();
        *handling += usize::from(is_free);
        is_free
    }

    fn release(&self, queue: Queue) {
        self.state().handling[queue as usize] -= 1;
        // For whoever waits for quiet; the runner has nothing new to do.
        self.progress.send_replace(());
    }

    /// Makes whoever receives the next `count` batches of a queue die before anything is done.
    pub(crate) fn lose_workers(&self, queue: Queue, count: usize) {
        self.state().to_lose[queue as usize] = count;
    }

    /// Returns whether whoever received a batch dies now.
    fn loses_worker(&self, queue: Queue) -> bool {
        let to_lose = &mut self.state().to_lose[queue as usize];
        let is_lost = *to_lose > 0;
        *to_lose -= usize::from(is_lost);
        is_lost
    }

    fn is_busy(&self) -> bool {
        let state = self.state();
        state.sweeping || state.renewing || state.handling.iter().any(|handling| *handling > 0)
    }
}

/// Runs the functions.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) app: App,
    /// None where scripts are not run.
    pub(crate) scripts: Option<Scripts>,
    pub(crate) queues: Queues,
    pub(crate) agenda: Arc<Agenda>,
    pub(crate) time: Arc<dyn Time>,
    /// Whether functions are ended at their time limit, wherever they are.
    pub(crate) ends_functions: bool,
    pub(crate) clean: Arc<dyn Fn() + Send + Sync>,
}

impl Runner {
    /// Runs until the agenda is stopped.
    pub(crate) async fn run(self) {
        loop {
            if self.agenda.state().stopped {
                return;
            }
            let now = self.time.now();
            self.start_what_is_due(now);
            // What is due and was not started waits for a free place, which is signalled, or for the queues to recover.
            let next = Some(self.next_at()).filter(|next| *next > now).unwrap_or(now + AFTER_FAILURE);
            let next = next.min(self.agenda.next_pulse_at());
            tokio::select! {
                () = self.agenda.changed.notified() => {}
                () = self.time.sleep_until(next) => {}
            }
        }
    }

    /// Returns when something is next due, but for the pulse.
    pub(crate) fn next_at(&self) -> DateTime<Utc> {
        let sweep_at = self.agenda.state().sweep_at;
        match self.queues.next_at() {
            Ok(next) => next.map_or(sweep_at, |next| next.min(sweep_at)),
            Err(error) => {
                tracing::error!(%error, "the queues cannot be read");
                sweep_at
            }
        }
    }

    /// Returns when nothing is being done and nothing is due.
    pub(crate) async fn settle(&self) {
        let mut progress = self.agenda.progress.subscribe();
        loop {
            progress.borrow_and_update();
            let next = self.next_at().min(self.agenda.next_pulse_at());
            if !self.agenda.is_busy() && next > self.time.now() {
                return;
            }
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns when nothing is being done.
    pub(crate) async fn finished(&self) {
        let mut progress = self.agenda.progress.subscribe();
        while self.agenda.is_busy() && progress.changed().await.is_ok() {}
    }

    fn start_what_is_due(&self, now: DateTime<Utc>) {
        let mut state = self.agenda.state();
        if state.sweep_at <= now && !state.sweeping {
            state.sweeping = true;
            state.sweep_at = now + TICK;
            spawn(self.clone().sweep());
        }
        if state.pulse_at <= now && !state.renewing {
            state.renewing = true;
            state.pulse_at = now + PULSE;
            spawn(self.clone().renew_pulse());
        }
        if state.clean_at <= now {
            state.clean_at = now + CLEANING;
            let clean = Arc::clone(&self.clean);
            tokio::task::spawn_blocking(move || clean());
        }
        drop(state);
        for queue in Queue::ALL {
            while self.agenda.reserve(queue) {
                match self.receive(queue, now) {
                    Ok(messages) if messages.is_empty() => {
                        self.agenda.release(queue);
                        break;
                    }
                    Ok(_) if self.agenda.loses_worker(queue) => self.agenda.release(queue),
                    Ok(messages) => spawn(self.clone().handle(queue, messages)),
                    Err(error) => {
                        tracing::error!(%error, "messages cannot be received");
                        self.agenda.release(queue);
                        break;
                    }
                }
            }
        }
    }

    fn receive(&self, queue: Queue, now: DateTime<Utc>) -> Result<Vec<Received>, QueueError> {
        self.queues.receive(queue.name(), queue.batch_size(), queue.visibility_timeout(), now)
    }

    async fn renew_pulse(self) {
        // One that panicked has logged it.
        let _renewed = AssertUnwindSafe(sweep::renew_pulse(&self.app)).catch_unwind().await;
        self.agenda.state().renewing = false;
        self.agenda.changed();
    }

    async fn sweep(self) {
        if let Some(prometheus) = &self.app.prometheus {
            prometheus.run_upkeep();
        }
        let next = match self.within(WORKER_TIME, sweep::timed(&self.app, self.sweep_parts())).await {
            Some(Ok(swept)) => swept.next_due,
            Some(Err(error)) => {
                tracing::error!(%error, "the sweep failed");
                Some(self.time.now() + AFTER_FAILURE)
            }
            None => None,
        };
        let mut state = self.agenda.state();
        state.sweeping = false;
        state.sweep_at = next.into_iter().chain([state.sweep_at]).min().unwrap_or(state.sweep_at);
        drop(state);
        self.agenda.changed();
    }

    /// Sweeps each shard in a task of its own, so that every core has a part in it. They end with the sweep.
    async fn sweep_parts(&self) -> Result<Swept, operations::Error> {
        let mut parts = JoinSet::new();
        for shard in 0..SHARDS {
            parts.spawn(AssertUnwindSafe(sweep::part(self.app.clone(), shard)).catch_unwind());
        }
        let mut swept = Vec::new();
        while let Some(part) = parts.join_next().await {
            // One that panicked has logged it; its rows stay due.
            swept.push(part.ok().and_then(Result::ok).unwrap_or(Err(operations::Error::Panicked)));
        }
        Swept::of(swept)
    }

    async fn handle(self, queue: Queue, messages: Vec<Received>) {
        let Ok(event) = event(queue, &messages) else {
            tracing::error!("a batch cannot be turned into an event; its messages will be delivered again");
            return self.handled(queue);
        };
        let handler = AssertUnwindSafe(async {
            match queue {
                Queue::Sweep => sweep::wake_ups(&self.app, event).await,
                Queue::Notify => notify::wake_ups(&self.app, event).await,
                Queue::Script => self.run_scripts(event).await,
                Queue::Playbook | Queue::ScriptResults => playbook::messages(&self.app, event).await,
            }
        })
        .catch_unwind();
        let handled = self.within(queue.time_limit(), handler).await;
        if let Some(Ok(SqsBatchResponse { batch_item_failures, .. })) = handled {
            let failed = |id: &&str| batch_item_failures.iter().any(|failure| failure.item_identifier == *id);
            let handled = messages.iter().map(|message| message.id.as_str()).filter(|id| !failed(id));
            if let Err(error) = self.queues.delete(handled) {
                tracing::error!(%error, "handled messages cannot be deleted");
            }
        }
        self.handled(queue);
    }

    /// Returns what came of a function; none, if it was ended at its time limit.
    async fn within<T>(&self, limit: TimeDelta, function: impl Future<Output = T>) -> Option<T> {
        if !self.ends_functions {
            return Some(function.await);
        }
        let limit = self.time.sleep_until(self.time.now() + limit);
        tokio::select! {
            outcome = function => Some(outcome),
            () = limit => None,
        }
    }

    async fn run_scripts(&self, event: SqsEvent) -> SqsBatchResponse {
        match &self.scripts {
            Some(scripts) => script::jobs(scripts, event).await,
            None => each_record(event, |_: ScriptJob| async { Err("scripts are not run here") }).await,
        }
    }

    fn handled(&self, queue: Queue) {
        self.agenda.release(queue);
        self.agenda.changed();
    }
}

/// Returns a batch as Lambda hands it to a function.
fn event(queue: Queue, messages: &[Received]) -> Result<SqsEvent, serde_json::Error> {
    let records: Vec<_> = messages
        .iter()
        .map(|message| {
            json!({
                "messageId": message.id,
                "receiptHandle": message.id,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": message.receives.to_string(),
                    "SentTimestamp": message.sent_at.timestamp_millis().to_string(),
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": format!("arn:aws:sqs:eu-west-1:000000000000:medic-{}", queue.name()),
                "awsRegion": "eu-west-1",
            })
        })
        .collect();
    serde_json::from_value(json!({"Records": records}))
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "the local system runs functions as AWS does: concurrently")]
    drop(tokio::spawn(work));
}
