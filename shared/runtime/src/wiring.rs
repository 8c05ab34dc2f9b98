//! Puts a medic together from its configuration, and a router in its surroundings: alike on Lambda and locally.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use operations::{Medic, Settings, SlackDelivery};
use outbound::{PagerDuty, Slack, SlackAccess, Wakes, http_client};
use store::Table;

use crate::{App, Config, authenticate, envelope_layers};

/// The operations on this table, as configured. `only_process` is for the local system, where people also read what was
/// printed.
pub fn medic(
    config: &Config,
    table: Table,
    wakes: Arc<dyn Wakes>,
    only_process: bool,
) -> Result<Medic, Box<dyn std::error::Error + Send + Sync>> {
    let http = http_client()?;
    let access =
        config.slack_api_token.clone().map(|token| SlackAccess { api_url: config.slack_api_url.clone(), token });
    let slack = match access {
        Some(access) => SlackDelivery::Post(Slack::new(http.clone(), access)),
        None => SlackDelivery::Print { keep: only_process },
    };
    let prints = matches!(slack, SlackDelivery::Print { .. });
    let pagerduty = config
        .pagerduty_routing_key
        .clone()
        .map(|routing_key| PagerDuty::new(http, config.pagerduty_url.clone(), routing_key));
    let slack_channel = config.slack_channel_id.clone().or_else(|| prints.then(|| "log".to_owned()));
    if slack_channel.is_none() {
        tracing::warn!("SLACK_CHANNEL_ID is not set: nothing is told in Slack");
    }
    let settings = Settings {
        base_url: config.base_url.clone(),
        slack_channel,
        heartbeat_retention: config.heartbeat_retention,
        only_process,
    };
    Ok(Medic::new(table, wakes, slack, pagerduty, settings)?)
}

/// A function's routes behind authentication, within the envelope.
pub fn serve(routes: Router<App>, app: &App) -> Router<App> {
    envelope_layers(routes.route_layer(from_fn_with_state(app.clone(), authenticate)))
}
