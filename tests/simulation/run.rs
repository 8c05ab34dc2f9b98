//! Runs one seed: clients and a person who try again until they get a response, then a quiet end, then the check.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use local::ManualTime;
use runtime::Clock as _;
use serde_json::{Value, json};

use crate::actions::{Action, Request, SentAction, muted_until, rule};
use crate::check::Check;
use crate::cloud::{ClientRequest, Cloud, Ended, Response};
use crate::executions::{AnsweredCommand, Command, ExecutionEvents};
use crate::jobs::{Jobs, Signal};
use crate::model::{Change, ChangeKind, Heartbeat, Service};
use crate::observed::{self, Observed};
use crate::plan::{Dice, Edit, Plan, PlannedService, Report};
use crate::seed::{FaultLevel, Seed};
use crate::slack;

/// The result of a seed.
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) trace: Trace,
    /// All that happened; the same whenever the seed is run.
    pub(crate) record: Vec<String>,
}

/// What helps to understand a failure.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The responses that clients got.
    pub(crate) happened: Vec<String>,
    /// The alerts and executions that Medic shows at the end.
    pub(crate) observed: Vec<String>,
}

/// A client tries again after this.
const RETRY_AFTER: TimeDelta = TimeDelta::seconds(7);
/// A handler that nobody waits for any more ends within this.
const STRAGGLER_LIMIT: TimeDelta = TimeDelta::seconds(90);
/// Longer than anything waits.
const DRAIN_TIME: TimeDelta = TimeDelta::days(8);

pub(crate) fn run(number: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::coop::unconstrained(Run::of(number)))
}

/// A client: a service, the person who decides, or a service's operator.
#[derive(Default)]
struct Client {
    /// What it still has to send, one after the other.
    waiting: VecDeque<Action>,
    is_busy: bool,
    /// Until then it sends nothing.
    free_at: DateTime<Utc>,
}

/// An action that a client does later.
struct PlannedAction {
    client: usize,
    action: Action,
}

struct Run {
    cloud: Cloud,
    plan: Plan,
    /// For what the person does.
    dice: Dice,
    services: Vec<Service>,
    /// By time, then in the order in which they were planned.
    agenda: BTreeMap<(DateTime<Utc>, u64), PlannedAction>,
    planned_actions: u64,
    /// The services, the person, the operators of the services, then their second clients.
    clients: Vec<Client>,
    sent: HashMap<u64, SentAction>,
    /// Actions without a response, by when they are sent again and their number.
    retries: BTreeMap<(DateTime<Utc>, u64), SentAction>,
    /// Services that are being switched or deleted.
    is_switching: Vec<bool>,
    windows: Vec<i64>,
    requests: u64,
    /// Executions that the person has looked at, and whether they were awaiting approval.
    known: HashSet<(String, bool)>,
    commands: Vec<AnsweredCommand>,
    trace: Trace,
}

impl Run {
    async fn of(number: u64) -> Outcome {
        let time = ManualTime::starting_at(harness::start_of_time());
        let fault_level = match number % 4 {
            0 => FaultLevel::Calm,
            1 => FaultLevel::Lossy,
            _ => FaultLevel::Stormy,
        };
        let mut plan = Plan::of(number, time.now());
        if fault_level != FaultLevel::Stormy {
            plan.stops.clear();
        }
        let seed = Arc::new(Seed::new(number, fault_level, plan.outage, &time));
        seed.set_quiet(true);
        let cloud = Cloud::start(seed, plan.stops.clone(), time).await;
        let places = plan.services.len();
        let mut run = Self {
            cloud,
            plan,
            dice: Dice::new(!number),
            services: Vec::new(),
            agenda: BTreeMap::new(),
            planned_actions: 0,
            clients: (0..=places * 3).map(|_| Client::default()).collect(),
            sent: HashMap::new(),
            retries: BTreeMap::new(),
            is_switching: vec![false; places],
            windows: Vec::new(),
            requests: 0,
            known: HashSet::new(),
            commands: Vec::new(),
            trace: Trace::default(),
        };
        run.set_up().await;
        run.live().await;
        run.end().await
    }

