//! The rules of playbooks, read simply and apart from `domain`: which executions there must be of which alerts, and whether each
//! went as its steps, those who decided, and what it called outside allow.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Beat, Span, Tolerance};
use crate::playbooks::{Approval, Playbook, Step};

/// Executions in an hour for a service, past which alerts start none.
pub(crate) const MAX_STARTS: usize = 3;
const CIRCUIT_WINDOW: TimeDelta = TimeDelta::hours(1);
const MAX_APPROVAL: TimeDelta = TimeDelta::days(7);
/// How often a condition looks.
const POLL: TimeDelta = TimeDelta::seconds(5);
const VERIFY_WITHIN: TimeDelta = TimeDelta::minutes(10);
/// A step whose worker dies each time is given up after so many.
const MAX_ATTEMPTS: usize = 5;

/// What a call of a step was answered.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) is_taken: bool,
}

/// An attempt of a script's step, and when it reports with the exit status.
#[derive(Debug, Clone)]
pub(crate) struct Try {
    pub(crate) execution: String,
    pub(crate) step: usize,
    pub(crate) attempt: u32,
    pub(crate) at: DateTime<Utc>,
    pub(crate) reports_at: Option<DateTime<Utc>>,
    pub(crate) exit: i32,
}

impl Try {
    /// What it prints.
    pub(crate) fn output(&self) -> String {
        format!("attempt {} ended with {}", self.attempt, self.exit)
    }
}

/// What a person asks of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Approve,
    Reject,
    Cancel,
}

impl Word {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Cancel => "cancel",
        }
    }
}

/// A word that was answered.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) execution: String,
    pub(crate) word: Word,
    pub(crate) first: DateTime<Utc>,
    pub(crate) last: DateTime<Utc>,
    /// And not refused, as the execution stood.
    pub(crate) was_taken: bool,
    /// An earlier try was not answered, and may have been taken.
    pub(crate) is_unsure: bool,
}

impl Said {
    fn may_be_taken(&self) -> bool {
        self.was_taken || self.is_unsure
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
    /// None for one that closes as it opens: what it started waits on.
    pub(crate) closed: Option<DateTime<Utc>>,
    /// Counted once in an interval; 1 for good without one.
    pub(crate) failures: i64,
    pub(crate) counted_again: DateTime<Utc>,
    pub(crate) interval: TimeDelta,
    /// And not one that was changed meanwhile.
    pub(crate) is_steady: bool,
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
pub(crate) struct ShownStep {
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
    pub(crate) steps: Vec<ShownStep>,
    /// What is audited of it, with the step's name.
    pub(crate) audited: Vec<String>,
}

/// What happened around executions.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub(crate) calls: Vec<Call>,
    pub(crate) tries: Vec<Try>,
    pub(crate) said: Vec<Said>,
}

/// A service whose alerts start playbooks.
pub(crate) struct Ward<'a> {
    pub(crate) name: &'a str,
    pub(crate) beats: &'a [Beat],
    pub(crate) maintenance: &'a [Span],
    pub(crate) outside: &'a Outside,
    pub(crate) is_stormy: bool,
    pub(crate) tolerance: Tolerance,
    pub(crate) end: DateTime<Utc>,
}

/// The playbook that so many failures start.
fn wanted(playbooks: &[Playbook], failures: i64) -> Option<usize> {
    let met = playbooks.iter().enumerate().filter(|(_, playbook)| playbook.failures <= failures);
    met.max_by_key(|(place, playbook)| (playbook.failures, std::cmp::Reverse(*place))).map(|(place, _)| place)
}

/// After how long an approval that nobody gives ends the execution.
fn cancels_after(approval: Approval) -> Option<TimeDelta> {
    match approval {
        Approval::Required => Some(MAX_APPROVAL),
        Approval::Timeout(minutes, false) => Some(TimeDelta::minutes(minutes)),
        Approval::Timeout(_, true) | Approval::None => None,
    }
}

