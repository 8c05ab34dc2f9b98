//! The rules of playbooks, derived simply and apart from `domain`: which executions there must be of which alerts, and
//! whether each went as its steps, those who decided, and what it called outside allow.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Heartbeat, Span, Tolerance};
use crate::mutes::Expectation;
use crate::playbooks::{Approval, Playbook, Step};

const CIRCUIT_WINDOW: TimeDelta = TimeDelta::hours(1);
const MAX_APPROVAL: TimeDelta = TimeDelta::days(7);
/// How often a condition is checked.
const POLL: TimeDelta = TimeDelta::seconds(5);
const VERIFY_WITHIN: TimeDelta = TimeDelta::minutes(10);
/// A step whose worker dies each time is given up after so many.
const MAX_ATTEMPTS: usize = 5;

/// How soon a worker receives a job.
const TO_RECEIVE: TimeDelta = TimeDelta::seconds(1);
/// How long it takes to record a report, whose first handling may fail.
const TO_RECORD: TimeDelta = TimeDelta::seconds(10);

/// A call of a webhook step.
#[derive(Debug, Clone)]
pub(crate) struct StepCall {
    pub(crate) key: String,
    pub(crate) at: DateTime<Utc>,
    /// Whether it was a success to the caller.
    pub(crate) is_accepted: bool,
}

/// An attempt of a script step: when its job was sent, when a worker received it, and when it reports with the exit status.
#[derive(Debug, Clone)]
pub(crate) struct ScriptAttempt {
    pub(crate) execution: String,
    pub(crate) step: usize,
    pub(crate) attempt: u32,
    pub(crate) at: DateTime<Utc>,
    pub(crate) timeout: TimeDelta,
    pub(crate) received_at: Option<DateTime<Utc>>,
    pub(crate) reports_at: Option<DateTime<Utc>>,
    /// Whoever handled its report died or was paused, or could not send it again.
    pub(crate) is_troubled: bool,
    pub(crate) exit: i32,
}

impl ScriptAttempt {
    /// What it prints.
    pub(crate) fn output(&self) -> String {
        format!("attempt {} ended with {}", self.attempt, self.exit)
    }

    /// Returns whether its report came so early that there was time to record it, even at the second try.
    fn has_reported_in_time(&self) -> bool {
        let by = self.at + self.timeout - TO_RECORD;
        self.reports_at.is_some_and(|at| at <= by) && !self.is_troubled
    }
}

/// What a person does to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Approve,
    Reject,
    Cancel,
}

impl Command {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Cancel => "cancel",
        }
    }
}

/// A command that got a response at some instant from `first` to `last`.
#[derive(Debug, Clone)]
pub(crate) struct AnsweredCommand {
    pub(crate) execution: String,
    pub(crate) command: Command,
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    /// It was not refused because of the execution's status.
    pub(crate) was_accepted: bool,
    /// An earlier attempt got no response, and may have been accepted; or it is a press, whose outcome nobody is shown.
    pub(crate) is_unsure: bool,
    /// It is a press of a button in Slack.
    pub(crate) is_press: bool,
}

impl AnsweredCommand {
    fn may_be_accepted(&self) -> bool {
        self.was_accepted || self.is_unsure
    }

    fn covers(&self, at: DateTime<Utc>) -> bool {
        (self.first..=self.last).contains(&at)
    }
}

/// An alert that may start playbooks.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) alert: i64,
    pub(crate) opened: DateTime<Utc>,
    /// None for one that closes as it opens: what it started goes on waiting.
    pub(crate) closed: Option<DateTime<Utc>>,
    /// Counted once in an interval; 1 for good without one.
    pub(crate) failures: i64,
    pub(crate) counted_again: DateTime<Utc>,
    pub(crate) interval: TimeDelta,
    /// The service was not changed meanwhile.
    pub(crate) is_steady: bool,
    /// Whether it starts playbooks at all.
    pub(crate) starts: Expectation,
}

impl Cause {
    fn counted_at(&self, failures: i64) -> DateTime<Utc> {
        match i32::try_from(failures - 2) {
            Ok(more @ 0..) => self.counted_again + self.interval * more,
            Ok(_) | Err(_) => self.opened,
        }
    }
}