    async fn set_up(&mut self) {
        let hook = format!("{}/hook", self.cloud.receivers.address);
        let max_attempts = observed::MAX_DELIVERY_ATTEMPTS;
        let webhook = json!({"url": hook, "max_attempts": max_attempts, "retry_delays_seconds": [5, 60, 600]});
        self.request("POST", "/v2/webhooks", webhook).await;
        for (place, window) in self.plan.windows.clone().into_iter().enumerate() {
            let window = window.fields(&format!("window-{place}"));
            let created = self.request("POST", "/v2/maintenance-windows", window).await;
            self.windows.push(created["window_id"].as_i64().expect("an id"));
        }
        if !self.plan.playbooks.is_empty() {
            let script = json!({"name": "mend", "interpreter": "bash", "content": "true"});
            self.request("POST", "/v2/scripts", script).await;
        }
        for (place, playbook) in self.plan.playbooks.clone().into_iter().enumerate() {
            let yaml = playbook.yaml(place, &self.cloud.receivers.address);
            self.request("POST", "/v2/playbooks", json!({"yaml": yaml})).await;
        }
        if let Some(hours) = &self.plan.hours {
            let schedule = hours.fields();
            self.request("POST", "/v2/schedules", schedule).await;
        }
        self.cloud.seed.set_quiet(false);
        let maintenance: Vec<_> = self.plan.windows.iter().flat_map(|window| window.spans(self.plan.end)).collect();
        let service = |(place, planned): (usize, &PlannedService)| Service {
            id: 0,
            name: format!("service-{place}"),
            rule: rule(&planned.expected),
            registered: Heartbeat { first: planned.begins, last: planned.begins, status: "UP" },
            heartbeats: Vec::new(),
            changes: Vec::new(),
            maintenance: maintenance.clone(),
            gaps: Vec::new(),
            jobs: planned
                .max_duration_ms
                .map(|millis| Jobs { max_duration: TimeDelta::milliseconds(millis), signals: Vec::new() }),
        };
        self.services = self.plan.services.iter().enumerate().map(service).collect();
    }

    /// Sends a request while nothing fails, and returns its results.
    async fn request(&mut self, method: &'static str, path: &str, body: Value) -> Value {
        self.requests += 1;
        let path = path.to_owned();
        let request = ClientRequest { number: self.requests, method, path, body, idempotency_key: None };
        self.cloud.send(&request);
        let ended = self.cloud.run_until(self.cloud.time.now()).await.expect("an end");
        let Response { status, body } = ended.response.expect("a response");
        assert!((200..300).contains(&status), "{method} {}: {status} {body}", request.path);
        body["results"].clone()
    }

    fn plan_action(&mut self, at: DateTime<Utc>, client: usize, action: Action) {
        self.planned_actions += 1;
        self.agenda.insert((at, self.planned_actions), PlannedAction { client, action });
    }

    fn person(&self) -> usize {
        self.plan.services.len()
    }

    /// Returns the client that changes a service.
    fn operator_of(&self, place: usize) -> usize {
        self.person() + 1 + place
    }

    /// Returns the client that reports for a service beside the service itself.
    fn second_client_of(&self, place: usize) -> usize {
        self.operator_of(place) + self.plan.services.len()
    }

    /// Returns the place of the service that a client is, or operates.
    fn place_of(&self, client: usize) -> usize {
        if client > self.person() { (client - self.person() - 1) % self.plan.services.len() } else { client }
    }

