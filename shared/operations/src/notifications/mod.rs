//! Who is notified, and how it is sent: lanes, leases, routing, and deliveries to webhooks.

mod deliveries;
mod drain;
mod lanes;
mod leases;
mod outcomes;
mod overdue;
mod payload;
mod routing;
mod send;
mod sender;
mod superseded;
mod target_test;
mod unnotified;
mod webhook_sender;

pub(crate) use deliveries::NewEvent;
pub use drain::Drained;
pub(crate) use routing::{RoutedService, incidents_only};
