//! Notifications: what receivers get, retries, order, and what happens when no receiver accepts one.

use chrono::TimeDelta;
use harness::{Planned, System};
use serde_json::{Value, json};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "whole messages")]
async fn slack_and_pagerduty_get_what_the_on_call_needs() {
    let system = System::start_with(&[("MEDIC_BASE_URL", "https://medic.example.com/")], None).await;
    let more = json!({"priority": "p1", "team": "payments", "runbook": "https://runbooks.example.com/w?a=1&b=2"});
    system.register("<!here> w", 60.0, more).await;
    system.seconds(60).await;
    system.heartbeat("<!here> w", "UP").await;
    let bodies: Vec<_> = system.receivers.arrivals().into_iter().map(|arrival| arrival.body).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&bodies).unwrap(), @r#"
    [
      {
        "blocks": [
          {
            "text": {
              "text": ":rotating_light: [p1] &lt;!here&gt; w is down: no heartbeat yet, expected every 1 min",
              "type": "mrkdwn",
              "verbatim": true
            },
            "type": "section"
          },
          {
            "fields": [
              {
                "text": "*Service*\nworker",
                "type": "mrkdwn",
                "verbatim": true
              },
              {
                "text": "*Team*\npayments",
                "type": "mrkdwn",
                "verbatim": true
              },
              {
                "text": "*Since*\n<!date^1767614460^{date_short_pretty} {time_secs}|2026-01-05T12:01:00.000Z>",
                "type": "mrkdwn",
                "verbatim": true
              },
              {
                "text": "*Alert*\n1",
                "type": "mrkdwn",
                "verbatim": true
              }
            ],
            "type": "section"
          },
          {
            "elements": [
              {
                "text": "Runbook: <https://runbooks.example.com/w?a=1&amp;b=2> · <https://medic.example.com/v2/alerts/1|Details>",
                "type": "mrkdwn",
                "verbatim": true
              }
            ],
            "type": "context"
          }
        ],
        "channel": "C0ALERTS",
        "text": ":rotating_light: [p1] &lt;!here&gt; w is down: no heartbeat yet, expected every 1 min",
        "unfurl_links": false
      },
      {
        "client": "Medic",
        "client_url": "https://medic.example.com/v2/alerts/1",
        "dedup_key": "medic-1-<!here> w",
        "event_action": "trigger",
        "links": [
          {
            "href": "https://runbooks.example.com/w?a=1&b=2",
            "text": "Runbook"
          }
        ],
        "payload": {
          "class": "heartbeat",
          "component": "worker",
          "custom_details": {
            "alert_id": 1,
            "heartbeat_name": "<!here> w",
            "priority": "p1",
            "reason": "no heartbeat yet, expected every 1 min",
            "runbook": "https://runbooks.example.com/w?a=1&b=2",
            "service_name": "worker",
            "team": "payments"
          },
          "group": "payments",
          "severity": "critical",
          "source": "<!here> w",
          "summary": "Medic - Heartbeat failure for <!here> w: no heartbeat yet, expected every 1 min",
          "timestamp": "2026-01-05T12:01:00.000Z"
        },
        "routing_key": "R0UTING"
      },
      {
        "blocks": [
          {
            "text": {
              "text": ":white_check_mark: &lt;!here&gt; w has recovered after 0.0 s",
              "type": "mrkdwn",
              "verbatim": true
            },
            "type": "section"
          },
          {
            "fields": [
              {
                "text": "*Service*\nworker",
                "type": "mrkdwn",
                "verbatim": true
              },
              {
                "text": "*Team*\npayments",
                "type": "mrkdwn",
                "verbatim": true
              },
              {
                "text": "*Since*\n<!date^1767614460^{date_short_pretty} {time_secs}|2026-01-05T12:01:00.000Z>",
                "type": "mrkdwn",
                "verbatim": true
              },
              {
                "text": "*Alert*\n1",
                "type": "mrkdwn",
                "verbatim": true
              },
              {
                "text": "*Recovered*\n<!date^1767614460^{date_short_pretty} {time_secs}|2026-01-05T12:01:00.000Z>",
                "type": "mrkdwn",
                "verbatim": true
              }
            ],
            "type": "section"
          },
          {
            "elements": [
              {
                "text": "<https://medic.example.com/v2/alerts/1|Details>",
                "type": "mrkdwn",
                "verbatim": true
              }
            ],
            "type": "context"
          }
        ],
        "channel": "C0ALERTS",
        "text": ":white_check_mark: &lt;!here&gt; w has recovered after 0.0 s",
        "unfurl_links": false
      },
      {
        "dedup_key": "medic-1-<!here> w",
        "event_action": "resolve",
        "routing_key": "R0UTING"
      }
    ]
    "#);
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_order_holds() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.receivers.plan_pagerduty([Planned::status(500), Planned::status(429), Planned::status(503)]);
    system.seconds(60).await;
    assert_eq!(system.pagerduty(), [""; 0]);
    system.heartbeat("w", "UP").await;
    assert_eq!(system.pagerduty(), [""; 0]);
    system.seconds(10).await;
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w"]);
    assert_eq!(system.slack().len(), 2);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    system.receivers.plan_slack([Planned { retry_after: Some(40), ..Planned::status(429) }]);
    system.receivers.plan_pagerduty([Planned { retry_after: Some(20), ..Planned::status(429) }]);
    system.heartbeat("w", "FAILED").await;
    system.seconds(19).await;
    assert_eq!((system.pagerduty().len(), system.slack().len()), (0, 0));
    system.seconds(1).await;
    assert_eq!((system.pagerduty().len(), system.slack().len()), (1, 0));
    system.seconds(20).await;
    assert_eq!((system.pagerduty().len(), system.slack().len()), (1, 1));
}

