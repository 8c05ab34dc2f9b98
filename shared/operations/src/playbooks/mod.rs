//! Playbooks: reading and keeping them, starting them, doing their steps, and asking people for approval.

mod approvals;
mod circuits;
mod definitions;
mod document;
mod execute;
mod execution_audit;
mod execution_lists;
mod execution_outbox;
mod executions;
mod overdue;
mod planning;
mod presses;
mod scripts;
mod secrets;
mod self_approval;
mod slack_decisions;
mod starts;
mod steps;
mod triggers;
mod work;

pub use document::{Document, Problem};
pub use planning::NewRun;
pub use scripts::{NewScript, ScriptUpdate};
pub use secrets::{NewSecret, RevealedSecret, SecretUpdate, new_secrets_key};
pub use slack_decisions::SlackDecision;
pub use triggers::{NewTrigger, TriggerUpdate};
