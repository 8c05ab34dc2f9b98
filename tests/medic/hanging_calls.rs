//! Calls to the table that hang in the functions themselves, and functions that are ended at their time limit.

use chrono::TimeDelta;
use harness::{Hangs, System, start_of_time};
use reqwest::Method;
use serde_json::json;

/// How long the SDK gives one call.
const CALL: TimeDelta = TimeDelta::seconds(2);
/// How long the sweep and the senders may take.
const FUNCTION: TimeDelta = TimeDelta::seconds(30);

/// A system whose calls hang.
struct Hanging {
    system: System,
    hangs: Hangs,
}

impl Hanging {
    async fn start() -> Self {
        let (system, hangs) = System::start_hanging(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")]).await;
        system.register("w", 3_600.0, json!({})).await;
        Self { system, hangs }
    }

    /// Reports that the service failed, and does not wait for what comes of it.
    async fn fail(&self) {
        let body = json!({"heartbeat_name": "w", "service_name": "worker", "status": "FAILED"}).to_string();
        let answer =
            self.system.raw(Method::POST, "/heartbeat", Some(&self.system.key), &[], Some(body.into_bytes())).await;
        assert_eq!(answer.status, 201, "{answer}");
    }

    /// Sets the clock to so long after the start, while Medic hears, though handlers are at work.
    async fn set(&self, after: TimeDelta) {
        self.system.keep_pulse(start_of_time() + after).await;
        self.system.time.set(start_of_time() + after);
    }

    /// Returns how many alerts there are, and does not wait for anything.
    async fn alerts(&self) -> usize {
        let answer = self.system.raw(Method::GET, "/alerts", Some(&self.system.key), &[], None).await;
        answer.results().as_array().map_or(0, Vec::len)
    }

    /// Returns what was done to the one incident.
    fn incidents(&self) -> Vec<String> {
        let events = self.system.pagerduty();
        let split: Vec<_> = events.iter().filter_map(|event| event.split_once(' ')).collect();
        assert!(split.iter().all(|(_, key)| *key == split[0].1), "{events:?}");
        split.into_iter().map(|(action, _)| action.to_owned()).collect()
    }

    /// Asserts that the alert opened once and that Slack and PagerDuty were notified of it once; and of its end once, when
    /// every message that was hidden has come again.
    async fn assert_notified_once(&self) {
        assert_eq!((self.alerts().await, self.system.slack().len()), (1, 1), "{:?}", self.system.slack());
        assert_eq!(self.incidents(), ["trigger"]);
        self.system.heartbeat("w", "UP").await;
        self.system.seconds(300).await;
        assert_eq!((self.alerts().await, self.system.slack().len()), (1, 2), "{:?}", self.system.slack());
        assert_eq!(self.incidents(), ["trigger", "resolve"]);
    }
}

#[tokio::test]
async fn a_sender_whose_call_hangs_goes_on_when_the_sdk_has_given_it_up() {
    let hanging = Hanging::start().await;
    hanging.hangs.hang("held_until", 1);
    hanging.fail().await;
    hanging.hangs.wait_for(1).await;
    hanging.set(CALL).await;
    hanging.system.service.settle().await;
    hanging.assert_notified_once().await;
}

#[tokio::test]
async fn what_a_sender_was_to_send_that_is_ended_at_its_limit_is_sent_a_minute_later() {
    let hanging = Hanging::start().await;
    hanging.hangs.hang_for_good("held_until");
    hanging.fail().await;
    hanging.hangs.wait_for(2).await;
    hanging.hangs.stop();
    hanging.set(FUNCTION).await;
    hanging.system.seconds(60).await;
    hanging.assert_notified_once().await;
}

#[tokio::test]
async fn what_a_sweep_was_to_do_that_is_ended_at_its_limit_is_done_a_minute_later() {
    let hanging = Hanging::start().await;
    hanging.hangs.hang_for_good("alert#1");
    hanging.fail().await;
    hanging.hangs.wait_for(1).await;
    hanging.set(FUNCTION - TimeDelta::milliseconds(1)).await;
    assert_eq!(hanging.alerts().await, 0, "nobody else opens it");
    hanging.hangs.stop();
    hanging.set(FUNCTION).await;
    hanging.system.seconds(60).await;
    hanging.assert_notified_once().await;
}
