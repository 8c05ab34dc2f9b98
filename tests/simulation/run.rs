//! Runs one seed: clients and a person who try again until they are answered, then a quiet end, then the check.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use local::ManualTime;
use runtime::Clock as _;
use serde_json::{Value, json};

use crate::check;
use crate::cloud::{Asked, Cloud};
use crate::fate::{Seed, Weather};
use crate::jobs::{Jobs, Signal};
use crate::model::{Beat, Change, Service, What};
use crate::plan::{Dice, Edit, Plan, Said};
use crate::repairs::{Outside, Said as SaidOf, Word};
use crate::shown::{self, Shown};
use crate::wishes::{Sent, Wish, rule, until};

/// What came of a seed.
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) trace: Trace,
    /// All that happened; the same whenever the seed is run.
    pub(crate) record: Vec<String>,
}

/// What helps to understand a failure.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// What clients were answered.
    pub(crate) happened: Vec<String>,
    /// The alerts and executions that Medic shows at the end.
    pub(crate) shown: Vec<String>,
}

/// A client tries again after this.
const AGAIN: TimeDelta = TimeDelta::seconds(7);
/// A handler that nobody waits for any more ends within this.
const STRAGGLES: TimeDelta = TimeDelta::seconds(90);
/// Longer than anything waits.
const REST: TimeDelta = TimeDelta::days(8);

pub(crate) fn run(number: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::coop::unconstrained(Run::of(number)))
}

struct Run {
    cloud: Cloud,
    plan: Plan,
    /// For what the person does.
    dice: Dice,
    services: Vec<Service>,
    /// What is to be wished for, and by whom.
    agenda: BTreeMap<(DateTime<Utc>, u64), (usize, Wish)>,
    orders: u64,
    /// What each client still has to send, one after the other.
    waiting: Vec<VecDeque<Wish>>,
    sent: HashMap<u64, Sent>,
    is_busy: Vec<bool>,
    /// Until then nothing is sent.
    free_at: Vec<DateTime<Utc>>,
    /// Services that are being switched or deleted.
    is_ending: Vec<bool>,
    windows: Vec<i64>,
    numbers: u64,
    /// Executions that the person has seen, and whether they waited for a yes.
    seen: HashSet<(String, bool)>,
    said: Vec<SaidOf>,
    trace: Trace,
}

impl Run {
    async fn of(number: u64) -> Outcome {
        let time = ManualTime::starting_at(harness::start_of_time());
        let weather = match number % 4 {
            0 => Weather::Calm,
            1 => Weather::Lossy,
            _ => Weather::Stormy,
        };
        let plan = Plan::of(number, time.now());
        let seed = Arc::new(Seed::new(number, weather, plan.outage, &time));
        seed.be_quiet(true);
        let cloud = Cloud::start(seed, time).await;
        let (places, clients) = (plan.services.len(), plan.services.len() * 2 + 1);
        let mut run = Self {
            cloud,
            plan,
            dice: Dice::new(!number),
            services: Vec::new(),
            agenda: BTreeMap::new(),
            orders: 0,
            waiting: vec![VecDeque::new(); clients],
            sent: HashMap::new(),
            is_busy: vec![false; clients],
            free_at: vec![DateTime::UNIX_EPOCH; clients],
            is_ending: vec![false; places],
            windows: Vec::new(),
            numbers: 0,
            seen: HashSet::new(),
            said: Vec::new(),
            trace: Trace::default(),
        };
        run.set_up().await;
        run.live().await;
        run.end().await
    }

    async fn set_up(&mut self) {
        let hook = format!("{}/hook", self.cloud.receivers.address);
        let webhook = json!({"url": hook, "max_attempts": shown::MAX_DELIVERIES, "retry_delays_seconds": [5, 60, 600]});
        self.must("POST", "/v2/webhooks", webhook).await;
        for (place, window) in self.plan.windows.clone().into_iter().enumerate() {
            let window = window.fields(&format!("window-{place}"));
            let made = self.must("POST", "/v2/maintenance-windows", window).await;
            self.windows.push(made["window_id"].as_i64().expect("an id"));
        }
        if !self.plan.playbooks.is_empty() {
            let script = json!({"name": "mend", "interpreter": "bash", "content": "true"});
            self.must("POST", "/v2/scripts", script).await;
        }
        for (place, playbook) in self.plan.playbooks.clone().into_iter().enumerate() {
            let yaml = playbook.yaml(place, &self.cloud.receivers.address);
            self.must("POST", "/v2/playbooks", json!({"yaml": yaml})).await;
        }
        self.cloud.seed.be_quiet(false);
        let maintenance: Vec<_> = self.plan.windows.iter().flat_map(|window| window.spans(self.plan.end)).collect();
        self.services = self
            .plan
            .services
            .iter()
            .enumerate()
            .map(|(place, planned)| Service {
                id: 0,
                name: format!("service-{place}"),
                rule: rule(&planned.expected),
                registered: Beat { first: planned.begins, last: planned.begins, status: "UP" },
                beats: Vec::new(),
                changes: Vec::new(),
                maintenance: maintenance.clone(),
                jobs: planned
                    .max_duration_ms
                    .map(|longest| Jobs { longest: TimeDelta::milliseconds(longest), signals: Vec::new() }),
            })
            .collect();
    }

