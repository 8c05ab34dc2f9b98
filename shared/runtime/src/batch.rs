//! The batch loop of functions that a queue feeds: each message by itself, and a bad one comes back alone.

use std::panic::AssertUnwindSafe;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures::FutureExt as _;
use serde::de::DeserializeOwned;

/// Hands each message's body to `handle`, and answers which failed: those whose body does not read, whose handling
/// failed, and whose handling panicked.
pub async fn each_record<T, E, F>(event: SqsEvent, handle: impl Fn(T) -> F) -> SqsBatchResponse
where
    T: DeserializeOwned,
    E: std::fmt::Display,
    F: Future<Output = Result<(), E>>,
{
    let mut response = SqsBatchResponse::default();
    for record in event.records {
        let Some(id) = record.message_id else {
            tracing::error!("a message without an id; it cannot be reported by itself");
            continue;
        };
        let body = record.body.unwrap_or_default();
        let failure = match serde_json::from_str(&body) {
            Err(error) => Some(format!("its body does not read: {error}")),
            Ok(message) => match AssertUnwindSafe(handle(message)).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("its handling panicked".to_owned()),
            },
        };
        if let Some(failure) = failure {
            tracing::error!(message.id = %id, error = %failure, "a message was not handled");
            let mut item = BatchItemFailure::default();
            item.item_identifier = id;
            response.batch_item_failures.push(item);
        }
    }
    response
}
