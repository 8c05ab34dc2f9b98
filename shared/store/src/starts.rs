//! Starts, the executions that an alert asks for: a row for each trigger, in the alert's partition, due until the playbook
//! has started, and again when the alert closes.

use chrono::{DateTime, Utc};
use domain::{AlertId, ExecutionId, PlaybookId, TriggerId, from_millis, to_millis};
use serde::{Deserialize, Serialize};

use crate::due::HAND_OVER_AGAIN;
use crate::item::{self, Diff, corrupt, number, text};
use crate::keys::Key;
use crate::table::{CONFLICT_RETRIES, Commit, EXISTS, IS_NEW, Writes};
use crate::{Error, Table};

/// A playbook that is to be started, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub alert_id: AlertId,
    pub trigger_id: TriggerId,
    pub playbook_id: PlaybookId,
    pub consecutive_failures: u32,
    /// When the trigger was met.
    pub at: DateTime<Utc>,
    /// What was started, if anything was.
    pub execution_id: Option<ExecutionId>,
    /// Nothing is to be started: the circuit was open, or the playbook is gone or cannot be planned.
    pub is_refused: bool,
    /// Whether the alert has closed.
    pub is_closed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct StartItem {
    playbook_id: i64,
    consecutive_failures: u32,
    at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    execution_id: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refused: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
}

impl Writes {
    /// Adds a start.
    pub fn add_start(&mut self, table: &Table, start: &Start) -> Result<(), Error> {
        let key = Key::start(start.alert_id, start.trigger_id);
        let body = StartItem {
            playbook_id: start.playbook_id.get(),
            consecutive_failures: start.consecutive_failures,
            at: to_millis(start.at),
            execution_id: None,
            refused: false,
            closed: false,
        };
        let mut item = item::write(&key, &body)?;
        item::set_due(&mut item, &key, Some(to_millis(start.at + HAND_OVER_AGAIN)));
        self.table_put(table, item, Some(IS_NEW))
    }

    /// Records the result of a start, once; it stays due until its row shows that.
    pub fn settle_start(&mut self, table: &Table, start: &Start) -> Result<(), Error> {
        let mut sets = Vec::new();
        let mut values = item::Item::new();
        if let Some(id) = start.execution_id {
            sets.push("execution_id = :execution");
            values.insert(":execution".to_owned(), text(id.to_string()));
        }
        if start.is_refused {
            sets.push("refused = :refused");
            values.insert(":refused".to_owned(), aws_sdk_dynamodb::types::AttributeValue::Bool(true));
        }
        let diff = Diff { expression: format!("SET {}", sets.join(", ")), values, ..Diff::default() };
        let open = "attribute_exists(pk) AND attribute_not_exists(execution_id) AND attribute_not_exists(refused)";
        self.table_update(table, &Key::start(start.alert_id, start.trigger_id), diff, open, [])
    }
}

impl Table {
    /// Finds a start. Consistent.
    pub async fn start(&self, alert_id: AlertId, trigger_id: TriggerId) -> Result<Option<Start>, Error> {
        let key = Key::start(alert_id, trigger_id);
        let Some(item) = self.get(&key, true).await? else { return Ok(None) };
        let StartItem { playbook_id, consecutive_failures, at, execution_id, refused, closed } = item::read(item)?;
        let execution_id = execution_id.map(|id| id.parse()).transpose();
        Ok(Some(Start {
            alert_id,
            trigger_id,
            playbook_id: PlaybookId::new(playbook_id),
            consecutive_failures,
            at: from_millis(at),
            execution_id: execution_id.map_err(|source: domain::Invalid| corrupt(Some(&key), source))?,
            is_refused: refused,
            is_closed: closed,
        }))
    }

    /// Marks a start whose alert has closed, once, so that what it started learns of it.
    pub async fn close_start(&self, alert: AlertId, trigger: TriggerId, now: DateTime<Utc>) -> Result<(), Error> {
        let key = Key::start(alert, trigger);
        let values = [
            (":closed".to_owned(), aws_sdk_dynamodb::types::AttributeValue::Bool(true)),
            (":at".to_owned(), number(to_millis(now + HAND_OVER_AGAIN))),
            (":shard".to_owned(), text(key.shard().to_string())),
        ];
        let diff = Diff {
            expression: "SET closed = :closed, due_at = :at, due_shard = :shard".to_owned(),
            values: values.into(),
            ..Diff::default()
        };
        for _ in 0..CONFLICT_RETRIES {
            let mut writes = Writes::new();
            writes.table_update(self, &key, diff.clone(), EXISTS, [])?;
            if self.single_update(writes).await? == Commit::Done {
                return Ok(());
            }
        }
        Err(Error::Contended { key: key.to_string() })
    }

    /// Lets a start come due again at `at`, if it still is to.
    pub async fn postpone_start(&self, start: &Start, at: DateTime<Utc>) -> Result<(), Error> {
        // On a conflict it was handled meanwhile.
        let _postponed: Commit = self.hand_over_later(&Key::start(start.alert_id, start.trigger_id), at).await?;
        Ok(())
    }

    /// Ends the timer of a start that was handled, unless its alert has closed since it was read.
    pub async fn end_start(&self, old: &Start) -> Result<Commit, Error> {
        let diff = Diff { expression: item::END_TIMER.to_owned(), ..Diff::default() };
        let condition = if old.is_closed { EXISTS } else { "attribute_exists(pk) AND attribute_not_exists(closed)" };
        let mut writes = Writes::new();
        writes.table_update(self, &Key::start(old.alert_id, old.trigger_id), diff, condition, [])?;
        self.single_update(writes).await
    }
}
