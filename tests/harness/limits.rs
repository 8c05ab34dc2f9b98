//! The limits of Slack and PagerDuty, which the stand-ins hold every message to, as the services do.
//! <https://docs.slack.dev/reference/block-kit/blocks>, <https://developer.pagerduty.com/docs/send-alert-event>

use serde_json::Value;

/// Slack advises 4,000 characters of text, and cuts what is over 40,000.
const MAX_TEXT: usize = 4_000;
const MAX_BLOCKS: usize = 50;
const MAX_SECTION: usize = 3_000;
const MAX_FIELDS: usize = 10;
const MAX_FIELD: usize = 2_000;
const MAX_ELEMENTS: usize = 10;
const MAX_LABEL: usize = 75;
const MAX_VALUE: usize = 2_000;
const MAX_ACTION_ID: usize = 255;
const MAX_DEDUP_KEY: usize = 255;
const MAX_SUMMARY: usize = 1_024;
const MAX_EVENT_BYTES: usize = 512 * 1_024;

/// Returns the error with which Slack refuses a message that is over one of its limits.
pub(crate) fn slack_error(body: &Value) -> Option<&'static str> {
    if is_over(&body["text"], MAX_TEXT) {
        return Some("msg_too_long");
    }
    let blocks = items(&body["blocks"]);
    let fits = blocks.len() <= MAX_BLOCKS && blocks.iter().all(is_good_block);
    (!fits).then_some("invalid_blocks")
}

/// Returns whether PagerDuty takes an event.
pub(crate) fn pagerduty_takes(body: &Value) -> bool {
    body["dedup_key"].as_str().is_none_or(|key| key.chars().count() <= MAX_DEDUP_KEY)
        && !is_over(&body["payload"]["summary"], MAX_SUMMARY)
        && body.to_string().len() <= MAX_EVENT_BYTES
}

fn is_good_block(block: &Value) -> bool {
    let (fields, elements) = (items(&block["fields"]), items(&block["elements"]));
    is_good_text(&block["text"], MAX_SECTION)
        && fields.len() <= MAX_FIELDS
        && fields.iter().all(|field| is_good_text(field, MAX_FIELD))
        && elements.len() <= MAX_ELEMENTS
        && elements.iter().all(is_good_element)
}

fn is_good_element(element: &Value) -> bool {
    if element["type"] == "button" {
        return !is_over(&element["text"]["text"], MAX_LABEL)
            && !is_over(&element["value"], MAX_VALUE)
            && !is_over(&element["action_id"], MAX_ACTION_ID);
    }
    is_good_text(element, MAX_SECTION)
}

/// Returns whether a text fits, and none of its escapes and links is cut in two.
fn is_good_text(text: &Value, max: usize) -> bool {
    let Some(markup) = text["text"].as_str() else { return true };
    let is_whole = |after: &str| ["amp;", "lt;", "gt;"].iter().any(|escape| after.starts_with(escape));
    !markup.is_empty()
        && !is_over(&text["text"], max)
        && markup.split('&').skip(1).all(is_whole)
        && markup.split('<').skip(1).all(|after| after.contains('>'))
}

/// Returns whether a text is longer than that in UTF-16, which is the strictest way to count it.
fn is_over(text: &Value, max: usize) -> bool {
    text.as_str().is_some_and(|text| text.encode_utf16().count() > max)
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}