    /// Returns whether a client may send its next action.
    fn is_free(&self, client: usize, now: DateTime<Utc>) -> bool {
        let place = self.place_of(client);
        let is_idle = |client: usize| !self.clients[client].is_busy && self.clients[client].free_at <= now;
        if client == self.person() || !is_idle(client) {
            return is_idle(client);
        }
        if client > self.person() && self.services[place].id == 0 {
            return false;
        }
        if client == self.operator_of(place) {
            !self.clients[client].waiting.front().is_some_and(Action::switches_service) || is_idle(place)
        } else {
            !self.is_switching[place]
        }
    }

    async fn live(&mut self) {
        for (place, planned) in self.plan.services.clone().into_iter().enumerate() {
            self.plan_action(planned.begins, place, Action::Register);
            for (at, report) in planned.reports {
                self.plan_action(at, place, Action::Report(report));
            }
            for at in planned.second_reports {
                self.plan_action(at, self.second_client_of(place), Action::Report(Report::Status("UP")));
            }
            for (at, edit) in planned.edits {
                self.plan_action(at, self.operator_of(place), Action::Edit(edit));
            }
        }
        if !self.plan.playbooks.is_empty() {
            self.plan_action(self.cloud.time.now() + TimeDelta::minutes(1), self.person(), Action::ListExecutions);
        }
        loop {
            let now = self.cloud.time.now();
            if now >= self.plan.quiet_from {
                self.cloud.seed.set_quiet(true);
            }
            self.send_due(now);
            if let Some(ended) = self.cloud.run_until(self.next_at(now)).await {
                let had_id = self.services[0].id != 0;
                self.ended(ended);
                if self.services[0].id != 0 && !had_id && self.plan.hours.is_some() {
                    self.add_targets().await;
                }
                continue;
            }
            let is_over = self.cloud.time.now() >= self.plan.end;
            if is_over && self.sent.is_empty() && self.retries.is_empty() {
                return;
            }
        }
    }

    /// Gives the first service its schedule, and targets that are notified always or by period. Nothing fails meanwhile.
    async fn add_targets(&mut self) {
        let id = self.services[0].id;
        let (targets, address) =
            (format!("/v2/services/{id}/notification-targets"), self.cloud.receivers.address.clone());
        let hook = |period: &str| json!({"type": "webhook", "config": {"url": format!("{address}/{period}")}, "period": period});
        self.cloud.seed.set_quiet(true);
        self.request_amid("PATCH", &format!("/v2/services/{id}"), json!({"schedule_id": 1})).await;
        for target in [
            json!({"type": "slack", "config": {"channel_id": "C0ALERTS"}}),
            json!({"type": "pagerduty", "config": {"service_key": "R0UTING"}}),
            hook("during_hours"),
            hook("after_hours"),
        ] {
            self.request_amid("POST", &targets, target).await;
        }
        self.cloud.seed.set_quiet(false);
    }

    /// Sends a request while others are under way.
    async fn request_amid(&mut self, method: &'static str, path: &str, body: Value) {
        self.requests += 1;
        let number = self.requests;
        let request = ClientRequest { number, method, path: path.to_owned(), body, idempotency_key: None };
        self.cloud.send(&request);
        loop {
            let later = self.cloud.time.now() + TimeDelta::seconds(1);
            match self.cloud.run_until(later).await {
                Some(ended) if ended.number == number => {
                    let status = ended.response.expect("a response").status;
                    assert!((200..300).contains(&status), "{method} {path}: {status}");
                    return;
                }
                Some(ended) => self.ended(ended),
                None => {}
            }
        }
    }

