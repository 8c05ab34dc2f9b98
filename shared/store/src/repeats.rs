//! Idempotency keys of clients: a request that is sent again finds the id under which it was first accepted.

use std::fmt::Display;
use std::str::FromStr;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{ExecutionId, HeartbeatId, Invalid, PlaybookId, ServiceId};
use serde::{Deserialize, Serialize};

use crate::item::{self, corrupt, number};
use crate::keys::Key;
use crate::requests::Request as _;
use crate::{Error, Table};

/// How long a repetition is recognised.
const KNOWN_FOR: TimeDelta = TimeDelta::hours(24);

#[derive(Debug, Serialize, Deserialize)]
struct RepeatItem {
    id: String,
    expires_at: i64,
}

impl Table {
    /// Returns the heartbeat that a service first sent with this idempotency key: `id`, unless there was one before.
    pub async fn first_heartbeat(
        &self,
        service: ServiceId,
        idempotency_key: &str,
        id: HeartbeatId,
        now: DateTime<Utc>,
    ) -> Result<HeartbeatId, Error> {
        self.first_try(&Key::repeated_heartbeat(service, idempotency_key), id, now).await
    }

    /// Returns the execution of a playbook that was first started with this idempotency key: `id`, unless there was one
    /// before.
    pub async fn first_execution(
        &self,
        playbook: PlaybookId,
        idempotency_key: &str,
        id: ExecutionId,
        now: DateTime<Utc>,
    ) -> Result<ExecutionId, Error> {
        self.first_try(&Key::repeated_execution(playbook, idempotency_key), id, now).await
    }

    async fn first_try<Id: Display + FromStr<Err = Invalid>>(
        &self,
        key: &Key,
        id: Id,
        now: DateTime<Utc>,
    ) -> Result<Id, Error> {
        let body = RepeatItem { id: id.to_string(), expires_at: (now + KNOWN_FOR).timestamp() };
        let sent = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item::write(key, &body)?))
            .condition_expression("attribute_not_exists(pk) OR expires_at <= :now")
            .expression_attribute_values(":now", number(now.timestamp()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send_boxed()
            .await;
        let Err(error) = sent else { return Ok(id) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(repeated)) => {
                let found: RepeatItem = item::read(repeated.item().cloned().unwrap_or_default())?;
                found.id.parse().map_err(|source: Invalid| corrupt(Some(key), source))
            }
            _ => Err(error.into()),
        }
    }
}
