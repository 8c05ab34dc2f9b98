//! Sends requests to DynamoDB as boxed futures.
//!
//! The body of an async function is compiled by each crate that polls it. The SDK's are long, and every crate above
//! this one would compile them once more: a box is compiled here alone, and costs an allocation for each request.

use std::pin::Pin;

use aws_sdk_dynamodb::error::SdkError;

/// A request that is on its way.
pub(crate) type Sent<O, E> = Pin<Box<dyn Future<Output = Result<O, SdkError<E>>> + Send>>;

/// A request that can be sent.
pub(crate) trait Request {
    type Output;
    type Error;

    /// Sends the request as the SDK's `send` does.
    fn send_boxed(self) -> Sent<Self::Output, Self::Error>;
}

macro_rules! requests {
    ($($module:ident: $builder:ident, $output:ident, $error:ident;)+) => {$(
        impl Request for aws_sdk_dynamodb::operation::$module::builders::$builder {
            type Output = aws_sdk_dynamodb::operation::$module::$output;
            type Error = aws_sdk_dynamodb::operation::$module::$error;

            fn send_boxed(self) -> Sent<Self::Output, Self::Error> {
                Box::pin(self.send())
            }
        }
    )+};
}

requests! {
    batch_get_item: BatchGetItemFluentBuilder, BatchGetItemOutput, BatchGetItemError;
    batch_write_item: BatchWriteItemFluentBuilder, BatchWriteItemOutput, BatchWriteItemError;
    delete_item: DeleteItemFluentBuilder, DeleteItemOutput, DeleteItemError;
    get_item: GetItemFluentBuilder, GetItemOutput, GetItemError;
    put_item: PutItemFluentBuilder, PutItemOutput, PutItemError;
    query: QueryFluentBuilder, QueryOutput, QueryError;
    transact_write_items: TransactWriteItemsFluentBuilder, TransactWriteItemsOutput, TransactWriteItemsError;
    update_item: UpdateItemFluentBuilder, UpdateItemOutput, UpdateItemError;
}
