//! Announces in Slack when maintenance begins and ends, once each.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::{
    Announcement, MaintenanceWindow, Notification, NotificationId, Outcome, Receiver, ServiceId, Stage, Subject, Team,
    WindowId,
};
use store::{Commit, Entity as _, Writes};

use super::configuration::described;
use crate::outbox::Outbox;
use crate::retry::retry_on_conflict;
use crate::{Actor, Error, Medic};

/// Each outcome is a write of the whole notification, so that of many channels several are cheaper than one.
const MAX_CHANNELS: usize = 50;

impl Medic {
    /// Announces whether a window has begun or ended. Returns when it is next due.
    pub(crate) async fn judge_window(&self, id: WindowId, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        retry_on_conflict(described::<MaintenanceWindow>(id), || async move {
            let Some(snapshot): Option<MaintenanceWindow> = self.table.find(id).await? else { return Ok(Some(None)) };
            let (mut window, stage) = snapshot.check(now);
            window.revision.version += 1;
            let mut writes = Writes::new();
            writes.update_window(&self.table, &snapshot, &window)?;
            let outbox = match stage {
                Some(stage) => self.announcement(&snapshot, stage, now).await?,
                None => Outbox::default(),
            };
            outbox.add_to(&mut writes, &self.table)?;
            if self.table.commit(writes).await? == Commit::Conflict {
                return Ok(None);
            }
            self.hand_over(&outbox, now).await;
            Ok(Some(window.due_at))
        })
        .await
    }

    /// Deletes a window. What was announced as begun is announced as ended.
    pub async fn delete_window(&self, id: WindowId, actor: &Actor) -> Result<(), Error> {
        let now = actor.at;
        retry_on_conflict(described::<MaintenanceWindow>(id), || async move {
            let snapshot: MaintenanceWindow = self.find(id).await?;
            let mut writes = self.audit_of_deletion(actor, &snapshot)?;
            let outbox = if snapshot.is_announced {
                self.announcement(&snapshot, Stage::Ended, now).await?
            } else {
                Outbox::default()
            };
            outbox.add_to(&mut writes, &self.table)?;
            if self.table.delete(&snapshot, writes).await? == Commit::Conflict {
                return Ok(None);
            }
            self.forget_configuration();
            self.hand_over(&outbox, now).await;
            Ok(Some(()))
        })
        .await
    }

    /// Returns the announcement of a window's beginning or end, if there is a channel for it.
    async fn announcement(
        &self,
        window: &MaintenanceWindow,
        stage: Stage,
        now: DateTime<Utc>,
    ) -> Result<Outbox, Error> {
        let outcomes = self.channels_of(&window.service_ids).await?;
        let (window_id, name, services) = (window.id, window.name.to_string(), window.service_ids.len());
        let subject = Subject::Maintenance(Announcement { window_id, name, services, stage });
        let notification = |outcomes: &[Outcome]| {
            let (id, subject) = (NotificationId::at(now, self.random()?), subject.clone());
            Ok(Notification { id, at: now, subject, outcomes: outcomes.to_vec() })
        };
        let notifications = outcomes.chunks(MAX_CHANNELS).map(notification).collect::<Result<_, Error>>()?;
        Ok(Outbox { notifications, ..Outbox::default() })
    }

    /// Wakes the sweep for a window that was created or updated.
    pub(super) async fn wake_window(&self, window: &MaintenanceWindow, now: DateTime<Utc>) {
        self.forget_configuration();
        self.wake_row(MaintenanceWindow::key(window.id), now).await;
    }

    /// Returns the channels of these services, each once; the default channel for every service.
    async fn channels_of(&self, services: &[ServiceId]) -> Result<Vec<Outcome>, Error> {
        let default = || self.settings.slack_channel.clone();
        let mut channels = BTreeSet::new();
        if services.is_empty() {
            channels.extend(default());
        }
        let records = self.table.services_by_id(services).await?;
        let teams: Vec<Team> = self.table.find_many(records.iter().filter_map(|record| record.profile.team_id)).await?;
        for record in &records {
            let team = teams.iter().find(|team| Some(team.id) == record.profile.team_id);
            channels.extend(team.and_then(|team| team.slack_channel_id.clone()).or_else(default));
        }
        let receivers = channels.into_iter().map(|channel| Receiver::Slack { channel });
        Ok(receivers.map(|receiver| Outcome::to(receiver, None)).collect())
    }
}
