//! The services: each reports as it was planned, and repeats what was not acknowledged under one `Idempotency-Key`, as
//! clients with a spool do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::dice::Dice;
use crate::facts::{Facts, Report, Said, now, sleep, sleep_until};
use crate::plan::{Episode, MAX_RUN, Rhythm, ServicePlan, What, expected_from};

/// How services reach Medic.
pub(crate) struct Clients {
    client: reqwest::Client,
    url: String,
    key: String,
    /// No more requests at once than this: as many connections as a process may have open without asking for more.
    places: Semaphore,
    pub(crate) facts: Arc<Facts>,
    seed: u64,
}

/// A service with what it knows of itself.
pub(crate) struct Client {
    clients: Arc<Clients>,
    n: usize,
    id: i64,
    plans: Arc<[ServicePlan]>,
    dice: Dice,
    sent: u64,
}

const AT_ONCE: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is created before all begins comes a few at once.
const PLACES_OF_SETUP: u32 = 12;
/// How long the soak waits for what it asks itself.
const PATIENT: Duration = Duration::from_mins(1);
/// What may still happen to a request whose client does not wait for it any more.
const AFTERWARDS: TimeDelta = TimeDelta::seconds(30);

impl Clients {
    pub(crate) fn new(address: SocketAddr, key: &str, facts: Arc<Facts>, seed: u64) -> Self {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build().expect("a client");
        let (url, key) = (format!("http://{address}"), key.to_owned());
        Self { client, url, key, places: Semaphore::new(AT_ONCE), facts, seed }
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(body)
    }

    /// Sends a report once.
    async fn try_once(&self, path: &str, body: &Value, key: &str) -> Result<(StatusCode, Value), reqwest::Error> {
        let response = self.post(path, body).header("idempotency-key", key).send().await?;
        let status = response.status();
        Ok((status, response.json().await?))
    }

    /// Creates something, which must succeed.
    pub(crate) async fn create(&self, path: &str, body: Value) -> Value {
        let _places = self.places.acquire_many(PLACES_OF_SETUP).await.expect("open for ever");
        let response = self.post(path, &body).timeout(PATIENT).send().await.expect("a response");
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(status, StatusCode::CREATED, "{path}: {body}");
        body["results"].clone()
    }

    /// Reads something. Returns none where Medic does not respond.
    pub(crate) async fn read(&self, path: &str) -> Option<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.key).timeout(PATIENT);
        let response = request.send().await.ok()?.error_for_status().ok()?;
        Some(response.json::<Value>().await.ok()?["results"].take())
    }
}