/// A decision as Medic shows it.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) is_by_person: bool,
    pub(crate) at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub(crate) struct ObservedStep {
    pub(crate) status: String,
    pub(crate) output: String,
    pub(crate) error: String,
    pub(crate) started: Option<DateTime<Utc>>,
    pub(crate) completed: Option<DateTime<Utc>>,
}

/// An execution as Medic shows it.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) id: String,
    pub(crate) playbook: usize,
    pub(crate) alert: i64,
    pub(crate) status: String,
    pub(crate) started: DateTime<Utc>,
    pub(crate) completed: Option<DateTime<Utc>>,
    pub(crate) decision: Option<Decision>,
    pub(crate) verification: Option<String>,
    pub(crate) steps: Vec<ObservedStep>,
    /// What the audit log has of it, with the step's name.
    pub(crate) audited: Vec<String>,
}

/// What happened around executions.
#[derive(Debug, Default)]
pub(crate) struct ExecutionEvents {
    pub(crate) calls: Vec<StepCall>,
    pub(crate) attempts: Vec<ScriptAttempt>,
    pub(crate) commands: Vec<AnsweredCommand>,
}

/// Checks the executions that a service's alerts started.
pub(crate) struct ExecutionCheck<'a> {
    pub(crate) name: &'a str,
    pub(crate) heartbeats: &'a [Heartbeat],
    pub(crate) maintenance: &'a [Span],
    pub(crate) playbooks: &'a [Playbook],
    pub(crate) events: &'a ExecutionEvents,
    /// Executions in an hour for a service, past which alerts start none.
    pub(crate) max_starts: usize,
    pub(crate) is_stormy: bool,
    pub(crate) tolerance: Tolerance,
    pub(crate) end: DateTime<Utc>,
}

/// When an alert is offered to a playbook at the earliest, and when the playbook has to start, if it has to.
struct Offer {
    first: DateTime<Utc>,
    required: Option<DateTime<Utc>>,
}

/// What happened outside for one step, from its start to its end.
struct StepRun<'a> {
    calls: Vec<&'a StepCall>,
    attempts: Vec<&'a ScriptAttempt>,
    started: DateTime<Utc>,
    completed: DateTime<Utc>,
    is_done: bool,
    observed: &'a ObservedStep,
}

/// Returns the playbook that so many failures start.
fn wanted(playbooks: &[Playbook], failures: i64) -> Option<usize> {
    let met = playbooks.iter().enumerate().filter(|(_, playbook)| playbook.failures <= failures);
    met.max_by_key(|(place, playbook)| (playbook.failures, std::cmp::Reverse(*place))).map(|(place, _)| place)
}

/// For how long an approval is awaited.
fn approval_limit(approval: Approval) -> Option<TimeDelta> {
    match approval {
        Approval::Timeout(minutes, _) => Some(TimeDelta::minutes(minutes)),
        Approval::Required => Some(MAX_APPROVAL),
        Approval::None => None,
    }
}

/// After how long an approval that nobody gives ends the execution.
fn cancels_after(approval: Approval) -> Option<TimeDelta> {
    match approval {
        Approval::Required => Some(MAX_APPROVAL),
        Approval::Timeout(minutes, false) => Some(TimeDelta::minutes(minutes)),
        Approval::Timeout(_, true) | Approval::None => None,
    }
}

