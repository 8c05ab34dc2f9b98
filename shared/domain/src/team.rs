//! A team: who owns services, and where it is notified of them.

use crate::{Invalid, Label, Profile, Revision, TeamId, TeamName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    pub id: TeamId,
    /// Unique whatever the case.
    pub name: TeamName,
    /// The channel for notifications of the team's services; without one they go to the general channel.
    pub slack_channel_id: Option<String>,
    pub revision: Revision,
}

impl Team {
    pub fn parse_name(text: impl Into<String>) -> Result<TeamName, Invalid> {
        Label::parse("name", text, Profile::MAX_LABEL_CHARS)
    }

    /// Reads a channel; an empty one counts as none.
    pub fn parse_channel(text: String) -> Result<Option<String>, Invalid> {
        if text.is_empty() { Ok(None) } else { parse_slack_channel("slack_channel_id", text).map(Some) }
    }
}

/// Reads the id or the name of a Slack channel.
pub fn parse_slack_channel(field: &str, text: String) -> Result<String, Invalid> {
    const MAX_CHARS: usize = 80;
    let fits = (1..=MAX_CHARS).contains(&text.chars().count());
    if fits && !text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Ok(text)
    } else {
        Err(Invalid::new(field, "must be a Slack channel such as C0123456789: 1 to 80 characters without spaces"))
    }
}
