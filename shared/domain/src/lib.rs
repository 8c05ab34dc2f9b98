//! The rules of Medic: what a name, an interval and a heartbeat are, when a service is late, and what must follow.
//! No async, no AWS, no clock: time is an argument.

mod alert;
mod heartbeat;
mod ids;
mod invalid;
mod key;
mod names;
mod notice;
mod retry;
mod service;
mod times;
mod transition;

pub use alert::{Alert, AlertCopy};
pub use heartbeat::{Pulse, Stamp, Status};
pub use ids::{AlertId, ApiKeyId, HeartbeatId, NoticeId, ServiceId};
pub use invalid::Invalid;
pub use key::{ApiKey, Credential, KeySecret, RateLimits, Scope, Scopes};
pub use names::{HeartbeatName, Label};
pub use notice::{Notice, NoticeKind, Outcome, Receiver};
pub use retry::{GIVE_UP_AFTER, delay as retry_delay};
pub use service::{Mute, NotificationMode, Outage, Pending, Priority, Profile, Rule, Service, ServicePatch, TeamName};
pub use times::{format_time, from_millis, minutes_of, parse_interval, parse_time, to_millis};
pub use transition::{Change, Close, Decision, Opening, Transition};
