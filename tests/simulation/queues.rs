//! The queues: messages are lost, duplicated, late or reordered, and come back while nobody has handled them. Behind one of
//! them are workers that run scripts, and some die.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use local::ManualTime;
use outbound::{QueueError, Route, ScriptJob, ScriptJobs, ScriptReport, ScriptReports, Wake, WakeError, Wakes};
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
    /// Of a FIFO queue: within a group one is received only when those before it are gone.
    group: Option<String>,
    visible_at: DateTime<Utc>,
    receives: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    Sweep,
    Notify,
    Playbook,
    Script,
    ScriptResults,
}

impl Queue {
    const fn visibility_timeout(self) -> TimeDelta {
        match self {
            Self::Sweep | Self::Notify => TimeDelta::seconds(180),
            Self::Playbook | Self::ScriptResults => TimeDelta::seconds(1_980),
            Self::Script => TimeDelta::seconds(3_960),
        }
    }

    const fn batch_size(self) -> usize {
        match self {
            Self::Sweep | Self::Notify | Self::ScriptResults => 10,
            Self::Playbook | Self::Script => 1,
        }
    }
}

/// A handler that takes no longer was neither paused nor killed.
const PROMPT: TimeDelta = TimeDelta::seconds(2);

/// An attempt of a script: execution, step and number.
type Attempt = (String, u32, u32);

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
    /// How many handlers of an attempt's reports were received and not promptly done, or could not send one again.
    troubles: Mutex<HashMap<Attempt, i64>>,
}

impl Queues {
    pub(crate) fn new(seed: &Arc<Seed>, time: &ManualTime) -> Self {
        let (seed, time) = (Arc::clone(seed), time.clone());
        Self { state: Mutex::default(), seed, time, attempts: Mutex::default(), troubles: Mutex::default() }
    }

    fn put(&self, queue: Queue, body: &str, visible_at: DateTime<Utc>) {
        self.put_in(queue, None, body, visible_at);
    }

    fn put_in(&self, queue: Queue, group: Option<String>, body: &str, visible_at: DateTime<Utc>) {
        let mut state = self.state.lock().unwrap();
        state.last_id += 1;
        let id = state.last_id;
        self.seed.record(&format!("message {id} is put in {queue:?} for {visible_at}: {body}"));
        state.messages.push(Message { id, queue, body: body.to_owned(), group, visible_at, receives: 0 });
    }

    /// Returns when the next message becomes visible that waits for no other.
    pub(crate) fn next_at(&self) -> Option<DateTime<Utc>> {
        let state = self.state.lock().unwrap();
        let is_free = |message: &&Message| !message.is_blocked_by(&state.messages);
        state.messages.iter().filter(is_free).map(|message| message.visible_at).min()
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
        let all = state.messages.clone();
        let is_ready = |message: &&mut Message| message.visible_at <= now && !message.is_blocked_by(&all);
        for message in state.messages.iter_mut().filter(is_ready) {
            message.receives += 1;
            message.visible_at = now + message.queue.visibility_timeout();
            let max = message.queue.batch_size();
            match batches.iter_mut().find(|batch| batch[0].queue == message.queue && batch.len() < max) {
                Some(batch) => batch.push(message.clone()),
                None => batches.push_back(vec![message.clone()]),
            }
        }
        batches
    }

