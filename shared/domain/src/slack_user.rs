//! People as Slack knows them, and how they are written as actors.

use crate::Invalid;

/// Somebody who pressed a button in Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackUser {
    /// Stays the same whatever they call themselves.
    pub id: String,
    pub name: Option<String>,
}

impl SlackUser {
    const PREFIX: &str = "slack:";
    const MAX_ID_CHARS: usize = 64;
    const MAX_NAME_CHARS: usize = 80;

    /// Reads a user as Slack sends one: an id of letters and digits, and a name if it is fit to be shown.
    pub fn parse(id: &str, name: Option<&str>) -> Result<Self, Invalid> {
        if !Self::is_id(id) {
            return Err(Invalid::new("user.id", "must be an id of letters and digits"));
        }
        let name = name.map(|name| name.chars().filter(|c| !c.is_control()).take(Self::MAX_NAME_CHARS).collect());
        let name = name.map(|name: String| name.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(Self { id: id.to_owned(), name })
    }

    /// Writes the user as an actor: `slack:alice (U024BE7LH)`. The id is always in it, since names change and can be
    /// chosen.
    pub fn actor(&self) -> String {
        match &self.name {
            Some(name) => format!("{}{name} ({})", Self::PREFIX, self.id),
            None => format!("{}{}", Self::PREFIX, self.id),
        }
    }

    /// Reads the user that an actor is, if it is one.
    pub fn of_actor(actor: &str) -> Option<Self> {
        let rest = actor.strip_prefix(Self::PREFIX)?;
        let (name, id) = match rest.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) {
            Some((name, id)) => (Some(name.to_owned()), id),
            None => (None, rest),
        };
        Self::is_id(id).then(|| Self { id: id.to_owned(), name })
    }

    /// Returns what people call an actor: a user of Slack by name, anybody else as written.
    pub fn plain_name(actor: &str) -> String {
        Self::of_actor(actor).map_or_else(|| actor.to_owned(), |user| user.name.unwrap_or(user.id))
    }

    fn is_id(id: &str) -> bool {
        (1..=Self::MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_reads_back_to_its_user_whatever_the_name_claims() {
        for (name, actor) in [
            (None, "slack:U1"),
            (Some("alice"), "slack:alice (U1)"),
            (Some("mallory (U9)"), "slack:mallory (U9) (U1)"),
            (Some("\n"), "slack:U1"),
        ] {
            let user = SlackUser::parse("U1", name).unwrap();
            assert_eq!(user.actor(), actor);
            assert_eq!(SlackUser::plain_name(actor), user.name.clone().unwrap_or_else(|| "U1".to_owned()));
            assert_eq!(SlackUser::of_actor(actor), Some(user));
        }
        for actor in ["deploy", "slack:", "slack:a b", "slack:alice (U1) "] {
            assert_eq!((SlackUser::of_actor(actor), SlackUser::plain_name(actor).as_str()), (None, actor));
        }
        for id in ["", "U 1", "<!channel>", &"U".repeat(65)] {
            assert!(SlackUser::parse(id, None).is_err(), "{id}");
        }
    }
}
