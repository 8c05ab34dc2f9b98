//! Decisions about executions that people make in Slack. A press is a due row before Slack gets its response, and counts
//! from then; only the person who pressed the button sees why one does not count.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{
    Decided, Event, Execution, ExecutionId, Notification, NotificationOwner, PlaybookEvent, Press, PressId,
    SlackMessage, SlackUser, VerdictKind,
};
use outbound::{Delivery, Wake};
use store::{Commit, ExecutionRecord};

use super::executions::Applied;
use crate::retry::retry_on_conflict;
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

/// Slack waits 3 s for a response: this is for the table, and the rest for a wake-up.
const MAX_TIME: Duration = Duration::from_secs(2);
const MAX_WAKE_TIME: Duration = Duration::from_millis(500);

/// What somebody gets to see who pressed a button.
struct PressResponse {
    /// Why it does not count, if it does not.
    words: Option<String>,
    /// The notifications of the request and of the decision, where the message must be updated.
    update: Option<(Option<Notification>, Notification)>,
}

impl Medic {
    /// Returns whether a request is Slack's; none when there is no secret to check it with. In constant time.
    pub fn is_slack_request(&self, timestamp: &str, signature: &str, body: &[u8], now: DateTime<Utc>) -> Option<bool> {
        let secret = self.settings.slack_signing_secret.as_ref()?;
        Some(secret.is_signed(timestamp, signature, body, now))
    }

    /// Keeps a press before Slack gets its response, so that it counts whatever fails then. One that the table does not
    /// take in time is an error.
    pub async fn receive_press(&self, decision: SlackDecision, now: DateTime<Utc>) -> Result<(), Error> {
        let SlackDecision { execution_id, digest, approve, user, message } = decision;
        let id = PressId::at(now, self.random()?);
        let press = Press { id, execution_id, digest, approves: approve, user, message };
        tokio::time::timeout(MAX_TIME, self.keep_press(&press)).await.unwrap_or(Err(Error::TimedOut))?;
        let wake = Wake::Press { execution_id: execution_id.to_string(), press_id: id.to_string() };
        // One that takes too long is lost, and the row falls due.
        tokio::time::timeout(MAX_WAKE_TIME, self.wake(wake, now)).await.unwrap_or_default();
        Ok(())
    }

    async fn keep_press(&self, press: &Press) -> Result<(), Error> {
        retry_on_conflict(press.id, || async move {
            if self.table.keep_press(press).await? == Commit::Done {
                return Ok(Some(()));
            }
            let found = self.table.execution(press.execution_id).await?;
            if found.is_some_and(|record| record.execution.awaits_decision()) {
                return Ok(None);
            }
            // It decides nothing, and whoever pressed is shown why.
            Ok(Some(self.table.keep_late_press(press).await?))
        })
        .await
    }

    /// Settles a press: it decides, or whoever pressed is shown why it does not count. That is shown once, by whoever
    /// removes the row.
    pub async fn settle_press(&self, execution: ExecutionId, id: PressId, now: DateTime<Utc>) -> Result<(), Error> {
        let Some(press) = self.table.press(execution, id).await? else { return Ok(()) };
        // The decision that was made first is applied before the timeout, and so is this one if it was the first.
        let due = |record: &ExecutionRecord| Ok(record.execution.awaits_decision().then_some(Event::Due));
        let execution = match self.apply(execution, due, now).await {
            Ok(Applied { record, effects }) => {
                if !effects.is_empty() {
                    self.wake_execution(&record.execution, now).await;
                }
                Some(record.execution)
            }
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(response) = self.response_to(&press, execution.as_ref()).await? else { return Ok(()) };
        if self.table.settle_press(&press).await? == Commit::Done {
            self.respond(&press, response).await;
        }
        Ok(())
    }

    /// Returns what to show to whoever pressed. None if that is not known: by another clock its time is not over yet.
    async fn response_to(&self, press: &Press, execution: Option<&Execution>) -> Result<Option<PressResponse>, Error> {
        let only = |words: &str| Ok(Some(PressResponse { words: Some(words.to_owned()), update: None }));
        let Some(execution) = execution else { return only("This execution no longer exists.") };
        if let Some(problem) = self.problem_of_press(press, execution) {
            return only(problem);
        }
        if execution.awaits_decision() {
            return Ok(None);
        }
        let (kind, by) = ruling(execution);
        let wanted = if press.approves { VerdictKind::Approved } else { VerdictKind::Rejected };
        // It decided, or it is the same decision again: they pressed twice.
        let counts = (kind, by.as_ref()) == (wanted, Some(&press.user.actor()));
        let words = (!counts).then(|| standing(execution, kind, by.as_deref()));
        Ok(Some(PressResponse { words, update: self.update_for(press).await? }))
    }

    /// Finds what to update the message with whose button was pressed, where that is not the one that is known: a request
    /// that was posted twice, because its sender died, is known by one of its messages. The other one's buttons go when
    /// somebody presses them.
    async fn update_for(&self, press: &Press) -> Result<Option<(Option<Notification>, Notification)>, Error> {
        let (SlackDelivery::Post(_), Some(pressed)) = (&self.slack, &press.message) else { return Ok(None) };
        let mut notifications = self.table.notifications(NotificationOwner::Execution(press.execution_id)).await?;
        let mut take = |is_it: fn(&PlaybookEvent) -> bool| {
            let is_it =
                |notification: &Notification| notification.playbook().is_some_and(|playbook| is_it(&playbook.event));
            notifications.iter().rposition(is_it).map(|place| notifications.remove(place))
        };
        let asked = take(|event| matches!(event, PlaybookEvent::ApprovalRequested(_)));
        let decided = take(|event| matches!(event, PlaybookEvent::Decided(_)));
        let is_known = asked
            .as_ref()
            .is_some_and(|asked| asked.outcomes.iter().any(|outcome| outcome.message.as_ref() == Some(pressed)));
        Ok(decided.filter(|_| !is_known).map(|decided| (asked, decided)))
    }

    /// Shows the response to whoever pressed, and the reason to nobody else. It is not tried again: they may press again.
    async fn respond(&self, press: &Press, PressResponse { words, update }: PressResponse) {
        if let Some(words) = &words {
            tracing::info!(execution.id = %press.execution_id, user.id = press.user.id, words, "a decision does not count");
        }
        let (SlackDelivery::Post(slack), Some(message)) = (&self.slack, &press.message) else { return };
        if let Some(words) = words {
            log(&slack.post_ephemeral(&message.channel, &press.user.id, &words).await);
        }
        if let Some((asked, decided)) = update {
            log(&slack.update(message, asked.as_ref(), &decided, self.settings.base_url.as_deref()).await);
        }
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
