//! Notifications, and their outcome at each receiver.

use chrono::{DateTime, Utc};

use crate::{
    Alert, AlertId, CircuitOf, ExecutionId, NotificationId, OpenCircuit, PlaybookNotification, ServiceId, ServiceKey,
    TargetId, TargetKind, WebhookId, WindowId,
};

/// What a notification reports of its alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    Opened,
    /// A run took too long; its alert is closed already.
    Exceeded,
    Reminder,
    /// Every receiver refused to be notified of the alert; for the default channel.
    Unnotified,
    Acknowledged,
    Resolved,
}

impl NotificationKind {
    pub const ALL: [Self; 6] =
        [Self::Opened, Self::Exceeded, Self::Reminder, Self::Unnotified, Self::Acknowledged, Self::Resolved];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Exceeded => "exceeded",
            Self::Reminder => "reminder",
            Self::Unnotified => "unnotified",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }

    /// Returns the type of the event that webhooks get when a notification of this kind is about `alert`.
    pub const fn event_type(self, alert: &Alert) -> Option<&'static str> {
        let is_job = alert.job().is_some();
        match self {
            Self::Opened if is_job => Some("job.stale"),
            Self::Opened => Some("alert.opened"),
            Self::Exceeded => Some("job.exceeded"),
            Self::Reminder => Some("alert.reminder"),
            Self::Resolved => Some("alert.resolved"),
            Self::Unnotified | Self::Acknowledged => None,
        }
    }

    /// Returns whether it is of use only while its alert is open.
    pub const fn can_be_superseded(self) -> bool {
        match self {
            Self::Reminder | Self::Acknowledged => true,
            Self::Opened | Self::Exceeded | Self::Unnotified | Self::Resolved => false,
        }
    }

    /// Returns whether it raises an alert; the others go only to those who were notified of it.
    pub const fn raises_alert(self) -> bool {
        match self {
            Self::Opened | Self::Exceeded | Self::Reminder | Self::Unnotified => true,
            Self::Acknowledged | Self::Resolved => false,
        }
    }
}

/// Who is notified. Each has a lane of its own, in which notifications keep their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Receiver {
    Slack {
        channel: String,
    },
    /// The configured routing key. A lane for each service, so that one incident's delay is not another's.
    PagerDuty {
        service_id: ServiceId,
    },
    /// A notification target with an address or a key of its own, which is read when something is sent to it.
    Target {
        kind: TargetKind,
        service_id: ServiceId,
        target_id: TargetId,
    },
    /// A webhook's deliveries, which are not notifications.
    Webhook {
        webhook_id: WebhookId,
    },
}

impl Receiver {
    /// Returns its kind, as users name it.
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Slack { .. } => TargetKind::Slack,
            Self::PagerDuty { .. } => TargetKind::PagerDuty,
            Self::Target { kind, .. } => *kind,
            Self::Webhook { .. } => TargetKind::Webhook,
        }
    }

    /// Returns whether this receiver wants notifications of this kind.
    pub const fn receives(&self, kind: NotificationKind) -> bool {
        match (self.kind(), kind) {
            (_, NotificationKind::Opened | NotificationKind::Resolved)
            | (TargetKind::Slack | TargetKind::Webhook, NotificationKind::Exceeded | NotificationKind::Reminder)
            | (TargetKind::Slack, NotificationKind::Unnotified)
            | (TargetKind::PagerDuty, NotificationKind::Acknowledged) => true,
            (TargetKind::Slack, NotificationKind::Acknowledged)
            | (TargetKind::Webhook, NotificationKind::Acknowledged | NotificationKind::Unnotified)
            | (
                TargetKind::PagerDuty,
                NotificationKind::Exceeded | NotificationKind::Reminder | NotificationKind::Unnotified,
            ) => false,
        }
    }
}

/// The outcome of a notification at one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub receiver: Receiver,
    /// The notification target that named this receiver.
    pub target_id: Option<TargetId>,
    /// The key under which its incident is opened, and so also closed, whatever happens to the target meanwhile.
    pub service_key: Option<ServiceKey>,
    /// Its turn comes only if those before it fail.
    pub waits: bool,
    /// `None` while it is on its way, or waits.
    pub at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    /// Where its message is, if it may have to be updated.
    pub message: Option<SlackMessage>,
}

