//! Decisions about executions that people make in Slack. They are queued before Slack gets its response, and applied by
//! whoever takes the message; only the person who pressed the button sees why one does not count.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{
    Decided, Execution, ExecutionId, Notification, NotificationOwner, PlaybookEvent, SlackMessage, SlackUser,
    VerdictKind,
};
use outbound::{DecisionWake, Delivery, Wake};
use subtle::ConstantTimeEq as _;

use crate::{Error, Medic, SlackDelivery};

/// A decision that somebody made in Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackDecision {
    pub execution_id: ExecutionId,
    /// The digest of the plan that they saw.
    pub digest: String,
    pub approve: bool,
    pub user: SlackUser,
    /// The message with the button.
    pub message: Option<SlackMessage>,
}

/// Slack waits 3 s for a response.
const MAX_TIME: Duration = Duration::from_secs(2);

impl SlackDecision {
    fn to_wake(&self) -> DecisionWake {
        let Self { execution_id, digest, approve, user, message } = self.clone();
        let (channel, message_ts) = message.map(|message| (message.channel, message.ts)).unzip();
        DecisionWake {
            execution_id: execution_id.to_string(),
            digest,
            approve,
            user_id: user.id,
            user_name: user.name,
            channel,
            message_ts,
        }
    }

    /// Reads a decision as it was queued.
    pub fn of_wake(wake: DecisionWake) -> Result<Self, Error> {
        let DecisionWake { execution_id, digest, approve, user_id, user_name, channel, message_ts } = wake;
        Ok(Self {
            execution_id: execution_id.parse()?,
            digest,
            approve,
            user: SlackUser::parse(&user_id, user_name.as_deref())?,
            message: channel.zip(message_ts).map(|(channel, ts)| SlackMessage { channel, ts }),
        })
    }
}

impl Medic {
    /// Returns whether a request is Slack's; none when there is no secret to check it with. In constant time.
    pub fn is_slack_request(&self, timestamp: &str, signature: &str, body: &[u8], now: DateTime<Utc>) -> Option<bool> {
        let secret = self.settings.slack_signing_secret.as_ref()?;
        Some(secret.is_signed(timestamp, signature, body, now))
    }

