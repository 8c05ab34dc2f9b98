//! Pings: what clients of Healthchecks send to an address that holds a key of its own.

use std::fmt;

use crate::{Label, PingKeyId, Revision, SignalKind};

/// What a ping reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingKind {
    Start,
    Success,
    Fail,
    Log,
}

impl PingKind {
    /// Reads what stands behind the slug in a ping's address: `start`, `fail`, `log` or an exit status from 0 to 255.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "start" => Some(Self::Start),
            "fail" => Some(Self::Fail),
            "log" => Some(Self::Log),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse::<u8>().ok().map(|status| if status == 0 { Self::Success } else { Self::Fail })
            }
            _ => None,
        }
    }

    /// Returns the signal of its run; a log has none, since it changes nothing.
    pub const fn signal(self) -> Option<SignalKind> {
        match self {
            Self::Start => Some(SignalKind::Start),
            Self::Success => Some(SignalKind::Complete),
            Self::Fail => Some(SignalKind::Fail),
            Self::Log => None,
        }
    }
}

/// A key's record. The key itself is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingKey {
    pub id: PingKeyId,
    pub name: Label,
    /// The first half of the key's SHA-256 in hex, by which its record is found.
    pub digest: String,
    /// The argon2id hash of the whole key, as a PHC string.
    pub hash: String,
    pub revision: Revision,
}

/// A key as it stands in a ping's address: 22 letters and digits, some 131 random bits. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PingKeyText(String);

impl PingKeyText {
    pub const CHARS: usize = 22;
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == Self::CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        fits.then(|| Self(text.to_owned()))
    }

    /// Creates a key from random bytes, each letter as likely as any other. None if too few of the bytes can be used.
    pub fn of(random: &[u8]) -> Option<Self> {
        // Four times 62: what is above would make some letters likelier.
        let letters = random.iter().filter(|byte| **byte < 248).map(|byte| Self::ALPHABET[usize::from(byte % 62)]);
        let text: String = letters.take(Self::CHARS).map(char::from).collect();
        Self::parse(&text)
    }

    /// Returns the whole key, to be shown once and hashed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PingKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PingKeyText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_a_number_from_0_to_255() {
        assert_eq!(PingKind::parse("0"), Some(PingKind::Success));
        for status in ["1", "007", "255"] {
            assert_eq!(PingKind::parse(status), Some(PingKind::Fail), "{status}");
        }
        for bad in ["", "256", "-1", "+1", "1.0", "Start", "started", "99999999999999999999"] {
            assert_eq!(PingKind::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_is_22_letters_and_digits() {
        let key = PingKeyText::of(&(0..=255).collect::<Vec<u8>>()).unwrap();
        assert_eq!(key.reveal(), "0123456789ABCDEFGHIJKL");
        assert!(!format!("{key:?}").contains("0123"));
        assert_eq!(PingKeyText::of(&[255; 64]), None);
        for bad in ["", "0123456789ABCDEFGHIJK", "0123456789ABCDEFGHIJKLM", "0123456789ABCDEFGHIJK-"] {
            assert_eq!(PingKeyText::parse(bad), None, "{bad}");
        }
    }
}
