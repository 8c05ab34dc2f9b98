//! The audit log: records who configured what, in the same transaction as the change, and finds its entries.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    AuditAction, AuditDetails, AuditEntry, AuditedChange, AuditedField, Configurable, Configured, LogId, ServiceId,
    ThingKind,
};
use store::{AuditPage, AuditQuery, Page, Writes};

use crate::{Error, Medic};

/// Who makes a request, and when. The audit log records both.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The name of an API key; none for what Medic does by itself.
    pub name: Option<String>,
    pub at: DateTime<Utc>,
}

impl Actor {
    pub const fn medic(at: DateTime<Utc>) -> Self {
        Self { name: None, at }
    }
}

/// Which entries are wanted; what is none does not narrow them.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub execution_id: Option<domain::ExecutionId>,
    pub service_id: Option<domain::ServiceId>,
    pub action: Option<AuditAction>,
    pub actor: Option<String>,
    /// Entries of this instant and later.
    pub from: Option<DateTime<Utc>>,
    /// Entries before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// How many entries a page may hold, and about how many are read for it.
#[derive(Debug, Clone, Copy)]
pub struct AuditBounds {
    pub limit: usize,
    pub looked_at: usize,
}

impl Medic {
    /// Returns writes that hold the entry for what `actor` does: an entity that is created has no before, one that is
    /// deleted no after. An update that changes nothing leaves no entry.
    pub(super) fn audit_of(
        &self,
        actor: &Actor,
        before: Option<Configured>,
        after: Option<Configured>,
    ) -> Result<Writes, Error> {
        let mut writes = Writes::new();
        let action = match (&before, &after) {
            (None, _) => AuditAction::Created,
            (Some(_), Some(_)) => AuditAction::Updated,
            (Some(_), None) => AuditAction::Deleted,
        };
        let (before_fields, after_fields) = (fields(before.as_ref()), fields(after.as_ref()));
        let changes = AuditedChange::between(before_fields, after_fields);
        // An entity that leaves its service is still found by it.
        let service_id = [&after, &before].into_iter().flatten().find_map(|configured| configured.service_id);
        let Some(Configured { thing, service_name, .. }) = after.or(before).filter(|_| !changes.is_empty()) else {
            return Ok(writes);
        };
        let details = AuditDetails {
            playbook_name: thing.name.clone().filter(|_| thing.kind == ThingKind::Playbook),
            service_name,
            changes,
            thing: Some(thing),
            ..AuditDetails::default()
        };
        self.add_audit_entry(&mut writes, action, actor, service_id, details)?;
        Ok(writes)
    }

    /// Adds the entry for what `actor` does outside of an execution.
    pub(crate) fn add_audit_entry(
        &self,
        writes: &mut Writes,
        action: AuditAction,
        actor: &Actor,
        service_id: Option<ServiceId>,
        details: AuditDetails,
    ) -> Result<(), Error> {
        let Actor { name, at } = actor.clone();
        let id = self.next_log_id(at)?;
        let entry = AuditEntry { id, at, action, actor: name, execution_id: None, service_id, details };
        Ok(writes.add_audit(&self.table, &entry, self.settings.audit_retention)?)
    }

    /// Returns writes that hold the entry for an entity that `actor` creates.
    pub(crate) fn audit_of_creation(&self, actor: &Actor, new: &impl Configurable) -> Result<Writes, Error> {
        self.audit_of(actor, None, Some(new.configured()))
    }

    /// Returns writes that hold the entry for an entity that `actor` updates.
    pub(crate) fn audit_of_update<T: Configurable>(&self, actor: &Actor, old: &T, new: &T) -> Result<Writes, Error> {
        self.audit_of(actor, Some(old.configured()), Some(new.configured()))
    }

    /// Returns writes that hold the entry for an entity that `actor` deletes.
    pub(crate) fn audit_of_deletion(&self, actor: &Actor, old: &impl Configurable) -> Result<Writes, Error> {
        self.audit_of(actor, Some(old.configured()), None)
    }

    /// Returns entries of the audit log, newest first. A page may be short though more follows: its cursor leads on.
    pub async fn audit_log(
        &self,
        filter: &AuditFilter,
        before: Option<LogId>,
        AuditBounds { limit, looked_at }: AuditBounds,
        now: DateTime<Utc>,
    ) -> Result<Page<AuditEntry>, Error> {
        let AuditFilter { execution_id, service_id, action, actor, from, until } = filter.clone();
        // An entry's clock may go before this one.
        let latest = now + TimeDelta::days(1);
        let query = AuditQuery {
            execution_id,
            service_id,
            action,
            actor,
            from: from.unwrap_or_default().max(now - self.settings.audit_retention),
            until: until.unwrap_or(latest).min(latest),
        };
        Ok(self.table.audit_log(&query, AuditPage { before, limit, max_read: looked_at }, now).await?)
    }
}

fn fields(configured: Option<&Configured>) -> &[AuditedField] {
    configured.map_or(&[], |configured| &configured.fields)
}
