//! Runs playbooks: starts them, takes what happens to them, and does what follows, each a transaction and then a step.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Advance, Effect, Effectiveness, Event, Execution, ExecutionId, ExecutionStage, ExecutionStatus, Invalid,
    NewExecution, Origin, Plan, Playbook, PlaybookId, Script, ServiceId, StepKind, Variables, parse_variable,
};
use outbound::Wake;
use sha2::{Digest as _, Sha256};
use store::{Commit, ExecutionFilter, ExecutionRecord, Page, ServiceRecord, Writes};

use subtle::ConstantTimeEq as _;

use crate::batch::Batch;
use crate::configuration::TRIES;
use crate::{Actor, Document, Error, Medic};

/// What is to be run.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub playbook_id: PlaybookId,
    pub service_id: Option<ServiceId>,
    /// The caller's own, which cannot replace those that are always there.
    pub variables: Variables,
    pub origin: Origin,
    /// The client's mark of its request, which starts one execution however often it is sent.
    pub idempotency_key: Option<String>,
}

/// What an event made of an execution.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) record: ExecutionRecord,
    pub(crate) effects: Vec<Effect>,
}

/// A plan and all that comes of its steps must be kept; what variables make of a document has no bound of its own.
const MAX_PLAN_BYTES: usize = 100_000;
/// How many variables a caller may give.
const MAX_VARIABLES: usize = 50;
/// Clocks differ by less.
const EARLY: TimeDelta = TimeDelta::seconds(5);
/// How many executions are looked at for those of one playbook that go on.
const PAGE: usize = 100;
const EFFECTIVENESS_OF: TimeDelta = TimeDelta::days(30);

impl Medic {
    /// Starts a playbook, or asks for the yes that it needs.
    pub async fn execute(&self, new: NewRun, now: DateTime<Utc>) -> Result<Execution, Error> {
        let playbook: Playbook = self.find(new.playbook_id).await?;
        let service = match new.service_id {
            Some(id) => {
                let known = self.table.service(id).await?;
                let gone = || Invalid::new("service_id", format!("must be a service's: there is no service {id}"));
                Some(known.ok_or_else(gone)?)
            }
            None => None,
        };
        check_variables(&new.variables)?;
        let mut id = ExecutionId::at(now, self.random()?);
        if let Some(key) = &new.idempotency_key {
            let first = self.table.first_execution(playbook.id, key, id, now).await?;
            // Whoever was first may have died before it began.
            if first != id
                && let Some(known) = self.table.execution(first).await?
            {
                return Ok(known.execution);
            }
            id = first;
        }
        for _ in 0..TRIES {
            let begun = self.plan(&playbook, service.as_ref(), (id, &new), now).await?;
            let mut writes = Writes::new();
            if let Some(service) = new.service_id {
                self.count_start(service, &mut writes, now).await?;
            }
            if let Some(applied) = self.begin(begun, writes, now).await? {
                let execution = applied.record.execution.clone();
                self.wake_execution(&execution, now).await;
                return Ok(execution);
            }
        }
        Err(Error::contended(format!("the circuit of service {:?}", new.service_id)))
    }

    /// Counts one more start for a service, by a person.
    async fn count_start(&self, service: ServiceId, writes: &mut Writes, now: DateTime<Utc>) -> Result<(), Error> {
        let seen = self.table.circuit(service).await?;
        let limit = self.settings.circuit;
        let (circuit, _) = seen.circuit.admit(true, now, limit.most, limit.window);
        Ok(writes.update_circuit(&self.table, service, &seen, &circuit, limit)?)
    }

    /// Plans a run of a playbook.
    pub(crate) async fn plan(
        &self,
        playbook: &Playbook,
        service: Option<&ServiceRecord>,
        (id, new): (ExecutionId, &NewRun),
        now: DateTime<Utc>,
    ) -> Result<Advance, Error> {
        let Document { definition, warnings: _ } = self.validate_playbook(&playbook.yaml);
        let unreadable = |_| Error::Conflict(format!("The playbook {} is not valid any more", playbook.name));
        let definition = definition.map_err(unreadable)?;
        let mut variables = new.variables.clone();
        variables.extend([
            ("EXECUTION_ID".to_owned(), id.to_string()),
            ("PLAYBOOK_ID".to_owned(), playbook.id.to_string()),
            ("PLAYBOOK_NAME".to_owned(), playbook.name.to_string()),
            ("SERVICE_ID".to_owned(), new.service_id.map(|id| id.to_string()).unwrap_or_default()),
            (
                "SERVICE_NAME".to_owned(),
                service.map(|record| record.profile.service_name.as_str().to_owned()).unwrap_or_default(),
            ),
        ]);
        let mut scripts = BTreeMap::new();
        for step in &definition.steps {
            if let StepKind::Script { script, .. } = &step.kind
                && let Some(found) = self.table.script_named(script).await?
            {
                scripts.insert(script.clone(), found);
            }
        }
        let find = |name: &str| -> Option<&Script> { scripts.get(name) };
        let version = playbook.revision.version;
        let plan = Plan::of(&definition, (playbook.id, version), new.service_id, &variables, find)?;
        if plan.size() > MAX_PLAN_BYTES {
            let problem = format!("must not make the plan longer than {MAX_PLAN_BYTES} bytes");
            return Err(Invalid::new("variables", problem).into());
        }
        let new = NewExecution {
            id,
            plan,
            playbook_name: playbook.name.to_string(),
            origin: new.origin.clone(),
            approval: definition.approval,
            verify_within: definition.verify_within,
        };
        Ok(Execution::begin(new, now))
    }

