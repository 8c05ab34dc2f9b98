//! What every operation works with.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use domain::ServiceId;
use outbound::{PagerDuty, Slack, Wake, Wakes};
use store::Table;

use crate::Keyring;

/// What configuration decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people reach Medic, for links in notices; without a slash at the end.
    pub base_url: Option<String>,
    /// The channel of services whose team has none.
    pub slack_channel: Option<String>,
    pub heartbeat_retention: TimeDelta,
}

/// Where notices for Slack go.
#[derive(Debug, Clone)]
pub enum SlackDelivery {
    Post(Slack),
    /// There is no Slack: they are printed to the log, and kept to be read back if `keep`.
    Print {
        keep: bool,
    },
}

/// The dependencies of every operation.
#[derive(Debug)]
pub struct Medic {
    pub table: Table,
    pub wakes: Arc<dyn Wakes>,
    pub slack: SlackDelivery,
    pub pagerduty: Option<PagerDuty>,
    pub settings: Settings,
    pub keyring: Keyring,
    pub(crate) names: Names,
    pub(crate) aimed: Aimed,
    /// Whether the gauges in the table are behind what this process did.
    pub(crate) gauges_changed: AtomicBool,
}

impl Medic {
    pub fn new(
        table: Table,
        wakes: Arc<dyn Wakes>,
        slack: SlackDelivery,
        pagerduty: Option<PagerDuty>,
        settings: Settings,
    ) -> Self {
        Self {
            table,
            wakes,
            slack,
            pagerduty,
            settings,
            keyring: Keyring::default(),
            names: Names::default(),
            aimed: Aimed::default(),
            gauges_changed: AtomicBool::default(),
        }
    }

    /// Sends a wake-up. A failure is logged and no more: the timer row falls due all the same.
    pub(crate) async fn wake(&self, wake: Wake, at: DateTime<Utc>) {
        if let Err(error) = self.wakes.wake(wake, at).await {
            tracing::warn!(error = %outermost(&error), "a wake-up was not sent; its timer will do");
        }
    }

    /// Wakes the sweep for a service's row.
    pub(crate) async fn wake_service(&self, id: ServiceId, at: DateTime<Utc>) {
        let store::Key { pk, sk } = store::Key::service(id);
        self.wake(Wake::Row { pk, sk }, at).await;
    }
}

/// An error with its causes, for the log.
pub(crate) fn outermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What this process remembers of services that report: whose a name is, and the threshold that the next blind write
/// supposes. Both are only guesses, which the write's condition checks.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_name: Mutex<HashMap<String, ServiceId>>,
    thresholds: Mutex<HashMap<ServiceId, u32>>,
}

/// Past this many, a map starts anew: some 10 MB.
const MOST_REMEMBERED: usize = 100_000;

impl Names {
    pub(crate) fn id(&self, folded: &str) -> Option<ServiceId> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).get(folded).copied()
    }

    pub(crate) fn remember(&self, folded: String, id: ServiceId) {
        insert_bounded(&self.by_name, folded, id);
    }

    pub(crate) fn forget(&self, folded: &str) {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).remove(folded);
    }

    pub(crate) fn threshold(&self, id: ServiceId) -> u32 {
        self.thresholds.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or(1)
    }

    pub(crate) fn remember_threshold(&self, id: ServiceId, threshold: u32) {
        if threshold == 1 {
            self.thresholds.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        } else {
            insert_bounded(&self.thresholds, id, threshold);
        }
    }
}

fn insert_bounded<K: std::hash::Hash + Eq, V>(map: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= MOST_REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

/// The wake-ups for a shard and a second that this process has sent, so that each is sent once.
#[derive(Debug, Default)]
pub(crate) struct Aimed(Mutex<HashMap<(u8, i64), DateTime<Utc>>>);

impl Aimed {
    /// Whether `at` needs a wake-up of its own: none was sent for this shard in its second, or only for later in it.
    pub(crate) fn is_new(&self, shard: u8, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() > 4_096 {
            sent.retain(|(_, second), _| *second >= now.timestamp());
        }
        match sent.entry((shard, at.timestamp())) {
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let earlier = at < *entry.get();
                if earlier {
                    entry.insert(at);
                }
                earlier
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(at);
                true
            }
        }
    }
}
