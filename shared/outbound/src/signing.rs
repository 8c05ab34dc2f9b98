//! The signatures of webhooks, as Standard Webhooks 1.0 says:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Invalid;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The secret that Medic and a receiver share, so that the receiver knows that a request is Medic's. `Debug` does not
/// show it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    const PREFIX: &str = "whsec_";
    /// How many bytes the standard lets a secret have.
    const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

    pub fn new(random: [u8; 32]) -> Self {
        Self(random.into())
    }

    /// Reads `whsec_` and the base64 of 24 to 64 bytes; `field` names the text in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        text.strip_prefix(Self::PREFIX)
            .and_then(|text| STANDARD.decode(text).ok())
            .filter(|bytes| Self::BYTES.contains(&bytes.len()))
            .map(Self)
            .ok_or_else(|| Invalid::new(field, "must be whsec_ followed by the base64 of 24 to 64 bytes"))
    }

    /// Returns the secret as receivers are given it, and as `parse` reads it.
    pub fn reveal(&self) -> String {
        format!("{}{}", Self::PREFIX, STANDARD.encode(&self.0))
    }

    /// Returns the signature `v1,<base64>` of a body sent at `timestamp`, in seconds since 1970, under the id `id`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("HMAC takes a key of any length")
        };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// Returns the header `webhook-signature`: a signature by each secret, so that a receiver may have the old one or the
/// new one while a secret is being replaced.
pub(crate) fn signatures(secrets: &[WebhookSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures: Vec<_> = secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

    /// The example that the standard's own libraries are tested with.
    #[test]
    fn signs_as_the_standard_does() {
        let secret = WebhookSecret::parse("secret", SECRET).unwrap();
        let signature = secret.sign(ID, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn signs_what_the_published_library_signs() {
        for (id, timestamp, body) in [("a", 0, ""), (ID, 1_772_366_400, r#"{"type":"alert.opened","data":"ä"}"#)] {
            let secret = WebhookSecret::new([7; 32]);
            let theirs = Webhook::new(&secret.reveal()).unwrap().sign(id, timestamp, body.as_bytes()).unwrap();
            assert_eq!(secret.sign(id, timestamp, body.as_bytes()), theirs);
        }
    }

    #[test]
    fn signs_with_both_secrets_while_one_is_replaced() {
        let secrets = [WebhookSecret::new([1; 32]), WebhookSecret::new([2; 32])];
        let [old, new] = secrets.each_ref().map(|secret| secret.sign("a", 1, b"{}"));
        assert_eq!(signatures(&secrets, "a", 1, b"{}"), format!("{old} {new}"));
        assert_ne!(old, new);
    }

    #[test]
    fn reads_back_what_it_reveals_and_nothing_else() {
        let secret = WebhookSecret::new([9; 32]);
        assert_eq!(WebhookSecret::parse("secret", &secret.reveal()), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        for text in ["", "whsec_", &SECRET[6..], "whsec_MfKQ9r8GKYqrTwjUPD8I", "whsec_!", &long] {
            let error = WebhookSecret::parse("secret", text).unwrap_err();
            assert_eq!(error.to_string(), "secret must be whsec_ followed by the base64 of 24 to 64 bytes");
        }
    }
}