    /// Queues a decision: whatever the table does, Slack gets its response in time. It is kept nowhere else, so that one
    /// which cannot be queued is an error.
    pub async fn queue_decision(&self, decision: &SlackDecision, now: DateTime<Utc>) -> Result<(), Error> {
        let wake = Wake::Decision(Box::new(decision.to_wake()));
        match tokio::time::timeout(MAX_TIME, self.wakes.wake(wake, now)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Error::NotQueued(None)),
        }
    }

    /// Applies a decision from Slack, or explains to whoever made it why it does not count.
    pub async fn decide_from_slack(&self, decision: SlackDecision, now: DateTime<Utc>) -> Result<(), Error> {
        let approvers = &self.settings.slack_approvers;
        if !approvers.is_empty() && !approvers.contains(&decision.user.id) {
            self.post_ephemeral(&decision, "You are not allowed to approve or reject playbooks.").await;
            return Ok(());
        }
        let execution = match self.execution(decision.execution_id).await {
            Ok(execution) => execution,
            Err(Error::NotFound(_)) => {
                self.post_ephemeral(&decision, "This execution no longer exists.").await;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let is_same: bool = execution.plan.digest().as_bytes().ct_eq(decision.digest.as_bytes()).into();
        if !is_same {
            self.post_ephemeral(&decision, "The plan has changed since you were shown it.").await;
            return Ok(());
        }
        let actor = decision.user.actor();
        match self.decide(decision.execution_id, decision.approve, Some(actor.clone()), None, now).await {
            Ok(_) => Ok(()),
            Err(Error::Conflict(_)) => self.explain(&decision, &actor).await,
            Err(error) => Err(error),
        }
    }

    /// Explains to whoever came too late what was decided before, and updates the message that they saw.
    async fn explain(&self, decision: &SlackDecision, actor: &str) -> Result<(), Error> {
        let execution = self.execution(decision.execution_id).await?;
        let (kind, by) = ruling(&execution);
        let wanted = if decision.approve { VerdictKind::Approved } else { VerdictKind::Rejected };
        // The same decision again: its message came twice, or they pressed twice.
        if (kind, by.as_deref()) != (wanted, Some(actor)) {
            self.post_ephemeral(decision, &standing(&execution, kind, by.as_deref())).await;
        }
        self.update_message(decision).await
    }

    /// Updates the message whose button was pressed, where that is not the one that is known: a request that was posted
    /// twice, because its sender died, is known by one of its messages. The other one's buttons go when somebody
    /// presses them.
    async fn update_message(&self, decision: &SlackDecision) -> Result<(), Error> {
        let (SlackDelivery::Post(slack), Some(pressed)) = (&self.slack, &decision.message) else { return Ok(()) };
        let notifications = self.table.notifications(NotificationOwner::Execution(decision.execution_id)).await?;
        let find = |is_it: fn(&PlaybookEvent) -> bool| {
            notifications.iter().rfind(|notification: &&Notification| {
                notification.playbook().is_some_and(|playbook| is_it(&playbook.event))
            })
        };
        let asked = find(|event| matches!(event, PlaybookEvent::ApprovalRequested(_)));
        let decided = find(|event| matches!(event, PlaybookEvent::Decided(_)));
        let is_known =
            asked.is_some_and(|asked| asked.outcomes.iter().any(|outcome| outcome.message.as_ref() == Some(pressed)));
        if let (Some(decided), false) = (decided, is_known) {
            log(&slack.update(pressed, asked, decided, self.settings.base_url.as_deref()).await);
        }
        Ok(())
    }

    /// Shows something to whoever pressed a button, and to nobody else. It is not tried again: they may press again.
    async fn post_ephemeral(&self, decision: &SlackDecision, words: &str) {
        if let (SlackDelivery::Post(slack), Some(message)) = (&self.slack, &decision.message) {
            log(&slack.post_ephemeral(&message.channel, &decision.user.id, words).await);
        }
        tracing::info!(execution.id = %decision.execution_id, user.id = decision.user.id, words, "a decision does not count");
    }
}

fn log(delivery: &Delivery) {
    metrics::counter!("medic_slack_requests_total", "status" => delivery.label()).increment(1);
    match delivery {
        Delivery::Accepted => {}
        Delivery::Retry { error, .. } | Delivery::Refused { error } => {
            tracing::warn!(error, "Slack did not accept the response to a decision");
        }
    }
}

/// Returns what was decided about an execution, and by whom.
fn ruling(execution: &Execution) -> (VerdictKind, Option<String>) {
    match (&execution.decision, &execution.cancelled_by) {
        (Some(decided), Some(ended)) if decided == ended => (VerdictKind::Rejected, decided.by.clone()),
        (Some(Decided { by, .. }), _) => (VerdictKind::Approved, by.clone()),
        (None, ended) => (VerdictKind::Cancelled, ended.as_ref().and_then(|ended| ended.by.clone())),
    }
}

fn standing(execution: &Execution, kind: VerdictKind, by: Option<&str>) -> String {
    let by = by.map(|by| format!(" by {}", SlackUser::plain_name(by))).unwrap_or_default();
    match kind {
        VerdictKind::Approved if by.is_empty() => "It already went ahead by itself: nobody decided in time.".to_owned(),
        VerdictKind::Approved => format!("It was already approved{by}."),
        VerdictKind::Rejected => format!("It was already rejected{by}."),
        VerdictKind::Cancelled => {
            let reason = execution.cancelled_by.as_ref().and_then(|ended| ended.reason.as_deref());
            let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("It no longer needs a decision: it was {}{by}{because}.", execution.status.as_str())
        }
    }
}
