//! Slack's markup and the parts of Block Kit that messages are built of.
//! <https://docs.slack.dev/reference/block-kit/blocks>

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// Slack takes 3,000 characters in a section.
const MAX_SECTION_BYTES: usize = 2_900;

/// Escapes the characters that Slack asks for, so that a name can neither mention people nor forge a link.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns an instant that Slack shows in the reader's own zone.
pub(crate) fn slack_time(at: DateTime<Utc>) -> String {
    format!("<!date^{}^{{date_short_pretty}} {{time_secs}}|{}>", at.timestamp(), domain::format_time(at))
}

/// Joins lines into as few sections as hold them.
pub(crate) fn packed(lines: Vec<String>) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in lines {
        match sections.last_mut() {
            Some(section) if section.len() + line.len() < MAX_SECTION_BYTES => {
                section.push('\n');
                section.push_str(&line);
            }
            _ => sections.push(line.chars().take(MAX_SECTION_BYTES).collect()),
        }
    }
    sections
}

/// Returns a block of text.
pub(crate) fn section(markup: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": markup}})
}

/// Returns a block of small text.
pub(crate) fn context(markup: &str) -> Value {
    json!({"type": "context", "elements": [{"type": "mrkdwn", "text": markup}]})
}
