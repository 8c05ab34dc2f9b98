//! Configuration: services, teams, schedules, maintenance, notification targets and webhooks, and the audit log of who
//! changed them.

mod announcements;
mod audit;
mod configuration;
mod endpoints;
mod maintenance;
mod schedules;
mod services;
mod targets;
mod teams;
mod webhooks;

pub use audit::{Actor, AuditBounds, AuditFilter};
pub(crate) use configuration::{described, is_saved};
pub use endpoints::read_headers;
pub use maintenance::{NewWindow, WindowUpdate};
pub use schedules::{NewSchedule, ScheduleUpdate};
pub use services::{Registered, Registration, ServiceUpdate};
pub use targets::{NewTarget, TargetUpdate};
pub use teams::{NewTeam, TeamChoice, TeamUpdate};
pub use webhooks::{NewWebhook, WebhookUpdate};
