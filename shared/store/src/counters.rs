//! Integer ids: counter items, outside any transaction, so gaps are allowed.

use domain::{
    AlertId, ApiKeyId, PingKeyId, PlaybookId, ScheduleId, ScriptId, SecretId, ServiceId, TargetId, TeamId, TriggerId,
    WebhookId, WindowId,
};

use crate::keys::Key;
use crate::{Error, Table};

pub(crate) const API_KEYS: &str = "api-key";

impl Table {
    pub async fn next_service_id(&self) -> Result<ServiceId, Error> {
        self.next("service").await.map(ServiceId::new)
    }

    /// Takes `count` ids for alerts, and returns the first.
    pub async fn next_alert_ids(&self, count: i64) -> Result<AlertId, Error> {
        let last = self.add(&Key::counter("alert"), "next", count).await?;
        Ok(AlertId::new(last - count + 1))
    }

    pub async fn next_api_key_id(&self) -> Result<ApiKeyId, Error> {
        self.next(API_KEYS).await.map(ApiKeyId::new)
    }

    pub async fn next_ping_key_id(&self) -> Result<PingKeyId, Error> {
        self.next("ping-key").await.map(PingKeyId::new)
    }

    pub async fn next_team_id(&self) -> Result<TeamId, Error> {
        self.next("team").await.map(TeamId::new)
    }

    pub async fn next_schedule_id(&self) -> Result<ScheduleId, Error> {
        self.next("schedule").await.map(ScheduleId::new)
    }

    pub async fn next_window_id(&self) -> Result<WindowId, Error> {
        self.next("window").await.map(WindowId::new)
    }

    pub async fn next_target_id(&self) -> Result<TargetId, Error> {
        self.next("target").await.map(TargetId::new)
    }

    pub async fn next_webhook_id(&self) -> Result<WebhookId, Error> {
        self.next("webhook").await.map(WebhookId::new)
    }

    pub async fn next_playbook_id(&self) -> Result<PlaybookId, Error> {
        self.next("playbook").await.map(PlaybookId::new)
    }

    pub async fn next_trigger_id(&self) -> Result<TriggerId, Error> {
        self.next("trigger").await.map(TriggerId::new)
    }

    pub async fn next_script_id(&self) -> Result<ScriptId, Error> {
        self.next("script").await.map(ScriptId::new)
    }

    pub async fn next_secret_id(&self) -> Result<SecretId, Error> {
        self.next("secret").await.map(SecretId::new)
    }

    async fn next(&self, of: &str) -> Result<i64, Error> {
        self.add(&Key::counter(of), "next", 1).await
    }
}
