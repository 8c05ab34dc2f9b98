//! Encrypts what must not be readable where it is kept or on its way: AES-256-GCM with Medic's own key.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

/// The key under which secrets are sealed. `Debug` does not show it.
pub struct Seal(RandomizedNonceKey);

/// Why something was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it cannot be sealed")]
    Sealing,
    /// Another key, another purpose, or bytes that somebody changed.
    #[error("it was not sealed by this key for this purpose")]
    Opening,
}

impl Seal {
    /// Creates a seal with this key, which `MEDIC_SECRETS_KEY` holds.
    pub fn new(key: [u8; 32]) -> Result<Self, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self).map_err(|_| SealError::Sealing)
    }

    /// Returns the sealed form of `text`: a random nonce of 12 bytes, the ciphertext, and its tag of 16. It opens only
    /// for the same `purpose`, so that one sealed thing cannot be passed for another.
    pub fn seal(&self, purpose: &str, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = text.to_vec();
        let aad = Aad::from(purpose.as_bytes());
        let nonce = self.0.seal_in_place_append_tag(aad, &mut sealed).map_err(|_| SealError::Sealing)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Opening)?;
        let (nonce, mut text) = (Nonce::from(nonce), sealed.to_vec());
        let aad = Aad::from(purpose.as_bytes());
        let length = self.0.open_in_place(nonce, aad, &mut text).map_err(|_| SealError::Opening)?.len();
        text.truncate(length);
        Ok(text)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_for_the_same_purpose_alone() {
        let seal = Seal::new([7; 32]).unwrap();
        for text in ["", "hunter2", "ä\0\n", &"long ".repeat(10_000)] {
            let sealed = seal.seal("secret#1", text.as_bytes()).unwrap();
            assert_eq!(seal.open("secret#1", &sealed).unwrap(), text.as_bytes());
            assert_eq!(seal.open("secret#2", &sealed), Err(SealError::Opening));
            assert_eq!(Seal::new([8; 32]).unwrap().open("secret#1", &sealed), Err(SealError::Opening));
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_alike() {
        let seal = Seal::new([7; 32]).unwrap();
        assert_ne!(seal.seal("a", b"text").unwrap(), seal.seal("a", b"text").unwrap());
    }

    #[test]
    fn a_changed_or_shortened_byte_is_detected() {
        let seal = Seal::new([7; 32]).unwrap();
        let sealed = seal.seal("a", b"text").unwrap();
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert_eq!(seal.open("a", &changed), Err(SealError::Opening));
            assert_eq!(seal.open("a", &sealed[..n]), Err(SealError::Opening));
        }
    }

    /// NIST's test vectors for GCM, as the paper that proposed it has them: case 13, an empty text under a key of zeros.
    #[test]
    fn is_the_published_algorithm() {
        let seal = Seal::new([0; 32]).unwrap();
        let tag = 0x530f_8afb_c745_36b9_a963_b4f1_c4cb_738b_u128.to_be_bytes();
        assert_eq!(seal.open("", &[[0; 12].as_slice(), &tag].concat()).unwrap(), b"");
    }

    #[test]
    fn shows_nothing_of_the_key() {
        assert_eq!(format!("{:?}", Seal::new([7; 32]).unwrap()), "Seal(..)");
    }
}
