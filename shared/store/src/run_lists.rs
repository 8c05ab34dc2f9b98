//! The lists of runs, by their newest signal. A completed run's place in its list ends in its duration, so that statistics
//! are one query.

use chrono::{DateTime, Utc};
use domain::{Run, RunId, RunStatus, ServiceId, Stamp};

use crate::item::{Item, text};
use crate::keys::{Collection, Key, LIST_INDEX, LIST_PK, LIST_SK, RowKind};
use crate::requests::Request as _;
use crate::runs::{KEPT, read};
use crate::table::Page;
use crate::{Error, Table};

impl Table {
    /// Returns a service's runs by their newest signal, newest first: those of a status, or all. `after` is where the page
    /// before ended. A page of one status may hold fewer than there are.
    pub async fn runs(
        &self,
        service: ServiceId,
        status: Option<RunStatus>,
        after: Option<&str>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Page<Run>, Error> {
        let collections: &[Collection<'_>] = match status {
            None => &[
                Collection::OpenRuns(service),
                Collection::StaleRuns,
                Collection::CompletedRuns(service),
                Collection::OtherRuns(service),
            ],
            Some(RunStatus::Started) => &[Collection::OpenRuns(service)],
            Some(RunStatus::StaleAlerted) => &[Collection::StaleRuns, Collection::OpenRuns(service)],
            Some(RunStatus::Completed) => &[Collection::CompletedRuns(service), Collection::OtherRuns(service)],
            Some(RunStatus::Failed | RunStatus::Superseded) => &[Collection::OtherRuns(service)],
        };
        let mut found = Vec::new();
        for collection in collections {
            found.extend(self.run_places(collection, service, after, limit + 1, now).await?);
        }
        found.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().map(|(place, _)| place.clone()) } else { None };
        let keys = found.into_iter().map(|(_, key)| key).collect();
        let items = self.get_many(keys).await?.into_iter().map(|item| read(item, now));
        let mut items = items.collect::<Result<Vec<_>, _>>()?;
        items.retain(|run| run.newest_at().is_some() && status.is_none_or(|status| run.status() == status));
        items.sort_by_key(|run| std::cmp::Reverse((run.started_at.or_else(|| run.newest_at()), run.newest_at())));
        Ok(Page { items, next })
    }

    /// Returns a service's newest open runs, by their ids alone, and the place where the others begin. `from` is such a
    /// place. A run that goes stale meanwhile may be there twice.
    pub async fn open_runs(
        &self,
        service: ServiceId,
        limit: usize,
        from: Option<Stamp>,
        now: DateTime<Utc>,
    ) -> Result<(Vec<RunId>, Option<Stamp>), Error> {
        let highest = from.map(Collection::run_places_up_to);
        let mut found = Vec::new();
        for collection in [Collection::OpenRuns(service), Collection::StaleRuns] {
            found.extend(self.run_places(&collection, service, highest.as_deref(), limit + 1, now).await?);
        }
        found.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        let rest = found.get(limit).and_then(|(place, _)| Collection::stamp_of_run_place(place));
        found.truncate(limit);
        let id = |(_, key): (String, Key)| {
            let Some(RowKind::Run(_, id)) = key.row_kind() else { return None };
            Some(id)
        };
        Ok((found.into_iter().filter_map(id).collect(), rest))
    }

    /// Returns how long the last completed runs took, in milliseconds: one query, and no run is read.
    pub async fn durations(&self, service: ServiceId, limit: usize, now: DateTime<Utc>) -> Result<Vec<u64>, Error> {
        let found = self.query_runs(&Collection::CompletedRuns(service), service, None, limit, now).await?;
        let duration = |item: &Item| item.get(LIST_SK)?.as_s().ok()?.rsplit('#').next()?.parse().ok();
        Ok(found.iter().filter_map(duration).collect())
    }

    /// Counts the runs whose stale alert is open.
    pub async fn count_stale_runs(&self) -> Result<i64, Error> {
        self.count(&Collection::StaleRuns).await
    }

    async fn run_places(
        &self,
        collection: &Collection<'_>,
        service: ServiceId,
        after: Option<&str>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<(String, Key)>, Error> {
        let found = self.query_runs(collection, service, after, limit, now).await?;
        let entry = |item: &Item| {
            let sk = item.get(LIST_SK)?.as_s().ok()?;
            let sk = sk.strip_prefix(&Collection::stale_prefix(service)).unwrap_or(sk);
            let place = sk.split('#').next()?.to_owned();
            Some((place, Key::of(item)?))
        };
        Ok(found.iter().filter_map(entry).collect())
    }

    /// Returns entries of a list that have not expired, newest first.
    async fn query_runs(
        &self,
        collection: &Collection<'_>,
        service: ServiceId,
        after: Option<&str>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<Item>, Error> {
        let is_stale = *collection == Collection::StaleRuns;
        let prefix = if is_stale { Collection::stale_prefix(service) } else { String::new() };
        // One that is open may be kept for longer, until it is stale.
        let may_be_older = is_stale || *collection == Collection::OpenRuns(service);
        let oldest = if may_be_older { DateTime::UNIX_EPOCH } else { now - KEPT };
        let low = format!("{prefix}{}", Collection::instant(oldest));
        // `~` sorts after every digit; the upper end is not part of the range, as a place is longer than what it begins.
        let high = format!("{prefix}{}", after.unwrap_or("~"));
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(LIST_INDEX)
            .key_condition_expression("#p = :p AND #s BETWEEN :low AND :high")
            .expression_attribute_names("#p", LIST_PK)
            .expression_attribute_names("#s", LIST_SK)
            .expression_attribute_values(":p", text(collection.pk()))
            .expression_attribute_values(":low", text(low))
            .expression_attribute_values(":high", text(&high))
            .scan_index_forward(false)
            .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX))
            .send_boxed()
            .await?;
        let mut items = answer.items.unwrap_or_default();
        items.retain(|item| item.get(LIST_SK).and_then(|sk| sk.as_s().ok()) != Some(&high));
        items.truncate(limit);
        Ok(items)
    }
}