    /// A request while nothing fails.
    pub(crate) async fn must(&mut self, method: &'static str, path: &str, body: Value) -> Value {
        self.numbers += 1;
        let asked = Asked { number: self.numbers, method, path: path.to_owned(), body, key: None };
        self.cloud.ask(&asked);
        let (_, answer) = self.cloud.run_until(self.cloud.time.now()).await.expect("an answer");
        let (status, body) = answer.expect("an answer");
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        body["results"].clone()
    }

    fn put_down(&mut self, at: DateTime<Utc>, client: usize, wish: Wish) {
        self.orders += 1;
        self.agenda.insert((at, self.orders), (client, wish));
    }

    fn person(&self) -> usize {
        self.plan.services.len()
    }

    /// Who changes a service, beside what it says itself.
    fn operator_of(&self, place: usize) -> usize {
        self.person() + 1 + place
    }

    /// Which service a client is, or operates.
    fn place_of(&self, client: usize) -> usize {
        if client > self.person() { client - self.person() - 1 } else { client }
    }

    /// Whether a client may send its next wish.
    fn is_free(&self, client: usize, now: DateTime<Utc>) -> bool {
        let place = self.place_of(client);
        let is_idle = |client: usize| !self.is_busy[client] && self.free_at[client] <= now;
        if client == self.person() || !is_idle(client) {
            return is_idle(client);
        }
        let is_operator = client > self.person();
        if is_operator && self.services[place].id == 0 {
            return false;
        }
        if is_operator {
            !self.waiting[client].front().is_some_and(Wish::ends_a_watch) || is_idle(place)
        } else {
            !self.is_ending[place]
        }
    }

