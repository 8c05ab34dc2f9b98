//! Plays an outage by itself, from registration to recovery, and prints when each step came. Fails if one did not.
#![expect(clippy::print_stdout, reason = "a timeline to be read")]
#![expect(clippy::expect_used, reason = "a demo that cannot start should end where it stands")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Arrival, Process, Receivers};
use reqwest::Method;
use serde_json::{Value, json};

const NAME: &str = "worker-1";
const INTERVAL: Duration = Duration::from_secs(6);
/// A step comes within this, after whatever time it is due, or it does not come.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(()) => {
            println!("\nEvery step came.");
            ExitCode::SUCCESS
        }
        Err(step) => {
            println!("\nThis step did not come: {step}");
            ExitCode::FAILURE
        }
    }
}

async fn play() -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let receivers = Receivers::start().await;
    let process = Process::start(folder.path(), &receivers.environment());
    let stage = Stage { began: Instant::now(), process, receivers };
    stage.say(&format!("Medic is ready, {:.2} s after its start", stage.process.ready_after.as_secs_f64()));

    let service =
        json!({"heartbeat_name": NAME, "service_name": "worker", "alert_interval": INTERVAL.as_secs_f64() / 60.0});
    stage.ask(Method::POST, "/service", Some(service), 201).await?;
    stage.say(&format!("{NAME} is registered: it must report every {} s", INTERVAL.as_secs()));
    let deadline = stage.heartbeat().await? + INTERVAL;
    stage.say("it sends a heartbeat, and then falls silent");

    let told = stage.hear("Slack is told", "slack", "is down", deadline, "the deadline").await;
    let triggered = stage.hear("PagerDuty is told", "pagerduty", "trigger", deadline, "the deadline").await;
    told?;
    let incident = triggered?.body["dedup_key"].clone();
    let open = stage.ask(Method::GET, "/alerts?active=1", None, 200).await?;
    let alert = open["results"].get(0).ok_or("GET /alerts?active=1 shows the alert")?;
    stage.say(&format!(
        "GET /alerts?active=1 shows alert {}: {}, {}",
        alert["alert_id"], alert["alert_name"], alert["reason"]
    ));

    let back = stage.heartbeat().await?;
    stage.say("it sends a heartbeat again");
    let told = stage.hear("Slack is told of the recovery", "slack", "has recovered", back, "the heartbeat").await;
    let resolved = stage.hear("PagerDuty resolves", "pagerduty", "resolve", back, "the heartbeat").await;
    told?;
    if resolved?.body["dedup_key"] != incident {
        return Err("PagerDuty resolves the incident that it opened".to_owned());
    }
    let open = stage.ask(Method::GET, "/alerts?active=1", None, 200).await?;
    let all = stage.ask(Method::GET, "/alerts", None, 200).await?;
    let closed = &all["results"][0];
    if open["results"] != json!([]) || closed["alert_id"] != alert["alert_id"] || closed["closed_date"].is_null() {
        return Err("the alert is closed".to_owned());
    }
    stage.say(&format!("GET /alerts shows alert {} closed at {}", closed["alert_id"], closed["closed_date"]));
    Ok(())
}

/// Where it plays.
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

    /// Sends a request, which must be answered with `status`.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> Result<Value, String> {
        let step = format!("{method} {path} is answered with {status}");
        match tokio::time::timeout(PATIENCE, self.process.send(method, path, body)).await {
            Ok(Some((answered, body))) if answered == status => Ok(body),
            Ok(Some((answered, body))) => Err(format!("{step}, not {answered} {body}")),
            Ok(None) | Err(_) => Err(step),
        }
    }

    /// Sends a heartbeat; answers when.
    async fn heartbeat(&self) -> Result<Instant, String> {
        let sent = Instant::now();
        let body = json!({"heartbeat_name": NAME, "status": "UP"});
        self.ask(Method::POST, "/heartbeat", Some(body), 201).await?;
        Ok(sent)
    }

    /// Waits for a notification, which is owed from `due` on.
    async fn hear(
        &self,
        step: &str,
        receiver: &str,
        words: &str,
        due: Instant,
        due_name: &str,
    ) -> Result<Arrival, String> {
        let patience = due.saturating_duration_since(Instant::now()) + PATIENCE;
        let wanted = |arrival: &Arrival| arrival.receiver == receiver && arrival.line().contains(words);
        let arrival = self.receivers.wait_for(patience, wanted).await.ok_or(step)?;
        if arrival.at < due {
            return Err(format!("{step}, and not before {due_name}"));
        }
        let late = (arrival.at - due).as_secs_f64();
        self.say_at(arrival.at, &format!("{step} {late:.3} s after {due_name}: {}", arrival.line()));
        Ok(arrival)
    }
}
