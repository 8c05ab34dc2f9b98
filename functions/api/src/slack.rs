//! Presses of buttons in Slack, as Slack reports them.
//! <https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>

use axum::extract::State;
use axum::http::StatusCode;
use domain::{Invalid, SlackMessage, SlackUser};
use operations::SlackDecision;
use outbound::{APPROVE, DecisionValue, REJECT};
use runtime::{ApiError, App, Envelope, WholeBody};
use serde::Deserialize;
use url::form_urlencoded;

/// What Medic reads of a payload.
#[derive(Debug, Deserialize)]
struct Payload {
    r#type: String,
    user: Option<User>,
    #[serde(default)]
    actions: Vec<Action>,
    channel: Option<Channel>,
    message: Option<Message>,
    container: Option<Container>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: String,
    username: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Action {
    action_id: Option<String>,
    value: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    ts: String,
}

#[derive(Debug, Deserialize)]
struct Container {
    channel_id: Option<String>,
    message_ts: Option<String>,
}

/// Receives presses of buttons from Slack.
///
/// A press of an approval request's button is kept, and acknowledged at once. It counts from then, before any timeout that
/// falls later; the outcome shows in the message, or is sent to the person who pressed. Every other kind of interaction is
/// accepted and ignored.
#[utoipa::path(
    post,
    path = "/v2/slack/interactions",
    tag = "executions",
    params(
        ("X-Slack-Signature" = String, Header, description = "`v0=` and the HMAC-SHA256 of `v0:timestamp:body`, in hexadecimal"),
        ("X-Slack-Request-Timestamp" = String, Header, description = "Seconds since 1970, at most five minutes off"),
    ),
    request_body(
        content = String,
        content_type = "application/x-www-form-urlencoded",
        description = "A form whose field `payload` is JSON",
    ),
    responses(
        (status = 200, description = "Accepted. The body is empty"),
        (status = 400, description = "The payload cannot be read", body = Envelope<String>),
        (status = 401, description = "The signature is missing, wrong or too old", body = Envelope<String>),
        (
            status = 503,
            description = "SLACK_SIGNING_SECRET is not set, or the decision could not be kept",
            body = Envelope<String>
        ),
    )
)]
pub(crate) async fn interactions(State(app): State<App>, WholeBody(body): WholeBody) -> Result<StatusCode, ApiError> {
    if let Some(decision) = read(&body)? {
        app.medic.receive_press(decision, app.now()).await?;
    }
    Ok(StatusCode::OK)
}

/// Returns the decision in a body from Slack, if there is one.
pub fn read(body: &[u8]) -> Result<Option<SlackDecision>, ApiError> {
    let payload = form_urlencoded::parse(body).find(|(name, _)| name == "payload").map(|(_, value)| value);
    let payload = payload.ok_or_else(|| Invalid::new("payload", "is missing"))?;
    let payload: Payload = serde_json::from_str(&payload)
        .map_err(|_| Invalid::new("payload", "must be the JSON of an interaction of Slack's"))?;
    let Payload { r#type, user, actions, channel, message, container } = payload;
    if r#type != "block_actions" {
        return Ok(None);
    }
    let pressed = actions.into_iter().find_map(|action| match action.action_id.as_deref() {
        Some(APPROVE) => Some((true, action.value)),
        Some(REJECT) => Some((false, action.value)),
        Some(_) | None => None,
    });
    let Some((approve, value)) = pressed else { return Ok(None) };
    let invalid = || Invalid::new("actions[].value", "must be that of a button of Medic's");
    let value = value.ok_or_else(invalid)?;
    let DecisionValue { execution_id, digest } = DecisionValue::parse(&value).ok_or_else(invalid)?;
    let User { id, username, name } = user.ok_or_else(|| Invalid::new("user", "is missing"))?;
    let (in_channel, ts) = container.map(|container| (container.channel_id, container.message_ts)).unwrap_or_default();
    let in_channel = channel.map(|channel| channel.id).or(in_channel);
    let ts = message.map(|message| message.ts).or(ts);
    Ok(Some(SlackDecision {
        execution_id: execution_id.parse().map_err(|_| invalid())?,
        digest: digest.to_owned(),
        approve,
        user: SlackUser::parse(&id, username.or(name).as_deref())?,
        message: in_channel.zip(ts).map(|(channel, ts)| SlackMessage { channel, ts }),
    }))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn form(payload: &str) -> Vec<u8> {
        form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish().into_bytes()
    }

    /// Any JSON, small.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(Value::from(APPROVE)),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Returns whether a body is read, ignored or the sender's fault.
    fn is_well_handled(body: &[u8]) -> bool {
        match read(body) {
            Ok(_) => true,
            Err(error) => error.into_response().status() == StatusCode::BAD_REQUEST,
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted_or_are_the_senders_fault(body in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(is_well_handled(&body));
            prop_assert!(is_well_handled(&form(&String::from_utf8_lossy(&body))));
        }

        #[test]
        fn so_is_a_press_with_anything_in_any_of_its_fields(field in 0..9_usize, value in any_json()) {
            let pointers = [
                "/type", "/user", "/user/id", "/actions", "/actions/0", "/actions/0/action_id", "/actions/0/value",
                "/channel", "/message/ts",
            ];
            let mut payload = json!({
                "type": "block_actions",
                "user": {"id": "U1", "username": "alice"},
                "actions": [{"action_id": APPROVE, "value": format!("01a0c450-6c7b-7303-8303-030303030303 {}", "0".repeat(64))}],
                "channel": {"id": "C1"},
                "message": {"ts": "1.2"},
            });
            prop_assert!(read(&form(&payload.to_string())).is_ok_and(|decision| decision.is_some()));
            if let Some(place) = payload.pointer_mut(pointers[field]) {
                *place = value;
            }
            prop_assert!(is_well_handled(&form(&payload.to_string())));
        }
    }
}
