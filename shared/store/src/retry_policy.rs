//! Timeouts and retries of calls to DynamoDB: with jitter, and well within a function's time.

use std::time::Duration;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;

/// Calls of one operation, the first one included.
const ATTEMPTS: u32 = 5;
/// The longest first wait; it doubles, and each wait is a random part of that.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const MAX_WAIT: Duration = Duration::from_secs(1);
/// DynamoDB responds within some 10 ms; what takes this long is lost.
const ATTEMPT: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(1);
/// An operation with all its tries. A request makes a few operations, and has 15 s.
const OPERATION: Duration = Duration::from_secs(5);
/// An operation that the request can do without: a second try, as after a connection that has died.
const BRIEF_OPERATION: Duration = Duration::from_secs(1);
const BRIEF_ATTEMPTS: u32 = 2;

/// Sets timeouts and retries.
pub(crate) fn apply(config: Builder) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    let retries =
        RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_WAIT).with_max_backoff(MAX_WAIT);
    config.timeout_config(timeouts).retry_config(retries).retry_classifier(ThrottledTransactions)
}

/// Returns the settings of calls that a request can do without: they are given up soon. Their retries draw on a quota
/// of their own, so that throttling here takes none from the calls that matter.
pub(crate) fn brief(quota: &RetryPartition) -> Builder {
    let timeouts = TimeoutConfig::builder().operation_timeout(BRIEF_OPERATION).build();
    let retries = RetryConfig::standard().with_max_attempts(BRIEF_ATTEMPTS).with_initial_backoff(FIRST_WAIT);
    Builder::new().timeout_config(timeouts).retry_config(retries).retry_partition(quota.clone())
}

/// Returns a quota of retries for `brief` calls.
pub(crate) fn brief_quota() -> RetryPartition {
    RetryPartition::custom("medic-brief").build()
}

/// A transaction in which an item was throttled is cancelled, which the SDK takes for a final response.
#[derive(Debug)]
struct ThrottledTransactions;

impl ClassifyRetry for ThrottledTransactions {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        let cancelled = error.and_then(|error| error.as_operation_error()?.downcast_ref::<TransactWriteItemsError>());
        if cancelled.is_some_and(is_throttled) {
            RetryAction::throttling_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "throttled transactions"
    }
}

/// Returns whether it was throttling alone that cancelled a transaction.
pub(crate) fn is_throttled(error: &TransactWriteItemsError) -> bool {
    const THROTTLED: [&str; 2] = ["ThrottlingError", "ProvisionedThroughputExceeded"];
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else { return false };
    let codes = || cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
    codes().any(|code| THROTTLED.contains(&code)) && codes().all(|code| code == "None" || THROTTLED.contains(&code))
}