    /// Decides whether the handling of a batch fails, without whoever handles it dying: once for a press or a report.
    pub(crate) fn fails(&self, batch: &[Message]) -> bool {
        for message in batch {
            message.report().into_iter().for_each(|report| self.trouble(&report, 1));
        }
        let is_first = |message: &Message| {
            let is_report = message.report().is_some_and(|report| report.failures == 0);
            message.receives == 1 && (is_report || message.body.contains(r#""wake":"press""#))
        };
        self.seed.is(FaultLevel::Stormy) && batch.iter().all(is_first) && self.seed.roll("fails", 100) < 40
    }

    fn trouble(&self, report: &ScriptReport, more: i64) {
        let ScriptReport { execution_id, step_index, attempt, .. } = report;
        *self.troubles.lock().unwrap().entry((execution_id.clone(), *step_index, *attempt)).or_default() += more;
    }

    /// Deletes the messages of a batch that did not fail.
    pub(crate) fn handled(&self, batch: &[Message], failed: impl Fn(u64) -> bool) {
        for message in batch.iter().filter(|message| message.was_received_since(self.time.now() - PROMPT)) {
            message.report().into_iter().for_each(|report| self.trouble(&report, -1));
        }
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
        let troubles = self.troubles.lock().unwrap();
        let mut attempts = self.attempts.lock().unwrap().clone();
        for one in &mut attempts {
            let of = (one.execution.clone(), one.step.try_into().unwrap(), one.attempt);
            one.is_troubled = troubles.get(&of).is_some_and(|troubles| *troubles > 0);
        }
        attempts
    }

    /// Runs a script, as its own function does: its worker dies and holds the message, or reports when the seed says so.
    pub(crate) fn run_script(&self, message: &Message) {
        let job: ScriptJob = serde_json::from_str(&message.body).unwrap();
        let mut attempts = self.attempts.lock().unwrap();
        let is_own = |one: &&mut ScriptAttempt| {
            one.execution == job.execution_id && one.step == job.step_index as usize && one.attempt == job.attempt
        };
        let own = attempts.iter_mut().find(is_own).unwrap();
        let now = self.time.now();
        own.received_at.get_or_insert(now);
        // A job that is too late is dropped. A worker that dies deletes nothing.
        if now.timestamp_millis() > job.start_by_ms || self.report(&job, own) {
            self.handled(std::slice::from_ref(message), |_| false);
        }
    }

    /// Sends the reports of an attempt. Returns whether its worker lives on.
    fn report(&self, job: &ScriptJob, own: &mut ScriptAttempt) -> bool {
        let about = ("script", job.step_index, job.attempt);
        let below = |what: &'static str, below| self.seed.roll((about, what), below);
        let millis = |what, max| TimeDelta::milliseconds(below(what, max).try_into().unwrap());
        let now = self.time.now();
        let in_time = now + TimeDelta::milliseconds(500) + millis("takes", 4_000);
        let too_late = now + TimeDelta::seconds(i64::from(job.timeout_seconds) + 30) + millis("late", 120_000);
        own.exit = i32::from(below("exit", 100) < 10);
        let fate = if self.seed.is_calm() { 99 } else { below("fate", 100) };
        own.reports_at = match fate {
            0..15 => None,
            15..25 => Some(too_late),
            _ => Some(in_time),
        };
        let error = (own.exit != 0).then(|| "the script failed".to_owned());
        let report = job.report(Some(own.exit), own.output(), error, 1_000);
        let report = serde_json::to_string(&report).unwrap();
        if let Some(at) = own.reports_at {
            self.put(Queue::ScriptResults, &report, at);
        }
        if (25..40).contains(&fate) {
            self.put(Queue::ScriptResults, &report, in_time + millis("again", 600_000));
        }
        if below("forged", 100) < 30 {
            let mut forged = job.report(Some(1 - own.exit), "forged".to_owned(), None, 1_000);
            "forged".clone_into(&mut forged.nonce);
            let at = now + millis("forged at", 5_000);
            self.put(Queue::ScriptResults, &serde_json::to_string(&forged).unwrap(), at);
        }
        self.seed.record(&format!("script {own:?}"));
        fate >= 15
    }
}

impl Message {
    fn is_blocked_by(&self, all: &[Self]) -> bool {
        let is_before = |other: &Self| other.queue == self.queue && other.group == self.group && other.id < self.id;
        self.group.is_some() && all.iter().any(is_before)
    }

    /// Returns the report of a script that it is, if it is one.
    fn report(&self) -> Option<ScriptReport> {
        let is_report = self.queue == Queue::ScriptResults;
        is_report.then(|| serde_json::from_str(&self.body).unwrap())
    }

    fn was_received_since(&self, at: DateTime<Utc>) -> bool {
        self.visible_at - self.queue.visibility_timeout() >= at
    }
}

/// The queues as an instance sends to them, whose clock may be ahead of the others or behind.
#[derive(Debug)]
pub(crate) struct InstanceWakes {
    pub(crate) queues: Arc<Queues>,
    pub(crate) ahead: TimeDelta,
}

#[async_trait]
impl Wakes for InstanceWakes {
    async fn wake(&self, wake: Wake, at: DateTime<Utc>) -> Result<(), WakeError> {
        // A delay counts from the sender's now; a schedule fires by the clock of AWS.
        let now = self.queues.time.now() + self.ahead;
        let is_delay = matches!(Route::of(at, now), Route::Message { .. });
        self.queues.send(&wake, if is_delay { at - self.ahead } else { at })
    }

    fn arrival(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.duration_trunc(TimeDelta::seconds(1)).unwrap() + TimeDelta::seconds(1)
    }
}

impl Queues {
    fn send(&self, wake: &Wake, at: DateTime<Utc>) -> Result<(), WakeError> {
        let queue = match wake {
            Wake::Row { .. } | Wake::Shard { .. } => Queue::Sweep,
            Wake::Lane { .. } => Queue::Notify,
            Wake::Execution { .. } | Wake::Start { .. } | Wake::Press { .. } => Queue::Playbook,
        };
        let body = serde_json::to_string(wake).unwrap();
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
        // Nothing but its row holds a press whose message is lost.
        let lost = if matches!(wake, Wake::Press { .. }) { 40 } else { 15 };
        match roll {
            roll if roll < lost => self.seed.record(&format!("a message is lost: {body}")),
            15..25 => {
                self.put(queue, &body, at + millis(2_000));
                self.put(queue, &body, at + millis(600_000));
            }
            25..35 => self.put(queue, &body, at + millis(3_600_000)),
            _ => self.put(queue, &body, at + millis(1_500)),
        }
        Ok(())
    }
}

#[async_trait]
impl ScriptJobs for Queues {
    async fn send_job(&self, job: &ScriptJob) -> Result<(), QueueError> {
        let roll = self.seed.roll(("job", job.step_index, job.attempt), 100);
        let is_refused = self.seed.is(FaultLevel::Stormy) && roll < 6;
        // The caller does not know whether it was sent.
        if !is_refused || roll >= 3 {
            self.attempts.lock().unwrap().push(ScriptAttempt {
                execution: job.execution_id.clone(),
                step: job.step_index.try_into().unwrap(),
                attempt: job.attempt,
                at: self.time.now(),
                timeout: TimeDelta::seconds(job.timeout_seconds.into()),
                received_at: None,
                reports_at: None,
                is_troubled: false,
                exit: 0,
            });
            let body = serde_json::to_string(job).unwrap();
            self.put_in(Queue::Script, Some(job.message_group()), &body, self.time.now());
        }
        if is_refused { Err(QueueError("no answer".into())) } else { Ok(()) }
    }
}

/// A report that is sent again. SQS loses none that it accepted.
#[async_trait]
impl ScriptReports for Queues {
    async fn send_report(&self, report: &ScriptReport, delay: Duration) -> Result<(), QueueError> {
        let roll = self.seed.roll(("report", report.step_index, report.attempt), 100);
        let is_refused = self.seed.is(FaultLevel::Stormy) && roll < 6;
        if !is_refused || roll >= 3 {
            let at = self.time.now() + TimeDelta::from_std(delay).unwrap();
            self.put(Queue::ScriptResults, &serde_json::to_string(report).unwrap(), at);
        }
        if is_refused {
            self.trouble(report, 1);
            return Err(QueueError("no answer".into()));
        }
        Ok(())
    }
}
