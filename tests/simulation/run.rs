//! Runs one seed: clients that try again until they are answered, then a quiet end, then the check.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use local::ManualTime;
use runtime::Clock as _;
use serde_json::{Value, json};

use crate::check;
use crate::cloud::{Asked, Cloud};
use crate::fate::{Seed, Weather};
use crate::model::{Beat, Service, Span};
use crate::plan::Plan;

/// What came of a seed.
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) trace: Vec<String>,
    /// All that happened; the same whenever the seed is run.
    pub(crate) record: Vec<String>,
}

/// What a client wants of Medic.
#[derive(Debug, Clone)]
enum Wish {
    Register,
    Say(&'static str),
}

/// A wish that was sent, perhaps more than once.
struct Sent {
    service: usize,
    wish: Wish,
    first: DateTime<Utc>,
}

/// A client tries again after this.
const AGAIN: TimeDelta = TimeDelta::seconds(7);

pub(crate) fn run(number: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::coop::unconstrained(Run::of(number)))
}

struct Run {
    cloud: Cloud,
    plan: Plan,
    services: Vec<Service>,
    /// What each client still has to send, one after the other.
    waiting: Vec<VecDeque<Wish>>,
    sent: HashMap<u64, Sent>,
    is_busy: Vec<bool>,
    numbers: u64,
    trace: Vec<String>,
}

impl Run {
    async fn of(number: u64) -> Outcome {
        let time = ManualTime::starting_at(harness::start_of_time());
        let weather = match number % 4 {
            0 => Weather::Calm,
            1 => Weather::Lossy,
            _ => Weather::Stormy,
        };
        let seed = Arc::new(Seed::new(number, weather, &time));
        seed.be_quiet(true);
        let plan = Plan::of(number, time.now());
        let cloud = Cloud::start(seed, time).await;
        let count = plan.services.len();
        let mut run = Self {
            cloud,
            plan,
            services: Vec::new(),
            waiting: vec![VecDeque::new(); count],
            sent: HashMap::new(),
            is_busy: vec![false; count],
            numbers: 0,
            trace: Vec::new(),
        };
        run.set_up().await;
        run.live().await;
        run.end().await
    }

