//! Executions: the state of each in one small row, its plan in another that never changes, and a row for the result of each
//! step. Lists hold the state's row by its status, and the others by service and by playbook.

mod plan;

use chrono::{DateTime, Utc};
use domain::{
    AlertId, Decided, Execution, ExecutionId, ExecutionStage, ExecutionStatus, Origin, Plan, PlaybookId, ServiceId,
    StepRecord, StepStatus, TriggerId, Verification, from_millis, to_millis,
};
use serde::{Deserialize, Serialize};

use crate::item::{self, Diff, Item, corrupt, number, text};
use crate::keys::{Collection, Key, LIST_PK, LIST_SK, RowKind, execution_id_of};
use crate::requests::Request as _;
use crate::table::{IS_NEW, Page, Writes};
use crate::{Error, Table};
use plan::PlanItem;

/// An execution as it was read.
#[derive(Debug, Clone)]
pub struct ExecutionRecord {
    /// Without the results of its steps.
    pub execution: Execution,
    pub version: u64,
    /// Distinguishes the commit that wrote it from every other.
    pub stamp: String,
    /// What the report of a script's attempt must hold.
    pub nonce: Option<String>,
}

/// Which executions to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecutionFilter {
    pub service: Option<ServiceId>,
    pub playbook: Option<PlaybookId>,
    pub status: Option<ExecutionStatus>,
}

