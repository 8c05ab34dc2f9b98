//! The batch loop of functions that a queue feeds: each message by itself, and a bad one comes back alone.

use std::panic::AssertUnwindSafe;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use serde::de::DeserializeOwned;

/// The handling of a batch. Boxed, so that it is compiled in its function's crate alone, and not once more in each crate
/// that runs the function.
pub type Handling<'a> = BoxFuture<'a, SqsBatchResponse>;

/// Hands each message's body to `handle`, all concurrently, so that a slow one delays no other. Returns which failed: those
/// whose body does not read, whose handling failed, and whose handling panicked.
pub fn each_record<'a, T, E, F>(event: SqsEvent, handle: impl Fn(T) -> F + Send + Sync + 'a) -> Handling<'a>
where
    T: DeserializeOwned + Send + 'a,
    E: std::fmt::Display + Send + 'a,
    F: Future<Output = Result<(), E>> + Send + 'a,
{
    handle_each(event, handle).boxed()
}

async fn handle_each<T, E, F>(event: SqsEvent, handle: impl Fn(T) -> F) -> SqsBatchResponse
where
    T: DeserializeOwned,
    E: std::fmt::Display,
    F: Future<Output = Result<(), E>>,
{
    let handle = &handle;
    let handled = event.records.into_iter().map(|record| async move {
        let body = record.body.unwrap_or_default();
        let failure = match serde_json::from_str(&body) {
            Err(error) => format!("its body does not read: {error}"),
            Ok(message) => match AssertUnwindSafe(handle(message)).catch_unwind().await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "its handling panicked".to_owned(),
            },
        };
        tracing::error!(message.id = record.message_id, error = %failure, "a message was not handled");
        let mut item = BatchItemFailure::default();
        // Without an id it cannot be reported: an empty one would bring back the whole batch.
        item.item_identifier = record.message_id?;
        Some(item)
    });
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = join_all(handled).await.into_iter().flatten().collect();
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_bad_message_comes_back_alone() {
        let record = |id: &str, body: &str| json!({"messageId": id, "body": body, "attributes": {}});
        let event = json!({"Records": [
            record("good", "1"), record("unreadable", "{"), record("failing", "2"), record("panicking", "3"),
            {"body": "2", "attributes": {}}, record("good too", "1"),
        ]});
        let response = each_record(serde_json::from_value(event).unwrap(), |n: u32| async move {
            match n {
                1 => Ok(()),
                2 => Err("it failed"),
                _ => panic!("it panicked"),
            }
        })
        .await;
        let failed: Vec<_> = response.batch_item_failures.iter().map(|item| item.item_identifier.as_str()).collect();
        assert_eq!(failed, ["unreadable", "failing", "panicking"]);
    }
}