    /// Saves an execution that begins, together with `writes`. None if one of these was refused.
    pub(crate) async fn begin(
        &self,
        begun: Advance,
        mut writes: Writes,
        now: DateTime<Utc>,
    ) -> Result<Option<Applied>, Error> {
        let Advance { execution, effects } = begun;
        let stamp = self.new_stamp()?;
        writes.begin_execution(&self.table, &execution, &stamp)?;
        let batch = Batch::default();
        self.add_notifications(&mut writes, (&execution, &effects), &batch, now).await?;
        let id = execution.id;
        let saved = self.table.commit(writes).await?;
        let record = if saved == Commit::Conflict {
            // An earlier try of this very write may have been made, or one of a client's repetitions was first.
            let Some(known) = self.table.execution(id).await? else { return Ok(None) };
            known
        } else {
            ExecutionRecord { execution, version: 1, stamp, nonce: None }
        };
        self.wake_lanes(&batch, now).await;
        tracing::info!(execution.id = %id, "a playbook begins");
        Ok(Some(Applied { record, effects }))
    }

    /// Adds to a transaction what is told and what is audited of an execution.
    async fn add_notifications(
        &self,
        writes: &mut Writes,
        (execution, effects): (&Execution, &[Effect]),
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.audit_execution(writes, (execution, effects), now).await?;
        self.playbook_notifications_of(execution, effects, now).await?.add_to(writes, &self.table, batch)
    }

    /// Adds to a transaction what is told of a circuit that opened.
    pub(crate) async fn add_circuit_notifications(
        &self,
        writes: &mut Writes,
        service: ServiceId,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        self.notifications_of_open_circuit(service, now).await?.add_to(writes, &self.table, batch)
    }

    /// Takes an event: saves what it makes of an execution. `decide` sees it as it is, and may find that nothing happens.
    pub(crate) async fn apply(
        &self,
        id: ExecutionId,
        decide: impl Fn(&ExecutionRecord) -> Result<Option<Event>, Error>,
        now: DateTime<Utc>,
    ) -> Result<Applied, Error> {
        for _ in 0..TRIES {
            let seen = self.table.execution(id).await?;
            let seen = seen.ok_or_else(|| Error::NotFound(format!("There is no execution {id}")))?;
            let Some(event) = decide(&seen)? else { return Ok(Applied { record: seen, effects: Vec::new() }) };
            let Advance { execution, effects } = seen.execution.advance(event, now);
            if execution == seen.execution {
                return Ok(Applied { record: seen, effects });
            }
            let stamp = self.new_stamp()?;
            let performs = effects.iter().any(|effect| matches!(effect, Effect::Perform { .. }));
            let nonce = if performs { Some(self.new_stamp()?) } else { seen.nonce.clone() };
            let mut writes = Writes::new();
            writes.update_execution(&self.table, &seen, &execution, (&stamp, nonce.as_deref()))?;
            let batch = Batch::default();
            self.add_notifications(&mut writes, (&execution, &effects), &batch, now).await?;
            if self.table.commit(writes).await? == Commit::Conflict {
                // This very write may have been made, and its answer lost.
                let found = self.table.execution(id).await?;
                if found.is_none_or(|found| found.stamp != stamp) {
                    continue;
                }
            }
            self.wake_lanes(&batch, now).await;
            if execution.status.is_terminal() && !seen.execution.status.is_terminal() {
                self.count_ended(&execution).await;
            }
            let version = seen.version + 1;
            return Ok(Applied { record: ExecutionRecord { execution, version, stamp, nonce }, effects });
        }
        Err(Error::contended(format!("execution {id}")))
    }

