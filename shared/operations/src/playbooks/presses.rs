//! What was decided about an execution that still awaits a decision, and is not applied yet: presses of buttons in Slack, and
//! the end of its alert.

use chrono::{DateTime, Utc};
use domain::{Event, Execution, ExecutionStage, Origin, Press};
use store::ExecutionRecord;
use subtle::ConstantTimeEq as _;

use super::self_approval::OWN_REQUEST;
use crate::{Error, Medic};

impl Medic {
    /// Returns what must be applied before anything that happens to an execution now: the first decision that was made in
    /// Slack before the time for it was over; and before the timeout, that its alert has closed. So each counts, however
    /// late and in whatever order messages about it are handled.
    pub(super) async fn earlier_decision(
        &self,
        record: &ExecutionRecord,
        now: DateTime<Utc>,
    ) -> Result<Option<Event>, Error> {
        let execution = &record.execution;
        let ExecutionStage::Approval { until, .. } = execution.stage else { return Ok(None) };
        let presses = self.table.presses(execution.id).await?;
        let decides = |press: &&Press| press.at() < until && self.problem_of_press(press, execution).is_none();
        if let Some(first) = presses.iter().find(decides) {
            return Ok(Some(first.event()));
        }
        let Origin::Alert { alert_id, .. } = execution.origin else { return Ok(None) };
        // The alert's own row is closed before its starts learn of it.
        let alert = if until <= now { self.table.alert(alert_id).await? } else { None };
        Ok(alert.filter(|alert| !alert.may_still_notify()).map(|_| Event::AlertClosed))
    }

    /// Returns why a press decides nothing, whenever it was made.
    pub(super) fn problem_of_press(&self, press: &Press, execution: &Execution) -> Option<&'static str> {
        let approvers = &self.settings.slack_approvers;
        let is_allowed = approvers.is_empty() || approvers.contains(&press.user.id);
        let is_same: bool = execution.plan.digest().as_bytes().ct_eq(press.digest.as_bytes()).into();
        match (is_allowed, is_same) {
            (false, _) => Some("You are not allowed to approve or reject playbooks."),
            (true, false) => Some("The plan has changed since you were shown it."),
            (true, true) if press.approves && self.is_own_request(execution, Some(&press.user.actor())) => {
                Some(OWN_REQUEST)
            }
            (true, true) => None,
        }
    }
}
