//! Triggers: which playbook starts when a service fails. Pure.

use crate::{Invalid, PlaybookId, Revision, TriggerId};

/// A rule that starts a playbook when a service whose name matches has failed often enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub id: TriggerId,
    pub playbook_id: PlaybookId,
    pub terms: TriggerTerms,
    pub enabled: bool,
    pub revision: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerTerms {
    /// As `fnmatch` reads it, against `service_name` and `heartbeat_name`.
    pub service_pattern: String,
    /// From how many missed intervals on.
    pub consecutive_failures: u32,
}

impl TriggerTerms {
    const MAX_PATTERN_CHARS: usize = 256;
    const MAX_FAILURES: i64 = 1_000;

    pub fn parse_pattern(text: impl Into<String>) -> Result<String, Invalid> {
        let text = text.into();
        let problem = match text.chars().count() {
            0 => "must not be empty",
            n if n > Self::MAX_PATTERN_CHARS => "must be at most 256 characters long",
            _ if text.chars().any(char::is_control) => "must not contain control characters",
            _ => return Ok(text),
        };
        Err(Invalid::new("service_pattern", problem))
    }

    pub fn parse_failures(value: i64) -> Result<u32, Invalid> {
        u32::try_from(value)
            .ok()
            .filter(|_| (1..=Self::MAX_FAILURES).contains(&value))
            .ok_or_else(|| Invalid::new("consecutive_failures", "must be a whole number from 1 to 1000"))
    }

    /// Returns whether these terms are met by a service of these names that failed so often.
    pub fn are_met(&self, service_name: &str, heartbeat_name: &str, failures: u32) -> bool {
        failures >= self.consecutive_failures
            && [service_name, heartbeat_name].iter().any(|name| fnmatch(&self.service_pattern, name))
    }
}

impl Trigger {
    /// How many a playbook may have.
    pub const MAX: usize = 20;
}

/// Returns the trigger that starts its playbook: of those that are enabled and met the one of the highest threshold,
/// and among equals the oldest.
pub fn winner<'a>(
    triggers: impl IntoIterator<Item = &'a Trigger>,
    service_name: &str,
    heartbeat_name: &str,
    failures: u32,
) -> Option<&'a Trigger> {
    triggers
        .into_iter()
        .filter(|trigger| trigger.enabled && trigger.terms.are_met(service_name, heartbeat_name, failures))
        .max_by_key(|trigger| (trigger.terms.consecutive_failures, std::cmp::Reverse(trigger.id)))
}

/// Returns whether a name matches a pattern whatever the case: `*` any characters, `?` any one, `[seq]` one of these,
/// `[!seq]` one of none of these, as Python's `fnmatch` has it. In time linear in both for each `*`, whatever the
/// pattern.
pub(crate) fn fnmatch(pattern: &str, name: &str) -> bool {
    let tokens = tokens(&pattern.to_lowercase());
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut t, mut n) = (0, 0);
    // Where the last `*` is, and up to where it has matched.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match tokens.get(t) {
            Some(Token::Any) => {
                star = Some((t, n));
                t += 1;
            }
            Some(token) if token.matches(name[n]) => {
                t += 1;
                n += 1;
            }
            Some(_) | None => {
                let Some((at, matched)) = star else { return false };
                star = Some((at, matched + 1));
                t = at + 1;
                n = matched + 1;
            }
        }
    }
    tokens[t..].iter().all(|token| matches!(token, Token::Any))
}

enum Token {
    Any,
    One,
    Literal(char),
    Set { ranges: Vec<(char, char)>, is_negated: bool },
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Literal(literal) => *literal == c,
            Self::Set { ranges, is_negated } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *is_negated
            }
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let chars: Vec<char> = pattern.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(c) = chars.get(at) {
        at += 1;
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => {
                let Some((set, next)) = set(&chars, at) else {
                    tokens.push(Token::Literal('['));
                    continue;
                };
                at = next;
                set
            }
            other => Token::Literal(*other),
        });
    }
    tokens
}

/// Returns the set that begins after a `[`, and where it ends. Without its `]` it is none: the `[` stands for itself.
fn set(chars: &[char], from: usize) -> Option<(Token, usize)> {
    let is_negated = chars.get(from) == Some(&'!');
    let start = from + usize::from(is_negated);
    // A `]` that comes first belongs to the set.
    let end = (start + 1..chars.len()).find(|at| chars[*at] == ']')?;
    let (mut ranges, mut at) = (Vec::new(), start);
    while at < end {
        if at + 2 < end && chars[at + 1] == '-' {
            ranges.push((chars[at], chars[at + 2]));
            at += 3;
        } else {
            ranges.push((chars[at], chars[at]));
            at += 1;
        }
    }
    Some((Token::Set { ranges, is_negated }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_fnmatch_does() {
        // The results of Python's fnmatch.fnmatchcase, in lower case.
        for (pattern, name, is_match) in [
            ("worker-*", "worker-1", true),
            ("worker-*", "worker-", true),
            ("worker-*", "a-worker-1", false),
            ("WORKER-*", "Worker-Eu", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("?", "ä", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("[abc]x", "bx", true),
            ("[abc]x", "dx", false),
            ("[!abc]x", "dx", true),
            ("[!abc]x", "ax", false),
            ("[a-c]x", "bx", true),
            ("[a-c-e]", "-", true),
            ("[a-c-e]", "d", false),
            ("[c-a]", "b", false),
            ("[]]", "]", true),
            ("[!]]", "]", false),
            ("[!]]", "a", true),
            ("[abc", "[abc", true),
            ("[", "[", true),
            ("[]", "[]", true),
            ("[!]", "[!]", true),
            ("[-a]", "-", true),
            ("[a-]", "-", true),
            ("[a-]", "b", false),
            ("a.c", "abc", false),
            ("a\\*", "a\\xyz", true),
            ("**a", "bba", true),
            ("*[0-9]", "job7", true),
            ("*[0-9]", "job", false),
        ] {
            assert_eq!(fnmatch(pattern, name), is_match, "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        assert!(!fnmatch(&"*a".repeat(128), &"a".repeat(127)));
        assert!(!fnmatch(&("a*".repeat(100) + "b"), &"a".repeat(128)));
    }

    #[test]
    fn the_highest_threshold_that_is_met_wins_and_then_the_oldest() {
        let trigger = |id, pattern: &str, consecutive_failures, enabled| Trigger {
            id: TriggerId::new(id),
            playbook_id: PlaybookId::new(1),
            terms: TriggerTerms { service_pattern: pattern.to_owned(), consecutive_failures },
            enabled,
            revision: Revision::beginning(crate::from_millis(0)),
        };
        let triggers = [
            trigger(1, "*", 1, true),
            trigger(5, "worker-*", 3, true),
            trigger(4, "*-eu", 3, true),
            trigger(2, "*", 3, false),
            trigger(6, "nightly", 9, true),
        ];
        let id = |service: &str, heartbeat: &str, failures| {
            winner(&triggers, service, heartbeat, failures).map(|trigger| trigger.id.get())
        };
        assert_eq!(id("worker-eu", "x", 0), None);
        assert_eq!(id("worker-eu", "x", 2), Some(1));
        assert_eq!(id("worker-eu", "x", 3), Some(4));
        assert_eq!(id("worker-us", "x", 30), Some(5));
        assert_eq!(id("x", "NIGHTLY", 9), Some(6));
        assert!(winner(&[], "a", "b", 9).is_none());
    }
}