#[tokio::test]
async fn what_would_fail_again_is_not_tried_again() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    system.receivers.plan_pagerduty([Planned::status(400)]);
    system.receivers.plan_slack([Planned { error: Some("channel_not_found"), ..Planned::status(200) }]);
    system.heartbeat("w", "FAILED").await;
    system.seconds(600).await;
    assert_eq!(system.receivers.arrivals().len(), 2);
    insta::assert_snapshot!(system.get("/v2/alerts/1/notifications").await, @r#"
    200
    {
      "message": "",
      "results": {
        "items": [
          {
            "at": "2026-01-05T12:00:00.000Z",
            "error_message": "channel_not_found",
            "kind": "opened",
            "success": false,
            "target_id": null,
            "target_type": "slack"
          },
          {
            "at": "2026-01-05T12:00:00.000Z",
            "error_message": "answered 400",
            "kind": "opened",
            "success": false,
            "target_id": null,
            "target_type": "pagerduty"
          }
        ],
        "next_cursor": null
      },
      "success": true
    }
    "#);
}

#[tokio::test]
async fn slacks_passing_errors_are_tried_again() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    system.receivers.plan_slack([Planned { error: Some("internal_error"), ..Planned::status(200) }]);
    system.heartbeat("w", "FAILED").await;
    system.seconds(5).await;
    assert_eq!(system.slack().len(), 1);
}

#[tokio::test]
async fn one_services_receiver_holds_up_no_other() {
    let system = System::start().await;
    for name in ["a", "b"] {
        system.register(name, 3_600.0, json!({})).await;
    }
    system.receivers.plan_pagerduty([Planned { retry_after: Some(600), ..Planned::status(503) }]);
    system.heartbeat("a", "FAILED").await;
    system.heartbeat("b", "FAILED").await;
    assert_eq!(system.pagerduty(), ["trigger medic-2-b"]);
}

#[tokio::test]
async fn a_late_resolve_closes_no_later_incident() {
    let system = System::start().await;
    system.register("w", 3_600.0, json!({})).await;
    system.heartbeat("w", "FAILED").await;
    system.receivers.plan_pagerduty([Planned { retry_after: Some(600), ..Planned::status(503) }]);
    system.heartbeat("w", "UP").await;
    system.heartbeat("w", "FAILED").await;
    system.seconds(600).await;
    assert_eq!(system.pagerduty(), ["trigger medic-1-w", "resolve medic-1-w", "trigger medic-2-w"]);
}

#[tokio::test]
async fn a_notification_is_given_up_after_a_day_and_stays_readable() {
    let system = System::start().await;
    system.register("w", 86_400.0 * 30.0, json!({})).await;
    let failures = vec![Planned::status(503); 2_000];
    system.receivers.plan_pagerduty(failures);
    system.heartbeat("w", "FAILED").await;
    let pending = system.get("/v2/alerts/1/notifications").await;
    assert_eq!(pending.results()["items"][1]["success"], Value::Null);
    for _ in 0..30 {
        system.lag(TimeDelta::hours(1)).await;
    }
    insta::assert_snapshot!(system.get("/v2/alerts/1/notifications").await, @r#"
    200
    {
      "message": "",
      "results": {
        "items": [
          {
            "at": "2026-01-05T12:00:00.000Z",
            "error_message": null,
            "kind": "opened",
            "success": true,
            "target_id": null,
            "target_type": "slack"
          },
          {
            "at": "2026-01-06T12:00:00.000Z",
            "error_message": "gave up after 24 hours: answered 503",
            "kind": "opened",
            "success": false,
            "target_id": null,
            "target_type": "pagerduty"
          }
        ],
        "next_cursor": null
      },
      "success": true
    }
    "#);
    assert!(system.counter("medic_notifications_failed_total").await >= 1);
    let attempts = system.receivers.arrivals().len();
    system.lag(TimeDelta::hours(2)).await;
    assert_eq!(system.receivers.arrivals().len(), attempts, "nothing more is sent");
}

#[tokio::test]
async fn a_reminder_that_was_superseded_is_not_sent() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    system.receivers.plan_slack([Planned { retry_after: Some(100), ..Planned::status(503) }]);
    system.seconds(60).await;
    system.patch("/v2/services/1", json!({"alert_interval": 60})).await;
    system.heartbeat("w", "UP").await;
    system.seconds(200).await;
    let lines = system.slack();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("has recovered"), "{lines:?}");
}

