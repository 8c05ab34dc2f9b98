//! Services that must report at the times of a cron expression.

use std::fmt::Write as _;

use chrono::TimeDelta;
use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

/// Registers a service with a schedule. Returns its id.
async fn register(system: &System, name: &str, more: Value) -> i64 {
    let mut body = json!({"heartbeat_name": name, "service_name": "worker"});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    let answer = system.post("/v2/services", body).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.results()["service_id"].as_i64().unwrap()
}

async fn times(system: &System, id: i64, query: &str) -> Value {
    system.get(&format!("/v2/services/{id}/expectations?{query}")).await.results().clone()
}

/// Every test begins at 12:00.
#[tokio::test]
async fn overdue_is_each_expected_time_and_its_grace_without_a_heartbeat_since_the_one_before() {
    let system = System::start().await;
    let more = json!({"schedule_cron": "0 * * * *", "grace_period_seconds": 600});
    register(&system, "w", more).await;
    // Nothing came for 13:00.
    system.advance(TimeDelta::minutes(70) - TimeDelta::milliseconds(1)).await;
    assert_eq!(system.open_alerts().await, 0);
    system.advance(TimeDelta::milliseconds(1)).await;
    assert_eq!(system.open_alerts().await, 1);
    let reason = "no heartbeat yet, expected at 2026-01-05T13:00:00.000Z by its schedule 0 * * * * (UTC)";
    assert_eq!(system.alerts().await[0]["reason"], reason);
    system.heartbeat("w", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
    // Late but in time for 14:00, early for 15:00; nothing for 16:00.
    system.advance(TimeDelta::minutes(59)).await;
    system.heartbeat("w", "UP").await;
    system.advance(TimeDelta::minutes(45)).await;
    system.heartbeat("w", "UP").await;
    assert_eq!(system.alerts().await.len(), 1);
    system.advance(TimeDelta::minutes(76) - TimeDelta::milliseconds(1)).await;
    assert_eq!(system.open_alerts().await, 0);
    system.advance(TimeDelta::milliseconds(1)).await;
    assert_eq!(system.alerts().await[0]["created_date"], "2026-01-05T16:10:00.000Z");
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn reminders_come_at_expected_times_and_their_grace() {
    let system = System::start().await;
    register(&system, "w", json!({"schedule_cron": "0 13,15 * * *", "grace_period_seconds": 60})).await;
    system.advance(TimeDelta::minutes(61)).await;
    let cycle = async || system.alerts().await[0]["alert_cycle"].clone();
    assert_eq!(cycle().await, 1);
    system.advance(TimeDelta::minutes(120) - TimeDelta::milliseconds(1)).await;
    assert_eq!(cycle().await, 1);
    system.advance(TimeDelta::milliseconds(1)).await;
    assert_eq!(cycle().await, 2);
    // Two days of two times each, swept late.
    system.lag(TimeDelta::days(2)).await;
    assert_eq!(cycle().await, 6);
}

#[tokio::test]
async fn the_deadline_is_moved_lazily_and_a_heartbeat_reads_nothing() {
    let system = System::start().await;
    register(&system, "w", json!({"schedule_cron": "*/10 * * * *", "timezone": "Europe/Berlin"})).await;
    system.heartbeat("w", "UP").await;
    let body = serde_json::to_vec(&json!({"heartbeat_name": "w", "status": "UP"})).unwrap();
    system.advance(TimeDelta::minutes(5)).await;
    system.service.dynamodb().measure();
    system.raw(Method::POST, "/heartbeat", Some(&system.key), &[], Some(body)).await;
    let units = system.service.dynamodb().units();
    // Writes: two for the heartbeat and one for the limit. Reads: the key's record and the counts of the minute before.
    assert_eq!((units.write.to_string(), units.read.to_string()), ("3".into(), "1".into()));
    system.service.dynamodb().measure();
    system.advance(TimeDelta::minutes(5)).await;
    assert_eq!(system.service.dynamodb().units().write.to_string(), "3");
    assert_eq!(system.open_alerts().await, 0);
    system.advance(TimeDelta::minutes(10)).await;
    assert_eq!(system.open_alerts().await, 1);
}

#[tokio::test]
async fn a_failure_alerts_at_once_and_recovers_with_a_heartbeat() {
    let system = System::start().await;
    register(&system, "w", json!({"schedule_cron": "0 2 * * *", "grace_period_seconds": 3_600})).await;
    system.heartbeat("w", "FAILED").await;
    assert_eq!(system.open_alerts().await, 1);
    system.heartbeat("w", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
    system.lag(TimeDelta::hours(24)).await;
    assert_eq!(system.open_alerts().await, 0);
}

#[tokio::test]
async fn a_new_schedule_counts_from_its_edit() {
    let system = System::start().await;
    let id = system.register("w", 60.0 * 30.0, json!({})).await;
    system.advance(TimeDelta::minutes(29)).await;
    let path = format!("/v2/services/{id}");
    let patch = json!({"schedule_cron": "0 6 * * *", "timezone": "America/New_York"});
    let edited = system.patch(&path, patch).await.results().clone();
    assert_eq!(edited["alert_interval"], Value::Null);
    assert_eq!(edited["schedule_cron"], "0 6 * * *");
    assert_eq!(edited["timezone"], "America/New_York");
    // 06:00 in New York is 11:00 in UTC, a day on.
    system.lag(TimeDelta::hours(22)).await;
    assert_eq!(system.open_alerts().await, 0);
    system.advance(TimeDelta::minutes(31)).await;
    assert_eq!(system.open_alerts().await, 1);
    assert_eq!(system.alerts().await[0]["created_date"], "2026-01-06T11:00:00.000Z");
    // Back to an interval, which counts from now as well.
    let edited = system.patch(&path, json!({"alert_interval": 10})).await.results().clone();
    assert_eq!((edited["alert_interval"].clone(), edited["schedule_cron"].clone()), (json!(10), Value::Null));
    system.heartbeat("w", "UP").await;
    assert_eq!(system.open_alerts().await, 0);
    system.advance(TimeDelta::minutes(10)).await;
    assert_eq!(system.open_alerts().await, 1);
    // Version 1 shows the service too.
    assert_eq!(system.get("/service/w").await.results()[0]["alert_interval"], 10);
}

#[tokio::test]
async fn expected_times_are_right_through_both_changes_of_the_clock() {
    let system = System::start().await;
    let id = register(&system, "night", json!({"schedule_cron": "30 2 * * *", "timezone": "Europe/Berlin"})).await;
    insta::assert_json_snapshot!(times(&system, id, "from=2026-03-28T00:00:00Z&to=2026-03-31T00:00:00Z").await, @r#"
    {
      "items": [
        "2026-03-28T01:30:00.000Z",
        "2026-03-29T01:00:00.000Z",
        "2026-03-30T00:30:00.000Z"
      ],
      "next_cursor": null
    }
    "#);
    insta::assert_json_snapshot!(times(&system, id, "from=2026-10-24T12:00:00Z&to=2026-10-26T12:00:00Z").await, @r#"
    {
      "items": [
        "2026-10-25T00:30:00.000Z",
        "2026-10-26T01:30:00.000Z"
      ],
      "next_cursor": null
    }
    "#);
    let id = register(&system, "hourly", json!({"schedule_cron": "30 * * * *", "timezone": "Europe/Berlin"})).await;
    insta::assert_json_snapshot!(times(&system, id, "from=2026-10-25T00:00:00Z&to=2026-10-25T03:00:00Z").await, @r#"
    {
      "items": [
        "2026-10-25T00:30:00.000Z",
        "2026-10-25T01:30:00.000Z",
        "2026-10-25T02:30:00.000Z"
      ],
      "next_cursor": null
    }
    "#);
}

#[tokio::test]
async fn expected_times_come_in_pages() {
    let system = System::start().await;
    let id = register(&system, "w", json!({"schedule_cron": "0 0 * * *"})).await;
    let first = times(&system, id, "limit=5").await;
    assert_eq!(first["items"].as_array().unwrap().len(), 5);
    assert_eq!(first["items"][0], "2026-01-06T00:00:00.000Z");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = times(&system, id, &format!("limit=5&cursor={cursor}")).await;
    assert_eq!(second, json!({"items": ["2026-01-11T00:00:00.000Z", "2026-01-12T00:00:00.000Z"], "next_cursor": null}));
}

#[tokio::test]
async fn an_invalid_schedule_is_refused_by_its_field() {
    let system = System::start().await;
    let id = register(&system, "w", json!({"schedule_cron": "0 2 * * *"})).await;
    let bare = json!({"heartbeat_name": "v", "service_name": "worker"});
    let mut refused = String::new();
    for more in [
        json!({}),
        json!({"alert_interval": 5, "schedule_cron": "0 2 * * *"}),
        json!({"alert_interval": 5, "timezone": "UTC"}),
        json!({"schedule_cron": "0 2 * *"}),
        json!({"schedule_cron": "0 0 30 2 *"}),
        json!({"schedule_cron": 5}),
        json!({"schedule_cron": "0 2 * * *", "timezone": "CET"}),
        json!({"schedule_cron": "0 2 * * *", "threshold": 2}),
    ] {
        let mut body = bare.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = system.post("/v2/services", body).await;
        writeln!(refused, "{} {}", answer.status.as_u16(), answer.message()).unwrap();
    }
    for patch in [
        json!({"schedule_cron": "61 * * * *"}),
        json!({"timezone": ""}),
        json!({"alert_interval": 5, "schedule_cron": "0 2 * * *"}),
        json!({"threshold": 3}),
    ] {
        let answer = system.patch(&format!("/v2/services/{id}"), patch).await;
        writeln!(refused, "{} {}", answer.status.as_u16(), answer.message()).unwrap();
    }
    let plain = system.register("plain", 60.0, json!({})).await;
    let answer = system.patch(&format!("/v2/services/{plain}"), json!({"timezone": "UTC"})).await;
    writeln!(refused, "{} {}", answer.status.as_u16(), answer.message()).unwrap();
    for path in [
        format!("/v2/services/{plain}/expectations"),
        "/v2/services/9/expectations".to_owned(),
        format!("/v2/services/{id}/expectations?from=soon"),
        format!("/v2/services/{id}/expectations?to=2026-01-05T12:00:00Z"),
        format!("/v2/services/{id}/expectations?to=2027-01-07T12:00:00Z"),
        format!("/v2/services/{id}/expectations?limit=251"),
        format!("/v2/services/{id}/expectations?cursor=x"),
    ] {
        let answer = system.get(&path).await;
        writeln!(refused, "{} {}", answer.status.as_u16(), answer.message()).unwrap();
    }
    insta::assert_snapshot!(refused, @r"
    400 alert_interval or schedule_cron must be given
    400 schedule_cron goes instead of alert_interval, not beside it
    400 timezone goes with schedule_cron
    400 schedule_cron must be a cron expression of five fields: minute, hour, day of month, month, day of week
    400 schedule_cron never occurs: none of its months has such a day
    400 schedule_cron: invalid type: integer `5`, expected a string
    400 timezone must be UTC or a full IANA name with a '/', such as Europe/Berlin; abbreviations and offsets are not accepted
    400 threshold must be 1 with schedule_cron: each expected time needs one heartbeat
    400 schedule_cron has as its minute 61, but it goes from 0 to 59
    400 timezone must not be empty
    400 schedule_cron goes instead of alert_interval, not beside it
    400 threshold must be 1 with schedule_cron: each expected time needs one heartbeat
    400 timezone goes with schedule_cron
    409 service 2 has an alert_interval and no schedule_cron
    404 There is no service 9
    400 from must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z
    400 to must be after from
    400 to must be at most 366 days after from
    400 limit must be a whole number from 1 to 250
    400 cursor must be the next_cursor of a response
    ");
    assert_eq!(system.get("/v2/services").await.results()["items"].as_array().unwrap().len(), 2);
}
