//! Guesses at the secret that starts playbooks, counted in this process alone: a guess costs the table nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Wrong secrets of a minute, by the address that they came from.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<HashMap<IpAddr, Guessed>>);

#[derive(Debug)]
struct Guessed {
    since: DateTime<Utc>,
    times: u32,
}

/// All are forgotten past this many addresses.
const MAX_ADDRESSES: usize = 10_000;

impl Guesses {
    /// Wrong secrets that an address may send in a minute. Then it is heard again when the minute is over.
    pub const MAX: u32 = 10;

    /// Returns the seconds for which an address is not heard, if it has guessed too often.
    pub fn refuses_for(&self, address: IpAddr, now: DateTime<Utc>) -> Option<u32> {
        let guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let guessed = guesses.get(&network(address)).filter(|guessed| guessed.times >= Self::MAX)?;
        let left = guessed.since + TimeDelta::minutes(1) - now;
        u32::try_from(left.num_milliseconds()).ok().filter(|left| *left > 0).map(|left| left.div_ceil(1_000))
    }

    /// Counts a wrong secret.
    pub fn count(&self, address: IpAddr, now: DateTime<Utc>) {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.len() >= MAX_ADDRESSES {
            guesses.clear();
        }
        let guessed = guesses.entry(network(address)).or_insert(Guessed { since: now, times: 0 });
        if now - guessed.since >= TimeDelta::minutes(1) {
            *guessed = Guessed { since: now, times: 0 };
        }
        guessed.times += 1;
    }
}

/// Returns what one caller has of addresses: of IPv6 at least 64 bits' worth.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}
