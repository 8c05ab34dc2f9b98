//! What every operation works with.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{HeartbeatId, LogId, MaintenanceWindow, Pulse, Trigger, Webhook};
use outbound::{Guard, Outgoing, PagerDuty, ScriptJobs, ScriptReports, Seal, Slack, SlackSecret, Wakes};
use store::{CircuitLimit, SHARDS, Table};

use crate::Error;
use crate::access::{DefaultLimits, Guesses, Keyring, PingKeyring, RequestCounts};
use crate::entropy::{Entropy, HeartbeatIds, LogIds, random};
use crate::sent_wakeups::SentWakeups;
use crate::service_names::ServiceNames;
use crate::ttl_cache::TtlCache;
use crate::turns::RowTurns;

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
    /// What Slack signs its requests with.
    pub slack_signing_secret: Option<SlackSecret>,
    /// Ids of the Slack users who may decide about executions; anybody who can press a button, when empty.
    pub slack_approvers: Vec<String>,
    /// Whether whoever started an execution may approve it.
    pub allow_self_approval: bool,
    /// Starts playbooks without a key.
    pub webhook_secret: Option<String>,
    /// How many executions may start for a service, and within what time.
    pub circuit: CircuitLimit,
    /// The same for all services together.
    pub circuit_of_all: CircuitLimit,
    /// What secrets of playbooks are sealed with.
    pub seal: Option<Arc<Seal>>,
    /// Whether no other process works on the table, so that what another one holds is free.
    pub only_process: bool,
    /// After how long without a renewal of the pulse Medic could not hear.
    pub gap_limit: TimeDelta,
    /// Generates ids, keys and nonces.
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

/// The queues of Medic's own functions.
#[derive(Debug, Clone)]
pub struct QueuePorts {
    pub wakes: Arc<dyn Wakes>,
    /// Where scripts are handed over to be run.
    pub script_jobs: Arc<dyn ScriptJobs>,
    /// Where reports of scripts are sent again that could not be recorded.
    pub script_reports: Arc<dyn ScriptReports>,
}

/// The dependencies of every operation.
#[derive(Debug)]
pub struct Medic {
    pub table: Table,
    pub wakes: Arc<dyn Wakes>,
    /// Where scripts are handed over to be run.
    pub script_jobs: Arc<dyn ScriptJobs>,
    /// Where reports of scripts are sent again that could not be recorded.
    pub script_reports: Arc<dyn ScriptReports>,
    pub slack: SlackDelivery,
    pub pagerduty: PagerDuty,
    /// Checks the addresses that users set.
    pub guard: Guard,
    /// Calls the addresses that users set.
    pub outgoing: Outgoing,
    pub settings: Settings,
    pub keyring: Keyring,
    pub guesses: Guesses,
    pub(crate) ping_keyring: PingKeyring,
    /// Distinguishes this process from others.
    pub(crate) instance: String,
    pub(crate) heartbeat_ids: HeartbeatIds,
    pub(crate) log_ids: LogIds,
    pub(crate) names: ServiceNames,
    pub(crate) request_counts: RequestCounts,
    pub(crate) sent_shard_wakeups: SentWakeups<u8>,
    pub(crate) sent_lane_wakeups: SentWakeups<String>,
    /// The sweep's turns, one for each shard of the due index.
    pub(crate) shard_turns: [tokio::sync::Mutex<()>; SHARDS as usize],
    pub(crate) row_turns: RowTurns,
    /// The pulse as this process knows it.
    pub(crate) pulse: tokio::sync::Mutex<Option<Pulse>>,
    pub(crate) windows: TtlCache<MaintenanceWindow>,
    pub(crate) webhooks_of_all: TtlCache<Webhook>,
    pub(crate) triggers: TtlCache<Trigger>,
}

impl Medic {
    pub fn new(
        table: Table,
        QueuePorts { wakes, script_jobs, script_reports }: QueuePorts,
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
            script_reports,
            slack,
            pagerduty,
            guard: outgoing.guard().clone(),
            outgoing,
            settings,
            keyring: Keyring::default(),
            guesses: Guesses::default(),
            ping_keyring: PingKeyring::default(),
            heartbeat_ids: HeartbeatIds::default(),
            log_ids: LogIds::default(),
            names: ServiceNames::default(),
            request_counts: RequestCounts::default(),
            sent_shard_wakeups: SentWakeups::default(),
            sent_lane_wakeups: SentWakeups::default(),
            shard_turns: Default::default(),
            row_turns: RowTurns::default(),
            pulse: tokio::sync::Mutex::default(),
            windows: TtlCache::default(),
            webhooks_of_all: TtlCache::default(),
            triggers: TtlCache::default(),
        })
    }

    /// Returns random bytes.
    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N], Error> {
        random(&*self.settings.entropy)
    }

    /// Returns 128 random bits in hexadecimal, which distinguish one attempt from every other.
    pub(crate) fn new_stamp(&self) -> Result<String, Error> {
        Ok(format!("{:032x}", u128::from_be_bytes(self.random()?)))
    }

    pub(crate) fn next_heartbeat_id(&self, now: DateTime<Utc>) -> Result<HeartbeatId, Error> {
        self.heartbeat_ids.next(&*self.settings.entropy, now)
    }

    pub(crate) fn next_log_id(&self, now: DateTime<Utc>) -> Result<LogId, Error> {
        self.log_ids.next(&*self.settings.entropy, now)
    }
}