impl ExecutionCheck<'_> {
    /// Returns all that is wrong with the executions of this service's alerts.
    pub(crate) fn problems(&self, causes: &[Cause], executions: &[&Execution]) -> Vec<String> {
        let mut wrong = Vec::new();
        for cause in causes {
            wrong.extend(self.start_problems(cause, executions));
        }
        let mut starts: Vec<_> = executions.iter().map(|execution| execution.started).collect();
        starts.sort_unstable();
        let max = self.max_starts;
        for window in starts.windows(max + 1).filter(|window| window[max] - window[0] < CIRCUIT_WINDOW) {
            wrong.push(format!("{} executions started within an hour: {window:?}", max + 1));
        }
        for execution in executions {
            let Some(cause) = causes.iter().find(|cause| cause.alert == execution.alert) else {
                wrong.push(format!("execution {} is of no alert of its service", execution.id));
                continue;
            };
            let of = format!("execution {} of alert {}", execution.id, cause.alert);
            let playbook = &self.playbooks[execution.playbook];
            let problems = [
                self.decision_problems(playbook, execution),
                self.press_problems(playbook, execution),
                self.approval_end_problems(playbook, cause, execution),
                self.end_problems(playbook, cause, execution),
                self.step_problems(playbook, execution),
                Self::audit_problems(playbook, execution),
                self.verification_problems(execution),
            ];
            wrong.extend(problems.into_iter().flatten().map(|problem| format!("{of}: {problem}")));
        }
        wrong.into_iter().map(|problem| format!("{}: {problem}", self.name)).collect()
    }

    fn may_be_held(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.maintenance.iter().any(|span| span.from <= to && from < span.to)
    }

    /// Returns how long after an alert is counted its playbook may start.
    fn start_delay(&self) -> TimeDelta {
        self.tolerance.late * 2
    }

    /// Returns the playbooks that an alert is offered to.
    fn offers(&self, cause: &Cause) -> BTreeMap<usize, Offer> {
        let mut offers: BTreeMap<usize, Offer> = BTreeMap::new();
        let may_start = cause.starts != Expectation::Forbidden;
        for failures in (1..=cause.failures).filter(|_| may_start) {
            let at = cause.counted_at(failures);
            let Some(playbook) = wanted(self.playbooks, failures) else { continue };
            let offer = offers.entry(playbook).or_insert(Offer { first: at, required: None });
            // Of counts that were passed over at once, the last one is offered.
            let is_offered = failures == 1 || cause.is_steady && failures == cause.failures;
            let is_offered = is_offered && cause.starts == Expectation::Required;
            let by = at + self.start_delay();
            if is_offered && !self.may_be_held(at - self.tolerance.early, by) && by < self.end {
                offer.required.get_or_insert(at);
            }
        }
        offers
    }

    /// Returns what an alert started, and should not have, or late, or not at all.
    fn start_problems(&self, cause: &Cause, executions: &[&Execution]) -> Vec<String> {
        let mut wrong = Vec::new();
        let offers = self.offers(cause);
        for playbook in 0..self.playbooks.len() {
            let own: Vec<_> = executions.iter().filter(|x| x.alert == cause.alert && x.playbook == playbook).collect();
            if own.len() > 1 {
                wrong.push(format!("alert {} started playbook {playbook} {} times", cause.alert, own.len()));
            }
            match (own.first(), offers.get(&playbook)) {
                (Some(execution), None) => {
                    wrong.push(format!("alert {} was not to start {}", cause.alert, execution.id));
                }
                (Some(execution), Some(Offer { first, required })) => {
                    let is_late = required.is_some_and(|at| execution.started > at + self.start_delay());
                    if execution.started < *first - self.tolerance.early || is_late {
                        let (id, started) = (&execution.id, execution.started);
                        wrong.push(format!("alert {} started {id} at {started}, expected at {first}", cause.alert));
                    }
                }
                (None, Some(Offer { required: Some(at), .. })) => {
                    if !self.may_be_open(playbook, cause, executions) {
                        wrong.push(format!("alert {} was to start playbook {playbook} at {at}", cause.alert));
                    }
                }
                (None, Some(Offer { required: None, .. }) | None) => {}
            }
        }
        wrong
    }

    /// Returns whether the circuit may have been open when a playbook was offered: refused once, it is not offered again.
    fn may_be_open(&self, playbook: usize, cause: &Cause, executions: &[&Execution]) -> bool {
        let offers = (1..=cause.failures).filter(|failures| wanted(self.playbooks, *failures) == Some(playbook));
        offers.map(|failures| cause.counted_at(failures)).any(|at| {
            let hour = at - self.tolerance.early - CIRCUIT_WINDOW..at + self.start_delay();
            executions.iter().filter(|execution| hour.contains(&execution.started)).count() >= self.max_starts
        })
    }

    fn commands<'a>(&'a self, execution: &'a Execution) -> impl Iterator<Item = &'a AnsweredCommand> {
        self.events.commands.iter().filter(|command| command.execution == execution.id)
    }

    /// Returns what is wrong with the decision on an execution.
    fn decision_problems(&self, playbook: &Playbook, execution: &Execution) -> Vec<String> {
        let answers: Vec<_> = self.commands(execution).filter(|answer| answer.command != Command::Cancel).collect();
        let mut wrong = self.answer_problems(playbook, execution, &answers);
        let decision = execution.decision.as_ref();
        if playbook.approval == Approval::None && decision.is_none() {
            return wrong;
        }
        match (playbook.approval, decision) {
            (Approval::None, _) => wrong.push("it was decided on without need".to_owned()),
            (_, Some(decision)) if decision.is_by_person => {
                if !answers.iter().any(|answer| answer.may_be_accepted() && answer.covers(decision.at)) {
                    wrong.push(format!("nobody decided: {decision:?}"));
                }
            }
            (Approval::Timeout(minutes, true), Some(decision)) => {
                let due = execution.started + TimeDelta::minutes(minutes);
                if !(due..=due + self.tolerance.late).contains(&decision.at) {
                    wrong.push(format!("it was to go on at {due}: {decision:?}"));
                }
            }
            (_, Some(decision)) => wrong.push(format!("it went on by itself: {decision:?}")),
            (_, None) if execution.status != "cancelled" => wrong.push("it went on without approval".to_owned()),
            (_, None) => {}
        }
        if let Some(answer) = answers.iter().find(|answer| answer.was_accepted)
            && !decision.is_some_and(|decision| decision.is_by_person && answer.covers(decision.at))
        {
            wrong.push(format!("it forgot a decision: {answer:?}, and has {decision:?}"));
        }
        wrong
    }

    /// Returns the presses that should have counted: what was answered with 200 while there was time for it stands, or what
    /// came before it does.
    fn press_problems(&self, playbook: &Playbook, execution: &Execution) -> Vec<String> {
        let settled = execution.settled();
        let until = approval_limit(playbook.approval).map(|limit| execution.started + limit);
        let presses = self.commands(execution).filter(|answer| answer.is_press);
        let presses = presses.filter(|press| until.is_some_and(|until| press.last < until));
        let forgotten = presses.filter(|press| settled.is_none_or(|settled| settled > press.last));
        forgotten.map(|press| format!("it was settled at {settled:?}, after {press:?}")).collect()
    }

    /// Returns the responses to approvals and rejections that should have been others.
    fn answer_problems(&self, playbook: &Playbook, execution: &Execution, answers: &[&AnsweredCommand]) -> Vec<String> {
        let mut wrong = Vec::new();
        let accepted: Vec<_> = answers.iter().filter(|answer| answer.was_accepted).collect();
        if accepted.len() > 1 {
            wrong.push(format!("it was decided on twice: {accepted:?}"));
        }
        let settled = execution.settled();
        for answer in answers.iter().filter(|answer| !answer.was_accepted && !answer.is_press) {
            let is_settled = settled.is_some_and(|settled| settled <= answer.last + self.tolerance.early);
            if playbook.approval != Approval::None && !is_settled {
                wrong.push(format!("nobody had decided, and it was refused: {answer:?}"));
            }
        }
        wrong
    }

    /// Returns a problem if an execution awaited approval for too long.
    fn approval_end_problems(&self, playbook: &Playbook, cause: &Cause, execution: &Execution) -> Vec<String> {
        let late = self.tolerance.late;
        let Some(limit) = approval_limit(playbook.approval) else { return Vec::new() };
        let closed = cause.closed.map(|closed| closed.max(execution.started) + late * 2);
        let by = closed.into_iter().chain([execution.started + limit + late]).min().unwrap_or(execution.started);
        let is_right = execution.settled().is_some_and(|settled| settled <= by);
        if is_right { Vec::new() } else { vec![format!("it awaited approval after {by}")] }
    }

    /// Returns what is wrong with the end of an execution.
    fn end_problems(&self, playbook: &Playbook, cause: &Cause, execution: &Execution) -> Vec<String> {
        let Some(completed) = execution.completed else { return vec![format!("it is {} for ever", execution.status)] };
        let mut wrong = self.cancel_problems(execution, completed);
        match execution.status.as_str() {
            "completed" => {
                if execution.steps.iter().any(|step| step.status != "completed") {
                    wrong.push("it completed without all its steps".to_owned());
                }
            }
            "failed" => {
                if execution.steps.iter().filter(|step| step.status == "failed").count() != 1 {
                    wrong.push("it failed, and not one of its steps".to_owned());
                }
            }
            "cancelled" => wrong.extend(self.cancellation_problems(playbook, cause, execution, completed)),
            other => wrong.push(format!("it ended as {other}")),
        }
        let rejected = self.commands(execution).find(|answer| answer.command == Command::Reject && answer.was_accepted);
        let is_late = |answer: &&AnsweredCommand| {
            execution.status != "cancelled" || completed > answer.last + self.tolerance.late
        };
        if let Some(answer) = rejected.filter(is_late) {
            wrong.push(format!("it went on after {answer:?}"));
        }
        wrong
    }

    /// Returns the cancel commands whose responses do not fit what the execution did.
    fn cancel_problems(&self, execution: &Execution, completed: DateTime<Utc>) -> Vec<String> {
        let mut wrong = Vec::new();
        let early = self.tolerance.early;
        for cancel in self.commands(execution).filter(|answer| answer.command == Command::Cancel) {
            if cancel.was_accepted && execution.status != "cancelled" {
                wrong.push(format!("it is {}, and was cancelled: {cancel:?}", execution.status));
            }
            if !cancel.may_be_accepted() && completed > cancel.last + early {
                wrong.push(format!("it went on until {completed}, and could not be cancelled: {cancel:?}"));
            }
            let begins = execution.steps.iter().filter_map(|step| step.started);
            if cancel.was_accepted && begins.max().is_some_and(|begins| begins > cancel.last + early) {
                wrong.push(format!("it went on after {cancel:?}"));
            }
        }
        wrong
    }

    /// Returns what is wrong with an execution that was cancelled: nothing cancelled it, or it began without approval.
    fn cancellation_problems(
        &self,
        playbook: &Playbook,
        cause: &Cause,
        execution: &Execution,
        completed: DateTime<Utc>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let early = self.tolerance.early;
        let may_have = |command| {
            self.commands(execution).filter(move |answer| answer.command == command && answer.may_be_accepted())
        };
        let decision = execution.decision.as_ref();
        let is_rejected =
            decision.is_some_and(|decision| may_have(Command::Reject).any(|answer| answer.covers(decision.at)));
        let limit = cancels_after(playbook.approval).map(|limit| execution.started + limit);
        let waited_in_vain = limit.into_iter().chain(cause.closed).any(|at| completed + early >= at);
        let is_lapsed = playbook.approval != Approval::None && decision.is_none() && waited_in_vain;
        let is_cancelled = may_have(Command::Cancel).any(|answer| answer.first <= completed + early);
        if !is_rejected && !is_lapsed && !is_cancelled {
            wrong.push("nobody cancelled it".to_owned());
        }
        let has_begun = execution.steps.iter().any(|step| step.started.is_some());
        let late = self.tolerance.late;
        if decision.is_some_and(|decision| is_rejected && !is_cancelled && completed > decision.at + late) {
            wrong.push(format!("it was rejected long before it ended: {decision:?}"));
        }
        if has_begun && (is_rejected && !is_cancelled || is_lapsed) {
            wrong.push("it began without approval".to_owned());
        }
        wrong
    }

    fn step_problems(&self, playbook: &Playbook, execution: &Execution) -> Vec<String> {
        let mut wrong = Vec::new();
        let Tolerance { late, early } = self.tolerance;
        if execution.steps.len() != playbook.steps.len() {
            return vec![format!("it has {} steps of {}", execution.steps.len(), playbook.steps.len())];
        }
        let mut before = Some(execution.decision.as_ref().map_or(execution.started, |decision| decision.at));
        for (place, (step, observed)) in playbook.steps.iter().zip(&execution.steps).enumerate() {
            let mut add = |problem: &str| wrong.push(format!("step {place} {problem}: {step:?} {observed:?}"));
            match (observed.started, before) {
                (Some(_), None) => add("began after one that did not complete"),
                (Some(started), Some(before)) => {
                    if started < before - early || started > before + late {
                        add(&format!("was to begin at {before}"));
                    }
                }
                (None, Some(_)) if execution.status != "cancelled" => add("did not begin"),
                (None, _) => {
                    if observed.status != "skipped" {
                        add("did not begin, and was not skipped");
                    }
                }
            }
            if let Some(problem) = self.step_problem(execution, place, *step) {
                add(&problem);
            }
            before = observed.completed.filter(|_| observed.status == "completed");
        }
        wrong
    }

    /// Returns what is wrong with what a step did.
    fn step_problem(&self, execution: &Execution, place: usize, step: Step) -> Option<String> {
        let observed = &execution.steps[place];
        let key = format!("{}-{place}", execution.id);
        let calls: Vec<_> = self.events.calls.iter().filter(|call| call.key == key).collect();
        let is_own = |attempt: &&ScriptAttempt| attempt.execution == execution.id && attempt.step == place;
        let attempts: Vec<_> = self.events.attempts.iter().filter(is_own).collect();
        let (Some(started), Some(completed)) = (observed.started, observed.completed) else {
            let is_untouched = calls.is_empty() && attempts.is_empty();
            return (!is_untouched).then(|| format!("did not begin, and did {calls:?} {attempts:?}"));
        };
        let is_done = observed.status == "completed";
        let run = StepRun { calls, attempts, started, completed, is_done, observed };
        match step {
            Step::Webhook => self.webhook_problem(&run),
            Step::Wait(seconds) => self.wait_problem(&run, TimeDelta::seconds(seconds)),
            Step::Script(_) => self.script_problem(&run),
            Step::Condition { timeout_seconds, on_failure } => {
                self.condition_problem(&run, TimeDelta::seconds(timeout_seconds), on_failure)
            }
        }
    }

    fn webhook_problem(&self, run: &StepRun<'_>) -> Option<String> {
        let (calls, Tolerance { late, early }) = (&run.calls, self.tolerance);
        let is_in_time = calls.iter().all(|call| call.at + early >= run.started && call.at <= run.completed + late);
        let is_right = calls.iter().any(|call| call.is_accepted == run.is_done);
        // Each caller may have died before it could record what came of its call.
        let is_lost = self.is_stormy && run.observed.error.contains("was lost");
        if !is_in_time || calls.len() > MAX_ATTEMPTS || !is_right && !is_lost {
            return Some(format!("is not what came of {calls:?}"));
        }
        let is_once = calls.len() == 1 && run.is_done && run.took() <= late;
        (!is_once && !self.is_stormy).then(|| format!("should have been one call that is accepted: {calls:?}"))
    }

    fn wait_problem(&self, run: &StepRun<'_>, due: TimeDelta) -> Option<String> {
        let (took, late) = (run.took(), self.tolerance.late);
        let is_skipped = run.observed.status == "skipped" && took <= due + late;
        let is_right = is_skipped || run.is_done && (due..=due + late).contains(&took);
        (!is_right).then(|| format!("took {took}"))
    }

    fn script_problem(&self, run: &StepRun<'_>) -> Option<String> {
        let (attempts, completed, early) = (&run.attempts, run.completed, self.tolerance.early);
        let mut numbers: Vec<_> = attempts.iter().map(|one| one.attempt).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() != attempts.len() {
            return Some(format!("was begun twice under one attempt: {attempts:?}"));
        }
        if attempts.iter().any(|one| one.received_at.is_none_or(|at| at > one.at + TO_RECEIVE)) {
            return Some(format!("waited for another's worker: {attempts:?}"));
        }
        let last = attempts.iter().map(|one| one.attempt).max();
        if attempts.iter().any(|one| one.has_reported_in_time() && Some(one.attempt) < last) {
            return Some(format!("was run again though it had reported: {attempts:?}"));
        }
        let is_right = if !run.is_done && (attempts.len() >= MAX_ATTEMPTS || run.observed.output.is_empty()) {
            // No attempt was reported.
            self.is_stormy || attempts.iter().any(|one| one.reports_at.is_none_or(|at| at > completed))
        } else {
            attempts.iter().find(|one| one.output() == run.observed.output).is_some_and(|one| {
                let is_over = attempts.iter().any(|other| other.attempt > one.attempt && other.at + early < completed);
                let was_reported = one.reports_at.is_some_and(|at| at <= completed + early);
                was_reported && !is_over && (one.exit == 0) == run.is_done
            })
        };
        (!is_right).then(|| format!("is not what was reported of {attempts:?}"))
    }

    fn condition_problem(&self, run: &StepRun<'_>, timeout: TimeDelta, on_failure: &str) -> Option<String> {
        let Tolerance { late, early } = self.tolerance;
        let (started, completed, took, observed) = (run.started, run.completed, run.took(), run.observed);
        let alive = || self.heartbeats.iter().filter(|heartbeat| heartbeat.counts_as_alive());
        let may_hold =
            alive().any(|heartbeat| heartbeat.last + early >= started && heartbeat.first <= completed + early);
        let within = started + early..started + timeout - early;
        let first = alive().filter(|heartbeat| within.contains(&heartbeat.first)).map(|heartbeat| heartbeat.last).min();
        // It is checked every few seconds, and not only at the end.
        let is_timely = first.is_none_or(|first| took <= first - started + POLL + late);
        let is_lost = [&observed.output, &observed.error].iter().any(|text| text.contains("was lost"));
        let must_hold = first.is_some_and(|first| within.contains(&first)) && !is_lost;
        let gave_up = is_lost || observed.output.contains(" heartbeats of ");
        let is_escalated = observed.output.contains("[ESCALATE]");
        let goes_on = on_failure == "continue";
        let is_right = match observed.status.as_str() {
            "completed" if gave_up => goes_on && !must_hold && took >= timeout,
            "completed" => may_hold && is_timely,
            "failed" => !must_hold && !goes_on && took >= timeout && is_escalated == (on_failure == "escalate"),
            status => status == "skipped",
        };
        (!is_right || took > timeout + late).then(|| "is not what the heartbeats require".to_owned())
    }

    /// Returns a problem if the audit log lacks a result, or has one twice.
    fn audit_problems(playbook: &Playbook, execution: &Execution) -> Vec<String> {
        let mut wanted: Vec<_> = Vec::new();
        if playbook.approval != Approval::None {
            wanted.push("approval_requested".to_owned());
        }
        let has_started = playbook.approval == Approval::None || execution.decision.is_some();
        let is_rejected = execution.audited.iter().any(|entry| entry == "rejected");
        if playbook.approval != Approval::None && execution.decision.is_some() {
            wanted.push(if is_rejected { "rejected" } else { "approved" }.to_owned());
        }
        if has_started && !is_rejected {
            wanted.push("execution_started".to_owned());
        }
        for (place, step) in execution.steps.iter().enumerate() {
            if step.status == "completed" || step.status == "failed" {
                wanted.push(format!("step_{} step-{place}", step.status));
            }
        }
        wanted.push(format!("execution_{}", execution.status));
        wanted.sort_unstable();
        let mut audited = execution.audited.clone();
        audited.sort_unstable();
        if audited == wanted { Vec::new() } else { vec![format!("audited is {audited:?}, and should be {wanted:?}")] }
    }

    fn verification_problems(&self, execution: &Execution) -> Vec<String> {
        let Some(completed) = execution.completed.filter(|_| execution.status == "completed") else {
            return Vec::new();
        };
        let (early, until) = (self.tolerance.early, completed + VERIFY_WITHIN);
        let may = self.heartbeats.iter().any(|heartbeat| {
            heartbeat.counts_as_alive() && heartbeat.last >= completed && heartbeat.first <= until + early
        });
        let must = self.heartbeats.iter().any(|heartbeat| {
            heartbeat.recovers() && heartbeat.first > completed + early && heartbeat.last < until - early
        });
        let is_right = match execution.verification.as_deref() {
            Some("verified") => may,
            Some("unverified") => !must,
            Some(_) | None => false,
        };
        if is_right { Vec::new() } else { vec![format!("its verification is {:?}", execution.verification)] }
    }
}

impl Execution {
    /// Returns when it was decided on, or ended without.
    fn settled(&self) -> Option<DateTime<Utc>> {
        self.decision.as_ref().map(|decision| decision.at).or(self.completed)
    }
}

impl StepRun<'_> {
    fn took(&self) -> TimeDelta {
        self.completed - self.started
    }
}
