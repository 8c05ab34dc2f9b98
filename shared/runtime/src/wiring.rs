//! Puts a `Medic` together from its configuration, and a router within its layers: the same on Lambda and locally.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use chrono::TimeDelta;
use operations::{DefaultLimits, Entropy, Medic, QueuePorts, Settings, SlackDelivery, SystemEntropy};
use outbound::{Guard, Http, Outgoing, PagerDuty, Slack, SlackAccess, SlackSecret, SystemLookup, http_client};
use store::{CircuitLimit, Table};

use crate::auth::{Gate, authenticate};
use crate::envelope::envelope_layers;
use crate::rate_limit::limit;
use crate::{App, Config, Routes};

/// Locally the pulse is renewed every 10 s, by the process that does everything else.
const LOCAL_GAP_LIMIT: TimeDelta = TimeDelta::seconds(30);
/// On AWS each tick renews it, once a minute; one may be missed.
const GAP_LIMIT: TimeDelta = TimeDelta::seconds(150);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The ports to the outside, except for AWS.
#[derive(Debug, Clone)]
pub struct ExternalPorts {
    /// Reaches Slack and PagerDuty.
    pub http: Arc<dyn Http>,
    /// Reaches the addresses that users set.
    pub outgoing: Outgoing,
    pub entropy: Arc<dyn Entropy>,
}

impl ExternalPorts {
    /// Returns the internet and the operating system.
    pub fn real(config: &Config) -> Result<Self, Failure> {
        let guard = Guard::new(config.allow_private_hosts, config.allowed_hosts.clone(), Arc::new(SystemLookup));
        let (http, entropy) = (Arc::new(http_client()?), Arc::new(SystemEntropy));
        Ok(Self { http, outgoing: Outgoing::new(guard)?, entropy })
    }
}

/// Returns the operations on this table, as configured. `only_process` is for the local system, where people also read
/// what is printed.
pub fn medic(config: &Config, table: Table, queues: QueuePorts, only_process: bool) -> Result<Medic, Failure> {
    medic_with(config, table, queues, ExternalPorts::real(config)?, only_process)
}

/// Returns the same with other ports to the outside.
pub fn medic_with(
    config: &Config,
    table: Table,
    queues: QueuePorts,
    ExternalPorts { http, outgoing, entropy }: ExternalPorts,
    only_process: bool,
) -> Result<Medic, Failure> {
    let access =
        config.slack_api_token.clone().map(|token| SlackAccess { api_url: config.slack_api_url.clone(), token });
    let slack = match access {
        Some(access) => SlackDelivery::Post(Slack::new(Arc::clone(&http), access)),
        None => SlackDelivery::Print { keep: only_process },
    };
    let prints = matches!(slack, SlackDelivery::Print { .. });
    let pagerduty = PagerDuty::new(http, config.pagerduty_url.clone(), config.pagerduty_routing_key.clone());
    let slack_channel = config.slack_channel_id.clone().or_else(|| prints.then(|| "log".to_owned()));
    if slack_channel.is_none() {
        tracing::warn!("SLACK_CHANNEL_ID is not set: Slack gets only what goes to a target's or a team's channel");
    }
    let settings = Settings {
        base_url: config.base_url.clone(),
        slack_channel,
        heartbeat_retention: config.heartbeat_retention,
        audit_retention: config.audit_retention,
        limits: DefaultLimits {
            heartbeats: config.rate_limit_heartbeats,
            management: config.rate_limit_management,
            executions: config.rate_limit_executions,
        },
        slack_signing_secret: config.slack_signing_secret.clone().map(SlackSecret::new),
        slack_approvers: config.slack_approvers.clone(),
        allow_self_approval: config.allow_self_approval.unwrap_or(only_process),
        webhook_secret: config.webhook_secret.clone(),
        circuit: CircuitLimit { max: config.circuit_max_executions, window: config.circuit_window },
        circuit_of_all: CircuitLimit { max: config.circuit_max_executions_all, window: config.circuit_window },
        seal: config.seal.clone(),
        only_process,
        gap_limit: if only_process { LOCAL_GAP_LIMIT } else { GAP_LIMIT },
        entropy,
    };
    Ok(Medic::new(table, queues, slack, pagerduty, outgoing, settings)?)
}

/// Puts a function's routes behind authentication and then the limits on requests, within the envelope.
pub fn serve(routes: Routes, app: &App) -> Router<App> {
    let (router, table) = routes.into_parts();
    // The layer that is added last is the first to see a request.
    let limited = router.route_layer(from_fn_with_state(app.clone(), limit));
    let gate = Gate { app: app.clone(), table };
    envelope_layers(limited.route_layer(from_fn_with_state(gate, authenticate)))
}