    /// Does what an execution has to do now: one step at most. What takes long is done between two commits, and may be
    /// lost; its claim ends then.
    pub async fn work_on(&self, id: ExecutionId, clock: crate::Now<'_>) -> Result<(), Error> {
        let Some(seen) = self.table.execution(id).await? else { return Ok(()) };
        let is_gone = !seen.execution.status.is_terminal()
            && self.table.find::<Playbook>(seen.execution.plan.playbook_id).await?.is_none();
        let gone = |record: &ExecutionRecord| {
            let reason = Some("the playbook was deleted".to_owned());
            Ok(record.execution.can_be_cancelled().then_some(Event::Cancelled { by: None, reason }))
        };
        let mut applied = if is_gone && seen.execution.can_be_cancelled() {
            self.apply(id, gone, clock()).await?
        } else {
            self.apply(id, |_| Ok(Some(Event::Due)), clock()).await?
        };
        while let Some(event) = self.follow(&applied, clock).await? {
            applied = self.apply(id, |_| Ok(Some(event.clone())), clock()).await?;
        }
        let record = &applied.record;
        // Of what nothing came of, somebody else was woken; but a message that came a little early is sent again.
        let is_early = record.execution.due_at().is_some_and(|at| at - clock() < EARLY);
        if record.version != seen.version || is_early {
            self.wake_execution(&record.execution, clock()).await;
        }
        Ok(())
    }

    /// Does what follows of an event, and answers what came of it, if that is known now.
    async fn follow(&self, applied: &Applied, clock: crate::Now<'_>) -> Result<Option<Event>, Error> {
        for effect in &applied.effects {
            match effect {
                Effect::Perform { step, attempt, began_at, deadline } => {
                    let claim = crate::steps::Claim {
                        step: *step,
                        attempt: *attempt,
                        began_at: *began_at,
                        deadline: *deadline,
                    };
                    return self.perform(&applied.record, claim, clock()).await;
                }
                Effect::LookForReport { since, until } => {
                    let first_at = match applied.record.execution.plan.service_id {
                        Some(service) => self.table.first_report(service, *since, *until, clock()).await?,
                        None => None,
                    };
                    return Ok(Some(Event::Reported { first_at }));
                }
                Effect::RequestApproval
                | Effect::NotifyDecision
                | Effect::NotifyStarted
                | Effect::NotifyFinished
                | Effect::Escalate { .. }
                | Effect::Audit(_) => {}
            }
        }
        Ok(None)
    }

    /// Sends a wake-up for when an execution has something to do next. The ends of claims and of approvals need none: an
    /// answer comes before them, or the row falls due.
    pub(crate) async fn wake_execution(&self, execution: &Execution, now: DateTime<Utc>) {
        let is_asked = matches!(execution.stage, ExecutionStage::Claimed { .. } | ExecutionStage::Approval { .. });
        if let Some(at) = execution.due_at().filter(|_| !is_asked) {
            self.wake(Wake::Execution { execution_id: execution.id.to_string() }, at.max(now)).await;
        }
    }

