//! Slack's markup and the parts of Block Kit that messages are built of.
//! <https://docs.slack.dev/reference/block-kit/blocks>

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use domain::one_line;

use crate::fit::fit_markup;

/// Slack takes so many characters in a section or a context.
const MAX_SECTION: usize = 3_000;
/// And so many in a field of one.
const MAX_FIELD: usize = 2_000;
/// It advises so many in a message's text, which is what a phone's notification shows.
const MAX_TEXT: usize = 4_000;
/// Lines are joined up to here.
const MAX_JOINED_BYTES: usize = 2_900;

/// Escapes the characters that Slack asks for, so that a name can neither mention people nor forge a link, and keeps to
/// one line, so that it can forge none either.
pub(crate) fn escape(text: &str) -> String {
    one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
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
            Some(section) if section.len() + line.len() < MAX_JOINED_BYTES => {
                section.push('\n');
                section.push_str(&line);
            }
            _ => sections.push(line),
        }
    }
    sections
}

/// Returns markup of at most so many characters, in which Slack finds no links, names and mentions of its own.
fn verbatim(markup: &str, max: usize) -> Value {
    json!({"type": "mrkdwn", "text": fit_markup(markup, max), "verbatim": true})
}

/// Returns a link to what a user wrote, if it is an address on the web, and otherwise its text.
pub(crate) fn link(text: &str) -> String {
    let is_web = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    if is_web && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return format!("<{}>", escape(text).replace('|', "%7C"));
    }
    escape(text)
}

/// Returns a block of text.
pub(crate) fn section(markup: &str) -> Value {
    json!({"type": "section", "text": verbatim(markup, MAX_SECTION)})
}

/// Returns a block of small text.
pub(crate) fn context(markup: &str) -> Value {
    json!({"type": "context", "elements": [verbatim(markup, MAX_SECTION)]})
}

/// Returns a named fact, a field of a section. Its value is markup.
pub(crate) fn field(name: &str, value: &str) -> Value {
    verbatim(&format!("*{name}*\n{value}"), MAX_FIELD)
}

/// Returns the text of a message beside its blocks.
pub(crate) fn message_text(markup: &str) -> String {
    fit_markup(markup, MAX_TEXT)
}
