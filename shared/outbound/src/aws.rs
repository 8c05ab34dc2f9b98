//! The ports on AWS: wake-ups, jobs and reports go through SQS and EventBridge Scheduler.

mod script_queue;
mod time_limits;
mod wakes;

pub use script_queue::AwsScriptQueue;
pub use wakes::AwsWakes;

/// A queue, as SQS and as the Scheduler name it.
#[derive(Debug, Clone)]
pub struct QueueAddress {
    pub url: String,
    pub arn: String,
}

/// Where wake-ups go on AWS.
#[derive(Debug, Clone)]
pub struct AwsAddresses {
    pub sweep: QueueAddress,
    pub notify: QueueAddress,
    pub playbook: QueueAddress,
    /// The role that the Scheduler assumes to send a message.
    pub scheduler_role_arn: String,
}
