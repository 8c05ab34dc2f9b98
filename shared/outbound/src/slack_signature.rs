//! The signatures by which Slack proves that a request is its own.
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The secret that Slack and Medic share. `Debug` does not show it.
#[derive(Clone)]
pub struct SlackSecret(String);

/// Requests whose time is further off than this, in either direction, are refused: they may be replays.
const WINDOW: TimeDelta = TimeDelta::minutes(5);

impl SlackSecret {
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Returns whether a request with this body and these headers is Slack's, and recent. In constant time for each
    /// length.
    pub fn is_signed(&self, timestamp: &str, signature: &str, body: &[u8], now: DateTime<Utc>) -> bool {
        // A number as Slack writes it: what is signed is its text.
        let is_number = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let Some(at) = timestamp.parse::<i64>().ok().filter(|_| is_number) else { return false };
        if (now.timestamp() - at).abs() > WINDOW.num_seconds() {
            return false;
        }
        let Some(given) = signature.strip_prefix("v0=").and_then(from_hex) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()) else {
            unreachable!("HMAC takes a key of any length")
        };
        mac.update(format!("v0:{timestamp}:").as_bytes());
        mac.update(body);
        mac.verify_slice(&given).is_ok()
    }
}

impl fmt::Debug for SlackSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlackSecret(..)")
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use domain::from_millis;

    use super::*;

    /// The example of Slack's documentation.
    const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const TIMESTAMP: &str = "1531420618";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn is_signed(timestamp: &str, signature: &str, body: &[u8], seconds_later: i64) -> bool {
        let now = from_millis((1_531_420_618 + seconds_later) * 1_000);
        SlackSecret::new("8f742231b10e8888abcd99yyyzzz85a5".to_owned()).is_signed(timestamp, signature, body, now)
    }

    #[test]
    fn the_documented_example_is_signed_within_five_minutes() {
        for later in [-300, 0, 300] {
            assert!(is_signed(TIMESTAMP, SIGNATURE, BODY, later), "{later}");
        }
        for later in [-301, 301] {
            assert!(!is_signed(TIMESTAMP, SIGNATURE, BODY, later), "{later}");
        }
    }

    #[test]
    fn what_differs_in_anything_is_not() {
        let mut body = BODY.to_vec();
        body[7] ^= 1;
        assert!(!is_signed(TIMESTAMP, SIGNATURE, &body, 0));
        for timestamp in ["", "1531420619", "+1531420618", " 1531420618", "9223372036854775808", "-1"] {
            assert!(!is_signed(timestamp, SIGNATURE, BODY, 0), "{timestamp}");
        }
        let longer = format!("{SIGNATURE}00");
        let other = SIGNATURE.replace("a2", "a3");
        for signature in ["", "v0=", "v0=zz", &SIGNATURE[3..], &SIGNATURE[..60], &longer, &other, "v0=é"] {
            assert!(!is_signed(TIMESTAMP, signature, BODY, 0), "{signature}");
        }
    }
}
