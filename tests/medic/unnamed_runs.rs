//! Runs that pings begin without a name: a later one supersedes them, so that a job that died leaves nothing open.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::{HeartbeatName, PingKeyId, PingKind};
use futures::future::join_all;
use harness::{System, interleaved};
use local::Fault;
use operations::Ping;
use reqwest::Method;
use runtime::Clock as _;
use serde_json::{Value, json};

/// A service whose pings have a key.
struct Pinged {
    system: System,
    id: i64,
    key: String,
}

impl Pinged {
    async fn start(service: Value) -> Self {
        let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
        let id = system.register("nightly", 10.0 * 3_600.0, service).await;
        let key = system.post("/v2/ping-keys", json!({})).await.results()["key"].as_str().unwrap().to_owned();
        Self { system, id, key }
    }

    async fn status(&self, end: &str) -> u16 {
        let path = format!("/ping/{}/nightly{end}", self.key);
        self.system.raw(Method::GET, &path, None, &[], None).await.status.as_u16()
    }

    async fn ping(&self, end: &str) {
        assert_eq!(self.status(end).await, 200, "{end}");
        self.system.service.settle().await;
    }

    async fn runs(&self, query: &str) -> Vec<Value> {
        let answer = self.system.get(&format!("/v2/services/{}/runs{query}", self.id)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.results()["items"].as_array().unwrap().clone()
    }

    /// Returns the status of each run, the one that began last first.
    async fn statuses(&self) -> Vec<String> {
        self.runs("").await.iter().map(|run| run["status"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_run_that_never_ended_is_superseded_by_the_next_and_its_alert_closes() {
    let pinged = Pinged::start(json!({"max_duration_ms": 60_000})).await;
    let system = &pinged.system;
    system.post("/v2/webhooks", json!({"url": system.receivers.hook()})).await;
    pinged.ping("/start").await;
    system.seconds(60).await;
    assert_eq!((pinged.statuses().await, system.open_alerts().await), (vec!["STALE_ALERTED".to_owned()], 1));
    system.seconds(3_600).await;
    let notified = system.slack().len();
    pinged.ping("/start").await;
    assert_eq!(pinged.statuses().await, ["STARTED", "SUPERSEDED"]);
    let superseded = &pinged.runs("?status=superseded").await[..];
    let run = superseded[0]["run_id"].as_str().unwrap();
    assert_eq!(
        superseded,
        [json!({
            "run_id": run, "status": "SUPERSEDED", "duration_ms": null,
            "started_at": "2026-01-05T12:00:00.000Z", "completed_at": null,
        })]
    );
    let message = format!(
        ":white_check_mark: nightly has recovered: run {run} was superseded by a later one after 1 h 1 min 0 s"
    );
    assert_eq!(system.slack()[notified..], [message]);
    assert_eq!(system.pagerduty().len(), 2, "trigger and resolve: {:?}", system.pagerduty());
    assert_eq!(system.receivers.accepted("webhook"), ["job.stale", "alert.resolved"]);
    let alert = system.get("/v2/alerts/1").await;
    assert_eq!(
        (&alert.results()["closed_date"], &alert.results()["resolution"], &alert.results()["resolved_by"]),
        (&json!("2026-01-05T13:01:00.000Z"), &json!("superseded by a later run"), &Value::Null)
    );
    system.seconds(30).await;
    pinged.ping("").await;
    assert_eq!(pinged.statuses().await, ["COMPLETED", "SUPERSEDED"]);
    let stats = system.get(&format!("/v2/services/{}/stats", pinged.id)).await;
    assert_eq!(stats.results()["run_count"], 1);
    assert_eq!((system.slack().len(), system.alerts().await.len()), (notified + 1, 1));
}

#[tokio::test]
async fn only_runs_that_nobody_named_are_superseded() {
    let pinged = Pinged::start(json!({})).await;
    let rid = "0b3b9d3a-8f4f-4c0e-9a68-6f2f9f3f7b11";
    for end in ["/start", &format!("/start?rid={rid}"), "/start"] {
        pinged.ping(end).await;
        pinged.system.seconds(1).await;
    }
    assert_eq!(pinged.statuses().await, ["STARTED", "STARTED", "SUPERSEDED"]);
    assert_eq!(pinged.runs("?status=STARTED").await[1]["run_id"], rid);
    // The start of a named one supersedes none either.
    pinged.ping("/start?rid=0b3b9d3a-8f4f-4c0e-9a68-6f2f9f3f7b12").await;
    assert_eq!(pinged.statuses().await, ["STARTED", "STARTED", "STARTED", "SUPERSEDED"]);
    // An end without a name ends the newest, and supersedes an older one that nobody named.
    pinged.system.seconds(1).await;
    pinged.ping("").await;
    assert_eq!(pinged.statuses().await, ["COMPLETED", "SUPERSEDED", "STARTED", "SUPERSEDED"]);
}

#[tokio::test]
async fn of_starts_that_come_at_once_one_stays_open_though_no_list_shows_them_yet() {
    let pinged = Pinged::start(json!({})).await;
    pinged.system.service.dynamodb().set_list_lagging(true);
    let statuses = join_all((0..8).map(|_| pinged.status("/start"))).await;
    assert_eq!(statuses, [200; 8]);
    pinged.system.service.dynamodb().set_list_lagging(false);
    let statuses = pinged.statuses().await;
    let count = |wanted: &str| statuses.iter().filter(|status| *status == wanted).count();
    assert_eq!((count("STARTED"), count("SUPERSEDED")), (1, 7), "{statuses:?}");
}

#[tokio::test]
async fn a_start_that_a_later_one_overtakes_is_superseded_although_its_run_was_not_there_yet() {
    let pinged = Pinged::start(json!({})).await;
    let system = &pinged.system;
    let start = || Ping {
        slug: HeartbeatName::parse("nightly").unwrap(),
        kind: PingKind::Start,
        run_id: None,
        create: false,
        body: Vec::new(),
        key: PingKeyId::new(1),
    };
    let (later, now) = (system.another_instance(), system.time.now());
    let overtaking = start();
    let overtakes = async move {
        later.ping(overtaking, now + TimeDelta::milliseconds(5)).await.unwrap();
    };
    // As the first one's heartbeat is counted, which is before its run is written.
    let tables = interleaved(system.service.dynamodb(), "heartbeat_count", overtakes);
    let instance = system.instance_with(&tables, Arc::clone(&system.service.medic().wakes));
    instance.ping(start(), now).await.unwrap();
    assert_eq!(pinged.statuses().await, ["STARTED", "SUPERSEDED"]);
    let both = pinged.runs("").await;
    assert!(both.iter().all(|run| run["started_at"].is_string()), "{both:?}");
    let heartbeats = system.get(&format!("/v2/services/{}/heartbeats", pinged.id)).await;
    assert_eq!(heartbeats.results()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn wherever_a_start_fails_the_next_leaves_no_other_run_open() {
    for written in 0..6 {
        let pinged = Pinged::start(json!({"max_duration_ms": 60_000})).await;
        let system = &pinged.system;
        pinged.ping("/start").await;
        system.seconds(60).await;
        system.service.dynamodb().fail_writes_after(written, Fault::Internal, 1_000);
        let failed = pinged.status("/start").await;
        system.service.dynamodb().fail_writes(Fault::Internal, 0);
        system.seconds(90).await;
        pinged.ping("/start").await;
        let mut statuses = pinged.statuses().await;
        statuses.retain(|status| status != "SUPERSEDED");
        assert_eq!(statuses, ["STARTED"], "{written}, {failed}");
        assert_eq!(system.open_alerts().await, 0, "{written}, {failed}");
    }
}

#[tokio::test]
async fn a_start_of_a_service_that_is_switched_off_changes_no_run() {
    let pinged = Pinged::start(json!({})).await;
    pinged.ping("/start").await;
    pinged.system.patch(&format!("/v2/services/{}", pinged.id), json!({"active": false})).await;
    pinged.ping("/start").await;
    assert_eq!(pinged.statuses().await, ["STARTED"]);
}
