//! Presses of buttons in Slack: a row for each, in the partition of the execution that it decides about, due until it is
//! settled.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{ExecutionId, Press, PressId, SlackUser, to_millis};
use serde::{Deserialize, Serialize};

use crate::due::HAND_OVER_AGAIN;
use crate::item::{self, Item, corrupt};
use crate::keys::{Key, PRESS_PREFIX, RowKind, execution_pk};
use crate::notifications::MessageItem;
use crate::requests::Request as _;
use crate::table::{Commit, EXISTS, Writes};
use crate::{Error, Table};

/// How long one is kept that cannot be settled. No approval is awaited for as long.
const KEPT_FOR: TimeDelta = TimeDelta::days(30);

#[derive(Debug, Serialize, Deserialize)]
struct PressItem {
    digest: String,
    approves: bool,
    user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageItem>,
    expires_at: i64,
}

fn read(item: Item) -> Result<Press, Error> {
    let key = Key::of(&item);
    let Some(RowKind::Press(execution_id, id)) = key.as_ref().and_then(Key::row_kind) else {
        return Err(corrupt(key.as_ref(), "not a press's key"));
    };
    let PressItem { digest, approves, user_id, user_name, message, expires_at: _ } = item::read(item)?;
    let user = SlackUser::parse(&user_id, user_name.as_deref()).map_err(|source| corrupt(key.as_ref(), source))?;
    Ok(Press { id, execution_id, digest, approves, user, message: message.map(MessageItem::into_message) })
}

fn press_item(press: &Press) -> Result<Item, Error> {
    let Press { id, execution_id, digest, approves, user, message } = press.clone();
    let key = Key::press(execution_id, id);
    let body = PressItem {
        digest,
        approves,
        user_id: user.id,
        user_name: user.name,
        message: message.as_ref().map(MessageItem::of),
        expires_at: (press.at() + KEPT_FOR).timestamp(),
    };
    let mut item = item::write(&key, &body)?;
    item::set_due(&mut item, &key, Some(to_millis(press.at() + HAND_OVER_AGAIN)));
    Ok(item)
}

impl Table {
    /// Keeps a press about an execution that awaits a decision, which is due until it is settled. Whoever read the
    /// execution before gets a conflict, and sees the press. It may be kept again.
    pub async fn keep_press(&self, press: &Press) -> Result<Commit, Error> {
        let mut writes = Writes::new();
        writes.table_put(self, press_item(press)?, None)?;
        writes.touch_awaiting_execution(self, press.execution_id)?;
        self.commit(writes).await
    }

    /// Keeps a press about an execution that awaits no decision any more.
    pub async fn keep_late_press(&self, press: &Press) -> Result<(), Error> {
        self.put(press_item(press)?).await
    }

    /// Finds a press that is not settled. Consistent; as a batch, since `playbook` reads executions by batches alone.
    pub async fn press(&self, execution: ExecutionId, id: PressId) -> Result<Option<Press>, Error> {
        self.get_many(vec![Key::press(execution, id)]).await?.pop().map(read).transpose()
    }

    /// Returns the presses about an execution that are not settled, in the order in which Medic received them. Consistent.
    pub async fn presses(&self, execution: ExecutionId) -> Result<Vec<Press>, Error> {
        let items = self.part(&execution_pk(execution), PRESS_PREFIX).await?;
        items.into_iter().map(read).collect()
    }

    /// Lets a press come due again at `at`, unless it is settled.
    pub async fn postpone_press(
        &self,
        execution: ExecutionId,
        id: PressId,
        at: DateTime<Utc>,
    ) -> Result<Commit, Error> {
        self.hand_over_later(&Key::press(execution, id), at).await
    }

    /// Removes a press that needs nothing more. Whoever gets a conflict was not the one who settled it.
    pub async fn settle_press(&self, press: &Press) -> Result<Commit, Error> {
        let sent = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(Key::press(press.execution_id, press.id).attributes()))
            .condition_expression(EXISTS)
            .send_boxed()
            .await;
        match sent {
            Ok(_) => Ok(Commit::Done),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(Commit::Conflict),
                _ => Err(error.into()),
            },
        }
    }
}
