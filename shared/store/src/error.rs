//! The errors of the table.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed read or write. A condition that does not hold is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Throttled, timed out or unreachable, after the SDK's own retries.
    #[error("the table could not be reached")]
    Unavailable(#[source] Source),
    /// DynamoDB refused the request: a bug, a missing permission or a missing table.
    #[error("the table refused a request")]
    Refused(#[source] Source),
    /// An item does not read back.
    #[error("the item {key} cannot be read")]
    Corrupt { key: String, source: Source },
    /// Others kept changing the same item.
    #[error("the item {key} kept changing")]
    Contended { key: String },
}

impl<E, R> From<SdkError<E, R>> for Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        const TRANSIENT: [&str; 8] = [
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "ThrottlingException",
            "InternalServerError",
            "ServiceUnavailable",
            "TransactionConflictException",
            "TransactionInProgressException",
            "ReplicatedWriteConflictException",
        ];
        let refused = matches!(&error, SdkError::ServiceError(service)
            if !service.err().code().is_some_and(|code| TRANSIENT.contains(&code)));
        if refused { Self::Refused(Box::new(error)) } else { Self::Unavailable(Box::new(error)) }
    }
}
