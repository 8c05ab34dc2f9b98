//! Randomness, and ids that keep the order in which this process created them.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::{HeartbeatId, LogId};

use crate::Error;

/// Provides random bytes.
pub trait Entropy: std::fmt::Debug + Send + Sync {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error>;
}

/// The randomness of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(bytes).map_err(|source| Error::Entropy(source.to_string()))
    }
}

pub(crate) fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// Generates the random bits of ids that sort by time: within one millisecond each is above the one before it, by a
/// counter of 20 bits that begins anywhere in its lower half (RFC 9562, 6.2, method 1). A `Stamp` keeps exactly those
/// bits.
#[derive(Debug, Default)]
struct Counted(Mutex<(i64, u32)>);

impl Counted {
    const MAX: u32 = (1 << 20) - 1;

    fn next(&self, entropy: &dyn Entropy, now: DateTime<Utc>) -> Result<[u8; 10], Error> {
        let mut bytes: [u8; 10] = random(entropy)?;
        let [_, a, b, c, d, ..] = bytes;
        let count = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let millis = now.timestamp_millis();
            *last = if last.0 == millis {
                (millis, last.1.saturating_add(1).min(Self::MAX))
            } else {
                (millis, u32::from_be_bytes([a, b, c, d]) >> 13)
            };
            last.1
        };
        // The id keeps 12 bits before its variant and 6 after it in a byte of their own: 12 + 8 bits of the counter.
        let [_, _, high, low] = (count >> 8).to_be_bytes();
        let [_, _, _, rest] = count.to_be_bytes();
        bytes[..3].copy_from_slice(&[high, low, rest >> 2]);
        bytes[3] = (rest << 6) | (bytes[3] & 0x3f);
        Ok(bytes)
    }
}

/// Generates the ids of heartbeats, in order.
#[derive(Debug, Default)]
pub(crate) struct HeartbeatIds(Counted);

impl HeartbeatIds {
    pub(crate) fn next(&self, entropy: &dyn Entropy, now: DateTime<Utc>) -> Result<HeartbeatId, Error> {
        Ok(HeartbeatId::at(now, self.0.next(entropy, now)?))
    }
}

/// Generates the ids of audit entries, in order.
#[derive(Debug, Default)]
pub(crate) struct LogIds(Counted);

impl LogIds {
    pub(crate) fn next(&self, entropy: &dyn Entropy, now: DateTime<Utc>) -> Result<LogId, Error> {
        Ok(LogId::at(now, self.0.next(entropy, now)?))
    }
}

#[cfg(test)]
mod tests {
    use domain::Stamp;

    use super::*;

    #[test]
    fn ids_of_one_millisecond_keep_their_order_and_have_stamps_of_their_own() {
        let (ids, now) = (HeartbeatIds::default(), domain::from_millis(1_790_000_000_123));
        let made: Vec<_> = (0..5_000).map(|_| ids.next(&SystemEntropy, now).unwrap()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(made.windows(2).all(|pair| Stamp::of(pair[0]) < Stamp::of(pair[1])));
        assert!(made.iter().all(|id| Stamp::of(*id).time() == Some(now)));
    }
}
