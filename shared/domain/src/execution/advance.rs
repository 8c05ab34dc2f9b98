//! Advances an execution by an event.

use chrono::{DateTime, Utc};

use super::{
    Advance, Audited, Decided, Effect, Event, Execution, ExecutionStatus, NewExecution, Origin, Outcome, Stage,
    StepRecord, StepStatus, Verification,
};
use crate::{Approval, Condition, OnFailure, OnTimeout, PlannedWork};

impl Execution {
    /// Begins an execution, which awaits approval if its playbook says so.
    pub fn begin(new: NewExecution, now: DateTime<Utc>) -> Advance {
        let NewExecution { id, plan, playbook_name, origin, approval, verify_within } = new;
        let steps = vec![StepRecord::pending(); plan.steps.len()];
        let execution = Self {
            id,
            plan,
            playbook_name,
            origin,
            status: ExecutionStatus::Running,
            stage: Stage::Ready { since: now },
            current_step: 0,
            steps,
            cancelled_by: None,
            decision: None,
            verification: Verification::None,
            verify_within,
            started_at: now,
            completed_at: None,
        };
        let mut next = Next { execution, effects: Vec::new(), now };
        match approval {
            Approval::None => next.start(),
            Approval::Required => next.request_approval(Approval::MAX, false),
            Approval::Timeout { after, then } => next.request_approval(after, then == OnTimeout::Proceed),
        }
        next.done()
    }

    /// Returns the execution after an event at `now`, and what follows. An event that is late, repeated or not for its
    /// state changes nothing.
    pub fn advance(&self, event: Event, now: DateTime<Utc>) -> Advance {
        let mut next = Next { execution: self.clone(), effects: Vec::new(), now };
        match event {
            Event::Due => next.due(),
            Event::Approved(decided) => next.decide(decided, Next::approve),
            Event::Rejected(decided) => next.decide(decided, Next::reject),
            Event::AlertClosed => next.alert_closed(),
            Event::Cancelled { by, reason } => next.cancel(Decided { by, reason, at: now }),
            Event::Done { step, attempt, outcome } => {
                let has_outcome = matches!(next.work(), Some(PlannedWork::Webhook(_) | PlannedWork::Script(_)));
                if has_outcome && next.is_claimed(step, attempt) {
                    next.record(outcome);
                }
            }
            Event::Looked { step, attempt, count } => {
                if let Some(PlannedWork::Condition(condition)) = next.work().cloned()
                    && next.is_claimed(step, attempt)
                {
                    next.looked(condition, attempt, count);
                }
            }
            Event::Reported { first_at } => next.reported(first_at),
        }
        next.done()
    }
}

/// An execution that is being advanced.
struct Next {
    execution: Execution,
    effects: Vec<Effect>,
    now: DateTime<Utc>,
}

impl Next {
    fn done(self) -> Advance {
        Advance { execution: self.execution, effects: self.effects }
    }

    fn work(&self) -> Option<&PlannedWork> {
        self.execution.plan.steps.get(self.execution.current_step).map(|step| &step.work)
    }

    fn audit(&mut self, audited: Audited) {
        self.effects.push(Effect::Audit(audited));
    }

    fn automatic(&self, reason: &str) -> Decided {
        Decided { by: None, reason: Some(reason.to_owned()), at: self.now }
    }

    /// Returns whether this is the attempt that is under way.
    fn is_claimed(&self, step: usize, attempt: u32) -> bool {
        matches!(self.execution.stage, Stage::Claimed { attempt: current, .. } if current == attempt)
            && self.execution.current_step == step
    }

    fn request_approval(&mut self, within: chrono::TimeDelta, proceeds: bool) {
        self.execution.status = ExecutionStatus::PendingApproval;
        self.execution.stage = Stage::Approval { until: self.now + within, proceeds };
        self.audit(Audited::ApprovalRequested);
        self.effects.push(Effect::RequestApproval);
    }

    fn start(&mut self) {
        self.audit(Audited::Started);
        self.effects.push(Effect::NotifyStarted);
        self.ready();
    }

    /// Makes the current step ready to begin, or completes the execution when there is none left.
    fn ready(&mut self) {
        if self.execution.current_step < self.execution.steps.len() {
            self.execution.status = ExecutionStatus::Running;
            self.execution.stage = Stage::Ready { since: self.now };
        } else {
            self.complete();
        }
    }

    /// Applies a person's decision, if one is awaited. The timeout comes before a decision that was made after it.
    fn decide(&mut self, decided: Decided, apply: fn(&mut Self, Decided)) {
        if let Stage::Approval { until, .. } = self.execution.stage {
            if decided.at < until {
                apply(self, decided);
            } else {
                self.due();
            }
        }
    }

    fn approve(&mut self, decided: Decided) {
        self.execution.decision = Some(decided.clone());
        self.audit(Audited::Approved(decided));
        self.effects.push(Effect::NotifyDecision);
        self.start();
    }