    /// Sends what clients have to send by now.
    fn send_due(&mut self, now: DateTime<Utc>) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let PlannedAction { client, action } = entry.remove();
            self.clients[client].waiting.push_back(action);
        }
        while let Some(entry) = self.retries.first_entry().filter(|entry| entry.key().0 <= now) {
            let number = entry.key().1;
            let sent = entry.remove();
            self.send(number, SentAction { attempts: sent.attempts + 1, ..sent });
        }
        for client in 0..self.clients.len() {
            if self.services.get(client).is_some_and(Service::is_deleted) {
                self.clients[client].waiting.clear();
            }
            if self.is_free(client, now)
                && let Some(action) = self.clients[client].waiting.pop_front()
            {
                self.clients[client].is_busy = true;
                if action.switches_service() {
                    let place = self.place_of(client);
                    self.is_switching[place] = true;
                }
                self.requests += 1;
                self.send(self.requests, SentAction { client, action, first: now, attempts: 1 });
            }
        }
    }

    /// Returns when a client next has something to send, or the seed turns quiet or ends.
    fn next_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let planned = self.agenda.first_key_value().map(|(key, _)| key.0);
        let retry = self.retries.first_key_value().map(|(key, _)| key.0);
        let next = planned.into_iter().chain(retry).chain([self.plan.end]).min();
        let quiet_from = Some(self.plan.quiet_from).filter(|at| *at > now);
        let free_at = self.clients.iter().map(|client| client.free_at).filter(|at| *at > now);
        next.into_iter().chain(quiet_from).chain(free_at).min().unwrap_or(now)
    }

    /// Handles the response to an action, or its lack.
    fn ended(&mut self, Ended { number, response }: Ended) {
        let now = self.cloud.time.now();
        let sent = self.sent.remove(&number).expect("an action");
        let status = response.as_ref().map(|response| response.status);
        self.note(&format!("{} {:?} {status:?}", sent.client, sent.action));
        let may_conflict = matches!(sent.action, Action::Command { .. });
        let is_off = matches!(sent.action, Action::Report(_)) && self.is_off(sent.client);
        let Some(response) = response.filter(|response| response.status < 500) else {
            self.retries.insert((now + RETRY_AFTER, number), sent);
            return;
        };
        match response.status {
            400 if is_off => self.clients[sent.client].is_busy = false,
            status if sent.attempts > 1 && sent.action.is_done(status) => self.acknowledged(&sent, &response),
            200..300 if is_off => panic!("{:?} was accepted of a service that is off", sent.action),
            200..300 => self.acknowledged(&sent, &response),
            409 if may_conflict => self.acknowledged(&sent, &response),
            status => panic!("{:?}: {status} {}", sent.action, response.body),
        }
    }

    fn is_off(&self, place: usize) -> bool {
        let switches = self.services.get(place).into_iter().flat_map(|service| service.changes.iter().rev());
        let mut switches = switches.filter(|change| matches!(change.kind, ChangeKind::On | ChangeKind::Off));
        switches.next().is_some_and(|change| matches!(change.kind, ChangeKind::Off))
    }

    fn note(&mut self, line: &str) {
        let now = self.cloud.time.now();
        self.cloud.seed.record(line);
        self.trace.happened.push(format!("{} {line}", now.format("%d %H:%M:%S%.3f")));
    }

    fn send(&mut self, number: u64, sent: SentAction) {
        let place = self.place_of(sent.client);
        let service = self.services.get(place).zip(self.plan.services.get(place));
        let Request { method, path, body } = sent.request(service);
        let idempotency_key = matches!(sent.action, Action::Report(_)).then(|| format!("try-{number}"));
        self.cloud.send(&ClientRequest { number, method, path, body, idempotency_key });
        self.sent.insert(number, sent);
    }

    /// Adds to the model what a response acknowledged.
    fn acknowledged(&mut self, sent: &SentAction, response: &Response) {
        let now = self.cloud.time.now();
        let place = self.place_of(sent.client);
        self.clients[sent.client].is_busy = false;
        let skew = self.cloud.seed.max_skew();
        // Nobody can say which of two heartbeats in one millisecond came first, or of two within what clocks differ by.
        self.clients[sent.client].free_at = now + TimeDelta::milliseconds(1) + skew * 2;
        let heartbeat = |status| Heartbeat { first: sent.first - skew, last: now + skew, status };
        let results = &response.body["results"];
        match &sent.action {
            Action::Register => {
                self.services[place].registered = heartbeat("UP");
                self.clients[place].waiting.push_front(Action::FindId);
            }
            Action::FindId => self.services[place].id = results[0]["service_id"].as_i64().expect("an id"),
            Action::Report(Report::Status(status)) => self.services[place].heartbeats.push(heartbeat(status)),
            Action::Report(Report::Signal(kind, run)) => {
                let service = &mut self.services[place];
                let jobs = service.jobs.as_mut().expect("a service with jobs");
                if !jobs.is_repetition(*kind, *run) {
                    service.heartbeats.push(heartbeat(kind.status()));
                }
                jobs.signals.push(Signal { kind: *kind, run: *run, heartbeat: heartbeat(kind.status()) });
            }
            Action::Edit(edit) => self.edited(sent, *edit),
            Action::ListExecutions => self.looked_at(results["items"].as_array().expect("executions")),
            Action::Command { execution, command } => self.commands.push(AnsweredCommand {
                execution: execution.clone(),
                command: *command,
                first: sent.first - skew,
                last: now + skew,
                was_accepted: response.status != 409,
                is_unsure: sent.attempts > 1,
                is_press: false,
            }),
            // What came of it nobody is shown.
            Action::Press { execution, command, .. } => self.commands.push(AnsweredCommand {
                execution: execution.clone(),
                command: *command,
                first: sent.first - skew,
                last: now + skew,
                was_accepted: false,
                is_unsure: true,
                is_press: true,
            }),
        }
    }

    fn edited(&mut self, sent: &SentAction, edit: Edit) {
        let now = self.cloud.time.now();
        let place = self.place_of(sent.client);
        let kind = match edit {
            Edit::Rule(expected) => ChangeKind::Rule(rule(&expected)),
            Edit::Switch(true) => ChangeKind::On,
            Edit::Switch(false) => ChangeKind::Off,
            Edit::Mute(minutes) => ChangeKind::Mute(muted_until(sent, minutes)),
            Edit::Unmute => ChangeKind::Unmute,
            Edit::Delete => ChangeKind::Deleted,
        };
        // An attempt that got no response may still be at work; the operator lets it end before doing anything else.
        let last = if sent.attempts > 1 { now + STRAGGLER_LIMIT } else { now };
        let skew = self.cloud.seed.max_skew();
        let (first, last) = (sent.first - skew, last + skew);
        self.clients[sent.client].free_at = last + skew + TimeDelta::milliseconds(1);
        if sent.action.switches_service() {
            self.clients[place].free_at = last + skew + TimeDelta::milliseconds(1);
            self.is_switching[place] = false;
        }
        self.services[place].changes.push(Change { first, last, kind });
    }

    /// Decides for the person about executions that are new to them, and plans their next look.
    fn looked_at(&mut self, executions: &[Value]) {
        let (person, now) = (self.person(), self.cloud.time.now());
        for execution in executions.iter().rev() {
            let id = execution["execution_id"].as_str().unwrap().to_owned();
            let status = execution["status"].as_str().unwrap();
            let is_pending = status == "pending_approval";
            if !matches!(status, "pending_approval" | "running" | "waiting")
                || !self.known.insert((id.clone(), is_pending))
            {
                continue;
            }
            let commands = match self.dice.between(0, 99) {
                0..30 if is_pending => vec![Command::Approve],
                30..40 if is_pending => vec![Command::Approve, Command::Reject],
                40..60 if is_pending => vec![Command::Reject],
                60..70 if is_pending => vec![Command::Reject, Command::Approve],
                0..12 | 70..78 => vec![Command::Cancel],
                _ => Vec::new(),
            };
            let mut at = now;
            for command in commands {
                at += TimeDelta::milliseconds(self.dice.between(1, 120_000));
                let execution = id.clone();
                let button = slack::button_of(&id, &self.cloud.receivers.received("slack"));
                let action = match button.filter(|_| command != Command::Cancel && self.dice.chance(60)) {
                    Some(value) => Action::Press { execution, command, value },
                    None => Action::Command { execution, command },
                };
                self.plan_action(at, person, action);
            }
        }
        let at = now + TimeDelta::milliseconds(self.dice.between(30_000, 150_000) * self.plan.pace);
        if at < self.plan.end {
            self.plan_action(at, person, Action::ListExecutions);
        }
    }

    async fn end(mut self) -> Outcome {
        let end = self.cloud.time.now();
        for place in 0..self.services.len() {
            if !self.services[place].is_deleted() {
                let path = format!("/service/{}", self.services[place].name);
                self.request("POST", &path, json!({"active": 0})).await;
            }
        }
        for window in self.windows.clone() {
            self.request("DELETE", &format!("/v2/maintenance-windows/{window}"), Value::Null).await;
        }
        let later = end + DRAIN_TIME;
        while self.cloud.run_until(later).await.is_some() {}
        let observed = self.observe().await;
        self.cloud.keep_pulse(self.cloud.time.now()).await;
        for service in &mut self.services {
            service.gaps.clone_from(&self.cloud.gaps);
        }
        for alert in &observed.alerts {
            self.trace.observed.push(format!(
                "alert {} of {}: {} to {}, cycle {}: {}",
                alert["alert_id"],
                alert["heartbeat_name"],
                alert["created_date"],
                alert["closed_date"],
                alert["alert_cycle"],
                alert["reason"]
            ));
        }
        for execution in &observed.executions {
            let (id, status) = (&execution.id, &execution.status);
            let line = format!("execution {id} of alert {}: {status} {:?}", execution.alert, execution.steps);
            self.trace.observed.push(line);
        }
        let (calls, attempts) = (self.cloud.receivers.calls(), self.cloud.queues.attempts());
        let events = ExecutionEvents { calls, attempts, commands: self.commands };
        let (plan, services) = (&self.plan, self.services.as_slice());
        let check = Check { cloud: &self.cloud, plan, services, observed: &observed, events: &events, end };
        let wrong = check.problems();
        let record = self.cloud.seed.take_record();
        Outcome { wrong, trace: self.trace, record }
    }

    /// Returns all that Medic shows at the end, oldest first.
    async fn observe(&mut self) -> Observed {
        let alerts = self.all("/v2/alerts?limit=250").await;
        let mut runs = Vec::new();
        for place in 0..self.services.len() {
            let path = format!("/v2/services/{}/runs?limit=250", self.services[place].id);
            let all = if self.services[place].is_deleted() { Vec::new() } else { self.all(&path).await };
            runs.push(all.iter().map(observed::run).collect());
        }
        let mut executions = Vec::new();
        for listed in self.all("/v2/executions?limit=250").await {
            let id = listed["execution_id"].as_str().unwrap();
            let execution = self.request("GET", &format!("/v2/executions/{id}"), Value::Null).await;
            let audited = self.all(&format!("/v2/audit-logs?limit=250&execution_id={id}")).await;
            executions.push(observed::execution(&execution, &audited));
        }
        let deliveries = self.all("/v2/webhook-deliveries?limit=250").await.iter().map(observed::delivery).collect();
        let mut heartbeats = Vec::new();
        for place in 0..self.services.len() {
            let path = format!("/v2/services/{}/heartbeats?limit=250", self.services[place].id);
            let all = if self.services[place].is_deleted() { Vec::new() } else { self.all(&path).await };
            heartbeats.push(all.iter().map(observed::heartbeat).collect());
        }
        Observed { alerts, runs, executions, deliveries, heartbeats }
    }

    /// Returns all pages of a list, oldest first.
    async fn all(&mut self, path: &str) -> Vec<Value> {
        let (mut items, mut page) = (Vec::new(), path.to_owned());
        loop {
            let results = self.request("GET", &page, Value::Null).await;
            items.extend(results["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = results["next_cursor"].as_str() else { break };
            page = format!("{path}&cursor={cursor}");
        }
        items.reverse();
        items
    }
}
