//! Integer ids: counter items, outside any transaction, so gaps are allowed.

use domain::{AlertId, ApiKeyId, ServiceId};

use crate::keys::Key;
use crate::{Error, Table};

pub(crate) const API_KEYS: &str = "api-key";

impl Table {
    pub async fn next_service_id(&self) -> Result<ServiceId, Error> {
        self.next("service").await.map(ServiceId::new)
    }

    pub async fn next_alert_id(&self) -> Result<AlertId, Error> {
        self.next("alert").await.map(AlertId::new)
    }

    pub async fn next_api_key_id(&self) -> Result<ApiKeyId, Error> {
        self.next(API_KEYS).await.map(ApiKeyId::new)
    }

    async fn next(&self, of: &str) -> Result<i64, Error> {
        self.add(&Key::counter(of), "next", 1).await
    }
}
