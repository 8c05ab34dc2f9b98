//! The stand-ins for AWS on one machine: DynamoDB in process behind the real SDK, and a durable stand-in for SQS and
//! EventBridge Scheduler. Nothing that ships to AWS depends on this crate.

mod dynamodb;
mod queues;

pub use dynamodb::{DynamoDb, Fate, Fates, Fault, Lag, SharedWait, Units, Wait};
pub use queues::{Error as QueueError, Queues, Received};
