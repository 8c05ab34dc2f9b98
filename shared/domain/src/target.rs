//! Notification targets: where else a service's alerts go.

use std::fmt;
use std::str::FromStr;

use crate::{Endpoint, Invalid, Revision, ServiceId, TargetId};

/// A receiver of one service's alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub id: TargetId,
    pub service_id: ServiceId,
    pub destination: Destination,
    /// Lower ones go first.
    pub priority: i32,
    pub enabled: bool,
    pub period: TargetPeriod,
    pub revision: Revision,
}

/// What a target reaches. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Destination {
    Slack { channel_id: String },
    PagerDuty { service_key: ServiceKey },
    Webhook(Endpoint),
}

/// `PagerDuty`'s integration key of a service. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceKey(String);

/// The kinds of destination, as the API names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    Slack,
    PagerDuty,
    Webhook,
}

/// When a target is notified, by its service's schedule. Without a schedule it is always in hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetPeriod {
    Always,
    DuringHours,
    AfterHours,
}

impl Target {
    /// How many a service may have, so that the work of an alert stays bounded.
    pub const MAX: u32 = 20;
    const PRIORITIES: std::ops::RangeInclusive<i64> = -1_000..=1_000;

    pub fn parse_priority(value: i64) -> Result<i32, Invalid> {
        i32::try_from(value)
            .ok()
            .filter(|_| Self::PRIORITIES.contains(&value))
            .ok_or_else(|| Invalid::new("priority", "must be a whole number from -1000 to 1000"))
    }

    /// Returns the order in which targets are notified: by priority, and the older one first.
    pub fn order(&self) -> (i32, TargetId) {
        (self.priority, self.id)
    }
}

impl Destination {
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Slack { .. } => TargetKind::Slack,
            Self::PagerDuty { .. } => TargetKind::PagerDuty,
            Self::Webhook(_) => TargetKind::Webhook,
        }
    }
}

impl ServiceKey {
    const MAX_CHARS: usize = 128;

    pub fn parse(text: String) -> Result<Self, Invalid> {
        let fits = (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(text))
        } else {
            Err(Invalid::new("config.service_key", "must be 1 to 128 printable ASCII characters without spaces"))
        }
    }

    /// Returns the key to whoever sends it, saves it, or shows a part of it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(..)")
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({}, ..)", self.kind().as_str())
    }
}

impl TargetKind {
    pub const ALL: [Self; 3] = [Self::Slack, Self::PagerDuty, Self::Webhook];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::PagerDuty => "pagerduty",
            Self::Webhook => "webhook",
        }
    }
}

impl FromStr for TargetKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Invalid::new("type", "must be slack, pagerduty or webhook"))
    }
}

impl TargetPeriod {
    pub const ALL: [Self; 3] = [Self::Always, Self::DuringHours, Self::AfterHours];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::DuringHours => "during_hours",
            Self::AfterHours => "after_hours",
        }
    }
}

impl FromStr for TargetPeriod {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|period| period.as_str() == text)
            .ok_or_else(|| Invalid::new("period", "must be always, during_hours or after_hours"))
    }
}