impl Ward<'_> {
    /// All that is wrong with the executions of this service's alerts.
    pub(crate) fn judge(&self, playbooks: &[Playbook], causes: &[Cause], executions: &[&Execution]) -> Vec<String> {
        let mut wrong = Vec::new();
        for cause in causes {
            wrong.extend(self.misstarted(playbooks, cause, executions));
        }
        let mut starts: Vec<_> = executions.iter().map(|execution| execution.started).collect();
        starts.sort_unstable();
        for window in starts.windows(MAX_STARTS + 1).filter(|window| window[MAX_STARTS] - window[0] < CIRCUIT_WINDOW) {
            wrong.push(format!("{} executions started within an hour: {window:?}", MAX_STARTS + 1));
        }
        for execution in executions {
            let Some(cause) = causes.iter().find(|cause| cause.alert == execution.alert) else {
                wrong.push(format!("execution {} is of no alert of its service", execution.id));
                continue;
            };
            let of = format!("execution {} of alert {}", execution.id, cause.alert);
            let playbook = &playbooks[execution.playbook];
            let problems = [
                self.misapproved(playbook, cause, execution),
                self.misended(playbook, cause, execution),
                self.missteps(playbook, execution),
                Self::misaudited(playbook, execution),
                self.misverified(execution),
            ];
            wrong.extend(problems.into_iter().flatten().map(|problem| format!("{of}: {problem}")));
        }
        wrong.into_iter().map(|problem| format!("{}: {problem}", self.name)).collect()
    }

    fn may_be_held(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.maintenance.iter().any(|span| span.from <= to && from < span.to)
    }

    /// What an alert started, and should not have, or late, or not at all.
    fn misstarted(&self, playbooks: &[Playbook], cause: &Cause, executions: &[&Execution]) -> Vec<String> {
        let mut wrong = Vec::new();
        let (early, patience) = (self.tolerance.early, self.tolerance.late * 2);
        let mut first_at: BTreeMap<usize, DateTime<Utc>> = BTreeMap::new();
        let mut is_owed: BTreeMap<usize, DateTime<Utc>> = BTreeMap::new();
        for failures in 1..=cause.failures {
            let at = cause.counted_at(failures);
            let Some(playbook) = wanted(playbooks, failures) else { continue };
            first_at.entry(playbook).or_insert(at);
            // Of counts that were passed over at once, the last one is offered.
            let is_offered = failures == 1 || cause.is_steady && failures == cause.failures;
            if is_offered && !self.may_be_held(at - early, at + patience) && at + patience < self.end {
                is_owed.entry(playbook).or_insert(at);
            }
        }
        for playbook in 0..playbooks.len() {
            let own: Vec<_> = executions.iter().filter(|x| x.alert == cause.alert && x.playbook == playbook).collect();
            if own.len() > 1 {
                wrong.push(format!("alert {} started playbook {playbook} {} times", cause.alert, own.len()));
            }
            match (own.first(), first_at.get(&playbook), is_owed.get(&playbook)) {
                (Some(execution), None, _) => {
                    wrong.push(format!("alert {} was not to start {}", cause.alert, execution.id));
                }
                (Some(execution), Some(at), owed) => {
                    let is_late = owed.is_some_and(|owed| execution.started > *owed + patience);
                    if execution.started < *at - early || is_late {
                        let (id, started) = (&execution.id, execution.started);
                        wrong.push(format!("alert {} started {id} at {started}, and owed it at {at}", cause.alert));
                    }
                }
                (None, _, Some(at)) => {
                    // Refused once while the circuit was open, it is not offered again.
                    let offers = (1..=cause.failures).filter(|failures| wanted(playbooks, *failures) == Some(playbook));
                    let may_be_open = offers.map(|failures| cause.counted_at(failures)).any(|at| {
                        let hour = at - early - CIRCUIT_WINDOW..at + patience;
                        executions.iter().filter(|execution| hour.contains(&execution.started)).count() >= MAX_STARTS
                    });
                    if !may_be_open {
                        wrong.push(format!("alert {} was to start playbook {playbook} at {at}", cause.alert));
                    }
                }
                (None, _, None) => {}
            }
        }
        wrong
    }

    fn said<'a>(&'a self, execution: &'a Execution) -> impl Iterator<Item = &'a Said> {
        self.outside.said.iter().filter(|said| said.execution == execution.id)
    }

    /// Whether it waited for a yes, and went on or not, as it should have.
    fn misapproved(&self, playbook: &Playbook, cause: &Cause, execution: &Execution) -> Vec<String> {
        let mut wrong = Vec::new();
        let Tolerance { late, early } = self.tolerance;
        let decision = execution.decision.as_ref();
        let settled = decision.map(|decision| decision.at).or(execution.completed);
        let words: Vec<_> = self.said(execution).filter(|said| said.word != Word::Cancel).collect();
        let taken: Vec<_> = words.iter().filter(|said| said.was_taken).collect();
        if taken.len() > 1 {
            wrong.push(format!("it was decided on twice: {taken:?}"));
        }
        for said in words.iter().filter(|said| !said.was_taken) {
            if playbook.approval != Approval::None && settled.is_none_or(|settled| settled > said.last + early) {
                wrong.push(format!("nobody had decided, and it was refused: {said:?}"));
            }
        }
        match (playbook.approval, decision) {
            (Approval::None, None) => return wrong,
            (Approval::None, Some(_)) => wrong.push("it was decided on without need".to_owned()),
            (_, Some(decision)) if decision.is_by_person => {
                if !words.iter().any(|said| said.may_be_taken() && said.covers(decision.at)) {
                    wrong.push(format!("nobody decided: {decision:?}"));
                }
            }
            (Approval::Timeout(minutes, true), Some(decision)) => {
                let due = execution.started + TimeDelta::minutes(minutes);
                if !(due..=due + late).contains(&decision.at) {
                    wrong.push(format!("it was to go on at {due}: {decision:?}"));
                }
            }
            (_, Some(decision)) => wrong.push(format!("it went on by itself: {decision:?}")),
            (_, None) if execution.status != "cancelled" => wrong.push("it went on without a yes".to_owned()),
            (_, None) => {}
        }
        if let Some(said) = taken.first()
            && !decision.is_some_and(|decision| decision.is_by_person && said.covers(decision.at))
        {
            wrong.push(format!("it forgot a decision: {said:?}, and has {decision:?}"));
        }
        let limit = match playbook.approval {
            Approval::Timeout(minutes, _) => TimeDelta::minutes(minutes),
            Approval::None | Approval::Required => MAX_APPROVAL,
        };
        let closed = cause.closed.map(|closed| closed.max(execution.started) + late * 2);
        let by = closed.into_iter().chain([execution.started + limit + late]).min().unwrap_or(execution.started);
        if settled.is_none_or(|settled| settled > by) {
            wrong.push(format!("it waited for a yes after {by}"));
        }
        wrong
    }

    /// Whether it ended, and as what it should have.
    fn misended(&self, playbook: &Playbook, cause: &Cause, execution: &Execution) -> Vec<String> {
        let mut wrong = Vec::new();
        let Tolerance { late, early } = self.tolerance;
        let Some(completed) = execution.completed else { return vec![format!("it is {} for ever", execution.status)] };
        let cancels: Vec<_> = self.said(execution).filter(|said| said.word == Word::Cancel).collect();
        for said in &cancels {
            if said.was_taken && execution.status != "cancelled" {
                wrong.push(format!("it is {}, and was cancelled: {said:?}", execution.status));
            }
            if !said.may_be_taken() && completed > said.last + early {
                wrong.push(format!("it went on until {completed}, and could not be cancelled: {said:?}"));
            }
            let begins = execution.steps.iter().filter_map(|step| step.started);
            if said.was_taken && begins.max().is_some_and(|begins| begins > said.last + early) {
                wrong.push(format!("it went on after {said:?}"));
            }
        }
        let is_rejected = execution.decision.as_ref().is_some_and(|decision| {
            let mut words = self.said(execution);
            words.any(|said| said.word == Word::Reject && said.may_be_taken() && said.covers(decision.at))
        });
        let limit = cancels_after(playbook.approval).map(|limit| execution.started + limit);
        let waited_in_vain = limit.into_iter().chain(cause.closed).any(|at| completed + early >= at);
        let is_lapsed = playbook.approval != Approval::None && execution.decision.is_none() && waited_in_vain;
        let is_cancelled = cancels.iter().any(|said| said.may_be_taken() && said.first <= completed + early);
        let has_begun = execution.steps.iter().any(|step| step.started.is_some());
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
            "cancelled" => {
                if !is_rejected && !is_lapsed && !is_cancelled {
                    wrong.push("nobody cancelled it".to_owned());
                }
                if has_begun && (is_rejected && !is_cancelled || is_lapsed) {
                    wrong.push("it began without a yes".to_owned());
                }
            }
            other => wrong.push(format!("it ended as {other}")),
        }
        let rejected = self.said(execution).find(|said| said.word == Word::Reject && said.was_taken);
        if let Some(said) = rejected.filter(|said| execution.status != "cancelled" || completed > said.last + late) {
            wrong.push(format!("it went on after {said:?}"));
        }
        wrong
    }

    fn missteps(&self, playbook: &Playbook, execution: &Execution) -> Vec<String> {
        let mut wrong = Vec::new();
        let Tolerance { late, early } = self.tolerance;
        if execution.steps.len() != playbook.steps.len() {
            return vec![format!("it has {} steps of {}", execution.steps.len(), playbook.steps.len())];
        }
        let mut before = Some(execution.decision.as_ref().map_or(execution.started, |decision| decision.at));
        for (place, (step, shown)) in playbook.steps.iter().zip(&execution.steps).enumerate() {
            let mut say = |problem: &str| wrong.push(format!("step {place} {problem}: {step:?} {shown:?}"));
            match (shown.started, before) {
                (Some(_), None) => say("began after one that did not complete"),
                (Some(started), Some(before)) => {
                    if started < before - early || started > before + late {
                        say(&format!("was to begin at {before}"));
                    }
                }
                (None, Some(_)) if execution.status != "cancelled" => say("did not begin"),
                (None, _) => {
                    if shown.status != "skipped" {
                        say("did not begin, and was not skipped");
                    }
                }
            }
            if let Some(problem) = self.misstep(execution, (place, step), shown) {
                say(&problem);
            }
            before = shown.completed.filter(|_| shown.status == "completed");
        }
        wrong
    }

    /// What is wrong with what a step did.
    fn misstep(&self, execution: &Execution, (place, step): (usize, &Step), shown: &ShownStep) -> Option<String> {
        let key = format!("{}-{place}", execution.id);
        let calls: Vec<_> = self.outside.calls.iter().filter(|call| call.key == key).collect();
        let tries: Vec<_> =
            self.outside.tries.iter().filter(|one| one.execution == execution.id && one.step == place).collect();
        let (Some(started), Some(completed)) = (shown.started, shown.completed) else {
            let is_untouched = calls.is_empty() && tries.is_empty();
            return (!is_untouched).then(|| format!("did not begin, and did {calls:?} {tries:?}"));
        };
        let Tolerance { late, early } = self.tolerance;
        let (took, is_done) = (completed - started, shown.status == "completed");
        match step {
            Step::Webhook => {
                let is_in_time = calls.iter().all(|call| call.at >= started && call.at <= completed + late);
                let is_right = calls.iter().any(|call| call.is_taken == is_done);
                // Whoever called may have died each time before it could tell.
                let is_lost = self.is_stormy && shown.error.contains("was lost");
                if !is_in_time || calls.len() > MAX_ATTEMPTS || !is_right && !is_lost {
                    return Some(format!("is not what came of {calls:?}"));
                }
                let is_once = calls.len() == 1 && is_done && took <= late;
                (!is_once && !self.is_stormy).then(|| format!("should have been one call that is taken: {calls:?}"))
            }
            Step::Wait(seconds) => {
                let due = TimeDelta::seconds(*seconds);
                let is_right =
                    is_done && (due..=due + late).contains(&took) || shown.status == "skipped" && took <= due + late;
                (!is_right).then(|| format!("took {took}"))
            }
            Step::Script(_) => {
                let mut attempts: Vec<_> = tries.iter().map(|one| one.attempt).collect();
                attempts.sort_unstable();
                attempts.dedup();
                if attempts.len() != tries.len() {
                    return Some(format!("was begun twice under one attempt: {tries:?}"));
                }
                if !is_done && (tries.len() >= MAX_ATTEMPTS || shown.output.is_empty()) {
                    // No attempt was reported.
                    let is_lost =
                        self.is_stormy || tries.iter().any(|one| one.reports_at.is_none_or(|at| at > completed));
                    return (!is_lost).then(|| format!("is not what was reported of {tries:?}"));
                }
                let told = tries.iter().find(|one| one.output() == shown.output);
                let is_right = told.is_some_and(|one| {
                    let is_over = tries.iter().any(|other| other.attempt > one.attempt && other.at + early < completed);
                    let was_notified = one.reports_at.is_some_and(|at| at <= completed + early);
                    was_notified && !is_over && (one.exit == 0) == is_done
                });
                (!is_right).then(|| format!("is not what was reported of {tries:?}"))
            }
            Step::Condition { timeout_seconds, on_failure } => {
                let timeout = TimeDelta::seconds(*timeout_seconds);
                let lives = || self.beats.iter().filter(|beat| beat.counts_as_alive());
                let may = lives().any(|beat| beat.last + early >= started && beat.first <= completed + early);
                let within = started + early..started + timeout - early;
                let first = lives().filter(|beat| within.contains(&beat.first)).map(|beat| beat.last).min();
                let has_to = first.is_some_and(|first| within.contains(&first));
                // It looks every few seconds, and not only at the end.
                let is_timely = first.is_none_or(|first| took <= first - started + POLL + late);
                let is_lost = [&shown.output, &shown.error].iter().any(|text| text.contains("was lost"));
                let has_to = has_to && !is_lost;
                let gave_up = is_lost || shown.output.contains(" heartbeats of ");
                let is_escalated = *on_failure == "escalate";
                let goes_on = *on_failure == "continue";
                let held = took <= timeout + late
                    && match shown.status.as_str() {
                        "completed" if gave_up => goes_on && !has_to && took >= timeout,
                        "completed" => may && is_timely,
                        "failed" => {
                            !has_to
                                && !goes_on
                                && took >= timeout
                                && shown.output.contains("[ESCALATE]") == is_escalated
                        }
                        status => status == "skipped",
                    };
                (!held).then(|| "is not what the heartbeats say".to_owned())
            }
        }
    }

    /// Whether each result was recorded once.
    fn misaudited(playbook: &Playbook, execution: &Execution) -> Vec<String> {
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

    fn misverified(&self, execution: &Execution) -> Vec<String> {
        let Some(completed) = execution.completed.filter(|_| execution.status == "completed") else {
            return Vec::new();
        };
        let (early, until) = (self.tolerance.early, completed + VERIFY_WITHIN);
        let may = self
            .beats
            .iter()
            .any(|beat| beat.counts_as_alive() && beat.last >= completed && beat.first <= until + early);
        let has_to = self
            .beats
            .iter()
            .any(|beat| beat.recovers() && beat.first > completed + early && beat.last < until - early);
        let is_right = match execution.verification.as_deref() {
            Some("verified") => may,
            Some("unverified") => !has_to,
            Some(_) | None => false,
        };
        if is_right { Vec::new() } else { vec![format!("its verification is {:?}", execution.verification)] }
    }
}
