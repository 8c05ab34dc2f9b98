//! Everything that Medic sends: wake-ups to itself, notifications to Slack and PagerDuty, and requests to addresses
//! that users set, which the guard keeps outside.

mod allowed_hosts;
#[cfg(feature = "aws")]
mod aws;
mod excerpt;
mod fit;
mod guard;
mod http;
mod inside;
mod lookup;
mod masking;
mod outgoing;
mod pagerduty;
mod playbook_message;
mod refusal;
mod response;
mod retry_after;
mod script;
mod seal;
mod signing;
mod slack;
mod slack_markup;
mod slack_signature;
mod step_call;
mod user_headers;
mod wake;
mod webhook;

pub use allowed_hosts::AllowedHosts;
#[cfg(feature = "aws")]
pub use aws::{AwsAddresses, AwsScriptQueue, AwsWakes, QueueAddress};
pub use excerpt::{EXCERPT_BYTES, TRUNCATED, cut, excerpt};
pub use guard::Guard;
pub use http::Http;
pub use lookup::{Lookup, SystemLookup};
pub use masking::Masks;
pub use outgoing::{Answer, Call, Outgoing, SendError};
pub use pagerduty::PagerDuty;
pub use playbook_message::{APPROVE, DecisionValue, REJECT};
pub use refusal::Refusal;
pub use response::{Delivery, http_client};
pub use retry_after::RetryAfter;
pub use script::{QueueError, ScriptInterpreter, ScriptJob, ScriptJobs, ScriptReport, ScriptReports, SealedVariables};
pub use seal::{Seal, SealError};
pub use signing::WebhookSecret;
pub use slack::{Slack, SlackAccess};
pub use slack_signature::SlackSecret;
pub use step_call::{StepCall, StepCallError};
pub use user_headers::UserHeaders;
pub use wake::{Route, Wake, WakeError, Wakes};
pub use webhook::{WEBHOOK_HEADERS, WebhookAttempt, WebhookEvent, WebhookOutcome, WebhookReport};
