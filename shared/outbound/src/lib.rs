//! All that Medic sends: wake-ups to itself, and notices to Slack and PagerDuty.

mod pagerduty;
mod response;
mod slack;
mod wake;

pub use pagerduty::PagerDuty;
pub use response::{Delivery, http_client};
pub use slack::{Slack, SlackAccess};
pub use wake::{Route, Wake, WakeError, Wakes};
