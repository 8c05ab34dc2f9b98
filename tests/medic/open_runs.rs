//! Services with more open runs than one look at them could judge.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Run, RunId, ServiceId, ServicePatch, SignalKind, Status};
use futures::StreamExt as _;
use futures::stream;
use harness::{Lost, System, interleaved};
use operations::{Medic, Named, Report};
use reqwest::Method;
use runtime::Clock as _;
use serde_json::json;
use store::{Commit, Key, Writes};

/// Begins runs, as their signals would, a millisecond apart.
async fn begin_runs(system: &System, service: i64, count: i64) {
    let table = &system.service.medic().table;
    let now = system.time.now();
    let begin = |n| async move {
        let new = Run::new(ServiceId::new(service), RunId::parse(format!("run-{n}")).unwrap());
        let mut run = new.clone();
        run.record_signal(SignalKind::Start, now - TimeDelta::milliseconds(n), None, now);
        assert_eq!(table.save_run(&new, &run).await.unwrap(), Commit::Done);
    };
    stream::iter(0..count).map(begin).buffer_unordered(16).collect::<()>().await;
}

#[tokio::test]
async fn a_service_with_thousands_of_open_runs_is_judged_in_time_while_they_are_looked_at() {
    let system = System::start().await;
    let id = system.register("w", 60.0, json!({})).await;
    begin_runs(&system, id, 5_000).await;
    system.seconds(58).await;
    for muted in [true, false] {
        let body = json!({"muted": muted}).to_string();
        let path = format!("/v2/services/{id}");
        let answer = system.raw(Method::PATCH, &path, Some(&system.key), &[], Some(body.into())).await;
        assert_eq!(answer.status, 200, "{answer}");
    }
    system.service.dynamodb().measure();
    system.time.set(harness::start_of_time() + TimeDelta::seconds(60));
    let notified = system.receivers.wait_for(Duration::from_mins(1), |arrival| arrival.receiver == "slack").await;
    let requests = system.service.dynamodb().units().requests;
    assert!(notified.unwrap().line().contains("w is down"));
    // A look is a part of a second: a part of the runs, and no more, is looked at before the deadline is seen.
    assert!(requests < 500, "{requests} requests from the deadline to its notification");
}

#[tokio::test]
async fn a_look_at_many_runs_goes_on_where_it_was_though_heartbeats_come_and_messages_are_lost() {
    let system = System::start().await;
    let id = system.register("w", 3_600.0, json!({})).await;
    begin_runs(&system, id, 250).await;
    system.seconds(120).await;
    let heartbeats = system.another_instance();
    let now = system.time.now();
    let heartbeat = async move {
        let service = Named::Id(ServiceId::new(id));
        let report = Report { service, status: Status::Up, run_id: None, idempotency_key: None };
        heartbeats.report(report, now).await.unwrap();
    };
    let tables = interleaved(system.service.dynamodb(), "run#open#", heartbeat);
    let instance = system.instance_with(&tables, Arc::new(Lost));
    set_maximum(&instance, id, 60_000, now).await;
    let mut stale = Vec::new();
    for part in 0..3 {
        let later = now + TimeDelta::milliseconds(part);
        let swept = instance.handle_row(Key::service(ServiceId::new(id)), later).await;
        assert_eq!((swept.handled, swept.failed), (1, 0));
        let runs = system.get(&format!("/v2/services/{id}/runs?status=STALE_ALERTED&limit=250")).await;
        stale.push(runs.results()["items"].as_array().unwrap().len());
    }
    assert_eq!(stale, [100, 200, 250]);
}

/// Gives a service's runs a maximum, as a process does that dies before it wakes anybody.
async fn set_maximum(instance: &Medic, id: i64, millis: u64, now: DateTime<Utc>) {
    let old = instance.table.service(ServiceId::new(id)).await.unwrap().unwrap();
    let (mut service, mut profile) = (old.snapshot.service.clone(), old.profile.clone());
    service.edit(&ServicePatch { has_new_maximum: true, ..ServicePatch::default() }, now);
    (profile.max_duration_ms, profile.date_modified) = (Some(millis), Some(now));
    let saved = instance.table.save_edit(&old, &service, &profile, Writes::new()).await.unwrap();
    assert_eq!(saved, Commit::Done);
}

#[tokio::test]
async fn a_run_is_kept_until_its_stale_alert_would_open_however_late_that_is() {
    let system = System::start().await;
    let id = system.register("w", 527_040.0 * 60.0, json!({"max_duration_ms": 100 * DAY_MS})).await;
    let other = system.register("x", 527_040.0 * 60.0, json!({})).await;
    for service in [id, other] {
        let started = system.post(&format!("/v2/heartbeat/{service}/start"), json!({"run_id": "long"})).await;
        assert_eq!(started.status, 201, "{started}");
    }
    system.lag(TimeDelta::days(80)).await;
    system.patch(&format!("/v2/services/{other}"), json!({"max_duration_ms": 110 * DAY_MS})).await;
    system.lag(TimeDelta::days(19)).await;
    assert_eq!(statuses(&system, id).await, ["STARTED"]);
    // Another maximum finds it although its 90 days are over.
    system.patch(&format!("/v2/services/{id}"), json!({"max_duration_ms": 105 * DAY_MS})).await;
    system.lag(TimeDelta::days(2)).await;
    assert_eq!(system.open_alerts().await, 0);
    system.lag(TimeDelta::days(4)).await;
    assert_eq!((statuses(&system, id).await, system.open_alerts().await), (vec!["STALE_ALERTED".to_owned()], 1));
    system.lag(TimeDelta::days(5)).await;
    assert_eq!((statuses(&system, other).await, system.open_alerts().await), (vec!["STALE_ALERTED".to_owned()], 2));
    // Without a maximum it goes when its time is over.
    let third = system.register("y", 527_040.0 * 60.0, json!({"max_duration_ms": 100 * DAY_MS})).await;
    system.post(&format!("/v2/heartbeat/{third}/start"), json!({"run_id": "long"})).await;
    system.lag(TimeDelta::days(95)).await;
    system.patch(&format!("/v2/services/{third}"), json!({"max_duration_ms": null})).await;
    assert_eq!(statuses(&system, third).await, [""; 0]);
}

const DAY_MS: i64 = 24 * 3_600_000;

async fn statuses(system: &System, service: i64) -> Vec<String> {
    let runs = system.get(&format!("/v2/services/{service}/runs")).await;
    let items = runs.results()["items"].as_array().unwrap().clone();
    items.iter().map(|run| run["status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_run_that_cannot_be_read_holds_up_neither_its_service_nor_other_runs() {
    let system = System::start().await;
    let id = system.register("w", 60.0, json!({})).await;
    begin_runs(&system, id, 3).await;
    let client = Client::from_conf(system.service.dynamodb().config().build());
    let damage = client
        .update_item()
        .table_name("medic")
        .key("pk", AttributeValue::S(format!("run#{id}")))
        .key("sk", AttributeValue::S("run-1".to_owned()))
        .update_expression("SET started_at = :damaged")
        .expression_attribute_values(":damaged", AttributeValue::S("damaged".to_owned()));
    damage.send().await.unwrap();
    system.seconds(30).await;
    system.patch(&format!("/v2/services/{id}"), json!({"max_duration_ms": 1_000})).await;
    assert_eq!(system.open_alerts().await, 2, "those of the other runs");
    system.seconds(30).await;
    assert_eq!(system.open_alerts().await, 3, "the service is late");
    assert_eq!(system.get(&format!("/v2/services/{id}")).await.results()["down"], true);
}