impl Client {
    /// Registers a service.
    pub(crate) async fn register(clients: &Arc<Clients>, n: usize, plans: Arc<[ServicePlan]>, team: i64) -> Self {
        let plan = &plans[n];
        let mut body = json!({
            "heartbeat_name": plan.name, "service_name": "soak", "team_id": team,
            "grace_period_seconds": plan.grace.num_seconds(),
            "max_duration_ms": plan.rhythm.max().map(|max| max.num_milliseconds()),
        });
        if let Rhythm::Cron { minutes } = plan.rhythm {
            body["schedule_cron"] = format!("*/{minutes} * * * *").into();
            body["timezone"] = "UTC".into();
        } else {
            body["alert_interval"] = (plan.rhythm.interval().as_seconds_f64() / 60.0).into();
        }
        let from = now();
        let id = clients.create("/v2/services", body).await["service_id"].as_i64().expect("an id");
        clients.facts.report(n, Report { said: Said::Registered, from, until: now(), acknowledged: true });
        let dice = Dice::new(clients.seed, &format!("client {n}"));
        Self { clients: Arc::clone(clients), n, id, plans, dice, sent: 0 }
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    fn plan(&self) -> &ServicePlan {
        &self.plans[self.n]
    }

    /// Reports at once, lives as planned, and is well after that.
    pub(crate) async fn live(mut self, began: DateTime<Utc>) {
        let plans = Arc::clone(&self.plans);
        self.signs_of_life(None).await;
        for Episode { at, length, what } in &plans[self.n].episodes {
            let at = began + *at;
            self.be_well_until(at).await;
            match what {
                What::Silence => {
                    sleep_until(at + *length).await;
                    self.signs_of_life(None).await;
                }
                What::Failure => self.fail(*length).await,
                What::Overrun => self.run_job(*length).await,
            }
        }
        self.be_well_until(DateTime::<Utc>::MAX_UTC).await;
    }

    async fn be_well_until(&mut self, end: DateTime<Utc>) {
        loop {
            let next = match self.plan().rhythm {
                Rhythm::Cron { minutes } => {
                    expected_from(now() + TimeDelta::seconds(10), minutes)
                        + self.dice.between(TimeDelta::zero(), TimeDelta::seconds(5))
                }
                Rhythm::Every { .. } | Rhythm::Job { .. } => {
                    let period = self.plan().period;
                    now() + self.dice.between(period / 2, period)
                }
            };
            if next >= end {
                sleep_until(end).await;
                return;
            }
            sleep_until(next).await;
            self.signs_of_life(Some(end)).await;
        }
    }

    /// Reports as a service does that is well. What was not acknowledged by `end` never is: it has died.
    async fn signs_of_life(&mut self, end: Option<DateTime<Utc>>) {
        if self.plan().rhythm.max().is_none() {
            return self.say(Said::Up, end).await;
        }
        let length = self.dice.between(TimeDelta::seconds(2), MAX_RUN);
        self.run_job(length).await;
    }

    async fn run_job(&mut self, length: TimeDelta) {
        let run = self.start_run().await;
        sleep(length).await;
        self.say(Said::Completed { run }, None).await;
    }

    async fn start_run(&mut self) -> String {
        let run = format!("run-{}", self.sent);
        self.say(Said::Started { run: run.clone() }, None).await;
        run
    }

    async fn fail(&mut self, length: TimeDelta) {
        let run = if self.plan().rhythm.max().is_some() { Some(self.start_run().await) } else { None };
        self.say(Said::Failed { run }, None).await;
        sleep(length).await;
        self.signs_of_life(None).await;
    }

    /// Says something until it is acknowledged, or until `end`.
    async fn say(&mut self, said: Said, end: Option<DateTime<Utc>>) {
        self.sent += 1;
        let key = format!("{}-{}", self.plan().name, self.sent);
        let (path, body) = self.request(&said);
        let clients = Arc::clone(&self.clients);
        let (mut from, mut until) = (None, None);
        loop {
            let tried = {
                let _place = clients.places.acquire().await.expect("open for ever");
                if end.is_some_and(|end| now() >= end) {
                    break;
                }
                let tried_at = now();
                let tried = clients.try_once(&path, &body, &key).await;
                // Where nobody was, nobody heard it.
                if !tried.as_ref().is_err_and(reqwest::Error::is_connect) {
                    from.get_or_insert(tried_at);
                    until = Some(now());
                }
                tried
            };
            match tried {
                Ok((StatusCode::CREATED, _)) => {
                    let (Some(from), Some(until)) = (from, until) else { return };
                    return clients.facts.report(self.n, Report { said, from, until, acknowledged: true });
                }
                Ok((status, answer)) if status.is_client_error() => panic!("{path}: {status} {answer}"),
                Ok(_) | Err(_) => sleep(self.dice.between(TimeDelta::milliseconds(300), TimeDelta::seconds(3))).await,
            }
        }
        if let (Some(from), Some(until)) = (from, until) {
            let report = Report { said, from, until: until + AFTERWARDS, acknowledged: false };
            clients.facts.report(self.n, report);
        }
    }

    fn request(&self, said: &Said) -> (String, Value) {
        let heartbeat =
            |status: &str| ("/heartbeat".to_owned(), json!({"heartbeat_name": self.plan().name, "status": status}));
        let signal = |signal: &str, run: &str| (format!("/v2/heartbeat/{}/{signal}", self.id), json!({"run_id": run}));
        match said {
            Said::Registered | Said::Up => heartbeat("UP"),
            Said::Failed { run: None } => heartbeat("FAILED"),
            Said::Failed { run: Some(run) } => signal("fail", run),
            Said::Started { run } => signal("start", run),
            Said::Completed { run } => signal("complete", run),
        }
    }
}
