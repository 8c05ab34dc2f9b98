//! What a webhook's receiver gets, and what its answers lead to.

use std::io::Write as _;
use std::sync::mpsc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use outbound::{Outgoing, UserHeaders, WEBHOOK_HEADERS, WebhookAttempt, WebhookEvent, WebhookOutcome, WebhookReport};
use outbound::{Refusal, SendError, WebhookSecret};
use serde_json::json;
use standardwebhooks::Webhook;

use crate::names::Names;
use crate::receiver::{Receiver, header, local};

const ID: &str = "019a6f3e-0000-7000-8000-000000000001";

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_366_400, 0).unwrap()
}

/// Posts one event, `seconds` after noon.
async fn post(outgoing: &Outgoing, url: &str, secrets: &[WebhookSecret], seconds: i64) -> WebhookReport {
    let headers = [("Authorization", "Bearer of the user"), ("X-Team", "sre")];
    let headers = UserHeaders::parse("headers", headers, &WEBHOOK_HEADERS).unwrap();
    let data = json!({"alert_id": 7});
    let event = WebhookEvent { kind: "alert.opened", at: noon(), data: &data };
    let at = noon() + TimeDelta::seconds(seconds);
    WebhookAttempt { url, headers: &headers, secrets, id: ID, at, event }.post(outgoing).await
}

async fn answered(head: &str) -> WebhookReport {
    let receiver = Receiver::answering(format!("HTTP/1.1 {head}\r\ncontent-length: 4\r\n\r\nbody"));
    post(&local(), &receiver.url(), &[WebhookSecret::new([1; 32])], 0).await
}

fn retry(error: &str, after: Option<TimeDelta>) -> WebhookOutcome {
    WebhookOutcome::Retry { error: error.to_owned(), after }
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_with_the_same_id_and_a_signature_of_its_own_time() {
    let (sender, requests) = mpsc::channel();
    let receiver = Receiver::start(move |number, request, mut connection| {
        sender.send(request.to_owned()).unwrap();
        let status = if number == 0 { "500 Internal Server Error" } else { "200 OK" };
        connection.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
    });
    let secrets = [WebhookSecret::new([1; 32]), WebhookSecret::new([2; 32])];
    let first = post(&local(), &receiver.url(), &secrets, 0).await;
    assert_eq!(first.outcome, retry("answered 500", None));
    let second = post(&local(), &receiver.url(), &secrets, 5).await;
    assert_eq!(second, WebhookReport { outcome: WebhookOutcome::Success, response: Some((200, String::new())) });

    for timestamp in [1_772_366_400, 1_772_366_405] {
        let request = requests.recv_timeout(Duration::from_secs(8)).unwrap();
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"));
        assert_eq!(body, r#"{"type":"alert.opened","timestamp":"2026-03-01T12:00:00.000Z","data":{"alert_id":7}}"#);
        assert_eq!(header(&request, "content-type"), Some("application/json"));
        assert_eq!(header(&request, "user-agent"), Some("medic/0.1.0"));
        assert_eq!(header(&request, "authorization"), Some("Bearer of the user"));
        assert_eq!(header(&request, "x-team"), Some("sre"));
        assert_eq!(header(&request, "webhook-id"), Some(ID));
        assert_eq!(header(&request, "webhook-timestamp"), Some(timestamp.to_string().as_str()));
        let theirs = secrets
            .each_ref()
            .map(|secret| Webhook::new(&secret.reveal()).unwrap().sign(ID, timestamp, body.as_bytes()).unwrap());
        assert_eq!(header(&request, "webhook-signature"), Some(theirs.join(" ").as_str()));
    }
}

#[tokio::test]
async fn any_answer_but_success_and_gone_is_worth_another_try() {
    for (head, error) in [
        ("400 Bad Request", "answered 400"),
        ("404 Not Found", "answered 404"),
        ("408 Request Timeout", "answered 408"),
        ("503 Service Unavailable", "answered 503"),
        ("307 Temporary Redirect\r\nlocation: http://example.com/", "answered 307: redirects are not followed"),
    ] {
        let code = head[..3].parse().unwrap();
        let response = Some((code, "body".to_owned()));
        assert_eq!(answered(head).await, WebhookReport { outcome: retry(error, None), response });
    }
    for head in ["200 OK", "201 Created", "202 Accepted"] {
        assert_eq!(answered(head).await.outcome, WebhookOutcome::Success);
    }
    let gone = WebhookOutcome::Gone { error: "answered 410: the receiver wants no more deliveries".to_owned() };
    assert_eq!(answered("410 Gone").await.outcome, gone);
}

#[tokio::test]
async fn a_receiver_may_ask_for_a_longer_wait() {
    let seconds = answered("429 Too Many Requests\r\nretry-after: 90").await;
    assert_eq!(seconds.outcome, retry("answered 429", Some(TimeDelta::seconds(90))));
    let date = answered("503 Service Unavailable\r\nRetry-After: Sun, 01 Mar 2026 12:02:00 GMT").await;
    assert_eq!(date.outcome, retry("answered 503", Some(TimeDelta::minutes(2))));
}

#[tokio::test]
async fn what_gives_no_answer_is_tried_again_unless_the_guard_refuses() {
    let silent = Receiver::start(|_, _, _| {});
    let report = post(&local(), &silent.url(), &[WebhookSecret::new([1; 32])], 0).await;
    assert_eq!(report, WebhookReport { outcome: retry("the connection failed", None), response: None });

    let outgoing = Outgoing::new(Names::guard(&[&["10.0.0.1"]])).unwrap();
    let report = post(&outgoing, "https://example.com/", &[WebhookSecret::new([1; 32])], 0).await;
    let error = SendError::Refused(Refusal::Inside).to_string();
    assert_eq!(report, WebhookReport { outcome: WebhookOutcome::Refused { error }, response: None });
}
