//! What every operation works with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{HeartbeatName, MaintenanceWindow, ServiceId, Trigger, Webhook};
use outbound::{Guard, Outgoing, PagerDuty, ScriptJobs, Seal, Slack, SlackSecret, Wake, Wakes};
use store::{CircuitLimit, SHARDS, Table};

use crate::Error;
use crate::Keyring;
use crate::batch::RowTurns;
use crate::entropy::{Entropy, HeartbeatIds, LogIds, random};
use crate::error::error_chain;
use crate::limits::{DefaultLimits, Limits};
use crate::ping_keys::PingKeyring;
use crate::routing::TtlCache;

/// What configuration decides.
#[derive(Clone)]
pub struct Settings {
    /// Where people reach Medic, for links in notifications; without a slash at the end.
    pub base_url: Option<String>,
    /// The channel where notifications go.
    pub slack_channel: Option<String>,
    pub heartbeat_retention: TimeDelta,
    pub audit_retention: TimeDelta,
    pub limits: DefaultLimits,
    /// What requests of Slack are signed with.
    pub slack_signing_secret: Option<SlackSecret>,
    /// Ids of the Slack users who may decide about executions; anybody who can press a button, when empty.
    pub slack_approvers: Vec<String>,
    /// What starts playbooks without a key.
    pub webhook_secret: Option<String>,
    /// How many executions may start for a service within what time.
    pub circuit: CircuitLimit,
    /// What secrets of playbooks are sealed with.
    pub seal: Option<Arc<Seal>>,
    /// Whether no other process works on the table, so that what others hold is free.
    pub only_process: bool,
    /// Where ids, keys and nonces come from.
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// Where notifications for Slack go.
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
    /// Where scripts are handed over to be run.
    pub script_jobs: Arc<dyn ScriptJobs>,
    pub slack: SlackDelivery,
    pub pagerduty: PagerDuty,
    /// Of the addresses that users set.
    pub guard: Guard,
    /// Calls the addresses that users set.
    pub outgoing: Outgoing,
    pub settings: Settings,
    pub keyring: Keyring,
    pub(crate) ping_keyring: PingKeyring,
    /// Tells this process from others.
    pub(crate) instance: String,
    pub(crate) heartbeat_ids: HeartbeatIds,
    pub(crate) log_ids: LogIds,
    pub(crate) names: Names,
    pub(crate) limits: Limits,
    pub(crate) sent_shard_wakeups: SentWakeups<u8>,
    pub(crate) sent_lane_wakeups: SentWakeups<String>,
    /// The sweep's turns, one for each shard of the due index.
    pub(crate) shard_turns: [tokio::sync::Mutex<()>; SHARDS as usize],
    pub(crate) row_turns: RowTurns,
    pub(crate) windows: TtlCache<MaintenanceWindow>,
    pub(crate) webhooks_of_all: TtlCache<Webhook>,
    pub(crate) triggers: TtlCache<Trigger>,
}

impl Medic {
    pub fn new(
        table: Table,
        (wakes, script_jobs): (Arc<dyn Wakes>, Arc<dyn ScriptJobs>),
        slack: SlackDelivery,
        pagerduty: PagerDuty,
        outgoing: Outgoing,
        settings: Settings,
    ) -> Result<Self, Error> {
        let instance = u64::from_be_bytes(random(&*settings.entropy)?).to_string();
        Ok(Self {
            instance,
            table,
            wakes,
            script_jobs,
            slack,
            pagerduty,
            guard: outgoing.guard().clone(),
            outgoing,
            settings,
            keyring: Keyring::default(),
            ping_keyring: PingKeyring::default(),
            heartbeat_ids: HeartbeatIds::default(),
            log_ids: LogIds::default(),
            names: Names::default(),
            limits: Limits::default(),
            sent_shard_wakeups: SentWakeups::default(),
            sent_lane_wakeups: SentWakeups::default(),
            shard_turns: Default::default(),
            row_turns: RowTurns::default(),
            windows: TtlCache::default(),
            webhooks_of_all: TtlCache::default(),
            triggers: TtlCache::default(),
        })
    }

    /// Sends a wake-up. A failure is logged and no more: the timer row falls due all the same.
    pub(crate) async fn wake(&self, wake: Wake, at: DateTime<Utc>) {
        if let Err(error) = self.wakes.wake(wake, at).await {
            tracing::warn!(error = %error_chain(&error), "a wake-up was not sent; its timer will do");
        }
    }

    /// Wakes the sweep for a service's row.
    pub(crate) async fn wake_service(&self, id: ServiceId, at: DateTime<Utc>) {
        let store::Key { pk, sk } = store::Key::service(id);
        self.wake(Wake::Row { pk, sk }, at).await;
    }
}

/// What this process remembers of services that report: whose a name is, and the threshold that the next blind write
/// supposes. Both are only guesses, which the write's condition checks.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_name: Mutex<HashMap<String, ServiceId>>,
    thresholds: Mutex<HashMap<ServiceId, u32>>,
    by_id: Mutex<HashMap<ServiceId, HeartbeatName>>,
}

/// Past this many, a map starts anew: some 10 MB.
const MAX_REMEMBERED: usize = 100_000;

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

    /// A service's name, which never changes.
    pub(crate) fn name(&self, id: ServiceId) -> Option<HeartbeatName> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(crate) fn remember_name(&self, id: ServiceId, name: HeartbeatName) {
        insert_bounded(&self.by_id, id, name);
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
    if map.len() >= MAX_REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

/// The wake-ups that this process has sent and that have not arrived, so that each is sent once: for a shard of the due
/// index and a second, or for a lane that somebody holds.
#[derive(Debug)]
pub(crate) struct SentWakeups<K>(Mutex<HashMap<(K, i64), DateTime<Utc>>>);

impl<K> Default for SentWakeups<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: std::hash::Hash + Eq + Clone> SentWakeups<K> {
    /// Whether `at` needs a wake-up of its own: none is on its way for its second, or only one for later in it.
    pub(crate) fn is_new(&self, target: &K, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() > 4_096 {
            sent.retain(|_, at| *at > now);
        }
        let earliest = sent.entry((target.clone(), at.timestamp())).or_insert(DateTime::<Utc>::MAX_UTC);
        // One that has arrived by now has seen no row that is due later.
        let is_new = at < *earliest || *earliest <= now;
        if is_new {
            *earliest = at;
        }
        is_new
    }
}
