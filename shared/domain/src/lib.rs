//! The rules of Medic: what a name, an interval and a heartbeat are, when a service is late, and what follows from it.
//! No async, no AWS, no clock: time is an argument.

mod alert;
mod audit;
mod circuit;
mod configured;
mod cron;
mod delivery;
mod effectiveness;
mod endpoint;
mod execution;
mod expectation;
mod gaps;
mod heartbeat;
mod ids;
mod invalid;
mod key;
mod maintenance;
mod names;
mod notification;
mod pace;
mod ping;
mod playbook;
mod playbook_notification;
mod press;
mod rate_limit;
mod retry;
mod revision;
mod routing;
mod run;
mod run_judgement;
mod runs_look;
mod schedule;
mod script;
mod secret;
mod service;
mod slack_user;
mod statistics;
mod target;
mod team;
mod times;
mod transition;
mod trigger;
mod webhook;
mod zone;

pub use alert::{Alert, AlertCopy, AlertKind, Closing, JobAlert, JobProblem};
pub use audit::{
    AuditAction, AuditDetails, AuditEntry, AuditedChange, AuditedField, AuditedThing, AuditedValue, ThingKind,
};
pub use circuit::{Admission, Circuit, CircuitOf};
pub use configured::{Configurable, Configured};
pub use cron::Recurrence;
pub use delivery::{Delivery, DeliveryStatus};
pub use effectiveness::Effectiveness;
pub use endpoint::Endpoint;
pub use execution::{
    Advance, Audited, Decided, Effect, Event, Execution, ExecutionStatus, NewExecution, Origin, Outcome as StepOutcome,
    Stage as ExecutionStage, StepRecord, StepStatus, Verification,
};
pub use expectation::{Expectation, Timetable};
pub use gaps::{Deadline, Gap, Pulse};
pub use heartbeat::{Entry, RecentHeartbeats, Stamp, Status};
pub use ids::{
    AlertId, ApiKeyId, DeliveryId, ExecutionId, HeartbeatId, KeyId, LogId, NotificationId, PingKeyId, PlaybookId,
    PressId, ScheduleId, ScriptId, SecretId, ServiceId, TargetId, TeamId, TriggerId, WebhookId, WindowId,
};
pub use invalid::Invalid;
pub use key::{ApiKey, Credential, KeySecret, RateLimits, Scope, Scopes};
pub use maintenance::{MaintenanceTimes, MaintenanceWindow, Occurrence, in_maintenance};
pub use names::{HeartbeatName, Label};
pub use notification::{
    Announcement, Notification, NotificationKind, NotificationOwner, Outcome, Receiver, SlackMessage, Stage, Subject,
};
pub use pace::Pace;
pub use ping::{PingKey, PingKeyText, PingKind};
pub use playbook::{
    Approval, Condition, HttpMethod, OnFailure, OnTimeout, Piece, Plan, PlannedScript, PlannedStep, PlannedWork,
    Playbook, PlaybookDefinition, Step, StepKind, Template, Value, Variables, WebhookCall, one_line, read_duration,
    whole_units,
};
pub use playbook_notification::{
    ApprovalRequest, OpenCircuit, PlaybookEvent, PlaybookNotification, ShownPlan, Verdict, VerdictKind, shorten,
};
pub use press::Press;
pub use rate_limit::{RateWindow, RequestClass, Ruling};
pub use retry::{GIVE_UP_AFTER, delay as retry_delay};
pub use revision::Revision;
pub use routing::Routing;
pub use run::{Overrun, Run, RunEnd, RunId, RunStatus, SignalKind, Stale};
pub use run_judgement::{RunContext, RunDecision, RunTransition};
pub use runs_look::RunsLook;
pub use schedule::{Hours, Period, Schedule};
pub use script::{Interpreter, Script, parse_parameter, parse_variable};
pub use secret::{SealedSecret, Secret, SecretUses};
pub use service::{
    Mute, NotificationMode, Outage, PendingEvent, Priority, Profile, Rule, Service, ServicePatch, TeamName,
};
pub use slack_user::SlackUser;
pub use statistics::RunStatistics;
pub use target::{Destination, ServiceKey, Target, TargetKind, TargetPeriod};
pub use team::{Team, parse_slack_channel};
pub use times::{elapsed, format_time, from_millis, minutes_of, parse_interval, parse_time, to_millis};
pub use transition::{Change, Close, Decision, Opening, Transition};
pub use trigger::{Trigger, TriggerTerms, winner};
pub use webhook::{Attempts, SecretText, Webhook, WebhookSecrets};
pub use zone::Zone;