/// Returns how many services a line in Slack is about: one, or the number that it gives.
fn count(line: &str) -> usize {
    let words: Vec<_> = line.split(' ').collect();
    match words.as_slice() {
        [_, number, "services", ..] => number.parse().unwrap(),
        _ => 1,
    }
}

#[tokio::test]
async fn an_outage_of_many_takes_few_slack_messages() {
    let system = System::start().await;
    for n in 0..120 {
        system.register(&format!("w-{n}"), 3_600.0, json!({})).await;
    }
    system.lag(TimeDelta::seconds(3_600)).await;
    system.seconds(30).await;
    let services: usize = system.slack().iter().map(|line| count(line)).sum();
    assert_eq!(services, 120, "each once: {:?}", system.slack());
    let messages = system.receivers.accepted("slack").len();
    assert!(messages <= 20, "{messages} messages");
    assert_eq!(system.pagerduty().len(), 120);
}

#[tokio::test]
async fn without_slack_notifications_are_printed_and_kept() {
    let system = System::start_with(&[("SLACK_API_TOKEN", ""), ("PAGERDUTY_ROUTING_KEY", "")], None).await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    system.heartbeat("w", "UP").await;
    insta::assert_snapshot!(system.get("/v2/notifications?limit=2").await, @r#"
    200
    {
      "message": "",
      "results": {
        "items": [
          {
            "notification_id": "[id]",
            "text": ":white_check_mark: w has recovered after 0.0 s"
          },
          {
            "notification_id": "[id]",
            "text": ":rotating_light: [p3] w is down: no heartbeat yet, expected every 1 min"
          }
        ],
        "next_cursor": null
      },
      "success": true
    }
    "#);
    assert_eq!(system.receivers.arrivals().len(), 0);
}

#[tokio::test]
async fn an_empty_channel_counts_as_none() {
    let system = System::start_with(&[("SLACK_CHANNEL_ID", "")], None).await;
    system.register("w", 60.0, json!({})).await;
    system.seconds(60).await;
    assert_eq!((system.slack().len(), system.pagerduty().len()), (0, 1));
}

#[tokio::test]
async fn one_bad_notification_blocks_no_others() {
    let system = System::start().await;
    for name in ["a", "b", "c"] {
        system.register(name, 3_600.0, json!({})).await;
    }
    system.receivers.plan_slack([
        Planned { retry_after: Some(10), ..Planned::status(429) },
        Planned { error: Some("invalid_blocks"), ..Planned::status(200) },
        Planned { error: Some("invalid_blocks"), ..Planned::status(200) },
    ]);
    for name in ["a", "b", "c"] {
        system.heartbeat(name, "FAILED").await;
        system.seconds(1).await;
    }
    system.seconds(20).await;
    let lines = system.slack();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(" b is down") && lines[1].contains(" c is down"), "{lines:?}");
}

#[tokio::test]
async fn a_recovery_is_sent_behind_any_number_of_stale_reminders() {
    let system = System::start().await;
    system.register("w", 1.0, json!({})).await;
    system.receivers.plan_slack([Planned { retry_after: Some(200), ..Planned::status(503) }]);
    system.seconds(150).await;
    system.patch("/v2/services/1", json!({"alert_interval": 600})).await;
    system.heartbeat("w", "UP").await;
    system.seconds(60).await;
    let lines = system.slack();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("is down") && lines[1].contains("has recovered"), "{lines:?}");
}

#[tokio::test]
async fn an_outage_that_ends_before_slack_is_back_is_sent_whole() {
    let system = System::start().await;
    system.register("w", 60.0, json!({})).await;
    system.receivers.plan_slack([Planned { retry_after: Some(100), ..Planned::status(503) }]);
    system.seconds(61).await;
    system.heartbeat("w", "UP").await;
    for _ in 0..3 {
        assert_eq!(system.slack().len(), 0);
        system.seconds(35).await;
        system.heartbeat("w", "UP").await;
    }
    let lines = system.slack();
    assert!(lines.len() == 2 && lines[0].contains("is down") && lines[1].contains("has recovered"), "{lines:?}");
}
