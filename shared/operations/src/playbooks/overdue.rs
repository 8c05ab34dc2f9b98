//! Wakes again whoever does steps or starts playbooks, for what they have not done in time.

use chrono::{DateTime, Utc};
use domain::{AlertId, ExecutionId, PressId, TriggerId};
use outbound::Wake;
use store::{Commit, HAND_OVER_AGAIN};

use crate::{Error, Medic};

impl Medic {
    /// Hands over an execution that has something to do. Returns when it is next due.
    pub(crate) async fn hand_over_execution_again(
        &self,
        id: ExecutionId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(record) = self.table.execution(id).await? else { return Ok(None) };
        let Some(due_at) = record.execution.due_at() else { return Ok(None) };
        if due_at > now {
            return Ok(Some(due_at));
        }
        let next = now + HAND_OVER_AGAIN;
        self.table.postpone_execution(&record, next).await?;
        self.wake(Wake::Execution { execution_id: id.to_string() }, now).await;
        Ok(Some(next))
    }

    /// Hands over a press of a button in Slack that is not settled. Returns when it is next due.
    pub(crate) async fn hand_over_press_again(
        &self,
        execution: ExecutionId,
        id: PressId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let next = now + HAND_OVER_AGAIN;
        if self.table.postpone_press(execution, id, next).await? == Commit::Conflict {
            return Ok(None);
        }
        self.wake(Wake::Press { execution_id: execution.to_string(), press_id: id.to_string() }, now).await;
        Ok(Some(next))
    }

    /// Hands over a playbook that an alert starts, or whose alert has closed. Returns when it is next due.
    pub(crate) async fn hand_over_start_again(
        &self,
        alert: AlertId,
        trigger: TriggerId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(start) = self.table.start(alert, trigger).await? else { return Ok(None) };
        let next = now + HAND_OVER_AGAIN;
        self.table.postpone_start(&start, next).await?;
        self.wake(Wake::Start { alert_id: alert.get(), trigger_id: trigger.get() }, now).await;
        Ok(Some(next))
    }
}
