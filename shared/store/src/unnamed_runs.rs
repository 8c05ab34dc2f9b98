//! Runs that pings begin without naming them: which of them began last is a row of its own, since the lists lag behind.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{RunId, ServiceId};
use serde::{Deserialize, Serialize};

use crate::item::{self, Item, corrupt, text};
use crate::keys::Key;
use crate::requests::Request as _;
use crate::runs::read;
use crate::table::{Commit, IS_NEW, commit_of_put};
use crate::{Error, Table};

#[derive(Debug, Serialize, Deserialize)]
struct UnnamedItem {
    run_id: String,
    expires_at: i64,
}

/// How long the row is kept: longer than two starts are apart, which is a year at most.
const POINTER_KEPT: TimeDelta = TimeDelta::days(2 * 366);
/// Runs that are read to find an open one: the lists may still show some that have ended.
const CANDIDATES: usize = 10;

fn run_id(item: Item) -> Result<RunId, Error> {
    let key = Key::of(&item);
    let UnnamedItem { run_id, expires_at: _ } = item::read(item)?;
    RunId::parse(run_id).map_err(|source| corrupt(key.as_ref(), source))
}

impl Table {
    /// Returns the unnamed run of a service that began last. Consistent.
    pub async fn newest_unnamed_run(&self, service: ServiceId) -> Result<Option<RunId>, Error> {
        self.get_many(vec![Key::unnamed_run(service)]).await?.pop().map(run_id).transpose()
    }

    /// Records that an unnamed run begins, if the one that began last is still `before`.
    pub async fn begin_unnamed_run(
        &self,
        service: ServiceId,
        before: Option<&RunId>,
        id: &RunId,
        now: DateTime<Utc>,
    ) -> Result<Commit, Error> {
        let body = UnnamedItem { run_id: id.to_string(), expires_at: (now + POINTER_KEPT).timestamp() };
        let item = item::write(&Key::unnamed_run(service), &body)?;
        let put = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let put = match before {
            None => put.condition_expression(IS_NEW),
            Some(before) => put
                .condition_expression("run_id = :before")
                .expression_attribute_values(":before", text(before.as_str())),
        };
        commit_of_put(put.send_boxed().await)
    }

    /// Returns the open run of a service that began last, and the open one that nobody named, if that is another.
    pub async fn newest_open_runs(
        &self,
        service: ServiceId,
        now: DateTime<Utc>,
    ) -> Result<(Option<RunId>, Option<RunId>), Error> {
        let (listed, _) = self.open_runs(service, CANDIDATES, None, now).await?;
        let keys = listed.iter().map(|id| Key::run(service, id)).chain([Key::unnamed_run(service)]).collect();
        let (mut runs, mut unnamed) = (Vec::new(), None);
        for item in self.get_many(keys).await? {
            if Key::of(&item) == Some(Key::unnamed_run(service)) {
                unnamed = Some(run_id(item)?);
            } else {
                runs.push(read(item, now)?);
            }
        }
        if let Some(id) = unnamed.as_ref().filter(|id| !listed.contains(id)) {
            runs.push(self.run(service, id, now).await?);
        }
        runs.retain(|run| !run.is_over() && run.started_at.is_some());
        let newest = runs.iter().max_by_key(|run| run.started_at).map(|run| run.id.clone());
        let is_open = |id: &RunId| runs.iter().any(|run| run.id == *id);
        let unnamed = unnamed.filter(|id| is_open(id) && newest.as_ref() != Some(id));
        Ok((newest, unnamed))
    }
}
