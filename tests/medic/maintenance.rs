//! Maintenance windows: how they are configured, and which services are in one.

use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bad_input::{all, refusals};
use crate::teams::ids_by_pages;

const WINDOWS: &str = "/v2/maintenance-windows";

fn upgrade(more: &Value) -> Value {
    let mut body = json!({
        "name": "Upgrade", "start_time": "2026-01-05T22:00:00Z", "end_time": "2026-01-05T23:00:00Z",
        "timezone": "Europe/Berlin",
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    body
}

/// Returns the name of the window that a service is in, and its end.
async fn maintenance(system: &System, service: i64, at: &str) -> (Value, Value) {
    let answer = system.get(&format!("/v2/services/{service}/maintenance?at={at}")).await;
    (answer.results()["window_name"].clone(), answer.results()["maintenance_end"].clone())
}

#[tokio::test]
async fn a_window_lives_from_creation_to_deletion() {
    let system = System::start().await;
    for name in ["a", "b"] {
        system.register(name, 60.0, json!({})).await;
    }
    insta::assert_snapshot!(system.post(WINDOWS, upgrade(&json!({"service_ids": [2, 1, 2]}))).await, @r#"
    201
    {
      "message": "Maintenance window created.",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": null,
        "end_time": "2026-01-05T23:00:00.000Z",
        "name": "Upgrade",
        "recurrence": null,
        "service_ids": [
          1,
          2
        ],
        "start_time": "2026-01-05T22:00:00.000Z",
        "timezone": "Europe/Berlin",
        "window_id": 1
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.post(WINDOWS, upgrade(&json!({"name": "upgrade"}))).await, @r#"
    409
    {
      "message": "name is taken: there is a maintenance window named upgrade",
      "results": "",
      "success": false
    }
    "#);
    let change = json!({"end_time": "2026-01-06T01:00:00+01:00", "recurrence": "0 23 * * 1", "service_ids": []});
    let changed = system.patch(&format!("{WINDOWS}/1"), change).await;
    insta::assert_snapshot!(changed, @r#"
    200
    {
      "message": "",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": "2026-01-05T12:00:00.000Z",
        "end_time": "2026-01-06T00:00:00.000Z",
        "name": "Upgrade",
        "recurrence": "0 23 * * 1",
        "service_ids": [],
        "start_time": "2026-01-05T22:00:00.000Z",
        "timezone": "Europe/Berlin",
        "window_id": 1
      },
      "success": true
    }
    "#);
    assert_eq!(system.get(&format!("{WINDOWS}/1")).await.results(), changed.results());
    let cleared = system.patch(&format!("{WINDOWS}/1"), json!({"recurrence": null})).await;
    assert_eq!(cleared.results()["recurrence"], Value::Null);
    insta::assert_snapshot!(system.delete(&format!("{WINDOWS}/1")).await, @r#"
    200
    {
      "message": "Maintenance window deleted.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get(&format!("{WINDOWS}/1")).await, @r#"
    404
    {
      "message": "There is no maintenance window 1",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.post(WINDOWS, upgrade(&json!({"name": "UPGRADE"}))).await.status, 201);
}

#[tokio::test]
async fn windows_come_in_pages() {
    let system = System::start().await;
    for n in 1..=4 {
        system.post(WINDOWS, upgrade(&json!({"name": format!("window {n}")}))).await;
    }
    assert_eq!(ids_by_pages(&system, WINDOWS, "window_id").await, (vec![4, 3, 2, 1], 2));
}

#[tokio::test]
async fn a_service_is_in_the_windows_that_cover_it() {
    let system = System::start().await;
    let (mine, other) = (system.register("a", 60.0, json!({})).await, system.register("b", 60.0, json!({})).await);
    system.post(WINDOWS, upgrade(&json!({"service_ids": [mine]}))).await;
    let none = (Value::Null, Value::Null);
    let upgrade_until_11 = (json!("Upgrade"), json!("2026-01-05T23:00:00.000Z"));
    assert_eq!(maintenance(&system, mine, "2026-01-05T21:59:59.999Z").await, none);
    assert_eq!(maintenance(&system, mine, "2026-01-05T22:00:00Z").await, upgrade_until_11);
    assert_eq!(maintenance(&system, mine, "2026-01-05T23:00:00Z").await, none);
    assert_eq!(maintenance(&system, other, "2026-01-05T22:00:00Z").await, none);
    // A window for every service, which ends later.
    let daily = json!({"name": "Daily", "recurrence": "30 23 * * *", "start_time": "2026-01-01T00:00:00",
        "end_time": "2026-01-01T01:00:00"});
    system.post(WINDOWS, upgrade(&daily)).await;
    let daily_until_half_past = (json!("Daily"), json!("2026-01-05T23:30:00.000Z"));
    assert_eq!(maintenance(&system, mine, "2026-01-05T22:29:00Z").await, upgrade_until_11);
    assert_eq!(maintenance(&system, mine, "2026-01-05T22:30:00Z").await, daily_until_half_past);
    assert_eq!(maintenance(&system, other, "2026-01-05T22:30:00Z").await, daily_until_half_past);
    insta::assert_snapshot!(system.get("/v2/services/1/maintenance?at=2026-01-05T22:30:00Z").await, @r#"
    200
    {
      "message": "",
      "results": {
        "in_maintenance": true,
        "maintenance_end": "2026-01-05T23:30:00.000Z",
        "window_id": 2,
        "window_name": "Daily"
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/services/1/maintenance").await, @r#"
    200
    {
      "message": "",
      "results": {
        "in_maintenance": false,
        "maintenance_end": null,
        "window_id": null,
        "window_name": null
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/services/1/maintenance?at=now").await, @r#"
    400
    {
      "message": "at must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.get("/v2/services/9/maintenance").await.status, 404);
}

#[tokio::test]
async fn a_window_of_a_deleted_service_does_not_cover_others() {
    let system = System::start().await;
    let (mine, other) = (system.register("a", 60.0, json!({})).await, system.register("b", 60.0, json!({})).await);
    system.post(WINDOWS, upgrade(&json!({"service_ids": [mine]}))).await;
    assert_eq!(system.delete(&format!("/v2/services/{mine}")).await.status, 200);
    assert_eq!(maintenance(&system, other, "2026-01-05T22:00:00Z").await, (Value::Null, Value::Null));
    let renamed = system.patch(&format!("{WINDOWS}/1"), json!({"name": "Later"})).await;
    assert_eq!(renamed.results()["service_ids"], json!([mine]));
}

#[tokio::test]
async fn a_bad_window_is_refused_and_changes_nothing() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    system.post(WINDOWS, upgrade(&json!({}))).await;
    let before = all(&system).await;
    let cases: Vec<Vec<u8>> = [
        json!({"name": ""}),
        json!({"name": "a", "start_time": "soon"}),
        json!({"name": "a", "end_time": "later"}),
        json!({"name": "a", "end_time": "2026-01-05T22:00:00Z"}),
        json!({"name": "a", "timezone": "CET"}),
        json!({"name": "a", "recurrence": "0 22 * *"}),
        json!({"name": "a", "recurrence": "0 22 31 2 *"}),
        json!({"name": "a", "recurrence": ""}),
        json!({"name": "a", "recurrence": "0 22 * * *", "end_time": "2027-02-05T22:00:00Z"}),
        json!({"name": "a", "service_ids": [1, 9]}),
        json!({"name": "a", "service_ids": [0]}),
        json!({"name": "a", "service_ids": ["1"]}),
        json!({"name": "a", "service_ids": (1..=1_001).collect::<Vec<_>>()}),
        json!({"name": "a", "unheard_of": 1}),
    ]
    .iter()
    .map(|more| upgrade(more).to_string().into_bytes())
    .collect();
    let bodies: Vec<&[u8]> = cases.iter().map(Vec::as_slice).collect();
    let shown = refusals(&system, Method::POST, WINDOWS, &bodies).await;
    let messages: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    400 name must not be empty
    400 start_time must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z
    400 end_time must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z
    400 end_time must be after start_time
    400 timezone must be UTC or a full IANA name with a '/', such as Europe/Berlin; abbreviations and offsets are not accepted
    400 recurrence must be a cron expression of five fields: minute, hour, day of month, month, day of week
    400 recurrence never occurs: none of its months has such a day
    400 recurrence must be a cron expression of five fields: minute, hour, day of month, month, day of week
    400 end_time must be at most 366 days after start_time in a recurring window
    400 service_ids must be services': there is no service 9
    400 service_ids must be whole numbers from 1
    400 service_ids[0]: invalid type: string "1", expected a whole number
    400 service_ids must be at most 1000 services
    400 unheard_of: unknown field `unheard_of`, expected one of `name`, `start_time`, `end_time`, `timezone`, `recurrence`, `service_ids`
    "#);
    let changes: [&[u8]; 5] = [
        br#"{"start_time": "2026-01-05T23:00:00Z"}"#,
        br#"{"end_time": "2026-01-05T21:00:00Z"}"#,
        br#"{"service_ids": [9]}"#,
        br#"{"service_ids": null, "window_id": 1}"#,
        br#"{"recurrence": "x"}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/maintenance-windows/1", &changes).await, @r#"
    {"start_time": "2026-01-05T23:00:00Z"}
      400 end_time must be after start_time
    {"end_time": "2026-01-05T21:00:00Z"}
      400 end_time must be after start_time
    {"service_ids": [9]}
      400 service_ids must be services': there is no service 9
    {"service_ids": null, "window_id": 1}
      400 window_id: unknown field `window_id`, expected one of `name`, `start_time`, `end_time`, `timezone`, `recurrence`, `service_ids`
    {"recurrence": "x"}
      400 recurrence must be a cron expression of five fields: minute, hour, day of month, month, day of week
    "#);
    assert_eq!(all(&system).await, before);
}