    async fn set_up(&mut self) {
        let hook = format!("{}/hook", self.cloud.receivers.address);
        let webhook = json!({"url": hook, "max_attempts": 4, "retry_delays_seconds": [5, 60, 600]});
        self.must("POST", "/v2/webhooks", webhook).await;
        for (place, (from, to)) in self.plan.windows.clone().into_iter().enumerate() {
            let window = json!({"name": format!("window-{place}"), "start_time": from.to_rfc3339(), "end_time": to.to_rfc3339(), "timezone": "UTC"});
            self.must("POST", "/v2/maintenance-windows", window).await;
        }
        self.cloud.seed.be_quiet(false);
        let maintenance: Vec<_> = self.plan.windows.iter().map(|(from, to)| Span { from: *from, to: *to }).collect();
        self.services = self
            .plan
            .services
            .iter()
            .enumerate()
            .map(|(place, planned)| Service {
                name: format!("service-{place}"),
                interval: TimeDelta::minutes(planned.interval_minutes),
                grace: TimeDelta::seconds(planned.grace_seconds),
                threshold: usize::try_from(planned.threshold).unwrap(),
                registered: Beat { first: planned.begins, last: planned.begins, status: "UP" },
                beats: Vec::new(),
                maintenance: maintenance.clone(),
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

    async fn live(&mut self) {
        let mut agenda: BTreeMap<(DateTime<Utc>, u64), (usize, Wish)> = BTreeMap::new();
        for (place, planned) in self.plan.services.iter().enumerate() {
            let says = planned.says.iter().map(|(at, status)| (*at, Wish::Say(status)));
            for (at, wish) in [(planned.begins, Wish::Register)].into_iter().chain(says) {
                let order = agenda.len() as u64;
                agenda.insert((at, order), (place, wish));
            }
        }
        let mut again: BTreeMap<(DateTime<Utc>, u64), Sent> = BTreeMap::new();
        loop {
            let now = self.cloud.time.now();
            if now >= self.plan.quiet_from {
                self.cloud.seed.be_quiet(true);
            }
            while let Some(entry) = agenda.first_entry().filter(|entry| entry.key().0 <= now) {
                let (place, wish) = entry.remove();
                self.waiting[place].push_back(wish);
            }
            while let Some(entry) = again.first_entry().filter(|entry| entry.key().0 <= now) {
                let number = entry.key().1;
                let sent = entry.remove();
                self.send(number, sent);
            }
            for place in 0..self.waiting.len() {
                if !self.is_busy[place]
                    && let Some(wish) = self.waiting[place].pop_front()
                {
                    self.is_busy[place] = true;
                    self.numbers += 1;
                    self.send(self.numbers, Sent { service: place, wish, first: now });
                }
            }
            let nexts = agenda.first_key_value().map(|(key, _)| key.0).into_iter();
            let next = nexts.chain(again.first_key_value().map(|(key, _)| key.0)).chain([self.plan.end]).min();
            let quiet_from = Some(self.plan.quiet_from).filter(|at| *at > now);
            let next = next.into_iter().chain(quiet_from).min().unwrap_or(now);
            match self.cloud.run_until(next).await {
                Some((number, answer)) => {
                    let now = self.cloud.time.now();
                    let sent = self.sent.remove(&number).expect("what was sent");
                    let status = answer.as_ref().map(|(status, _)| *status);
                    self.note(&format!("{} {:?} {status:?}", self.services[sent.service].name, sent.wish));
                    match answer {
                        Some((200..300, _)) => self.acknowledged(&sent, now),
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

    fn note(&mut self, line: &str) {
        let now = self.cloud.time.now();
        self.cloud.seed.record(line);
        self.trace.push(format!("{} {line}", now.format("%d %H:%M:%S%.3f")));
    }

    fn send(&mut self, number: u64, sent: Sent) {
        let (planned, service) = (&self.plan.services[sent.service], &self.services[sent.service]);
        let name = &service.name;
        let (path, body) = match sent.wish {
            Wish::Register => (
                "/service",
                json!({
                    "heartbeat_name": name, "service_name": name, "alert_interval": planned.interval_minutes,
                    "threshold": planned.threshold, "grace_period_seconds": planned.grace_seconds,
                }),
            ),
            Wish::Say(status) => ("/heartbeat", json!({"heartbeat_name": name, "status": status})),
        };
        let key = matches!(sent.wish, Wish::Say(_)).then(|| format!("try-{number}"));
        self.cloud.ask(&Asked { number, method: "POST", path: path.to_owned(), body, key });
        self.sent.insert(number, sent);
    }

    fn acknowledged(&mut self, sent: &Sent, now: DateTime<Utc>) {
        self.is_busy[sent.service] = false;
        let service = &mut self.services[sent.service];
        match sent.wish {
            Wish::Register => service.registered = Beat { first: sent.first, last: now, status: "UP" },
            Wish::Say(status) => service.beats.push(Beat { first: sent.first, last: now, status }),
        }
    }

    async fn end(mut self) -> Outcome {
        let end = self.cloud.time.now();
        for place in 0..self.services.len() {
            let path = format!("/service/{}", self.services[place].name);
            self.must("POST", &path, json!({"active": 0})).await;
        }
        let later = end + TimeDelta::hours(4);
        while self.cloud.run_until(later).await.is_some() {}
        let mut alerts = Vec::new();
        let mut path = "/v2/alerts?limit=250".to_owned();
        loop {
            let page = self.must("GET", &path, Value::Null).await;
            alerts.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/v2/alerts?limit=250&cursor={cursor}");
        }
        alerts.reverse();
        for alert in &alerts {
            self.trace.push(format!(
                "alert {} of {}: {} to {}, cycle {}: {}",
                alert["alert_id"],
                alert["heartbeat_name"],
                alert["created_date"],
                alert["closed_date"],
                alert["alert_cycle"],
                alert["reason"]
            ));
        }
        let wrong = check::check(&self.cloud, &self.services, &alerts, end);
        let record = self.cloud.seed.take_record();
        Outcome { wrong, trace: self.trace, record }
    }
}
