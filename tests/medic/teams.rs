//! Teams: how they are configured, and the services that name them.

use futures::future::join_all;
use harness::System;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bad_input::{all, refusals};
use crate::version_1::worker;

/// Returns the ids of a whole list, newest first, read in pages of two; and how many pages there were.
pub(crate) async fn ids_by_pages(system: &System, path: &str, field: &str) -> (Vec<i64>, usize) {
    let (mut ids, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = system.get(&format!("{path}?limit=2&cursor={cursor}")).await;
        ids.extend(page.results()["items"].as_array().unwrap().iter().map(|item| item[field].as_i64().unwrap()));
        pages += 1;
        match page.results()["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return (ids, pages),
        }
    }
}

async fn team(system: &System, name: &str) -> i64 {
    let created = system.post("/v2/teams", json!({"name": name})).await;
    assert_eq!(created.status, 201, "{created}");
    created.results()["team_id"].as_i64().unwrap()
}

/// Returns what a service shows of its team.
async fn shown(system: &System, service: i64) -> (Value, Value) {
    let answer = system.get(&format!("/v2/services/{service}")).await;
    (answer.results()["team"].clone(), answer.results()["team_id"].clone())
}

#[tokio::test]
async fn a_team_lives_from_creation_to_deletion() {
    let system = System::start().await;
    let new = json!({"name": "Platform", "slack_channel_id": "C0PLATFORM"});
    insta::assert_snapshot!(system.post("/v2/teams", new).await, @r#"
    201
    {
      "message": "Team created.",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": null,
        "name": "Platform",
        "slack_channel_id": "C0PLATFORM",
        "team_id": 1
      },
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.post("/v2/teams", json!({"name": "PLATFORM"})).await, @r#"
    409
    {
      "message": "name is taken: there is a team named PLATFORM",
      "results": "",
      "success": false
    }
    "#);
    system.seconds(1).await;
    let changed = system.patch("/v2/teams/1", json!({"name": "platform"})).await;
    insta::assert_snapshot!(changed, @r#"
    200
    {
      "message": "",
      "results": {
        "date_added": "2026-01-05T12:00:00.000Z",
        "date_modified": "2026-01-05T12:00:01.000Z",
        "name": "platform",
        "slack_channel_id": "C0PLATFORM",
        "team_id": 1
      },
      "success": true
    }
    "#);
    assert_eq!(system.get("/v2/teams/1").await.results(), changed.results());
    insta::assert_snapshot!(system.delete("/v2/teams/1").await, @r#"
    200
    {
      "message": "Team deleted.",
      "results": "",
      "success": true
    }
    "#);
    insta::assert_snapshot!(system.get("/v2/teams/1").await, @r#"
    404
    {
      "message": "There is no team 1",
      "results": "",
      "success": false
    }
    "#);
    for method in [Method::PATCH, Method::DELETE] {
        assert_eq!(system.send(method, "/v2/teams/1", Some(json!({}))).await.status, 404);
    }
    // The name is free again; the id is not used again.
    assert!(team(&system, "Platform").await > 1);
}

#[tokio::test]
async fn an_empty_channel_counts_as_none_and_null_clears_one() {
    let system = System::start().await;
    let created = system.post("/v2/teams", json!({"name": "a", "slack_channel_id": ""})).await;
    assert_eq!(created.results()["slack_channel_id"], Value::Null);
    let channel = async |body: Value| system.patch("/v2/teams/1", body).await.results()["slack_channel_id"].clone();
    assert_eq!(channel(json!({"slack_channel_id": "C1"})).await, "C1");
    assert_eq!(channel(json!({})).await, "C1");
    assert_eq!(channel(json!({"slack_channel_id": null})).await, Value::Null);
    assert_eq!(channel(json!({"slack_channel_id": "C2"})).await, "C2");
    assert_eq!(channel(json!({"slack_channel_id": ""})).await, Value::Null);
}

#[tokio::test]
async fn a_rename_keeps_to_names_that_are_free_and_frees_the_old_one() {
    let system = System::start().await;
    let (first, second) = (team(&system, "first").await, team(&system, "second").await);
    let rename = async |id: i64, name: &str| system.patch(&format!("/v2/teams/{id}"), json!({"name": name})).await;
    insta::assert_snapshot!(rename(second, "FIRST").await, @r#"
    409
    {
      "message": "name is taken: there is a team named FIRST",
      "results": "",
      "success": false
    }
    "#);
    assert_eq!(rename(first, "third").await.status, 200);
    assert_eq!(rename(second, "First").await.status, 200);
    let names: Vec<_> = system.get("/v2/teams").await.results()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].clone())
        .collect();
    assert_eq!(names, ["First", "third"]);
}

#[tokio::test]
async fn teams_come_in_pages() {
    let system = System::start().await;
    for n in 1..=5 {
        team(&system, &format!("team {n}")).await;
    }
    assert_eq!(ids_by_pages(&system, "/v2/teams", "team_id").await, (vec![5, 4, 3, 2, 1], 3));
    assert_eq!(system.get("/v2/teams?cursor=x").await.status, 400);
    assert_eq!(system.get("/v2/teams?limit=0").await.status, 400);
}

#[tokio::test]
async fn a_name_or_an_id_sets_both() {
    let system = System::start().await;
    let platform = team(&system, "Platform").await;
    let by_name = system.register("by-name", 60.0, json!({"team": "platform"})).await;
    let by_id = system.register("by-id", 60.0, json!({"team_id": platform})).await;
    let by_both = system.register("by-both", 60.0, json!({"team_id": platform, "team": "PLATFORM"})).await;
    for service in [by_name, by_id, by_both] {
        assert_eq!(shown(&system, service).await, (json!("Platform"), json!(platform)));
    }
    let other = system.register("other", 60.0, json!({"team": "nobody's"})).await;
    assert_eq!(shown(&system, other).await, (json!("nobody's"), Value::Null));
    let default = system.register("default", 60.0, json!({})).await;
    assert_eq!(shown(&system, default).await, (json!("site-reliability"), Value::Null));

    let set = async |body: Value| {
        assert_eq!(system.patch(&format!("/v2/services/{by_name}"), body).await.status, 200);
        shown(&system, by_name).await
    };
    assert_eq!(set(json!({"team": "nobody's"})).await, (json!("nobody's"), Value::Null));
    assert_eq!(set(json!({"team_id": platform})).await, (json!("Platform"), json!(platform)));
    assert_eq!(set(json!({"priority": "p1"})).await, (json!("Platform"), json!(platform)));
    assert_eq!(set(json!({"team_id": null})).await, (json!("site-reliability"), Value::Null));
    assert_eq!(set(json!({"team": "platform"})).await, (json!("Platform"), json!(platform)));
    assert_eq!(set(json!({"team_id": null, "team": "nobody's"})).await, (json!("nobody's"), Value::Null));
}

#[tokio::test]
async fn the_default_team_is_joined_where_there_is_one() {
    let system = System::start().await;
    let default = team(&system, "Site-Reliability").await;
    let service = system.register("worker-1", 60.0, json!({})).await;
    assert_eq!(shown(&system, service).await, (json!("Site-Reliability"), json!(default)));
    system.post("/service", worker(&json!({"heartbeat_name": "worker-2"}))).await;
    assert_eq!(shown(&system, 2).await, (json!("Site-Reliability"), json!(default)));
}

#[tokio::test]
async fn version_1_sets_both_as_well() {
    let system = System::start().await;
    let platform = team(&system, "Platform").await;
    assert_eq!(system.post("/service", worker(&json!({"team": "platform"}))).await.status, 201);
    assert_eq!(shown(&system, 1).await, (json!("Platform"), json!(platform)));
    system.post("/service/worker-1", json!({"team": "elsewhere"})).await;
    assert_eq!(shown(&system, 1).await, (json!("elsewhere"), Value::Null));
    system.post("/service/worker-1", json!({"team": "PLATFORM"})).await;
    let listed = system.get("/service").await;
    assert_eq!((&listed.results()[0]["team"], &listed.results()[0]["team_id"]), (&json!("Platform"), &json!(platform)));
}

#[tokio::test]
async fn services_show_their_teams_present_name_until_it_is_gone() {
    let system = System::start().await;
    let platform = team(&system, "Platform").await;
    let service = system.register("worker-1", 60.0, json!({"team_id": platform})).await;
    system.heartbeat("worker-1", "UP").await;
    system.patch(&format!("/v2/teams/{platform}"), json!({"name": "Foundations"})).await;
    assert_eq!(shown(&system, service).await, (json!("Foundations"), json!(platform)));
    for path in ["/service", "/service/worker-1", "/heartbeat", "/heartbeat?heartbeat_name=worker-1"] {
        assert_eq!(system.get(path).await.results()[0]["team"], "Foundations", "{path}");
    }
    assert_eq!(system.get("/v2/services").await.results()["items"][0]["team"], "Foundations");
    assert_eq!(system.delete(&format!("/v2/teams/{platform}")).await.status, 200);
    assert_eq!(shown(&system, service).await.1, Value::Null);
    // A new team with the old name is another team.
    team(&system, "Platform").await;
    assert_eq!(shown(&system, service).await.1, Value::Null);
}

#[tokio::test]
async fn a_bad_team_is_refused_and_changes_nothing() {
    let system = System::start().await;
    team(&system, "Platform").await;
    team(&system, "Other").await;
    system.register("worker-1", 60.0, json!({"team_id": 1})).await;
    let before = all(&system).await;
    let long = format!(r#"{{"name": "{}"}}"#, "n".repeat(129));
    let teams: [&[u8]; 9] = [
        b"{}",
        br#"{"name": ""}"#,
        br#"{"name": 7}"#,
        br#"{"name": "a\nb"}"#,
        br#"{"name": "a", "slack_channel_id": "C 1"}"#,
        br#"{"name": "a", "slack_channel_id": 7}"#,
        br#"{"name": "a", "unheard_of": 1}"#,
        br#"{"name": "a", "team_id": 1}"#,
        long.as_bytes(),
    ];
    insta::assert_snapshot!(refusals(&system, Method::POST, "/v2/teams", &teams).await, @r#"
    {}
      400 missing field `name`
    {"name": ""}
      400 name must not be empty
    {"name": 7}
      400 name: invalid type: integer `7`, expected a string
    {"name": "a\nb"}
      400 name must not contain control characters
    {"name": "a", "slack_channel_id": "C 1"}
      400 slack_channel_id must be a Slack channel such as C0123456789: 1 to 80 characters without spaces
    {"name": "a", "slack_channel_id": 7}
      400 slack_channel_id: invalid type: integer `7`, expected a string
    {"name": "a", "unheard_of": 1}
      400 unheard_of: unknown field `unheard_of`, expected `name` or `slack_channel_id`
    {"name": "a", "team_id": 1}
      400 team_id: unknown field `team_id`, expected `name` or `slack_channel_id`
    {"name": "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn
      400 name must be at most 128 characters long
    "#);
    let changes: [&[u8]; 5] =
        [br#"{"name": ""}"#, br#"{"slack_channel_id": " "}"#, br#"{"unheard_of": 1}"#, br#"{"name": "other"}"#, b""];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/teams/1", &changes).await, @r#"
    {"name": ""}
      400 name must not be empty
    {"slack_channel_id": " "}
      400 slack_channel_id must be a Slack channel such as C0123456789: 1 to 80 characters without spaces
    {"unheard_of": 1}
      400 unheard_of: unknown field `unheard_of`, expected `name` or `slack_channel_id`
    {"name": "other"}
      409 name is taken: there is a team named other

      400 The body is not JSON: EOF while parsing a value at line 1 column 0
    "#);
    let services: [&[u8]; 7] = [
        br#"{"team_id": 9}"#,
        br#"{"team_id": 0}"#,
        br#"{"team_id": "1"}"#,
        br#"{"team_id": 1, "team": "Other"}"#,
        br#"{"team_id": 1, "team": "nobody's"}"#,
        br#"{"team_id": null, "team": "Platform"}"#,
        br#"{"team": ""}"#,
    ];
    insta::assert_snapshot!(refusals(&system, Method::PATCH, "/v2/services/1", &services).await, @r#"
    {"team_id": 9}
      400 team_id must be a team's: there is no team 9
    {"team_id": 0}
      400 team_id must be a whole number from 1 to 9223372036854775807
    {"team_id": "1"}
      400 team_id: invalid type: string "1", expected a whole number
    {"team_id": 1, "team": "Other"}
      400 team must be left out or name team 1: Platform
    {"team_id": 1, "team": "nobody's"}
      400 team must be left out or name team 1: Platform
    {"team_id": null, "team": "Platform"}
      400 team_id must not be null: team names team 1
    {"team": ""}
      400 team must not be empty
    "#);
    let registration = worker(&json!({"heartbeat_name": "w", "team_id": 9})).to_string();
    insta::assert_snapshot!(refusals(&system, Method::POST, "/v2/services", &[registration.as_bytes()]).await, @r#"
    {"alert_interval":5,"heartbeat_name":"w","service_name":"worker","team_id":9}
      400 team_id must be a team's: there is no team 9
    "#);
    assert_eq!(all(&system).await, before);
}

#[tokio::test]
async fn of_many_requests_at_once_one_gets_a_name() {
    let system = System::start().await;
    let bodies = (0..8).map(|n| json!({"name": if n % 2 == 0 { "same" } else { "SAME" }}));
    let answers = join_all(bodies.map(|body| system.post("/v2/teams", body))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(system.get("/v2/teams").await.results()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn concurrent_changes_all_apply() {
    let system = System::start().await;
    team(&system, "Platform").await;
    let (renamed, moved) = tokio::join!(
        system.patch("/v2/teams/1", json!({"name": "Foundations"})),
        system.patch("/v2/teams/1", json!({"slack_channel_id": "C1"})),
    );
    assert_eq!((renamed.status.as_u16(), moved.status.as_u16()), (200, 200));
    let team = system.get("/v2/teams/1").await;
    assert_eq!((&team.results()["name"], &team.results()["slack_channel_id"]), (&json!("Foundations"), &json!("C1")));
}

#[tokio::test]
async fn writes_that_the_sdk_repeats_are_made_once() {
    let system = System::start().await;
    let lose = || system.service.dynamodb().lose_answers(2);
    lose();
    // The counter's response is lost as well, which leaves a gap.
    let path = format!("/v2/teams/{}", team(&system, "Platform").await);
    lose();
    assert_eq!(system.patch(&path, json!({"name": "Foundations"})).await.status, 200);
    assert_eq!(system.get("/v2/teams").await.results()["items"].as_array().unwrap().len(), 1);
    lose();
    assert_eq!(system.delete(&path).await.status, 200);
    assert_eq!(system.get("/v2/teams").await.results()["items"], json!([]));
    team(&system, "platform").await;
    team(&system, "foundations").await;
}
