//! Notification targets of a service.

use domain::{Destination, Revision, ServiceId, Target, TargetId, TargetPeriod};
use store::Page;

use crate::{Actor, Error, Medic};

/// A target to be created. Its address has been checked.
#[derive(Debug, Clone)]
pub struct NewTarget {
    pub destination: Destination,
    pub priority: i32,
    pub enabled: bool,
    pub period: TargetPeriod,
}

/// An update: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct TargetUpdate {
    pub destination: Option<Destination>,
    pub priority: Option<i32>,
    pub enabled: Option<bool>,
    pub period: Option<TargetPeriod>,
}

impl Medic {
    pub async fn create_target(&self, service_id: ServiceId, new: NewTarget, actor: &Actor) -> Result<Target, Error> {
        self.require_service(service_id).await?;
        let NewTarget { destination, priority, enabled, period } = new;
        let id = self.table.next_target_id().await?;
        let revision = Revision::beginning(actor.at);
        self.create(Target { id, service_id, destination, priority, enabled, period, revision }, actor).await
    }

    /// Returns a service's targets, newest first.
    pub async fn targets(
        &self,
        service: ServiceId,
        after: Option<TargetId>,
        limit: usize,
    ) -> Result<Page<Target>, Error> {
        self.require_service(service).await?;
        Ok(self.table.target_page(service, after, limit).await?)
    }

    pub async fn target(&self, service: ServiceId, id: TargetId) -> Result<Target, Error> {
        self.require_service(service).await?;
        self.find((service, id)).await
    }

    pub async fn update_target(
        &self,
        service: ServiceId,
        id: TargetId,
        update: &TargetUpdate,
        actor: &Actor,
    ) -> Result<Target, Error> {
        self.require_service(service).await?;
        let TargetUpdate { destination, priority, enabled, period } = update;
        let decide = |target: Target| {
            Ok(Target {
                destination: destination.clone().unwrap_or(target.destination),
                priority: priority.unwrap_or(target.priority),
                enabled: enabled.unwrap_or(target.enabled),
                period: period.unwrap_or(target.period),
                ..target
            })
        };
        self.update((service, id), actor, decide).await
    }

    pub async fn delete_target(&self, service: ServiceId, id: TargetId, actor: &Actor) -> Result<(), Error> {
        self.require_service(service).await?;
        self.delete::<Target>((service, id), actor).await
    }
}
