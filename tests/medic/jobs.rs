//! Jobs: how long they ran, and which never ended.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::{RunId, ServiceId, SignalKind};
use harness::{Answer, System, stale};
use operations::{Named, Signal};
use reqwest::Method;
use runtime::Clock as _;
use serde_json::{Value, json};

const HOUR: f64 = 3_600.0;

async fn signal(system: &System, service: i64, what: &str, run: &str) -> Answer {
    let answer = system.post(&format!("/v2/heartbeat/{service}/{what}"), json!({"run_id": run})).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer
}

async fn runs(system: &System, service: i64, query: &str) -> Vec<Value> {
    let answer = system.get(&format!("/v2/services/{service}/runs{query}")).await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.results()["items"].as_array().unwrap().clone()
}

async fn states(system: &System, service: i64, query: &str) -> Vec<String> {
    let state = |run: Value| {
        format!("{} {} {}", run["run_id"].as_str().unwrap(), run["status"].as_str().unwrap(), run["duration_ms"])
    };
    runs(system, service, query).await.into_iter().map(state).collect()
}

async fn heartbeats(system: &System, service: i64) -> usize {
    let answer = system.get(&format!("/v2/services/{service}/heartbeats")).await;
    answer.results()["items"].as_array().unwrap().len()
}

async fn series(system: &System, name: &str) -> u64 {
    let text = system.get("/metrics").await.body.as_str().unwrap().to_owned();
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn a_run_is_shown_from_its_start_to_its_end_and_a_repetition_changes_nothing() {
    let system = System::start().await;
    let id = system.register("nightly", HOUR, json!({})).await;
    insta::assert_snapshot!(signal(&system, id, "start", "a").await, @r#"
    201
    {
      "message": "Run started.",
      "results": {
        "heartbeat_name": "nightly",
        "run_id": "a",
        "service_id": 1,
        "status": "STARTED"
      },
      "success": true
    }
    "#);
    system.seconds(90).await;
    let ended = signal(&system, id, "complete", "a").await;
    insta::assert_snapshot!(ended, @r#"
    201
    {
      "message": "Run completed.",
      "results": {
        "duration_ms": 90000,
        "heartbeat_name": "nightly",
        "run_id": "a",
        "service_id": 1,
        "status": "COMPLETED"
      },
      "success": true
    }
    "#);
    system.seconds(10).await;
    assert_eq!(signal(&system, id, "complete", "a").await.body, ended.body);
    signal(&system, id, "start", "a").await;
    assert_eq!(heartbeats(&system, id).await, 2, "a repetition is no heartbeat");
    assert_eq!(
        runs(&system, id, "").await,
        [json!({
            "run_id": "a", "status": "COMPLETED", "duration_ms": 90_000,
            "started_at": "2026-01-05T12:00:00.000Z", "completed_at": "2026-01-05T12:01:30.000Z",
        })]
    );
    let bare = system.post(&format!("/v2/heartbeat/{id}/complete"), json!({})).await;
    assert_eq!((bare.status.as_u16(), &bare.results()["run_id"]), (201, &Value::Null));
    assert_eq!(runs(&system, id, "").await.len(), 1, "without a run_id it is a heartbeat only");
    let path = format!("/v2/heartbeat/{id}/start");
    let unreadable = system.raw(Method::POST, &path, Some(&system.key), &[], Some(b"{".to_vec())).await;
    assert_eq!(unreadable.status, 201);
}

#[tokio::test]
async fn runs_overlap_and_an_end_may_come_before_its_start() {
    let system = System::start().await;
    let id = system.register("nightly", HOUR, json!({})).await;
    for (what, run) in
        [("start", "a"), ("start", "b"), ("fail", "b"), ("complete", "a"), ("complete", "c"), ("start", "c")]
    {
        signal(&system, id, what, run).await;
        system.seconds(1).await;
    }
    let all = ["c COMPLETED 0", "b FAILED 1000", "a COMPLETED 3000"];
    assert_eq!(states(&system, id, "").await, all);
    assert_eq!(states(&system, id, "?status=failed").await, all[1..2]);
    assert_eq!(states(&system, id, "?status=COMPLETED").await, ["c COMPLETED 0", "a COMPLETED 3000"]);
    let first = system.get(&format!("/v2/services/{id}/runs?limit=2")).await;
    let cursor = first.results()["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(first.results()["items"].as_array().unwrap().len(), 2);
    let rest = system.get(&format!("/v2/services/{id}/runs?limit=2&cursor={cursor}")).await;
    assert_eq!((rest.results()["items"].as_array().unwrap().len(), &rest.results()["next_cursor"]), (1, &Value::Null));
    system.lag(TimeDelta::days(91)).await;
    assert_eq!(states(&system, id, "").await, [""; 0], "what has expired is not shown");
}

#[tokio::test]
async fn statistics_are_of_the_last_hundred_completed_runs_in_one_query() {
    let system = System::start().await;
    let id = system.register("nightly", 100.0 * HOUR, json!({})).await;
    let stats = format!("/v2/services/{id}/stats");
    for n in 1..=104 {
        signal(&system, id, "start", &n.to_string()).await;
        system.seconds(n).await;
        signal(&system, id, "complete", &n.to_string()).await;
        if n == 4 {
            signal(&system, id, "complete", "only an end").await;
            signal(&system, id, "fail", "a failure").await;
            let few = system.get(&stats).await;
            assert_eq!((&few.results()["run_count"], &few.results()["p50_duration_ms"]), (&json!(4), &Value::Null));
        }
    }
    // The first request may be the first of its minute, or of the key's twenty seconds.
    system.get(&stats).await;
    system.service.dynamodb().measure();
    let answer = system.get(&stats).await;
    assert_eq!(system.service.dynamodb().units().requests, 3, "the limit, whether it is there, and one query");
    // The runs of 5 to 104 s.
    assert_eq!(
        answer.results(),
        &json!({
            "run_count": 100, "avg_duration_ms": 54_500.0, "p50_duration_ms": 54_500.0, "p95_duration_ms": 99_050.0,
            "p99_duration_ms": 103_010.0, "min_duration_ms": 5_000.0, "max_duration_ms": 104_000.0,
        })
    );
}

/// Ends a run at an instant that is ahead of the sweep's clock: on time, the sweep might find the run stale first.
async fn end_ahead(system: &System, service: i64, run: &str, at: TimeDelta) {
    let signal = Signal {
        service: Named::Id(ServiceId::new(service)),
        kind: SignalKind::Complete,
        run: Some(RunId::parse(run).unwrap()),
        idempotency_key: None,
    };
    system.service.medic().signal(signal, system.time.now() + at).await.unwrap();
}

#[tokio::test]
async fn a_stale_run_is_notified_once_to_the_second_and_its_end_is_a_recovery() {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    let id = system.register("nightly", 10.0 * HOUR, json!({"max_duration_ms": 3_723_000})).await;
    system.post("/v2/webhooks", json!({"url": system.receivers.hook()})).await;
    signal(&system, id, "start", "a").await;
    system.seconds(3_722).await;
    assert_eq!((system.slack().len(), states(&system, id, "").await), (0, vec!["a STARTED null".to_owned()]));
    system.seconds(1).await;
    assert_eq!(states(&system, id, "?status=STALE_ALERTED").await, ["a STALE_ALERTED null"]);
    let message = ":hourglass: [p3] Stale job detected for nightly: run a has not ended after 1 h 2 min 3 s, and its maximum is \
                1 h 2 min 3 s";
    assert_eq!(system.slack(), [message]);
    assert_eq!(system.pagerduty(), ["trigger medic-1-nightly"]);
    let alert = &system.get("/v2/alerts/1").await;
    assert_eq!(alert.results()["alert_name"], "Medic - Stale job detected for nightly");
    assert_eq!(alert.results()["external_reference_id"], "medic-1-nightly");
    assert_eq!(series(&system, "medic_stale_jobs_current").await, 1);
    let service = system.get(&format!("/v2/services/{id}")).await;
    assert_eq!(service.results()["down"], false, "a job's alert never sets it");
    system.seconds(7_200).await;
    assert_eq!(system.slack().len(), 1, "no reminder, and no second alert");
    let ended = signal(&system, id, "complete", "a").await;
    assert_eq!(ended.message(), "Run ended. It was reported as stale, and has recovered.");
    let over = json!({"alert_type": "exceeded", "max_duration_ms": 3_723_000, "exceeded_by_ms": 7_200_000});
    assert_eq!(ended.results()["duration_alert"], over);
    assert_eq!(system.slack()[1..], [":white_check_mark: nightly has recovered: run a ended after 3 h 2 min 3 s"]);
    assert_eq!(system.pagerduty()[1..], ["resolve medic-1-nightly"]);
    assert_eq!(system.receivers.accepted("webhook"), ["job.stale", "alert.resolved"]);
    assert_eq!((system.open_alerts().await, system.alerts().await.len()), (0, 1));
    assert_eq!(series(&system, "medic_stale_jobs_current").await, 0);
}

#[tokio::test]
async fn a_run_over_its_maximum_is_sent_to_slack_and_webhooks_alone_and_closes_as_it_opens() {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    let id = system.register("nightly", 10.0 * HOUR, json!({"max_duration_ms": 3_723_000})).await;
    system.post("/v2/webhooks", json!({"url": system.receivers.hook()})).await;
    let counted = series(&system, "medic_duration_alerts_total{alert_type=\"exceeded\"}").await;
    signal(&system, id, "start", "a").await;
    end_ahead(&system, id, "a", TimeDelta::milliseconds(3_724_500)).await;
    system.seconds(3_725).await;
    let ended = signal(&system, id, "complete", "a").await;
    assert_eq!((ended.message(), &ended.results()["duration_ms"]), ("Run completed.", &json!(3_724_500)));
    let over = json!({"alert_type": "exceeded", "max_duration_ms": 3_723_000, "exceeded_by_ms": 1_500});
    assert_eq!(ended.results()["duration_alert"], over);
    let message = ":hourglass: [p3] Job exceeded max duration for nightly: run a took 1 h 2 min 4 s, and its maximum is \
                1 h 2 min 3 s";
    assert_eq!(system.slack(), [message]);
    assert_eq!((system.pagerduty().len(), system.receivers.accepted("webhook")), (0, vec!["job.exceeded".to_owned()]));
    let alert = &system.alerts().await[0];
    assert_eq!((&alert["active"], &alert["created_date"]), (&json!(0), &alert["closed_date"]));
    assert_eq!(alert["alert_name"], "Medic - Job exceeded max duration for nightly");
    assert!(series(&system, "medic_duration_alerts_total{alert_type=\"exceeded\"}").await > counted);
}

#[tokio::test]
async fn a_new_maximum_applies_to_open_runs() {
    let system = System::start().await;
    let id = system.register("nightly", 100.0 * HOUR, json!({})).await;
    let set = async |max: Value| system.patch(&format!("/v2/services/{id}"), json!({"max_duration_ms": max})).await;
    signal(&system, id, "start", "a").await;
    system.seconds(60).await;
    set(json!(100_000)).await;
    set(json!(200_000)).await;
    system.seconds(139).await;
    assert_eq!(system.slack().len(), 0);
    system.seconds(1).await;
    assert_eq!(system.slack().len(), 1);
    signal(&system, id, "start", "b").await;
    set(json!(null)).await;
    system.seconds(900).await;
    assert_eq!(system.slack().len(), 1, "there is no maximum any more");
    set(json!(1_000)).await;
    assert_eq!(system.slack().len(), 2, "it is over the new one already: {:?}", system.slack());
}

#[tokio::test]
async fn runs_are_muted_held_in_maintenance_and_dropped_with_their_service() {
    let system = System::start().await;
    let quiet = system.register("quiet", 100.0 * HOUR, json!({"max_duration_ms": 60_000})).await;
    let held = system.register("held", 100.0 * HOUR, json!({"max_duration_ms": 60_000})).await;
    let off = system.register("off", 100.0 * HOUR, json!({"max_duration_ms": 60_000})).await;
    let gone = system.register("gone", 100.0 * HOUR, json!({"max_duration_ms": 60_000})).await;
    system.patch(&format!("/v2/services/{quiet}"), json!({"muted": true, "muted_until": "2026-01-05T12:10:00Z"})).await;
    let window = json!({"name": "w", "start_time": "2026-01-05T12:00:00Z", "end_time": "2026-01-05T12:05:00Z",
        "timezone": "UTC", "service_ids": [held]});
    assert_eq!(system.post("/v2/maintenance-windows", window).await.status, 201);
    for service in [quiet, held, off, gone] {
        signal(&system, service, "start", "a").await;
    }
    system.patch(&format!("/v2/services/{off}"), json!({"active": false})).await;
    system.delete(&format!("/v2/services/{gone}")).await;
    let jobs = |system: &System| -> Vec<String> {
        let lines = system.slack();
        let named = lines.iter().filter(|line| line.contains("Stale job")).cloned();
        named.map(|line| line.split(": ").nth(1).unwrap().replace(":hourglass: ", "")).collect()
    };
    system.seconds(120).await;
    assert_eq!(
        (jobs(&system).len(), system.open_alerts().await),
        (0, 1),
        "the muted one is open, and nobody is notified"
    );
    system.seconds(180).await;
    assert_eq!(jobs(&system).len(), 1, "maintenance is over: {:?}", system.slack());
    system.seconds(300).await;
    assert_eq!(jobs(&system).len(), 2, "the mute is over: {:?}", system.slack());
    system.seconds(3_600).await;
    assert_eq!((jobs(&system).len(), system.open_alerts().await), (2, 2));
    // Switching off a service with an alert of a run resolves its incident, and notifies nobody else.
    let notified = system.slack().len();
    system.patch(&format!("/v2/services/{held}"), json!({"active": false})).await;
    assert_eq!((system.open_alerts().await, system.slack().len()), (1, notified));
    assert!(system.pagerduty().contains(&"resolve medic-2-held".to_owned()), "{:?}", system.pagerduty());
    let refused = system.post(&format!("/v2/heartbeat/{off}/complete"), json!({"run_id": "a"})).await;
    assert_eq!(refused.status, 400, "{refused}");
    let unknown = system.post(&format!("/v2/heartbeat/{gone}/complete"), json!({"run_id": "a"})).await;
    assert_eq!(unknown.status, 404, "{unknown}");
}

#[tokio::test]
async fn bad_signals_are_refused_and_nothing_is_kept() {
    let system = System::start().await;
    let id = system.register("nightly", HOUR, json!({})).await;
    let path = format!("/v2/heartbeat/{id}/start");
    for bad in [json!(""), json!("r".repeat(129)), json!("a\nb"), json!("a\u{0}b"), json!(7), json!(["a"])] {
        let answer = system.post(&path, json!({"run_id": bad})).await;
        assert_eq!(answer.status, 400, "{bad}: {answer}");
        assert!(answer.message().contains("run_id"), "{answer}");
    }
    let extra = system.post(&path, json!({"run": "a"})).await;
    assert!(extra.status == 400 && extra.message().contains("run"), "{extra}");
    let large = system.raw(Method::POST, &path, Some(&system.key), &[], Some(vec![b'x'; 4 << 20])).await;
    assert_eq!(large.status, 413, "{large}");
    assert_eq!(system.post("/v2/heartbeat/99/start", json!({"run_id": "a"})).await.status, 404);
    assert_eq!(system.post("/v2/heartbeat/0/start", json!({"run_id": "a"})).await.status, 400);
    assert_eq!((heartbeats(&system, id).await, runs(&system, id, "").await.len()), (0, 0));
    for bad in ["?status=x", "?cursor=x", "?limit=0"] {
        assert_eq!(system.get(&format!("/v2/services/{id}/runs{bad}")).await.status, 400, "{bad}");
    }
    for path in ["/v2/services/99/runs", "/v2/services/99/stats"] {
        assert_eq!(system.get(path).await.status, 404);
    }
}

#[tokio::test]
async fn a_signal_costs_its_heartbeat_a_write_of_its_run_and_the_entries_of_its_indexes() {
    let system = System::start().await;
    let id = system.register("nightly", HOUR, json!({"max_duration_ms": 600_000})).await;
    system.heartbeat("nightly", "UP").await;
    let mut measured = Vec::new();
    for what in ["start", "complete"] {
        let body = serde_json::to_vec(&json!({"run_id": "a"})).unwrap();
        system.service.dynamodb().measure();
        let path = format!("/v2/heartbeat/{id}/{what}");
        system.raw(Method::POST, &path, Some(&system.key), &[], Some(body)).await;
        let units = system.service.dynamodb().units();
        measured.push((units.read.to_string(), units.write.to_string()));
        system.seconds(1).await;
    }
    // 1 of the limit; 2 of the heartbeat, 1 of the run; then of `list` and `due` an entry each, and at the end one moved
    // and one gone.
    assert_eq!(measured, [("2".to_owned(), "6".to_owned()), ("2".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn a_stale_run_is_acknowledged_while_its_alert_is_open() {
    let system = System::start().await;
    let id = system.register("nightly", 10.0 * HOUR, json!({"max_duration_ms": 60_000})).await;
    signal(&system, id, "start", "a").await;
    system.seconds(60).await;
    let acknowledge = async || system.send(Method::POST, "/v2/alerts/1/acknowledge", None).await;
    let acknowledged = acknowledge().await;
    assert_eq!(
        (acknowledged.status.as_u16(), &acknowledged.results()["acknowledged_by"]),
        (200, &json!("admin")),
        "{acknowledged}"
    );
    assert_eq!(acknowledge().await.body, acknowledged.body, "a repetition changes nothing");
    assert_eq!(system.pagerduty(), ["trigger medic-1-nightly", "acknowledge medic-1-nightly"]);
    signal(&system, id, "fail", "a").await;
    let events = system.pagerduty()[2..].join(", ");
    assert!(events.contains("resolve medic-1-nightly") && events.contains("trigger"), "it failed as well: {events}");
    assert_eq!(acknowledge().await.status, 409);
    assert!(system.get("/v2/alerts/1").await.results()["closed_date"].is_string());
}

#[tokio::test]
async fn a_run_whose_alert_is_open_does_not_expire() {
    let system = System::start().await;
    let id = system.register("nightly", 100.0 * HOUR, json!({"max_duration_ms": 60_000})).await;
    signal(&system, id, "start", "a").await;
    system.seconds(60).await;
    system.lag(TimeDelta::days(91)).await;
    assert_eq!(states(&system, id, "?status=STALE_ALERTED").await, ["a STALE_ALERTED null"]);
    signal(&system, id, "complete", "a").await;
    assert!(system.get("/v2/alerts/1").await.results()["closed_date"].is_string());
    assert_eq!(states(&system, id, "").await, ["a COMPLETED 7862460000"]);
}

#[tokio::test]
async fn no_two_alerts_share_an_incident() {
    let system = System::start().await;
    let more = json!({"max_duration_ms": 60_000});
    let db = system.register("db", 36_000.0, more.clone()).await;
    let backup = system.register("db-backup", 36_000.0, more).await;
    for (service, run) in [(db, "backup-1"), (backup, "1"), (db, "3")] {
        system.post(&format!("/v2/heartbeat/{service}/start"), json!({"run_id": run})).await;
    }
    system.seconds(61).await;
    system.heartbeat("db", "FAILED").await;
    let mut opened = system.pagerduty();
    opened.sort();
    let names: Vec<_> = system.alerts().await.iter().rev().map(|alert| alert["heartbeat_name"].clone()).collect();
    let keys = names.iter().zip(1..).map(|(name, id)| format!("trigger medic-{id}-{}", name.as_str().unwrap()));
    assert_eq!(opened, keys.collect::<Vec<_>>());
    system.post(&format!("/v2/heartbeat/{backup}/complete"), json!({"run_id": "1"})).await;
    let id = names.iter().position(|name| name == "db-backup").unwrap() + 1;
    assert_eq!(system.pagerduty()[4..], [format!("resolve medic-{id}-db-backup")], "the others stay");
}

#[tokio::test]
async fn a_signal_that_comes_again_at_once_is_no_heartbeat_though_its_run_is_not_everywhere_yet() {
    let system = System::start().await;
    let id = system.register("nightly", HOUR, json!({})).await;
    let now = system.time.now();
    let instance =
        system.instance_with(&stale(system.service.dynamodb(), "run", now), Arc::clone(&system.service.medic().wakes));
    for kind in [SignalKind::Start, SignalKind::Fail] {
        let send = async || {
            let run = Some(RunId::parse("a").unwrap());
            let signal = Signal { service: Named::Id(ServiceId::new(id)), kind, run, idempotency_key: None };
            instance.signal(signal, now).await.unwrap().heartbeat
        };
        assert!(send().await.is_some());
        assert_eq!(send().await, None, "{kind:?}");
    }
}
