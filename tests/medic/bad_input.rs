//! Bad input: a clear 4xx that names the field, and the table as it was.

use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

/// Sends each body to a route, and returns the status and message of each response.
pub(crate) async fn refusals(system: &System, method: Method, path: &str, bodies: &[&[u8]]) -> String {
    let mut lines = Vec::new();
    for body in bodies {
        let answer = system.raw(method.clone(), path, Some(&system.key), &[], Some(body.to_vec())).await;
        let shown: String = String::from_utf8_lossy(body).chars().take(100).collect();
        lines.push(format!("{shown}\n  {} {}", answer.status.as_u16(), answer.message()));
    }
    lines.join("\n")
}

/// Returns everything that a caller can read of what is stored.
pub(crate) async fn all(system: &System) -> Vec<Value> {
    let mut stored = Vec::new();
    for path in [
        "/service",
        "/heartbeat",
        "/alerts",
        "/v2/api-keys",
        "/v2/teams",
        "/v2/schedules",
        "/v2/maintenance-windows",
        "/v2/webhooks",
        "/v2/playbooks",
        "/v2/playbooks/1/triggers",
        "/v2/scripts",
        "/v2/secrets",
        "/v2/services/1/notification-targets",
    ] {
        stored.push(system.get(path).await.body);
    }
    stored
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "whole responses")]
async fn a_bad_registration_is_refused_and_stores_nothing() {
    let system = System::start().await;
    let before = all(&system).await;
    let with = |field: &str, value: &str| {
        let fields = [
            ("heartbeat_name", r#""w""#.to_owned()),
            ("service_name", r#""s""#.to_owned()),
            ("alert_interval", "5".to_owned()),
        ];
        let mut body: Vec<_> = fields.into_iter().filter(|(name, _)| *name != field).collect();
        body.push((field, value.to_owned()));
        let body: Vec<_> = body.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{{}}}", body.join(", ")).into_bytes()
    };
    let long = format!("\"{}\"", "n".repeat(129));
    let cases = [
        with("heartbeat_name", r#""""#),
        with("heartbeat_name", r#"" ""#),
        with("heartbeat_name", r#""a/b""#),
        with("heartbeat_name", r#""a\u0000b""#),
        with("heartbeat_name", r#""a\nb""#),
        with("heartbeat_name", &long),
        with("heartbeat_name", "7"),
        with("heartbeat_name", "null"),
        with("service_name", &long),
        with("service_name", r#""""#),
        with("alert_interval", "0"),
        with("alert_interval", "-1"),
        with("alert_interval", "NaN"),
        with("alert_interval", "1e999"),
        with("alert_interval", "527041"),
        with("alert_interval", "0.000000001"),
        with("alert_interval", r#""5""#),
        with("alert_interval", "null"),
        with("threshold", "0"),
        with("threshold", "21"),
        with("threshold", "-1"),
        with("threshold", "1.5"),
        with("threshold", "99999999999999999999"),
        with("grace_period_seconds", "-1"),
        with("grace_period_seconds", "9223372036854775807"),
        with("max_duration_ms", "0"),
        with("max_duration_ms", "9223372036854775807"),
        with("priority", r#""p6""#),
        with("team", r#""""#),
        with("runbook", r#""\u0007""#),
        with("unheard_of", "1"),
        br#"{"heartbeat_name": "w", "service_name": "s"}"#.to_vec(),
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{".to_vec(),
        b"{} {}".to_vec(),
        b"heartbeat_name=w".to_vec(),
        b"{\"heartbeat_name\": \"\xff\"}".to_vec(),
        [b"[".repeat(100_000)].concat(),
    ];
    let bodies: Vec<&[u8]> = cases.iter().map(Vec::as_slice).collect();
    let first = refusals(&system, Method::POST, "/service", &bodies).await;
    insta::assert_snapshot!(first, @r#"
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": ""}
      400 heartbeat_name must not be empty
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": " "}
      400 heartbeat_name must not be blank
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": "a/b"}
      400 heartbeat_name must not contain '/'
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": "a\u0000b"}
      400 heartbeat_name must not contain control characters
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": "a\nb"}
      400 heartbeat_name must not contain control characters
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn
      400 heartbeat_name must be at most 128 characters long
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": 7}
      400 heartbeat_name: invalid type: integer `7`, expected a string
    {"service_name": "s", "alert_interval": 5, "heartbeat_name": null}
      400 heartbeat_name: invalid type: null, expected a string
    {"heartbeat_name": "w", "alert_interval": 5, "service_name": "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn
      400 service_name must be at most 128 characters long
    {"heartbeat_name": "w", "alert_interval": 5, "service_name": ""}
      400 service_name must not be empty
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 0}
      400 alert_interval must be a number of minutes above 0 and at most 527040 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": -1}
      400 alert_interval must be a number of minutes above 0 and at most 527040 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": NaN}
      400 The body is not JSON: alert_interval: expected value at line 1 column 64
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 1e999}
      400 The body is not JSON: alert_interval: number out of range at line 1 column 68
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 527041}
      400 alert_interval must be a number of minutes above 0 and at most 527040 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 0.000000001}
      400 alert_interval must be a number of minutes above 0 and at most 527040 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": "5"}
      400 alert_interval: invalid type: string "5", expected a number
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": null}
      400 alert_interval: invalid type: null, expected a number
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "threshold": 0}
      400 threshold must be a whole number from 1 to 20
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "threshold": 21}
      400 threshold must be a whole number from 1 to 20
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "threshold": -1}
      400 threshold must be a whole number from 1 to 20
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "threshold": 1.5}
      400 threshold: invalid type: floating point `1.5`, expected a whole number
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "threshold": 99999999999999999999}
      400 threshold: invalid type: floating point `1e+20`, expected a whole number
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "grace_period_seconds": -1}
      400 grace_period_seconds must be from 0 to 31622400 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "grace_period_seconds": 9223372036
      400 grace_period_seconds must be from 0 to 31622400 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "max_duration_ms": 0}
      400 max_duration_ms must be from 1 to 31622400000 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "max_duration_ms": 922337203685477
      400 max_duration_ms must be from 1 to 31622400000 (a year)
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "priority": "p6"}
      400 priority must be one of p1, p2, p3, p4, p5
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "team": ""}
      400 team must not be empty
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "runbook": "\u0007"}
      400 runbook must not contain control characters
    {"heartbeat_name": "w", "service_name": "s", "alert_interval": 5, "unheard_of": 1}
      400 unheard_of: unknown field `unheard_of`, expected one of `heartbeat_name`, `service_name`, `alert_interval`, `environment`, `threshold`, `team`, `priority`, `runbook`, `grace_period_seconds`, `max_duration_ms`
    {"heartbeat_name": "w", "service_name": "s"}
      400 missing field `alert_interval`

      400 The body is not JSON: EOF while parsing a value at line 1 column 0
    null
      400 invalid type: null, expected an object
    []
      400 The body must be a JSON object
    {
      400 The body is not JSON: EOF while parsing an object at line 1 column 1
    {} {}
      400 missing field `heartbeat_name`
    heartbeat_name=w
      400 The body is not JSON: expected value at line 1 column 1
    {"heartbeat_name": "�"}
      400 The body is not UTF-8
    [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
      400 The body must be a JSON object
    "#);
    // Version 2 refuses the same with the same statuses.
    let statuses = |text: &str| {
        text.lines().filter(|line| line.starts_with("  ")).map(|line| line[..5].to_owned()).collect::<Vec<_>>()
    };
    let second = refusals(&system, Method::POST, "/v2/services", &bodies).await;
    assert_eq!(statuses(&second), statuses(&first));
    assert_eq!(all(&system).await, before);
}

#[tokio::test]
async fn a_bad_heartbeat_is_refused_and_stores_nothing() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    let before = all(&system).await;
    let long_run = format!(r#"{{"heartbeat_name": "w", "status": "UP", "run_id": "{}"}}"#, "r".repeat(129));
    let bodies: [&[u8]; 8] = [
        br#"{"heartbeat_name": "w"}"#,
        br#"{"status": "UP"}"#,
        br#"{"heartbeat_name": "w", "status": "UP", "extra": 1}"#,
        br#"{"heartbeat_name": "w", "status": 1}"#,
        br#"{"heartbeat_name": "w", "status": ""}"#,
        br#"{"heartbeat_name": ["w"], "status": "UP"}"#,
        br#"{"heartbeat_name": "w", "status": "UP", "run_id": ""}"#,
        long_run.as_bytes(),
    ];
    insta::assert_snapshot!(refusals(&system, Method::POST, "/heartbeat", &bodies).await, @r#"
    {"heartbeat_name": "w"}
      400 missing field `status`
    {"status": "UP"}
      400 missing field `heartbeat_name`
    {"heartbeat_name": "w", "status": "UP", "extra": 1}
      400 extra: unknown field `extra`, expected one of `heartbeat_name`, `status`, `service_name`, `run_id`
    {"heartbeat_name": "w", "status": 1}
      400 status: invalid type: integer `1`, expected a string
    {"heartbeat_name": "w", "status": ""}
      400 status must be one of UP, DOWN, STARTED, COMPLETED, FAILED
    {"heartbeat_name": ["w"], "status": "UP"}
      400 heartbeat_name: invalid type: sequence, expected a string
    {"heartbeat_name": "w", "status": "UP", "run_id": ""}
      400 run_id must not be empty
    {"heartbeat_name": "w", "status": "UP", "run_id": "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr
      400 run_id must be at most 128 characters long
    "#);
    assert_eq!(all(&system).await, before);
}

#[tokio::test]
async fn a_bad_change_is_refused_and_changes_nothing() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    let before = all(&system).await;
    let version_1: [&[u8]; 4] =
        [br#"{"muted": 2}"#, br#"{"muted": "yes"}"#, br#"{"heartbeat_name": "v"}"#, br#"{"alert_interval": -5}"#];
    insta::assert_snapshot!(refusals(&system, Method::POST, "/service/w", &version_1).await, @r#"
    {"muted": 2}
      400 muted: must be 0, 1, true or false
    {"muted": "yes"}
      400 muted: must be 0, 1, true or false
    {"heartbeat_name": "v"}
      400 heartbeat_name: unknown field `heartbeat_name`, expected one of `service_name`, `muted`, `active`, `alert_interval`, `threshold`, `team`, `priority`, `runbook`, `down`, `grace_period_seconds`, `max_duration_ms`
    {"alert_interval": -5}
      400 alert_interval must be a number of minutes above 0 and at most 527040 (a year)
    "#);
    let version_2: [&[u8]; 7] = [
        br#"{"muted": 1}"#,
        br#"{"muted_until": "2026-01-05T11:59:59Z"}"#,
        br#"{"muted_until": "2027-01-05T11:59:59Z"}"#,
        br#"{"muted": true, "muted_until": "soon"}"#,
        br#"{"muted": true, "muted_until": "+262000-01-01T00:00:00"}"#,
        br#"{"notification_mode": "notify_nobody"}"#,
        br#"{"service_name": ""}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/services/1", &version_2).await, @r#"
    {"muted": 1}
      400 muted: invalid type: integer `1`, expected a boolean
    {"muted_until": "2026-01-05T11:59:59Z"}
      400 muted_until must be in the future
    {"muted_until": "2027-01-05T11:59:59Z"}
      400 muted_until goes with muted: true
    {"muted": true, "muted_until": "soon"}
      400 muted_until must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z
    {"muted": true, "muted_until": "+262000-01-01T00:00:00"}
      400 muted_until must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z
    {"notification_mode": "notify_nobody"}
      400 notification_mode must be notify_all or notify_until_success
    {"service_name": ""}
      400 service_name must not be empty
    "#);
    assert_eq!(all(&system).await, before);
}

#[tokio::test]
async fn a_bad_key_request_is_refused_and_creates_nothing() {
    let system = System::start().await;
    let before = all(&system).await;
    let bodies: [&[u8]; 8] = [
        br#"{"name": "ci"}"#,
        br#"{"name": "ci", "scopes": []}"#,
        br#"{"name": "ci", "scopes": ["root"]}"#,
        br#"{"name": "", "scopes": ["read"]}"#,
        br#"{"name": "ci", "scopes": ["read"], "expires_at": "2026-01-05T11:00:00Z"}"#,
        br#"{"name": "ci", "scopes": ["read"], "expires_at": "tomorrow"}"#,
        br#"{"name": "ci", "scopes": ["read"], "rate_limit_heartbeats": 0}"#,
        br#"{"name": "ci", "scopes": ["read"], "rate_limit_management": 99999999999}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::POST, "/v2/api-keys", &bodies).await, @r#"
    {"name": "ci"}
      400 missing field `scopes`
    {"name": "ci", "scopes": []}
      400 scopes must name at least one of read, write, admin, heartbeat
    {"name": "ci", "scopes": ["root"]}
      400 scopes may hold read, write, admin and heartbeat
    {"name": "", "scopes": ["read"]}
      400 name must not be empty
    {"name": "ci", "scopes": ["read"], "expires_at": "2026-01-05T11:00:00Z"}
      400 expires_at must be in the future
    {"name": "ci", "scopes": ["read"], "expires_at": "tomorrow"}
      400 expires_at must be an RFC 3339 time, such as 2026-01-31T08:00:00.000Z
    {"name": "ci", "scopes": ["read"], "rate_limit_heartbeats": 0}
      400 rate_limit_heartbeats must be from 1 to 1000000
    {"name": "ci", "scopes": ["read"], "rate_limit_management": 99999999999}
      400 rate_limit_management must be from 1 to 1000000
    "#);
    assert_eq!(all(&system).await, before);
}

#[tokio::test]
async fn invalid_ids_are_refused_by_their_field() {
    let system = System::start().await;
    system.register("worker-1", 60.0, json!({})).await;
    for (path, field) in [
        ("services", "service_id"),
        ("alerts", "alert_id"),
        ("api-keys", "api_key_id"),
        ("teams", "team_id"),
        ("schedules", "schedule_id"),
        ("maintenance-windows", "window_id"),
        ("webhooks", "webhook_id"),
        ("services/1/notification-targets", "target_id"),
    ] {
        for id in ["0", "-1", "1.5", "x", "9223372036854775808", "99999999999999999999999"] {
            let answer = system.get(&format!("/v2/{path}/{id}")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.message().starts_with(field)),
                (400, true),
                "{path}/{id}: {answer}"
            );
        }
        assert_eq!(system.get(&format!("/v2/{path}/9223372036854775807")).await.status, 404);
    }
}

#[tokio::test]
async fn each_status_has_its_envelope() {
    let system = System::start().await;
    let large = [b"\"".as_slice(), &b"x".repeat(1024 * 1024), b"\""].concat();
    let too_large = system.raw(Method::POST, "/heartbeat", Some(&system.key), &[], Some(large)).await;
    insta::assert_snapshot!(too_large, @r#"
    413
    {
      "message": "The body is over 256 KiB",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(system.get("/v3/services").await, @r#"
    404
    {
      "message": "There is no such route",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(system.send(Method::PUT, "/heartbeat", None).await, @r#"
    405
    {
      "message": "This route does not accept that method",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(system.get("/v2/services/%ff").await.status, 400);
    system.service.dynamodb().set_out_of_reach(true);
    let out_of_reach = system.raw(Method::GET, "/service", Some(&system.key), &[], None).await;
    assert_eq!(out_of_reach.headers["retry-after"], "1");
    insta::assert_snapshot!(out_of_reach, @r#"
    503
    {
      "message": "Storage is out of reach; try again",
      "results": "",
      "success": false
    }
    "#);
    insta::assert_snapshot!(system.raw(Method::GET, "/health", None, &[], None).await, @r#"
    503
    {
      "components": {
        "database": "down"
      },
      "status": "unhealthy",
      "version": "0.1.0"
    }
    "#);
    assert_eq!(system.raw(Method::GET, "/health/ready", None, &[], None).await.status, 503);
    assert_eq!(system.raw(Method::GET, "/health/live", None, &[], None).await.status, 200);
    assert_eq!(system.raw(Method::GET, "/v1/healthcheck/network", None, &[], None).await.status, 204);
    system.service.dynamodb().set_out_of_reach(false);
    assert_eq!(system.get("/health/ready").await.status, 200);
}