impl ExecutionFilter {
    fn matches(&self, execution: &Execution) -> bool {
        self.service.is_none_or(|id| execution.plan.service_id == Some(id))
            && self.playbook.is_none_or(|id| execution.plan.playbook_id == id)
            && self.status.is_none_or(|status| execution.status == status)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct StateItem {
    playbook_id: i64,
    playbook_name: String,
    playbook_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<i64>,
    origin: OriginItem,
    status: String,
    stage: StageItem,
    current_step: usize,
    steps: Vec<StepItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cancelled_by: Option<DecidedItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decision: Option<DecidedItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified_at: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unverified: bool,
    verify_within_ms: i64,
    started_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<i64>,
    version: u64,
    stamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OriginItem {
    Key { name: String },
    Webhook {},
    Alert { alert_id: i64, trigger_id: i64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StageItem {
    Approval { until: i64, proceeds: bool },
    Ready { since: i64 },
    Claimed { attempt: u32, until: i64 },
    Waiting { until: i64 },
    Polling { attempt: u32, next_at: i64 },
    Verifying { next_at: i64, until: i64 },
    Ended {},
}

#[derive(Debug, Serialize, Deserialize)]
struct StepItem {
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DecidedItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    at: i64,
}

/// The result of a step.
#[derive(Debug, Serialize, Deserialize)]
struct StepResultItem {
    output: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl OriginItem {
    fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Key { name } => Self::Key { name: name.clone() },
            Origin::Webhook => Self::Webhook {},
            Origin::Alert { alert_id, trigger_id } => {
                Self::Alert { alert_id: alert_id.get(), trigger_id: trigger_id.get() }
            }
        }
    }

    fn into_origin(self) -> Origin {
        match self {
            Self::Key { name } => Origin::Key { name },
            Self::Webhook {} => Origin::Webhook,
            Self::Alert { alert_id, trigger_id } => {
                Origin::Alert { alert_id: AlertId::new(alert_id), trigger_id: TriggerId::new(trigger_id) }
            }
        }
    }
}

impl StageItem {
    fn of(stage: &ExecutionStage) -> Self {
        match stage {
            ExecutionStage::Approval { until, proceeds } => {
                Self::Approval { until: to_millis(*until), proceeds: *proceeds }
            }
            ExecutionStage::Ready { since } => Self::Ready { since: to_millis(*since) },
            ExecutionStage::Claimed { attempt, until } => Self::Claimed { attempt: *attempt, until: to_millis(*until) },
            ExecutionStage::Waiting { until } => Self::Waiting { until: to_millis(*until) },
            ExecutionStage::Polling { attempt, next_at } => {
                Self::Polling { attempt: *attempt, next_at: to_millis(*next_at) }
            }
            ExecutionStage::Verifying { next_at, until } => {
                Self::Verifying { next_at: to_millis(*next_at), until: to_millis(*until) }
            }
            ExecutionStage::Ended => Self::Ended {},
        }
    }

    fn into_stage(self) -> ExecutionStage {
        match self {
            Self::Approval { until, proceeds } => ExecutionStage::Approval { until: from_millis(until), proceeds },
            Self::Ready { since } => ExecutionStage::Ready { since: from_millis(since) },
            Self::Claimed { attempt, until } => ExecutionStage::Claimed { attempt, until: from_millis(until) },
            Self::Waiting { until } => ExecutionStage::Waiting { until: from_millis(until) },
            Self::Polling { attempt, next_at } => ExecutionStage::Polling { attempt, next_at: from_millis(next_at) },
            Self::Verifying { next_at, until } => {
                ExecutionStage::Verifying { next_at: from_millis(next_at), until: from_millis(until) }
            }
            Self::Ended {} => ExecutionStage::Ended,
        }
    }
}

impl DecidedItem {
    fn of(decided: &Decided) -> Self {
        let Decided { by, reason, at } = decided;
        Self { by: by.clone(), reason: reason.clone(), at: to_millis(*at) }
    }

    fn into_decided(self) -> Decided {
        let Self { by, reason, at } = self;
        Decided { by, reason, at: from_millis(at) }
    }
}

fn state_item(execution: &Execution, version: u64, stamp: &str, nonce: Option<&str>) -> Result<Item, Error> {
    let Execution {
        id,
        plan,
        playbook_name,
        origin,
        status,
        stage,
        current_step,
        steps,
        cancelled_by,
        decision,
        verification,
        verify_within,
        started_at,
        completed_at,
    } = execution;
    let step = |step: &StepRecord| StepItem {
        status: step.status.as_str().to_owned(),
        started_at: step.started_at.map(to_millis),
        completed_at: step.completed_at.map(to_millis),
    };
    let body = StateItem {
        playbook_id: plan.playbook_id.get(),
        playbook_name: playbook_name.clone(),
        playbook_version: plan.version,
        service_id: plan.service_id.map(ServiceId::get),
        origin: OriginItem::of(origin),
        status: status.as_str().to_owned(),
        stage: StageItem::of(stage),
        current_step: *current_step,
        steps: steps.iter().map(step).collect(),
        cancelled_by: cancelled_by.as_ref().map(DecidedItem::of),
        decision: decision.as_ref().map(DecidedItem::of),
        verified_at: match verification {
            Verification::Verified { at } => Some(to_millis(*at)),
            Verification::None | Verification::Unverified => None,
        },
        unverified: *verification == Verification::Unverified,
        verify_within_ms: verify_within.num_milliseconds(),
        started_at: to_millis(*started_at),
        completed_at: completed_at.map(to_millis),
        version,
        stamp: stamp.to_owned(),
        nonce: nonce.map(str::to_owned),
    };
    let key = Key::execution(*id);
    let mut item = item::write(&key, &body)?;
    list(&mut item, &Collection::of_status(*status), *id);
    item::set_due(&mut item, &key, execution.due_at().map(to_millis));
    Ok(item)
}

fn list(item: &mut Item, collection: &Collection<'_>, id: ExecutionId) {
    item.insert(LIST_PK.to_owned(), text(collection.pk()));
    item.insert(LIST_SK.to_owned(), text(id.to_string()));
}

/// Reads a state; the plan comes without its steps.
fn read(item: Item) -> Result<ExecutionRecord, Error> {
    let key = Key::of(&item);
    let Some(RowKind::Execution(id)) = key.as_ref().and_then(Key::row_kind) else {
        return Err(corrupt(key.as_ref(), "not an execution's key"));
    };
    let unknown = || corrupt(key.as_ref(), "an unknown status");
    let state: StateItem = item::read(item)?;
    let step = |step: StepItem| {
        let StepItem { status, started_at, completed_at } = step;
        Ok(StepRecord {
            status: StepStatus::ALL.into_iter().find(|known| known.as_str() == status).ok_or_else(unknown)?,
            output: String::new(),
            error_message: None,
            started_at: started_at.map(from_millis),
            completed_at: completed_at.map(from_millis),
        })
    };
    let status = ExecutionStatus::ALL.into_iter().find(|known| known.as_str() == state.status);
    let execution = Execution {
        id,
        plan: Plan {
            playbook_id: PlaybookId::new(state.playbook_id),
            version: state.playbook_version,
            service_id: state.service_id.map(ServiceId::new),
            variables: domain::Variables::new(),
            given: domain::Variables::new(),
            steps: Vec::new(),
        },
        playbook_name: state.playbook_name,
        origin: state.origin.into_origin(),
        status: status.ok_or_else(unknown)?,
        stage: state.stage.into_stage(),
        current_step: state.current_step,
        steps: state.steps.into_iter().map(step).collect::<Result<_, Error>>()?,
        cancelled_by: state.cancelled_by.map(DecidedItem::into_decided),
        decision: state.decision.map(DecidedItem::into_decided),
        verification: match state.verified_at {
            Some(at) => Verification::Verified { at: from_millis(at) },
            None if state.unverified => Verification::Unverified,
            None => Verification::None,
        },
        verify_within: chrono::TimeDelta::milliseconds(state.verify_within_ms),
        started_at: from_millis(state.started_at),
        completed_at: state.completed_at.map(from_millis),
    };
    Ok(ExecutionRecord { execution, version: state.version, stamp: state.stamp, nonce: state.nonce })
}

impl Writes {
    /// Creates an execution: its state, its plan, and its places in the lists of its service and its playbook.
    pub fn create_execution(&mut self, table: &Table, execution: &Execution, stamp: &str) -> Result<(), Error> {
        let id = execution.id;
        self.table_put(table, state_item(execution, 1, stamp, None)?, Some(IS_NEW))?;
        let mut plan = item::write(&Key::execution_plan(id), &PlanItem::of(&execution.plan)?)?;
        if let Some(service) = execution.plan.service_id {
            list(&mut plan, &Collection::ExecutionsOfService(service), id);
        }
        self.table_put(table, plan, Some(IS_NEW))?;
        let mut of_playbook = Key::execution_of_playbook(id).attributes();
        list(&mut of_playbook, &Collection::ExecutionsOfPlaybook(execution.plan.playbook_id), id);
        self.table_put(table, of_playbook, Some(IS_NEW))
    }

    /// Updates an execution from what was read to `execution`, and keeps the results of the steps that ended since.
    pub fn update_execution(
        &mut self,
        table: &Table,
        old: &ExecutionRecord,
        execution: &Execution,
        stamp: &str,
        nonce: Option<&str>,
    ) -> Result<(), Error> {
        let item = state_item(execution, old.version + 1, stamp, nonce)?;
        self.table_put_if(table, item, "version = :old_version", [(":old_version", number(old.version))])?;
        for (n, (new, before)) in execution.steps.iter().zip(&old.execution.steps).enumerate() {
            if new.status != before.status && matches!(new.status, StepStatus::Completed | StepStatus::Failed) {
                let body = StepResultItem { output: new.output.clone(), error: new.error_message.clone() };
                self.table_put(table, item::write(&Key::execution_step(execution.id, n), &body)?, None)?;
            }
        }
        Ok(())
    }

    /// Gives an execution that awaits a decision another version.
    pub(crate) fn touch_awaiting_execution(&mut self, table: &Table, id: ExecutionId) -> Result<(), Error> {
        let diff = Diff { expression: "SET version = version + :one".to_owned(), ..Diff::default() };
        let awaits_decision = "attribute_exists(stage.approval)";
        self.table_update(table, &Key::execution(id), diff, awaits_decision, [(":one", number(1))])
    }
}

impl Table {
    /// Finds an execution with its plan. Consistent.
    pub async fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error> {
        let (state_key, plan_key) = (Key::execution(id), Key::execution_plan(id));
        let (mut state, mut plan) = (None, None);
        for item in self.get_many(vec![state_key.clone(), plan_key.clone()]).await? {
            if Key::of(&item).as_ref() == Some(&state_key) {
                state = Some(read(item)?);
            } else {
                plan = Some(item::read::<PlanItem>(item)?);
            }
        }
        let (Some(mut record), Some(plan)) = (state, plan) else { return Ok(None) };
        plan.fill(&mut record.execution.plan).map_err(|source| corrupt(Some(&plan_key), source))?;
        Ok(Some(record))
    }

    /// Finds an execution with the results of its steps. Consistent.
    pub async fn execution_in_full(&self, id: ExecutionId) -> Result<Option<Execution>, Error> {
        let Some(ExecutionRecord { mut execution, .. }) = self.execution(id).await? else { return Ok(None) };
        let ended = (0..execution.steps.len()).map(|n| Key::execution_step(id, n)).collect();
        for item in self.get_many(ended).await? {
            let n = Key::of(&item).and_then(|key| key.sk.strip_prefix("step#")?.parse::<usize>().ok());
            let StepResultItem { output, error } = item::read(item)?;
            if let Some(record) = n.and_then(|n| execution.steps.get_mut(n)) {
                record.output = output;
                record.error_message = error;
            }
        }
        Ok(Some(execution))
    }

    /// Returns executions, newest first, without their plans' steps and the results of these. A page with a filter may hold
    /// fewer than there are.
    pub async fn executions(
        &self,
        filter: ExecutionFilter,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Page<Execution>, Error> {
        let collections = match filter {
            ExecutionFilter { service: Some(service), .. } => vec![Collection::ExecutionsOfService(service)],
            ExecutionFilter { playbook: Some(playbook), .. } => vec![Collection::ExecutionsOfPlaybook(playbook)],
            ExecutionFilter { status: Some(status), .. } => vec![Collection::of_status(status)],
            ExecutionFilter { .. } => {
                vec![Collection::PendingExecutions, Collection::OpenExecutions, Collection::EndedExecutions]
            }
        };
        self.executions_in(&collections, filter, after, limit).await
    }

    /// Returns executions that are under way or awaiting approval, newest first, likewise.
    pub async fn open_executions(&self, after: Option<ExecutionId>, limit: usize) -> Result<Page<Execution>, Error> {
        let collections = [Collection::PendingExecutions, Collection::OpenExecutions];
        self.executions_in(&collections, ExecutionFilter::default(), after, limit).await
    }

    async fn executions_in(
        &self,
        collections: &[Collection<'_>],
        filter: ExecutionFilter,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Page<Execution>, Error> {
        let after = after.map(|id| id.to_string());
        let mut ids = Vec::new();
        let mut more = false;
        for collection in collections {
            let page = self.list(collection, after.as_deref(), limit).await?;
            more |= page.next.is_some();
            ids.extend(page.items.iter().filter_map(|key| execution_id_of(&key.pk)));
        }
        // One that moves on between two queries may be in both.
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        ids.dedup();
        more |= ids.len() > limit;
        ids.truncate(limit);
        let items = self.get_many(ids.iter().copied().map(Key::execution).collect()).await?;
        let mut items =
            items.into_iter().map(|item| read(item).map(|record| record.execution)).collect::<Result<Vec<_>, _>>()?;
        items.retain(|execution| filter.matches(execution));
        items.sort_unstable_by_key(|execution| std::cmp::Reverse(execution.id));
        let next = if more { ids.last().map(ToString::to_string) } else { None };
        Ok(Page { items, next })
    }

    /// Lets an execution come due again at `at`, unless it moved on.
    pub async fn postpone_execution(&self, record: &ExecutionRecord, at: DateTime<Utc>) -> Result<(), Error> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(Key::execution(record.execution.id).attributes()))
            .update_expression("SET due_at = :at REMOVE due_failures")
            .condition_expression("version = :version AND attribute_exists(due_at)")
            .expression_attribute_values(":at", number(to_millis(at)))
            .expression_attribute_values(":version", number(record.version))
            .send_boxed()
            .await;
        // On a conflict it moved on.
        let _postponed: crate::Commit = crate::table::commit_of(sent)?;
        Ok(())
    }
}
