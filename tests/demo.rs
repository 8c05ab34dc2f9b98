//! Plays an outage, from registration to recovery, and prints when each step happened. Fails if one did not.
#![expect(clippy::print_stdout, reason = "a timeline to be read")]
#![expect(clippy::expect_used, reason = "a demo that cannot start should end where it stands")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Arrival, Process, Receivers};
use reqwest::Method;
use serde_json::{Value, json};

const NAME: &str = "worker-1";
const INTERVAL: Duration = Duration::from_secs(6);
/// How long a step may take after it is due.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(()) => {
            println!("\nEvery step happened.");
            ExitCode::SUCCESS
        }
        Err(step) => {
            println!("\nThis step did not happen: {step}");
            ExitCode::FAILURE
        }
    }
}

async fn play() -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let receivers = Receivers::start().await;
    let process = Process::start(folder.path(), &receivers.environment()).await;
    let stage = Stage { began: Instant::now(), process, receivers };
    stage.say(&format!("Medic is ready, {:.2} s after its start", stage.process.ready_after.as_secs_f64()));

    let service =
        json!({"heartbeat_name": NAME, "service_name": "worker", "alert_interval": INTERVAL.as_secs_f64() / 60.0});
    stage.send(Method::POST, "/service", Some(service), 201).await?;
    stage.say(&format!("{NAME} is registered: it must report every {} s", INTERVAL.as_secs()));
    let deadline = Due { at: stage.heartbeat().await? + INTERVAL, name: "the deadline" };
    stage.say(&format!("{NAME} sends a heartbeat, then falls silent"));

    let slack = stage.wait_for("Slack is notified", "slack", "is down", deadline).await;
    let triggered = stage.wait_for("PagerDuty is notified", "pagerduty", "trigger", deadline).await;
    slack?;
    let incident = triggered?.body["dedup_key"].clone();
    let open = stage.send(Method::GET, "/alerts?active=1", None, 200).await?;
    let alert = open["results"].get(0).ok_or("GET /alerts?active=1 shows the alert")?;
    stage.say(&format!(
        "GET /alerts?active=1 shows alert {}: {}, {}",
        alert["alert_id"], alert["alert_name"], alert["reason"]
    ));

    let recovery = Due { at: stage.heartbeat().await?, name: "the heartbeat" };
    stage.say(&format!("{NAME} sends a heartbeat again"));
    let slack = stage.wait_for("Slack is notified of the recovery", "slack", "has recovered", recovery).await;
    let resolved = stage.wait_for("PagerDuty resolves the incident", "pagerduty", "resolve", recovery).await;
    slack?;
    if resolved?.body["dedup_key"] != incident {
        return Err("PagerDuty resolves the incident that it opened".to_owned());
    }
    let open = stage.send(Method::GET, "/alerts?active=1", None, 200).await?;
    let all = stage.send(Method::GET, "/alerts", None, 200).await?;
    let closed = &all["results"][0];
    if open["results"] != json!([]) || closed["alert_id"] != alert["alert_id"] || closed["closed_date"].is_null() {
        return Err("the alert is closed".to_owned());
    }
    stage.say(&format!("GET /alerts shows alert {} closed at {}", closed["alert_id"], closed["closed_date"]));
    Ok(())
}

/// When a step is due, and what that moment is.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    name: &'static str,
}

/// A Medic of its own, with its receivers.
struct Stage {
    began: Instant,
    process: Process,
    receivers: Receivers,
}

impl Stage {
    fn say(&self, line: &str) {
        self.say_at(Instant::now(), line);
    }

    fn say_at(&self, at: Instant, line: &str) {
        println!("{:6.2} s  {line}", (at - self.began).as_secs_f64());
    }

    /// Sends a request, which must get `status`.
    async fn send(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> Result<Value, String> {
        let step = format!("{method} {path} returns {status}");
        match tokio::time::timeout(TIMEOUT, self.process.send(method, path, body)).await {
            Ok(Some((actual, body))) if actual == status => Ok(body),
            Ok(Some((actual, body))) => Err(format!("{step}, not {actual} {body}")),
            Ok(None) | Err(_) => Err(step),
        }
    }

    /// Sends a heartbeat, and returns when.
    async fn heartbeat(&self) -> Result<Instant, String> {
        let sent = Instant::now();
        let body = json!({"heartbeat_name": NAME, "status": "UP"});
        self.send(Method::POST, "/heartbeat", Some(body), 201).await?;
        Ok(sent)
    }

    /// Waits for a notification, which must not come before it is due.
    async fn wait_for(&self, step: &str, receiver: &str, words: &str, due: Due) -> Result<Arrival, String> {
        let timeout = due.at.saturating_duration_since(Instant::now()) + TIMEOUT;
        let wanted = |arrival: &Arrival| arrival.receiver == receiver && arrival.line().contains(words);
        let arrival = self.receivers.wait_for(timeout, wanted).await.ok_or(step)?;
        if arrival.at < due.at {
            return Err(format!("{step}, and not before {}", due.name));
        }
        let late = (arrival.at - due.at).as_secs_f64();
        self.say_at(arrival.at, &format!("{step} {late:.3} s after {}: {}", due.name, arrival.line()));
        Ok(arrival)
    }
}
