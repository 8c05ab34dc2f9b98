//! Runs one seed: clients and a person who try again until they get a response, then a quiet end, then the check.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use local::ManualTime;
use runtime::Clock as _;
use serde_json::Value;

use crate::actions::{Action, Request, SentAction, muted_until, rule};
use crate::check;
use crate::cloud::{ClientRequest, Cloud, Ended, Response};
use crate::dice::Dice;
use crate::executions::{AnsweredCommand, Command};
use crate::jobs::{Ping, Signal};
use crate::model::{Change, ChangeKind, Heartbeat, Service};
use crate::notifications::Audience;
use crate::plan::Plan;
use crate::planned_services::{Edit, Report};
use crate::playbooks::Approval;
use crate::resolutions::Resolution;
use crate::seed::{FaultLevel, Seed};
use crate::slack;

mod end;
mod set_up;

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
    /// Who is notified of each service.
    audiences: Vec<Audience>,
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
        let seed = Arc::new(Seed::new(number, fault_level, &plan, &time));
        seed.set_quiet(true);
        let cloud = Cloud::start(seed, &plan, time).await;
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
            audiences: Vec::new(),
            requests: 0,
            known: HashSet::new(),
            commands: Vec::new(),
            trace: Trace::default(),
        };
        run.set_up().await;
        run.live().await;
        run.end().await
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
                if self.services[0].id != 0 && !had_id {
                    self.add_receivers().await;
                }
                continue;
            }
            let is_over = self.cloud.time.now() >= self.plan.end;
            if is_over && self.sent.is_empty() && self.retries.is_empty() {
                return;
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
        let may_conflict = matches!(sent.action, Action::Command { .. } | Action::Resolve { .. });
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
        let ping_key = self.cloud.ping_key.clone().unwrap_or_default();
        let Request { method, path, body } = sent.request(service, &ping_key);
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
        let results = &response.body["results"];
        match &sent.action {
            Action::Register => {
                self.services[place].registered =
                    Heartbeat { first: sent.first - skew, last: now + skew, status: "UP" };
                self.clients[place].waiting.push_front(Action::FindId);
            }
            Action::FindId => self.services[place].id = results[0]["service_id"].as_i64().expect("an id"),
            Action::Report(report) => {
                let (first, last) = (sent.first - skew, now + skew);
                let service = &mut self.services[place];
                reported(service, *report, Heartbeat { first, last, status: report.status() }, sent.attempts);
            }
            Action::Edit(Edit::Resolve) => {
                let name = self.services[place].name.as_str();
                let open = results["items"].as_array().expect("alerts").iter();
                let open = open.filter(|alert| alert["heartbeat_name"] == name);
                let open = open.map(|alert| Action::Resolve { alert: alert["alert_id"].as_i64().expect("an id") });
                self.clients[sent.client].waiting.extend(open);
            }
            // One that had closed by itself.
            Action::Resolve { .. } if response.status == 409 && sent.attempts == 1 => {}
            Action::Resolve { alert } => {
                let tolerance = check::tolerance(self.cloud.seed.fault_level, &self.plan);
                let (first, last) = (sent.first - skew, now + skew + tolerance.late);
                self.clients[sent.client].free_at = last + skew + TimeDelta::milliseconds(1);
                let is_unsure = response.status == 409;
                self.services[place].resolutions.push(Resolution { alert: *alert, first, last, is_unsure });
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
            // No run lasts so long.
            Edit::MaxDuration(_) => return,
            Edit::Resolve => unreachable!("it changes no service"),
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

    /// Returns when an execution no longer awaits approval, if it does so for minutes.
    fn approval_ends_at(&self, execution: &Value) -> Option<DateTime<Utc>> {
        let place: usize = execution["playbook_name"].as_str()?.strip_prefix("playbook-")?.parse().ok()?;
        let Approval::Timeout(minutes, _) = self.plan.playbooks[place].approval else { return None };
        let started: DateTime<Utc> = execution["started_at"].as_str()?.parse().ok()?;
        Some(started + TimeDelta::minutes(minutes))
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
            let until = self.approval_ends_at(execution).filter(|until| is_pending && *until > now);
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
                // At the last moment, now and then.
                if let Some(until) = until.filter(|_| self.dice.chance(50)) {
                    let before = self.dice.of(&[500, 3_000, 20_000]);
                    at = (until - TimeDelta::milliseconds(self.dice.between(1, before))).max(now);
                }
                let execution = id.clone();
                let button = slack::button_of(&id, &self.cloud.receivers.received("slack"));
                let action = match button.filter(|_| command != Command::Cancel && self.dice.chance(75)) {
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
}

/// Adds what a service reported to the model, in so many attempts.
fn reported(service: &mut Service, report: Report, heartbeat: Heartbeat, attempts: u32) {
    match (report, &mut service.jobs) {
        (Report::Signal(kind, run), Some(jobs)) => {
            if !jobs.is_repetition(kind, run) {
                service.heartbeats.push(heartbeat);
            }
            jobs.signals.push(Signal { kind, run, heartbeat });
        }
        (Report::Ping(kind), Some(jobs)) => {
            service.heartbeats.push(heartbeat);
            service.repeated.push((heartbeat, attempts as usize - 1));
            jobs.pings.push(Ping { kind, heartbeat, attempts });
        }
        (Report::Status(_) | Report::Signal(..) | Report::Ping(_), _) => service.heartbeats.push(heartbeat),
    }
}
