//! A person in Slack: sees approval requests, and presses their buttons.

use std::fmt::Write as _;

use axum::http::{HeaderName, HeaderValue};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use url::form_urlencoded;

use crate::executions::Command;
use crate::receivers::Received;

pub(crate) const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
pub(crate) const PATH: &str = "/v2/slack/interactions";

/// Returns what the buttons carry that ask about an execution, if Slack shows them.
pub(crate) fn button_of(execution: &str, messages: &[Received]) -> Option<String> {
    let blocks = messages.iter().rev().flat_map(|message| message.body["blocks"].as_array().into_iter().flatten());
    let elements = blocks.flat_map(|block| block["elements"].as_array().into_iter().flatten());
    let mut values = elements.filter_map(|element| element["value"].as_str());
    values.find(|value| value.starts_with(execution)).map(str::to_owned)
}

/// Returns the payload that Slack sends when somebody presses a button.
pub(crate) fn press(command: Command, value: &str) -> Value {
    json!({
        "type": "block_actions",
        "user": {"id": "U0PERSON", "username": "person"},
        "channel": {"id": "C0ALERTS"},
        "message": {"ts": "1.1"},
        "actions": [{"action_id": format!("{}_playbook", command.path()), "value": value}],
    })
}

/// Returns a payload as Slack sends it at an instant, with the headers that it is signed with.
pub(crate) fn signed(payload: &Value, at: DateTime<Utc>) -> (Vec<u8>, [(HeaderName, HeaderValue); 2]) {
    let body = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()).unwrap();
    mac.update(format!("v0:{}:{body}", at.timestamp()).as_bytes());
    let digest = mac.finalize().into_bytes().iter().fold("v0=".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let headers = [
        (HeaderName::from_static("x-slack-signature"), digest.parse().unwrap()),
        (HeaderName::from_static("x-slack-request-timestamp"), HeaderValue::from(at.timestamp())),
    ];
    (body.into_bytes(), headers)
}