    /// A person's decision. The first stands.
    pub async fn decide(
        &self,
        id: ExecutionId,
        approve: bool,
        by: Option<String>,
        reason: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Execution, Error> {
        let event = if approve { Event::Approved { by, reason } } else { Event::Rejected { by, reason } };
        let decide = |record: &ExecutionRecord| {
            if record.execution.awaits_decision() {
                return Ok(Some(event.clone()));
            }
            Err(Error::Conflict(format!(
                "The execution does not wait for a yes: it is {}",
                standing(&record.execution)
            )))
        };
        let applied = self.apply(id, decide, now).await?;
        self.wake_execution(&applied.record.execution, now).await;
        Ok(applied.record.execution)
    }

    /// Ends an execution, at once or after the step that is being done.
    pub async fn cancel(
        &self,
        id: ExecutionId,
        by: Option<String>,
        reason: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Execution, Error> {
        let decide = |record: &ExecutionRecord| {
            if record.execution.can_be_cancelled() {
                return Ok(Some(Event::Cancelled { by: by.clone(), reason: reason.clone() }));
            }
            Err(Error::Conflict(format!("The execution cannot be cancelled: it is {}", standing(&record.execution))))
        };
        Ok(self.apply(id, decide, now).await?.record.execution)
    }

    /// Cancels what goes on of a playbook that is about to be deleted.
    pub(crate) async fn cancel_all_of(&self, playbook: PlaybookId, actor: &Actor) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.table.open_executions(after, PAGE).await?;
            for execution in page.items.iter().filter(|execution| execution.plan.playbook_id == playbook) {
                let reason = Some("the playbook was deleted".to_owned());
                match self.cancel(execution.id, actor.name.clone(), reason, actor.at).await {
                    Ok(_) | Err(Error::Conflict(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            match page.next.map(|next| next.parse()).transpose()? {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Executions, newest first.
    pub async fn executions(
        &self,
        filter: ExecutionFilter,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Page<Execution>, Error> {
        Ok(self.table.executions(filter, after, limit).await?)
    }

    /// An execution with its steps.
    pub async fn execution(&self, id: ExecutionId) -> Result<Execution, Error> {
        let found = self.table.execution_in_full(id).await?;
        found.ok_or_else(|| Error::NotFound(format!("There is no execution {id}")))
    }

    /// The services for which no alert starts a playbook now.
    pub async fn open_circuits(&self, now: DateTime<Utc>) -> Result<Vec<ServiceId>, Error> {
        Ok(self.table.open_circuits(now).await?)
    }

    /// The services of executions that are there.
    pub async fn services_of_executions(&self, executions: &[Execution]) -> Result<Vec<ServiceId>, Error> {
        let mut ids: Vec<_> = executions.iter().filter_map(|execution| execution.plan.service_id).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(self.table.existing_services(&ids).await?)
    }

    /// How a playbook's runs of the last 30 days went.
    pub async fn effectiveness(&self, id: PlaybookId, now: DateTime<Utc>) -> Result<Effectiveness, Error> {
        let _playbook: Playbook = self.find(id).await?;
        let filter = ExecutionFilter { playbook: Some(id), ..ExecutionFilter::default() };
        let (mut runs, mut after) = (Vec::new(), None);
        loop {
            let page = self.table.executions(filter, after, PAGE).await?;
            let recent = |execution: &Execution| now - execution.started_at <= EFFECTIVENESS_OF;
            let is_over = page.items.iter().any(|execution| !recent(execution));
            runs.extend(page.items.into_iter().filter(recent));
            match page.next.map(|next| next.parse()).transpose()? {
                Some(next) if !is_over => after = Some(next),
                Some(_) | None => return Ok(Effectiveness::of(&runs)),
            }
        }
    }

    /// Counts an execution that ended.
    async fn count_ended(&self, execution: &Execution) {
        let known = self.table.find::<Playbook>(execution.plan.playbook_id).await.ok().flatten();
        let playbook = known.map_or_else(|| "unknown".to_owned(), |playbook| playbook.name.to_string());
        let status = execution.status.as_str();
        metrics::counter!("medic_playbook_executions_total", "playbook" => playbook.clone(), "status" => status)
            .increment(1);
        let took = execution.completed_at.map(|at| at - execution.started_at).unwrap_or_default();
        metrics::histogram!("medic_playbook_execution_duration_seconds", "playbook" => playbook)
            .record(took.as_seconds_f64().max(0.0));
        tracing::info!(execution.id = %execution.id, execution.status = status, "an execution ended");
    }

    /// Whether this is the secret that starts playbooks without a key; none when none is set. In constant time.
    pub fn is_webhook_secret(&self, given: &[u8]) -> Option<bool> {
        let secret = self.settings.webhook_secret.as_ref()?;
        // Their digests are of one length, so that the comparison tells nothing of the secret's.
        Some(Sha256::digest(secret).ct_eq(&Sha256::digest(given)).into())
    }

    /// 128 random bits in hexadecimal.
    fn new_stamp(&self) -> Result<String, Error> {
        Ok(format!("{:032x}", u128::from_be_bytes(self.random()?)))
    }
}

/// How an execution stands, for whoever comes too late.
fn standing(execution: &Execution) -> String {
    let decision = execution.decision.as_ref().and_then(|decided| decided.by.as_deref());
    let cancelled = execution.cancelled_by.as_ref().and_then(|decided| decided.by.as_deref());
    match (execution.status, decision, cancelled) {
        (ExecutionStatus::Cancelled, _, Some(by)) => format!("cancelled, by {by}"),
        (ExecutionStatus::Running | ExecutionStatus::Waiting, _, Some(by)) => {
            format!("{}, and was cancelled by {by}", execution.status.as_str())
        }
        (status, Some(by), _) => format!("{}, and was approved by {by}", status.as_str()),
        (status, None, _) => status.as_str().to_owned(),
    }
}

fn check_variables(variables: &Variables) -> Result<(), Invalid> {
    if variables.len() > MAX_VARIABLES {
        return Err(Invalid::new("variables", format!("must be at most {MAX_VARIABLES} variables")));
    }
    variables.iter().try_for_each(|(name, value)| parse_variable(&format!("variables.{name}"), name, value))
}
