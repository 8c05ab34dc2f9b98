//! A delivery: one event on its way to one webhook, and its result.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::{DeliveryId, Invalid, ServiceId, WebhookId};

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// Not tried yet.
    Pending,
    /// Tried, and to be tried again.
    Retrying,
    /// Answered with a status of 200 to 299.
    Success,
    /// Given up.
    Failed,
}

impl DeliveryStatus {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Retrying, Self::Success, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }

    pub const fn is_open(self) -> bool {
        match self {
            Self::Pending | Self::Retrying => true,
            Self::Success | Self::Failed => false,
        }
    }
}

impl FromStr for DeliveryStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Invalid::new("status", "must be one of pending, retrying, success, failed"))
    }
}

/// One event for one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The `webhook-id` of every attempt.
    pub id: DeliveryId,
    pub webhook_id: WebhookId,
    /// The service that it is of, where there is one.
    pub service_id: Option<ServiceId>,
    /// Such as `alert.opened`.
    pub event_type: String,
    /// The event's data, as JSON.
    pub data: String,
    pub status: DeliveryStatus,
    /// How many were made since it was last ordered: redelivering starts counting again.
    pub attempts: u32,
    pub response_status: Option<u16>,
    /// The response to the last attempt: an excerpt of its body, or why there was none.
    pub response_body: Option<String>,
    /// When the event happened.
    pub created_at: DateTime<Utc>,
    pub next_attempt_at: Option<DateTime<Utc>>,
}
