//! Counts requests for their limits: one item for each key, class and minute, which all instances share.

use std::num::NonZeroU32;

use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::{KeyId, RequestClass};

use crate::item::{Item, corrupt, number};
use crate::keys::{EXPIRES_AT, Key};
use crate::requests::Sent;
use crate::{Error, Table, retry_policy};

/// The result of counting a request. `requests` is what its minute holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestCount {
    Counted { requests: u32 },
    Full { requests: u32 },
}

/// The number of requests in a minute.
const COUNT: &str = "n";
/// A count is needed until the minute after its own is over. The rest is for clocks that differ.
const KEPT_MINUTES: i64 = 5;

impl Table {
    /// Counts one request, if its minute holds fewer than `max`. Costs one write unit, on AWS also when the minute is full.
    ///
    /// When the response to a write is lost, the SDK repeats the write: the request counts twice, or is refused
    /// because it filled the minute itself. That costs its key one request, for two minutes at most; to distinguish the
    /// two, the item would have to remember requests.
    pub async fn count_request(
        &self,
        key: KeyId,
        class: RequestClass,
        minute: i64,
        max: NonZeroU32,
    ) -> Result<RequestCount, Error> {
        let key = Key::limit(key, class, minute);
        let sent = self.send_count(&key, minute, max).await;
        match sent {
            Ok(answer) => Ok(RequestCount::Counted { requests: requests(&key, answer.attributes.as_ref())? }),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(full)) => {
                    Ok(RequestCount::Full { requests: requests(&key, full.item())? })
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Returns how many requests a minute that is over holds: half a read unit. The last moments may be missing, as are
    /// requests that clocks behind this one still count there; a few more are let in then.
    pub async fn requests(&self, key: KeyId, class: RequestClass, minute: i64) -> Result<u32, Error> {
        let key = Key::limit(key, class, minute);
        let sent = self.send_get(&key).await?;
        sent.item.map_or(Ok(0), |item| requests(&key, Some(&item)))
    }

    fn send_count(&self, key: &Key, minute: i64, max: NonZeroU32) -> Sent<UpdateItemOutput, UpdateItemError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .update_expression("ADD #n :one SET #expires = :expires")
            .condition_expression("attribute_not_exists(#n) OR #n < :max")
            .expression_attribute_names("#n", COUNT)
            .expression_attribute_names("#expires", EXPIRES_AT)
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":max", number(max))
            .expression_attribute_values(":expires", number((minute + KEPT_MINUTES) * 60))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .config_override(retry_policy::brief(&self.brief_quota));
        Box::pin(request.send())
    }

    fn send_get(&self, key: &Key) -> Sent<GetItemOutput, GetItemError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.attributes()))
            .customize()
            .config_override(retry_policy::brief(&self.brief_quota));
        Box::pin(request.send())
    }
}

fn requests(key: &Key, item: Option<&Item>) -> Result<u32, Error> {
    let count = item.and_then(|item| item.get(COUNT)?.as_n().ok()?.parse().ok());
    count.ok_or_else(|| corrupt(Some(key), "no number of requests"))
}
