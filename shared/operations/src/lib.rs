//! What Medic does: load, decide (`domain`), commit (`store`), send (`outbound`). Folders call each other in one direction
//! only: sweep, monitoring, playbooks, notifications, access, settings.

mod access;
mod batch;
mod entropy;
mod error;
mod hand_over;
mod medic;
mod monitoring;
mod notifications;
mod outbox;
mod playbooks;
mod retry;
mod sent_wakeups;
mod service_names;
mod settings;
mod sweep;
mod time_budget;
mod ttl_cache;
mod turns;
mod wakeups;

pub use access::{AuthFailure, DefaultLimits, Guesses, Keyring, NewApiKey, bootstrap_key};
pub use entropy::{Entropy, SystemEntropy};
pub use error::{Error, error_chain};
pub use medic::{Medic, QueuePorts, Settings, SlackDelivery};
pub use monitoring::{HeartbeatReceipt, Named, Ping, Pinged, Report, Signal, SignalReceipt};
pub use notifications::Drained;
pub use playbooks::{
    Document, NewRun, NewScript, NewSecret, NewTrigger, Problem, RevealedSecret, ScriptUpdate, SecretUpdate,
    SlackDecision, TriggerUpdate, new_secrets_key,
};
pub use settings::{
    Actor, AuditBounds, AuditFilter, NewSchedule, NewTarget, NewTeam, NewWebhook, NewWindow, Registered, Registration,
    ScheduleUpdate, ServiceUpdate, TargetUpdate, TeamChoice, TeamUpdate, WebhookUpdate, WindowUpdate, read_headers,
};
pub use sweep::Swept;
pub use time_budget::Now;
