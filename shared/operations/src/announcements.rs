//! Tells Slack when maintenance begins and ends, once each.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::{
    Announcement, MaintenanceWindow, Notification, NotificationId, Outcome, Receiver, ServiceId, Stage, Subject, Team,
    WindowId,
};
use outbound::Wake;
use store::{Commit, Entity as _, Key, Writes};

use crate::configuration::{TRIES, contended};
use crate::{Actor, Error, Medic};

/// A notification and its places in lanes are one transaction, which DynamoDB bounds.
const MAX_CHANNELS: usize = 50;

impl Medic {
    /// Looks whether a window has begun or ended. Answers when to look again.
    pub(crate) async fn look_at_window(
        &self,
        id: WindowId,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        for _ in 0..TRIES {
            let Some(seen): Option<MaintenanceWindow> = self.table.find(id).await? else { return Ok(None) };
            let (mut looked, stage) = seen.look(now);
            looked.revision.version += 1;
            let mut writes = Writes::new();
            writes.update_window(&self.table, &seen, &looked)?;
            let notification = match stage {
                Some(stage) => self.announcement(&seen, stage, now).await?,
                None => None,
            };
            if let Some(notification) = &notification {
                writes.add_notification(&self.table, notification)?;
            }
            if self.table.commit(writes).await? == Commit::Done {
                self.hand_over(notification.as_ref(), now).await;
                return Ok(looked.due_at);
            }
        }
        Err(contended::<MaintenanceWindow>(id))
    }

    /// Removes a window. What was announced as begun is announced as ended.
    pub async fn delete_window(&self, id: WindowId, actor: &Actor) -> Result<(), Error> {
        let now = actor.at;
        for _ in 0..TRIES {
            let seen: MaintenanceWindow = self.find(id).await?;
            let mut writes = self.audit_of_deletion(actor, &seen)?;
            let notification =
                if seen.is_announced { self.announcement(&seen, Stage::Ended, now).await? } else { None };
            if let Some(notification) = &notification {
                writes.add_notification(&self.table, notification)?;
            }
            if self.table.delete(&seen, writes).await? == Commit::Done {
                self.forget_configured();
                self.hand_over(notification.as_ref(), now).await;
                return Ok(());
            }
        }
        Err(contended::<MaintenanceWindow>(id))
    }

    /// What is told of a window's beginning or end, if there is anybody to tell.
    async fn announcement(
        &self,
        window: &MaintenanceWindow,
        stage: Stage,
        now: DateTime<Utc>,
    ) -> Result<Option<Notification>, Error> {
        let outcomes = self.channels_of(&window.service_ids).await?;
        if outcomes.is_empty() {
            return Ok(None);
        }
        let (window_id, name, services) = (window.id, window.name.to_string(), window.service_ids.len());
        let subject = Subject::Maintenance(Announcement { window_id, name, services, stage });
        Ok(Some(Notification { id: NotificationId::at(now, self.random()?), at: now, subject, outcomes }))
    }

    /// Wakes the sweep for a window that was made or changed.
    pub(crate) async fn window_changed(&self, window: &MaintenanceWindow, now: DateTime<Utc>) {
        self.forget_configured();
        let Key { pk, sk } = MaintenanceWindow::key(window.id);
        self.wake(Wake::Row { pk, sk }, now).await;
    }

    /// The channels where these services are told of, each once; the general one for every service.
    async fn channels_of(&self, services: &[ServiceId]) -> Result<Vec<Outcome>, Error> {
        let general = || self.settings.slack_channel.clone();
        let mut channels = BTreeSet::new();
        if services.is_empty() {
            channels.extend(general());
        }
        let records = self.table.services_by_id(services).await?;
        let team_ids: BTreeSet<_> = records.iter().filter_map(|record| record.profile.team_id).collect();
        let teams: Vec<Team> = self.table.find_many(team_ids).await?;
        for record in &records {
            let team = teams.iter().find(|team| Some(team.id) == record.profile.team_id);
            channels.extend(team.and_then(|team| team.slack_channel_id.clone()).or_else(general));
        }
        let receivers = channels.into_iter().take(MAX_CHANNELS).map(|channel| Receiver::Slack { channel });
        Ok(receivers.map(|receiver| Outcome::to(receiver, None)).collect())
    }
}