    fn reject(&mut self, decided: Decided) {
        self.execution.decision = Some(decided.clone());
        self.audit(Audited::Rejected(decided.clone()));
        self.effects.push(Effect::NotifyDecision);
        self.end_cancelled(decided);
    }

    /// Recovery stops no execution, but one that nobody approved yet is needless.
    fn alert_closed(&mut self) {
        if self.execution.awaits_decision() && matches!(self.execution.origin, Origin::Alert { .. }) {
            self.effects.push(Effect::NotifyDecision);
            self.end_cancelled(self.automatic("the alert closed"));
        }
    }

    fn cancel(&mut self, decided: Decided) {
        if !self.execution.can_be_cancelled() {
            return;
        }
        let is_condition = matches!(self.work(), Some(PlannedWork::Condition(_)));
        match self.execution.stage {
            Stage::Claimed { .. } if !is_condition => self.execution.cancelled_by = Some(decided),
            Stage::Approval { .. } => {
                self.effects.push(Effect::NotifyDecision);
                self.end_cancelled(decided);
            }
            Stage::Claimed { .. } | Stage::Ready { .. } | Stage::Waiting { .. } | Stage::Polling { .. } => {
                self.end_cancelled(decided);
            }
            Stage::Verifying { .. } | Stage::Ended => {}
        }
    }

    fn due(&mut self) {
        if self.execution.due_at().is_none_or(|at| self.now < at) {
            return;
        }
        match self.execution.stage {
            Stage::Approval { proceeds: true, .. } => self.approve(self.automatic("timeout")),
            Stage::Approval { proceeds: false, .. } => {
                self.effects.push(Effect::NotifyDecision);
                self.end_cancelled(self.automatic("nobody decided in time"));
            }
            Stage::Ready { .. } => self.begin_step(),
            Stage::Claimed { attempt, .. } => self.worker_lost(attempt),
            Stage::Waiting { .. } => self.end_step(StepStatus::Completed, String::new(), None),
            Stage::Polling { attempt, .. } => self.claim(attempt + 1),
            Stage::Verifying { until, .. } => self.look_for_report(until),
            Stage::Ended => {}
        }
    }

    fn begin_step(&mut self) {
        let now = self.now;
        let Some(record) = self.execution.steps.get_mut(self.execution.current_step) else { return };
        record.status = StepStatus::Running;
        record.started_at = Some(now);
        match self.work() {
            Some(PlannedWork::Wait { duration }) => {
                self.execution.stage = Stage::Waiting { until: now + *duration };
                self.execution.status = ExecutionStatus::Waiting;
            }
            Some(PlannedWork::Webhook(_) | PlannedWork::Script(_) | PlannedWork::Condition(_)) | None => self.claim(1),
        }
    }

    /// Claims the current step, so that it is done.
    fn claim(&mut self, attempt: u32) {
        let timeout = match self.work() {
            Some(PlannedWork::Webhook(call)) => call.timeout,
            Some(PlannedWork::Script(script)) => script.timeout,
            Some(PlannedWork::Condition(_) | PlannedWork::Wait { .. }) | None => Execution::LOOK_TIMEOUT,
        };
        let deadline = self.now + timeout + Execution::CLAIM_GRACE;
        let step = self.execution.current_step;
        let began_at = self.execution.steps.get(step).and_then(|record| record.started_at).unwrap_or(self.now);
        self.execution.stage = Stage::Claimed { attempt, until: deadline };
        self.effects.push(Effect::Perform { step, attempt, began_at, deadline });
    }

    fn worker_lost(&mut self, attempt: u32) {
        let lost = "The outcome is not known: the worker that did the step was lost";
        if let Some(PlannedWork::Condition(condition)) = self.work().cloned() {
            // A check that is lost is repeated, as long as the condition may be waited for.
            match self.deadline(condition) {
                Some(deadline) if self.now >= deadline => self.condition_failed(condition, lost),
                Some(_) | None => self.claim(attempt + 1),
            }
        } else if self.execution.cancelled_by.is_some() {
            self.end_step(StepStatus::Failed, String::new(), Some(lost));
        } else if attempt >= Execution::MAX_ATTEMPTS {
            let error = format!("{lost}, {attempt} times");
            self.end_step(StepStatus::Failed, String::new(), Some(&error));
        } else {
            self.claim(attempt + 1);
        }
    }

    fn record(&mut self, outcome: Outcome) {
        let Outcome { succeeded, output, error } = outcome;
        let status = if succeeded { StepStatus::Completed } else { StepStatus::Failed };
        self.end_step(status, output, error.as_deref());
    }

    /// Returns until when a condition is waited for.
    fn deadline(&self, condition: Condition) -> Option<DateTime<Utc>> {
        let record = self.execution.steps.get(self.execution.current_step)?;
        record.started_at.map(|began| began + condition.timeout)
    }

