//! What receivers are told, and what became of it.

use chrono::{DateTime, Utc};

use crate::{Alert, NoticeId, ServiceId};

/// What a notice says of its alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    Opened,
    Reminder,
    Acknowledged,
    Resolved,
}

impl NoticeKind {
    pub const ALL: [Self; 4] = [Self::Opened, Self::Reminder, Self::Acknowledged, Self::Resolved];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Reminder => "reminder",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }

    /// Whether it is of use only while its alert is open.
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Reminder | Self::Acknowledged => true,
            Self::Opened | Self::Resolved => false,
        }
    }
}

/// Who is told. Each has a lane of its own, in which notices keep their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Receiver {
    Slack {
        channel: String,
    },
    /// The configured routing key. A lane for each service, so that one incident's delay is not another's.
    PagerDuty {
        service_id: ServiceId,
    },
}

impl Receiver {
    /// Its kind, as users name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
        }
    }

    /// Whether this receiver wants notices of this kind.
    pub const fn hears(&self, kind: NoticeKind) -> bool {
        match (self, kind) {
            (_, NoticeKind::Opened | NoticeKind::Resolved)
            | (Self::Slack { .. }, NoticeKind::Reminder)
            | (Self::PagerDuty { .. }, NoticeKind::Acknowledged) => true,
            (Self::Slack { .. }, NoticeKind::Acknowledged) | (Self::PagerDuty { .. }, NoticeKind::Reminder) => false,
        }
    }
}

/// What became of a notice at one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub receiver: Receiver,
    /// `None` while it is on its way.
    pub at: Option<DateTime<Utc>>,
    pub error: Option<String>,
}

/// One thing to be told about one alert, with the alert as it stood then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub id: NoticeId,
    pub kind: NoticeKind,
    pub at: DateTime<Utc>,
    pub alert: Alert,
    pub outcomes: Vec<Outcome>,
}

impl Notice {
    pub fn is_settled(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.at.is_some())
    }
}