/// Where a message is, as Slack names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackMessage {
    /// The channel's id, whatever name it was posted to.
    pub channel: String,
    pub ts: String,
}

impl Outcome {
    /// Creates an outcome that is pending.
    pub const fn to(receiver: Receiver, target_id: Option<TargetId>) -> Self {
        Self { receiver, target_id, service_key: None, waits: false, at: None, error: None, message: None }
    }

    /// Returns a pending outcome of another notification at the same receiver.
    #[must_use]
    pub fn to_same_receiver(&self) -> Self {
        Self { service_key: self.service_key.clone(), ..Self::to(self.receiver.clone(), self.target_id) }
    }

    pub const fn is_success(&self) -> bool {
        self.at.is_some() && self.error.is_none()
    }

    /// Returns whether its receiver refused it for good, or could not be notified.
    pub const fn is_failure(&self) -> bool {
        self.at.is_some() && self.error.is_some()
    }

    /// Returns whether it is still to be sent.
    pub const fn is_pending(&self) -> bool {
        self.at.is_none() && !self.waits
    }
}

/// In whose partition a notification is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotificationOwner {
    Alert(AlertId),
    Window(WindowId),
    Execution(ExecutionId),
    Circuit(CircuitOf),
}

impl std::fmt::Display for NotificationOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alert(id) => write!(f, "alert {id}"),
            Self::Window(id) => write!(f, "window {id}"),
            Self::Execution(id) => write!(f, "execution {id}"),
            Self::Circuit(of) => write!(f, "the circuit of {of}"),
        }
    }
}

/// What a notification is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An alert as it stood then.
    Alert {
        kind: NotificationKind,
        alert: Box<Alert>,
    },
    Maintenance(Announcement),
    Playbook(Box<PlaybookNotification>),
    Circuit(OpenCircuit),
}

/// That maintenance has begun or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub window_id: WindowId,
    pub name: String,
    /// The number of services that it is for; 0 stands for every service.
    pub services: usize,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Until when it lasts, where that is known.
    Began {
        until: Option<DateTime<Utc>>,
    },
    Ended,
}

/// One notification, with its receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub id: NotificationId,
    pub at: DateTime<Utc>,
    pub subject: Subject,
    /// In the order in which receivers are notified.
    pub outcomes: Vec<Outcome>,
}

impl Notification {
    pub fn owner(&self) -> NotificationOwner {
        match &self.subject {
            Subject::Alert { alert, .. } => NotificationOwner::Alert(alert.id),
            Subject::Maintenance(announcement) => NotificationOwner::Window(announcement.window_id),
            Subject::Playbook(playbook) => NotificationOwner::Execution(playbook.execution_id),
            Subject::Circuit(circuit) => NotificationOwner::Circuit(circuit.of),
        }
    }

    /// Returns the alert that it is about, and what it reports of it.
    pub fn alert(&self) -> Option<(NotificationKind, &Alert)> {
        match &self.subject {
            Subject::Alert { kind, alert } => Some((*kind, alert)),
            Subject::Maintenance(_) | Subject::Playbook(_) | Subject::Circuit(_) => None,
        }
    }

    /// Returns what it reports of an execution, if it is about one.
    pub fn playbook(&self) -> Option<&PlaybookNotification> {
        match &self.subject {
            Subject::Playbook(playbook) => Some(playbook),
            Subject::Alert { .. } | Subject::Maintenance(_) | Subject::Circuit(_) => None,
        }
    }

    /// Returns whether it may share no message with others.
    pub fn stands_alone(&self) -> bool {
        self.playbook().is_some_and(PlaybookNotification::stands_alone)
    }

    pub fn outcome(&self, receiver: &Receiver) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.receiver == *receiver)
    }

    /// Returns whether nothing of it is still to be sent. Receivers that still wait are not needed.
    pub fn is_settled(&self) -> bool {
        !self.outcomes.iter().any(Outcome::is_pending)
    }

    /// Returns whose turn it is after `failed` was the last to be tried and could not be notified.
    pub fn next_after(&self, failed: &Receiver) -> Option<&Outcome> {
        let others = || self.outcomes.iter().filter(|outcome| outcome.receiver != *failed);
        if others().any(|outcome| outcome.is_pending() || outcome.is_success()) {
            return None;
        }
        others().find(|outcome| outcome.waits)
    }
}