    fn looked(&mut self, condition: Condition, attempt: u32, count: u32) {
        let deadline = self.deadline(condition).unwrap_or(self.now);
        if count >= condition.min_count {
            let began = deadline - condition.timeout;
            let output = format!("{} after {} s", heartbeats(count), seconds(self.now - began));
            self.end_step(StepStatus::Completed, output, None);
        } else if self.now >= deadline {
            let problem = format!(
                "{} of {} within {} s",
                heartbeats(count),
                condition.min_count,
                condition.timeout.num_seconds()
            );
            self.condition_failed(condition, &problem);
        } else {
            self.execution.stage = Stage::Polling { attempt, next_at: deadline.min(self.now + Condition::POLL) };
        }
    }

    fn condition_failed(&mut self, condition: Condition, problem: &str) {
        match condition.on_failure {
            OnFailure::Continue => self.end_step(StepStatus::Completed, problem.to_owned(), None),
            OnFailure::Fail => self.end_step(StepStatus::Failed, problem.to_owned(), Some(problem)),
            OnFailure::Escalate => {
                self.effects.push(Effect::Escalate { step: self.execution.current_step });
                self.end_step(StepStatus::Failed, format!("[ESCALATE] {problem}"), Some("Escalating to on-call"));
            }
        }
    }

    /// Records the result of the current step, once, and goes on from there.
    fn end_step(&mut self, status: StepStatus, output: String, error: Option<&str>) {
        let step = self.execution.current_step;
        let Some(record) = self.execution.steps.get_mut(step) else { return };
        record.status = status;
        record.output = output;
        record.error_message = error.map(|error| error.chars().take(StepRecord::MAX_ERROR_CHARS).collect());
        record.completed_at = Some(self.now);
        let failed = status == StepStatus::Failed;
        self.audit(if failed { Audited::StepFailed { step } } else { Audited::StepCompleted { step } });
        self.execution.current_step += 1;
        match self.execution.cancelled_by.clone() {
            Some(decided) => self.end_cancelled(decided),
            None if failed => {
                self.end(ExecutionStatus::Failed);
                self.audit(Audited::Failed);
            }
            None => self.ready(),
        }
    }

    fn complete(&mut self) {
        self.end(ExecutionStatus::Completed);
        self.audit(Audited::Completed);
        if self.execution.plan.service_id.is_some() {
            let until = self.now + self.execution.verify_within;
            self.execution.stage = Stage::Verifying { next_at: self.next_look(until), until };
        }
    }

    fn end_cancelled(&mut self, decided: Decided) {
        self.execution.cancelled_by = Some(decided.clone());
        self.end(ExecutionStatus::Cancelled);
        self.audit(Audited::Cancelled(decided));
    }

    /// Ends it: steps that were not done are skipped.
    fn end(&mut self, status: ExecutionStatus) {
        for record in &mut self.execution.steps {
            match record.status {
                StepStatus::Pending => record.status = StepStatus::Skipped,
                // A wait or a condition that was cancelled.
                StepStatus::Running => {
                    record.status = StepStatus::Skipped;
                    record.completed_at = Some(self.now);
                }
                StepStatus::Completed | StepStatus::Failed | StepStatus::Skipped => {}
            }
        }
        self.execution.status = status;
        self.execution.stage = Stage::Ended;
        self.execution.completed_at = Some(self.now);
        self.effects.push(Effect::NotifyFinished);
    }

    fn next_look(&self, until: DateTime<Utc>) -> DateTime<Utc> {
        let pause = (self.execution.verify_within / Execution::VERIFICATION_LOOKS).max(Condition::POLL);
        (self.now + pause).min(until.max(self.now + Condition::POLL))
    }

    fn look_for_report(&mut self, until: DateTime<Utc>) {
        // In case the result is lost, the timer looks again.
        self.execution.stage = Stage::Verifying { next_at: self.next_look(until), until };
        let since = self.execution.completed_at.unwrap_or(self.now);
        self.effects.push(Effect::LookForReport { since, until });
    }

    fn reported(&mut self, first_at: Option<DateTime<Utc>>) {
        let Stage::Verifying { until, .. } = self.execution.stage else { return };
        let since = self.execution.completed_at.unwrap_or(self.now);
        if let Some(at) = first_at.filter(|at| (since..=until).contains(at)) {
            self.execution.verification = Verification::Verified { at };
            self.execution.stage = Stage::Ended;
        } else if self.now >= until {
            self.execution.verification = Verification::Unverified;
            self.execution.stage = Stage::Ended;
        }
    }
}

fn heartbeats(count: u32) -> String {
    if count == 1 { "1 heartbeat".to_owned() } else { format!("{count} heartbeats") }
}

/// Writes seconds with one digit after the point.
fn seconds(time: chrono::TimeDelta) -> String {
    let tenths = time.num_milliseconds().max(0) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}
