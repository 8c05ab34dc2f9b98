//! What Medic sends to addresses that users set, against receivers and name servers of every kind of bad behaviour.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end where it stands")]

mod bad_receivers;
mod guard;
mod names;
mod rebinding;
mod receiver;
mod webhook;
