//! The rules of Medic: what a name, an interval and a heartbeat are, when a service is late, and what must follow.
//! No async, no AWS, no clock: time is an argument.

mod alert;
mod cron;
mod delivery;
mod endpoint;
mod expectation;
mod heartbeat;
mod history;
mod ids;
mod invalid;
mod key;
mod maintenance;
mod names;
mod notice;
mod pace;
mod ping;
mod rate_limit;
mod retry;
mod routing;
mod run;
mod run_judgement;
mod schedule;
mod service;
mod statistics;
mod target;
mod team;
mod times;
mod transition;
mod webhook;
mod zone;

pub use alert::{Alert, AlertCopy, AlertKind, JobAlert, JobProblem};
pub use cron::Recurrence;
pub use delivery::{Delivery, DeliveryStatus};
pub use endpoint::Endpoint;
pub use expectation::{Expectation, Timetable};
pub use heartbeat::{Entry, Pulse, Stamp, Status};
pub use history::History;
pub use ids::{
    AlertId, ApiKeyId, DeliveryId, HeartbeatId, KeyId, NoticeId, PingKeyId, ScheduleId, ServiceId, TargetId, TeamId,
    WebhookId, WindowId,
};
pub use invalid::Invalid;
pub use key::{ApiKey, Credential, KeySecret, RateLimits, Scope, Scopes};
pub use maintenance::{MaintenanceTimes, MaintenanceWindow, Occurrence, in_maintenance};
pub use names::{HeartbeatName, Label};
pub use notice::{Announcement, Notice, NoticeKind, NoticeOwner, Outcome, Receiver, Stage, Subject};
pub use pace::Pace;
pub use ping::{PingKey, PingKeyText, PingKind};
pub use rate_limit::{RateWindow, RequestClass, Ruling};
pub use retry::{GIVE_UP_AFTER, delay as retry_delay};
pub use routing::Routing;
pub use run::{Overrun, Run, RunEnd, RunId, RunStatus, SignalKind, Stale};
pub use run_judgement::{RunDecision, RunTransition, RunWatch};
pub use schedule::{Hours, Period, Schedule};
pub use service::{
    Mute, NotificationMode, Outage, Pending, Priority, Profile, Rule, RunsLook, Service, ServicePatch, TeamName,
};
pub use statistics::RunStatistics;
pub use target::{Destination, ServiceKey, Target, TargetKind, TargetPeriod};
pub use team::{Team, parse_slack_channel};
pub use times::{elapsed, format_time, from_millis, minutes_of, parse_interval, parse_time, to_millis};
pub use transition::{Change, Close, Decision, Opening, Transition};
pub use webhook::{Attempts, SecretText, Webhook, WebhookSecrets};
pub use zone::Zone;
