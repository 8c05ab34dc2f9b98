//! Slack's limit of a message a second for each channel: kept under any load, and nothing is lost to it.

use chrono::TimeDelta;
use harness::{Planned, System};
use serde_json::json;

/// Messages that a channel may get at once, on top of one a second.
const BUCKET: usize = 10;

/// Moves the clock by tenths of a second, and returns the tenth in which each of Slack's messages came.
async fn tenths(system: &System, many: usize) -> Vec<usize> {
    let mut came = Vec::new();
    for tenth in 0..many {
        system.advance(TimeDelta::milliseconds(100)).await;
        came.resize(system.receivers.accepted("slack").len(), tenth);
    }
    came
}

#[tokio::test]
async fn under_any_load_a_channel_gets_a_message_a_second_and_each_name_once() {
    let system = System::start_with(&[("PAGERDUTY_ROUTING_KEY", "")], None).await;
    for n in 0_u32..300 {
        system.register(&format!("w-{n}"), 120.0 + 0.1 * f64::from(n), json!({})).await;
    }
    system.lag(TimeDelta::milliseconds(119_900)).await;
    let came = tenths(&system, 320).await;
    for (n, first) in came.iter().enumerate() {
        for (more, last) in came[n..].iter().enumerate() {
            let max = (last - first + 1).div_ceil(10) + BUCKET;
            assert!(more < max, "{} messages from {first} to {last} tenths", more + 1);
        }
    }
    // Nothing waits long: there is no gap over a second.
    assert!(came.windows(2).all(|pair| pair[1] - pair[0] <= 10), "{came:?}");
    assert!(came.len() > 30, "they came over half a minute: {came:?}");
    let mut notified: Vec<_> = system.slack().iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    notified.sort_unstable();
    let mut names: Vec<_> = (0..300).map(|n| format!("w-{n}")).collect();
    names.sort_unstable();
    assert_eq!(notified, names, "each once");
}

#[tokio::test]
async fn a_few_messages_go_out_at_once_and_the_next_waits_though_its_lane_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start_with(&[], Some(folder.path())).await;
    for n in 0..8 {
        system.register(&format!("w-{n}"), 3_600.0, json!({})).await;
    }
    for n in 0..5 {
        system.heartbeat(&format!("w-{n}"), "FAILED").await;
    }
    assert_eq!(system.receivers.accepted("slack").len(), 5);
    // Another process remembers what was sent.
    let system = system.restart_after(TimeDelta::zero(), folder.path()).await;
    for n in 5..8 {
        system.heartbeat(&format!("w-{n}"), "FAILED").await;
    }
    assert_eq!((system.slack().len(), system.pagerduty().len()), (5, 8), "PagerDuty has no such limit");
    system.advance(TimeDelta::milliseconds(899)).await;
    assert_eq!(system.slack().len(), 5);
    system.advance(TimeDelta::milliseconds(1)).await;
    let messages = system.receivers.accepted("slack");
    assert_eq!((messages.len(), messages[5].lines().count()), (6, 3), "{messages:?}");
}

#[tokio::test]
async fn each_channel_has_a_pace_of_its_own() {
    let system = System::start().await;
    for n in 0..12 {
        system.post("/v2/teams", json!({"name": format!("team-{n}"), "slack_channel_id": format!("C{n}")})).await;
        system.register(&format!("w-{n}"), 3_600.0, json!({"team": format!("team-{n}")})).await;
    }
    for n in 0..12 {
        system.heartbeat(&format!("w-{n}"), "FAILED").await;
    }
    assert_eq!(system.receivers.accepted("slack").len(), 12);
}

#[tokio::test]
async fn a_channel_that_is_gone_costs_one_message_however_many_are_due() {
    let system = System::start().await;
    for n in 0..30 {
        system.register(&format!("w-{n}"), 60.0, json!({})).await;
    }
    let gone = Planned { error: Some("channel_not_found"), ..Planned::status(200) };
    system.receivers.plan_slack([Planned { retry_after: Some(5), ..Planned::status(429) }, gone]);
    system.lag(TimeDelta::seconds(60)).await;
    system.seconds(20).await;
    let attempts = system.receivers.arrivals().iter().filter(|arrival| arrival.receiver == "slack").count();
    assert_eq!(attempts, 2);
    let alerts = system.alerts().await;
    assert_eq!(alerts.len(), 30);
    for alert in alerts {
        let outcomes = system.get(&format!("/v2/alerts/{}/notifications", alert["alert_id"])).await;
        assert_eq!(outcomes.results()["items"][0]["error_message"], "channel_not_found", "{outcomes}");
    }
}
