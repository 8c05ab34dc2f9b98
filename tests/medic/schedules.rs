//! Schedules: how they are configured, the services that have them, and whether an instant is in hours.

use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bad_input::{all, refusals};
use crate::teams::ids_by_pages;

fn office(more: &Value) -> Value {
    let mut body = json!({
        "name": "Office", "timezone": "Europe/Berlin",
        "hours": {"monday": [{"start": "09:00", "end": "17:00"}], "friday": [{"start": "22:00", "end": "02:00"}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    body
}

async fn period(system: &System, path: &str, at: &str) -> Value {
    system.get(&format!("{path}/period?at={at}")).await.results()["period"].clone()
}

#[tokio::test]
async fn a_schedule_lives_from_creation_to_deletion() {
    let system = System::start().await;
    insta::assert_snapshot!(system.post("/v2/schedules", office(&json!({}))).await, @r#"
    201
    {
      "message": "Schedule created.",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": null,
        "hours": {
          "friday": [
            {
              "end": "02:00",
              "start": "22:00"
            }
          ],
          "monday": [
            {
              "end": "17:00",
              "start": "09:00"
            }
          ]
        },
        "name": "Office",
        "schedule_id": 1,
        "timezone": "Europe/Berlin"
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.post("/v2/schedules", office(&json!({"name": "office"}))).await, @r#"
    409
    {
      "message": "name is taken: there is a schedule named office",
      "results": "",
      "success": false
    }
    "#);
    let change = json!({"timezone": "UTC", "hours": {"sunday": [{"start": "00:00", "end": "24:00"}]}});
    let changed = system.patch("/v2/schedules/1", change).await;
    insta::assert_snapshot!(changed, @r#"
    200
    {
      "message": "",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": "2026-01-05T12:00:00.000Z",
        "hours": {
          "sunday": [
            {
              "end": "24:00",
              "start": "00:00"
            }
          ]
        },
        "name": "Office",
        "schedule_id": 1,
        "timezone": "UTC"
      },
      "success": true
    }
    "#);
    assert_eq!(system.get("/v2/schedules/1").await.results(), changed.results());
    insta::assert_snapshot!(system.delete("/v2/schedules/1").await, @r#"
    200
    {
      "message": "Schedule deleted.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/schedules/1").await, @r#"
    404
    {
      "message": "There is no schedule 1",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.get("/v2/schedules/1/period").await.status, 404);
    assert_eq!(system.post("/v2/schedules", office(&json!({"name": "OFFICE"}))).await.status, 201);
}

#[tokio::test]
async fn schedules_come_in_pages() {
    let system = System::start().await;
    for n in 1..=3 {
        system.post("/v2/schedules", office(&json!({"name": format!("schedule {n}")}))).await;
    }
    assert_eq!(ids_by_pages(&system, "/v2/schedules", "schedule_id").await, (vec![3, 2, 1], 2));
}

#[tokio::test]
async fn an_instant_is_in_hours_by_the_wall_clock_of_the_zone() {
    let system = System::start().await;
    system.post("/v2/schedules", office(&json!({}))).await;
    for (at, expected) in [
        // A Monday in winter, and one in summer.
        ("2026-01-05T08:00:00Z", "during_hours"),
        ("2026-01-05T07:59:59.999Z", "after_hours"),
        ("2026-01-05T15:59:59.999Z", "during_hours"),
        ("2026-01-05T16:00:00Z", "after_hours"),
        ("2026-07-06T07:00:00Z", "during_hours"),
        ("2026-07-06T09:00:00%2B02:00", "during_hours"),
        ("2026-07-06T15:00:00Z", "after_hours"),
        // From Friday's evening into Saturday.
        ("2026-01-10T00:59:59Z", "during_hours"),
        ("2026-01-10T01:00:00Z", "after_hours"),
        // Without an offset it is UTC.
        ("2026-01-05T08:00:00", "during_hours"),
    ] {
        assert_eq!(period(&system, "/v2/schedules/1", at).await, expected, "{at}");
    }
    // Now is a Monday, 13:00 in Berlin.
    insta::assert_snapshot!(system.get("/v2/schedules/1/period").await, @r#"
    200
    {
      "message": "",
      "results": {
        "period": "during_hours"
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/schedules/1/period?at=soon").await, @r#"
    400
    {
      "message": "at must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z",
      "results": "",
      "success": false
    }
    "#);
}

#[tokio::test]
async fn a_service_has_its_schedule_until_it_is_deleted() {
    let system = System::start().await;
    system.post("/v2/schedules", office(&json!({}))).await;
    let free = system.register("free", 60.0, json!({})).await;
    let bound = system.register("bound", 60.0, json!({"schedule_id": 1})).await;
    let after = "2026-01-05T16:00:00Z";
    assert_eq!(period(&system, &format!("/v2/services/{free}"), after).await, "during_hours");
    assert_eq!(period(&system, &format!("/v2/services/{bound}"), after).await, "after_hours");
    let schedule = async |id: i64| system.get(&format!("/v2/services/{id}")).await.results()["schedule_id"].clone();
    assert_eq!((schedule(free).await, schedule(bound).await), (Value::Null, json!(1)));
    let set = async |id: i64, value: Value| {
        system.patch(&format!("/v2/services/{id}"), json!({"schedule_id": value})).await.results()["schedule_id"]
            .clone()
    };
    assert_eq!(set(free, json!(1)).await, json!(1));
    assert_eq!(set(free, Value::Null).await, Value::Null);
    assert_eq!(system.delete("/v2/schedules/1").await.status, 200);
    assert_eq!(schedule(bound).await, Value::Null);
    assert_eq!(period(&system, &format!("/v2/services/{bound}"), after).await, "during_hours");
    for path in ["/v2/services/9/period", "/v2/schedules/9/period"] {
        assert_eq!(system.get(path).await.status, 404);
    }
    assert_eq!(system.get("/v2/services/1/period?at=x").await.message().split(' ').next(), Some("at"));
}

#[tokio::test]
async fn a_bad_schedule_is_refused_and_changes_nothing() {
    let system = System::start().await;
    system.post("/v2/schedules", office(&json!({}))).await;
    system.register("worker-1", 60.0, json!({})).await;
    let before = all(&system).await;
    let cases: Vec<Vec<u8>> = [
        json!({"name": ""}),
        json!({"name": "a", "timezone": "CET"}),
        json!({"name": "a", "timezone": "Europe/Nowhere"}),
        json!({"name": "a", "timezone": null}),
        json!({"name": "a", "hours": {"funday": []}}),
        json!({"name": "a", "hours": {"monday": [{"start": "9:00", "end": "17:00"}]}}),
        json!({"name": "a", "hours": {"monday": [{"start": "24:00", "end": "17:00"}]}}),
        json!({"name": "a", "hours": {"monday": [{"start": "09:00", "end": "24:01"}]}}),
        json!({"name": "a", "hours": {"monday": [{"start": "09:00"}]}}),
        json!({"name": "a", "hours": {"monday": [{"start": "09:00", "end": "17:00", "note": ""}]}}),
        json!({"name": "a", "hours": {"monday": vec![json!({"start": "09:00", "end": "10:00"}); 25]}}),
        json!({"name": "a", "hours": []}),
        json!({"name": "a", "unheard_of": 1}),
    ]
    .iter()
    .map(|more| office(more).to_string().into_bytes())
    .collect();
    let bodies: Vec<&[u8]> = cases.iter().map(Vec::as_slice).collect();
    let shown = refusals(&system, Method::POST, "/v2/schedules", &bodies).await;
    let messages: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    400 name must not be empty
    400 timezone must be UTC or a full IANA name with a '/', such as Europe/Berlin; abbreviations and offsets are not accepted
    400 timezone is not a known time zone; it must be UTC or an IANA name, such as Europe/Berlin
    400 timezone: invalid type: null, expected a string
    400 hours.funday is not a day; days are monday to sunday
    400 hours.monday[0].start must be a time from 00:00 to 23:59, such as 09:00
    400 hours.monday[0].start must be a time from 00:00 to 23:59, such as 09:00
    400 hours.monday[0].end must be a time from 00:00 to 24:00, such as 17:00
    400 hours.monday[0]: missing field `end`
    400 hours.monday[0].note: unknown field `note`, expected `start` or `end`
    400 hours.monday must have at most 24 ranges
    400 hours: invalid type: sequence, expected an object
    400 unheard_of: unknown field `unheard_of`, expected one of `name`, `timezone`, `hours`
    "#);
    let changes: [&[u8]; 4] =
        [br#"{"name": ""}"#, br#"{"timezone": "EST"}"#, br#"{"hours": {"x": []}}"#, br#"{"schedule_id": 1}"#];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/schedules/1", &changes).await, @r#"
    {"name": ""}
      400 name must not be empty
    {"timezone": "EST"}
      400 timezone must be UTC or a full IANA name with a '/', such as Europe/Berlin; abbreviations and offsets are not accepted
    {"hours": {"x": []}}
      400 hours.x is not a day; days are monday to sunday
    {"schedule_id": 1}
      400 schedule_id: unknown field `schedule_id`, expected one of `name`, `timezone`, `hours`
    "#);
    let services: [&[u8]; 3] = [br#"{"schedule_id": 9}"#, br#"{"schedule_id": -1}"#, br#"{"schedule_id": "1"}"#];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/services/1", &services).await, @r#"
    {"schedule_id": 9}
      400 schedule_id must be a schedule's: there is no schedule 9
    {"schedule_id": -1}
      400 schedule_id must be a whole number from 1 to 9223372036854775807
    {"schedule_id": "1"}
      400 schedule_id: invalid type: string "1", expected a whole number
    "#);
    assert_eq!(all(&system).await, before);
}
