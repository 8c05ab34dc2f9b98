//! The queues: messages are lost, duplicated, late or reordered, and come back while nobody has handled them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use local::ManualTime;
use outbound::{QueueError, ScriptJob, ScriptJobs, ScriptReport, ScriptReports, Wake, WakeError, Wakes};
use runtime::Clock as _;

use crate::executions::ScriptAttempt;
use crate::seed::{FaultLevel, Seed};

/// A message is given up past so many receives.
const MAX_RECEIVES: u32 = 5;

/// A message that waits in a queue or is being handled.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) queue: Queue,
    pub(crate) body: String,
    visible_at: DateTime<Utc>,
    receives: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    Sweep,
    Notify,
    Playbook,
}

impl Queue {
    const fn visibility_timeout(self) -> TimeDelta {
        match self {
            Self::Sweep | Self::Notify => TimeDelta::seconds(180),
            Self::Playbook => TimeDelta::seconds(1_980),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    dead_letters: Vec<Message>,
    last_id: u64,
}

/// The queues, as Medic's port.
#[derive(Debug)]
pub(crate) struct Queues {
    state: Mutex<State>,
    seed: Arc<Seed>,
    time: ManualTime,
    /// Attempts of scripts.
    attempts: Mutex<Vec<ScriptAttempt>>,
}

impl Queues {
    pub(crate) fn new(seed: &Arc<Seed>, time: &ManualTime) -> Self {
        Self { state: Mutex::default(), seed: Arc::clone(seed), time: time.clone(), attempts: Mutex::default() }
    }

    fn put(&self, queue: Queue, body: &str, visible_at: DateTime<Utc>) {
        let mut state = self.state.lock().unwrap();
        state.last_id += 1;
        let id = state.last_id;
        self.seed.record(&format!("message {id} is put in {queue:?} for {visible_at}: {body}"));
        state.messages.push(Message { id, queue, body: body.to_owned(), visible_at, receives: 0 });
    }

    /// Returns when the next message becomes visible.
    pub(crate) fn next_at(&self) -> Option<DateTime<Utc>> {
        self.state.lock().unwrap().messages.iter().map(|message| message.visible_at).min()
    }

    /// Returns the visible messages in batches, and hides them for a while.
    pub(crate) fn receive(&self, now: DateTime<Utc>) -> VecDeque<Vec<Message>> {
        let mut state = self.state.lock().unwrap();
        let (given_up, kept) = std::mem::take(&mut state.messages)
            .into_iter()
            .partition(|message: &Message| message.visible_at <= now && message.receives >= MAX_RECEIVES);
        state.messages = kept;
        state.dead_letters.extend(given_up);
        state.messages.sort_by_key(|message| (message.visible_at, message.id));
        let mut batches: VecDeque<Vec<Message>> = VecDeque::new();
        for message in state.messages.iter_mut().filter(|message| message.visible_at <= now) {
            message.receives += 1;
            message.visible_at = now + message.queue.visibility_timeout();
            let max = if message.queue == Queue::Playbook { 1 } else { 10 };
            match batches.iter_mut().find(|batch| batch[0].queue == message.queue && batch.len() < max) {
                Some(batch) => batch.push(message.clone()),
                None => batches.push_back(vec![message.clone()]),
            }
        }
        batches
    }

    /// Deletes the messages of a batch that did not fail.
    pub(crate) fn handled(&self, batch: &[Message], failed: impl Fn(u64) -> bool) {
        let mut state = self.state.lock().unwrap();
        state.messages.retain(|message| !batch.iter().any(|known| known.id == message.id) || failed(message.id));
    }

    /// Returns what is left in the queues, the dead letters first.
    pub(crate) fn left(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let dead_letters = state.dead_letters.iter().map(|message| format!("dead letter: {}", message.body));
        dead_letters.chain(state.messages.iter().map(|message| format!("message: {}", message.body))).collect()
    }

    /// Returns the attempts of scripts.
    pub(crate) fn attempts(&self) -> Vec<ScriptAttempt> {
        self.attempts.lock().unwrap().clone()
    }
}

#[async_trait]
impl Wakes for Queues {
    async fn wake(&self, wake: Wake, at: DateTime<Utc>) -> Result<(), WakeError> {
        let queue = match &wake {
            Wake::Row { .. } | Wake::Shard { .. } => Queue::Sweep,
            Wake::Lane { .. } => Queue::Notify,
            Wake::Execution { .. } | Wake::Start { .. } | Wake::Press { .. } => Queue::Playbook,
        };
        let body = serde_json::to_string(&wake).unwrap();
        // A message is delayed by whole seconds.
        let now = self.time.now();
        let delay = TimeDelta::milliseconds(((at - now).num_milliseconds() + 999).div_euclid(1_000) * 1_000);
        let at = now + delay.max(TimeDelta::zero());
        if self.seed.is_calm() {
            self.put(queue, &body, at);
            return Ok(());
        }
        let about = (queue, body.get(..30));
        let millis = |below| TimeDelta::milliseconds(self.seed.roll(about, below).try_into().unwrap());
        let roll = self.seed.roll(about, 100);
        if self.seed.is(FaultLevel::Stormy) && roll >= 94 {
            // The caller does not know whether it was sent.
            if roll >= 97 {
                self.put(queue, &body, at);
            }
            return Err(WakeError("no answer".into()));
        }
        match roll {
            0..15 => self.seed.record(&format!("a message is lost: {body}")),
            15..25 => {
                self.put(queue, &body, at + millis(2_000));
                self.put(queue, &body, at + millis(600_000));
            }
            25..35 => self.put(queue, &body, at + millis(3_600_000)),
            _ => self.put(queue, &body, at + millis(1_500)),
        }
        Ok(())
    }

    fn arrival(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.duration_trunc(TimeDelta::seconds(1)).unwrap() + TimeDelta::seconds(1)
    }
}

/// Stands for the script runner as well: the seed decides what it reports, and when.
#[async_trait]
impl ScriptJobs for Queues {
    async fn send_job(&self, job: &ScriptJob) -> Result<(), QueueError> {
        let about = ("script", job.step_index, job.attempt);
        let below = |what: &'static str, below| self.seed.roll((about, what), below);
        let millis = |what, max| TimeDelta::milliseconds(below(what, max).try_into().unwrap());
        let now = self.time.now();
        let in_time = now + TimeDelta::milliseconds(500) + millis("takes", 4_000);
        let too_late = now + TimeDelta::seconds(i64::from(job.timeout_seconds) + 30) + millis("late", 120_000);
        let mut own = ScriptAttempt {
            execution: job.execution_id.clone(),
            step: job.step_index.try_into().unwrap(),
            attempt: job.attempt,
            at: now,
            reports_at: None,
            exit: i32::from(below("exit", 100) < 10),
        };
        let fate = if self.seed.is_calm() { 99 } else { below("fate", 100) };
        let is_refused = self.seed.is(FaultLevel::Stormy) && fate < 5;
        own.reports_at = match fate {
            0..10 => None,
            10..25 => Some(too_late),
            _ => Some(in_time),
        };
        let error = (own.exit != 0).then(|| "the script failed".to_owned());
        let report = job.report(Some(own.exit), own.output(), error, 1_000);
        let report = serde_json::to_string(&report).unwrap();
        if let Some(at) = own.reports_at {
            self.put(Queue::Playbook, &report, at);
        }
        if (25..40).contains(&fate) {
            self.put(Queue::Playbook, &report, in_time + millis("again", 600_000));
        }
        if below("forged", 100) < 30 {
            let mut forged = job.report(Some(1 - own.exit), "forged".to_owned(), None, 1_000);
            "forged".clone_into(&mut forged.nonce);
            self.put(Queue::Playbook, &serde_json::to_string(&forged).unwrap(), now + millis("forged at", 5_000));
        }
        self.seed.record(&format!("script {own:?}"));
        self.attempts.lock().unwrap().push(own);
        if is_refused { Err(QueueError("no answer".into())) } else { Ok(()) }
    }
}

/// A report that is sent again.
#[async_trait]
impl ScriptReports for Queues {
    async fn send_report(&self, report: &ScriptReport, delay: Duration) -> Result<(), QueueError> {
        let at = self.time.now() + TimeDelta::from_std(delay).unwrap();
        self.put(Queue::Playbook, &serde_json::to_string(report).unwrap(), at);
        Ok(())
    }
}