    async fn live(&mut self) {
        for (place, planned) in self.plan.services.clone().into_iter().enumerate() {
            self.put_down(planned.begins, place, Wish::Register);
            for (at, said) in planned.says {
                self.put_down(at, place, Wish::Say(said));
            }
            for (at, edit) in planned.edits {
                self.put_down(at, self.operator_of(place), Wish::Edit(edit));
            }
        }
        if !self.plan.playbooks.is_empty() {
            self.put_down(self.cloud.time.now() + TimeDelta::minutes(1), self.person(), Wish::Look);
        }
        let mut again: BTreeMap<(DateTime<Utc>, u64), Sent> = BTreeMap::new();
        loop {
            let now = self.cloud.time.now();
            if now >= self.plan.quiet_from {
                self.cloud.seed.be_quiet(true);
            }
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
                let (client, wish) = entry.remove();
                self.waiting[client].push_back(wish);
            }
            while let Some(entry) = again.first_entry().filter(|entry| entry.key().0 <= now) {
                let number = entry.key().1;
                let sent = entry.remove();
                self.send(number, Sent { tries: sent.tries + 1, ..sent });
            }
            for client in 0..self.waiting.len() {
                if self.services.get(client).is_some_and(Service::is_deleted) {
                    self.waiting[client].clear();
                }
                if self.is_free(client, now)
                    && let Some(wish) = self.waiting[client].pop_front()
                {
                    self.is_busy[client] = true;
                    if wish.ends_a_watch() {
                        let place = self.place_of(client);
                        self.is_ending[place] = true;
                    }
                    self.numbers += 1;
                    self.send(self.numbers, Sent { client, wish, first: now, tries: 1 });
                }
            }
            let nexts = self.agenda.first_key_value().map(|(key, _)| key.0).into_iter();
            let next = nexts.chain(again.first_key_value().map(|(key, _)| key.0)).chain([self.plan.end]).min();
            let quiet_from = Some(self.plan.quiet_from).filter(|at| *at > now);
            let free_at = self.free_at.iter().copied().filter(|at| *at > now);
            let next = next.into_iter().chain(quiet_from).chain(free_at).min().unwrap_or(now);
            match self.cloud.run_until(next).await {
                Some((number, answer)) => {
                    let now = self.cloud.time.now();
                    let sent = self.sent.remove(&number).expect("what was sent");
                    let status = answer.as_ref().map(|(status, _)| *status);
                    self.note(&format!("{} {:?} {status:?}", sent.client, sent.wish));
                    let may_be_refused = matches!(sent.wish, Wish::Word { .. });
                    let is_off = matches!(sent.wish, Wish::Say(_)) && self.is_off(sent.client);
                    match answer {
                        Some((400, _)) if is_off => self.is_busy[sent.client] = false,
                        Some((status, body)) if sent.tries > 1 && sent.wish.is_done(status) => {
                            self.acknowledged(&sent, now, (status, &body));
                        }
                        Some((200..300, _)) if is_off => panic!("{:?} was taken of a service that is off", sent.wish),
                        Some((status, body)) if (200..300).contains(&status) || status == 409 && may_be_refused => {
                            self.acknowledged(&sent, now, (status, &body));
                        }
                        None | Some((500.., _)) => {
                            again.insert((now + AGAIN, number), sent);
                        }
                        Some((status, body)) => panic!("{:?}: {status} {body}", sent.wish),
                    }
                }
                None if self.cloud.time.now() >= self.plan.end && self.sent.is_empty() && again.is_empty() => return,
                None => {}
            }
        }
    }

    fn is_off(&self, place: usize) -> bool {
        let switches = self.services.get(place).into_iter().flat_map(|service| service.changes.iter().rev());
        let mut switches = switches.filter(|change| matches!(change.what, What::On | What::Off));
        switches.next().is_some_and(|change| matches!(change.what, What::Off))
    }

    fn note(&mut self, line: &str) {
        let now = self.cloud.time.now();
        self.cloud.seed.record(line);
        self.trace.happened.push(format!("{} {line}", now.format("%d %H:%M:%S%.3f")));
    }

    fn send(&mut self, number: u64, sent: Sent) {
        let place = self.place_of(sent.client);
        let about = self.services.get(place).zip(self.plan.services.get(place));
        let (method, path, body) = sent.request(about);
        let key = matches!(sent.wish, Wish::Say(_)).then(|| format!("try-{number}"));
        self.cloud.ask(&Asked { number, method, path, body, key });
        self.sent.insert(number, sent);
    }

    fn acknowledged(&mut self, sent: &Sent, now: DateTime<Utc>, (status, body): (u16, &Value)) {
        let place = self.place_of(sent.client);
        self.is_busy[sent.client] = false;
        // Of two heartbeats in one millisecond nobody can tell which came first.
        self.free_at[sent.client] = now + TimeDelta::milliseconds(1);
        let beat = |status| Beat { first: sent.first, last: now, status };
        match &sent.wish {
            Wish::Register => {
                self.services[place].registered = beat("UP");
                self.waiting[place].push_front(Wish::Find);
            }
            Wish::Find => self.services[place].id = body["results"][0]["service_id"].as_i64().expect("an id"),
            Wish::Say(Said::Status(status)) => self.services[place].beats.push(beat(status)),
            Wish::Say(Said::Signal(kind, run)) => {
                let service = &mut self.services[place];
                let jobs = service.jobs.as_mut().expect("a service with jobs");
                if !jobs.is_repetition(*kind, *run) {
                    service.beats.push(beat(kind.status()));
                }
                jobs.signals.push(Signal { kind: *kind, run: *run, beat: beat(kind.status()) });
            }
            Wish::Edit(edit) => {
                let what = match *edit {
                    Edit::Rule(expected) => What::Rule(rule(&expected)),
                    Edit::Switch(true) => What::On,
                    Edit::Switch(false) => What::Off,
                    Edit::Mute(minutes) => What::Mute(until(sent, minutes)),
                    Edit::Unmute => What::Unmute,
                    Edit::Delete => What::Deleted,
                };
                // A try that got no answer may still be at work; the operator lets it end before anything else is done.
                let last = if sent.tries > 1 { now + STRAGGLES } else { now };
                self.free_at[sent.client] = last + TimeDelta::milliseconds(1);
                if sent.wish.ends_a_watch() {
                    self.free_at[place] = last + TimeDelta::milliseconds(1);
                    self.is_ending[place] = false;
                }
                self.services[place].changes.push(Change { first: sent.first, last, what });
            }
            Wish::Look => self.looked_at(body["results"]["items"].as_array().expect("executions"), now),
            Wish::Word { execution, word } => self.said.push(SaidOf {
                execution: execution.clone(),
                word: *word,
                first: sent.first,
                last: now,
                was_taken: status != 409,
                is_unsure: sent.tries > 1,
            }),
        }
    }

    /// The person makes up their mind about executions that are new to them, and looks again soon.
    fn looked_at(&mut self, executions: &[Value], now: DateTime<Utc>) {
        let person = self.person();
        for execution in executions.iter().rev() {
            let id = execution["execution_id"].as_str().unwrap().to_owned();
            let status = execution["status"].as_str().unwrap();
            let is_asked = status == "pending_approval";
            if !matches!(status, "pending_approval" | "running" | "waiting")
                || !self.seen.insert((id.clone(), is_asked))
            {
                continue;
            }
            let words = match self.dice.between(0, 99) {
                0..30 if is_asked => vec![Word::Approve],
                30..40 if is_asked => vec![Word::Approve, Word::Reject],
                40..60 if is_asked => vec![Word::Reject],
                60..70 if is_asked => vec![Word::Reject, Word::Approve],
                0..12 | 70..78 => vec![Word::Cancel],
                _ => Vec::new(),
            };
            let mut at = now;
            for word in words {
                at += TimeDelta::milliseconds(self.dice.between(1, 120_000));
                self.put_down(at, person, Wish::Word { execution: id.clone(), word });
            }
        }
        let at = now + TimeDelta::milliseconds(self.dice.between(30_000, 150_000) * self.plan.pace);
        if at < self.plan.end {
            self.put_down(at, person, Wish::Look);
        }
    }

    async fn end(mut self) -> Outcome {
        let end = self.cloud.time.now();
        for place in 0..self.services.len() {
            if !self.services[place].is_deleted() {
                let path = format!("/service/{}", self.services[place].name);
                self.must("POST", &path, json!({"active": 0})).await;
            }
        }
        for window in self.windows.clone() {
            self.must("DELETE", &format!("/v2/maintenance-windows/{window}"), Value::Null).await;
        }
        let later = end + REST;
        while self.cloud.run_until(later).await.is_some() {}
        let shown = self.shown().await;
        for alert in &shown.alerts {
            self.trace.shown.push(format!(
                "alert {} of {}: {} to {}, cycle {}: {}",
                alert["alert_id"],
                alert["heartbeat_name"],
                alert["created_date"],
                alert["closed_date"],
                alert["alert_cycle"],
                alert["reason"]
            ));
        }
        for execution in &shown.executions {
            let (id, status) = (&execution.id, &execution.status);
            self.trace
                .shown
                .push(format!("execution {id} of alert {}: {status} {:?}", execution.alert, execution.steps));
        }
        let outside = Outside { calls: self.cloud.receivers.calls(), tries: self.cloud.post.tries(), said: self.said };
        let wrong = check::check(&self.cloud, (&self.plan, &self.services), &shown, &outside, end);
        let record = self.cloud.seed.take_record();
        Outcome { wrong, trace: self.trace, record }
    }

    /// All that Medic shows at the end, oldest first.
    async fn shown(&mut self) -> Shown {
        let alerts = self.all("/v2/alerts?limit=250").await;
        let mut runs = Vec::new();
        for place in 0..self.services.len() {
            let path = format!("/v2/services/{}/runs?limit=250", self.services[place].id);
            let all = if self.services[place].is_deleted() { Vec::new() } else { self.all(&path).await };
            runs.push(all.iter().map(shown::run).collect());
        }
        let mut executions = Vec::new();
        for listed in self.all("/v2/executions?limit=250").await {
            let id = listed["execution_id"].as_str().unwrap();
            let whole = self.must("GET", &format!("/v2/executions/{id}"), Value::Null).await;
            let audited = self.all(&format!("/v2/audit-logs?limit=250&execution_id={id}")).await;
            executions.push(shown::execution(&whole, &audited));
        }
        let deliveries = self.all("/v2/webhook-deliveries?limit=250").await.iter().map(shown::delivery).collect();
        let mut heartbeats = Vec::new();
        for place in 0..self.services.len() {
            let path = format!("/v2/services/{}/heartbeats?limit=250", self.services[place].id);
            let all = if self.services[place].is_deleted() { Vec::new() } else { self.all(&path).await };
            heartbeats.push(all.iter().map(shown::heartbeat).collect());
        }
        Shown { alerts, runs, executions, deliveries, heartbeats }
    }

    /// A list from its first page to its last, oldest first.
    async fn all(&mut self, path: &str) -> Vec<Value> {
        let (mut items, mut page) = (Vec::new(), path.to_owned());
        loop {
            let answer = self.must("GET", &page, Value::Null).await;
            items.extend(answer["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = answer["next_cursor"].as_str() else { break };
            page = format!("{path}&cursor={cursor}");
        }
        items.reverse();
        items
    }
}
