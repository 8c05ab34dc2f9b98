//! Management, queries and documents over HTTP. Changes make rows due; this function makes no transition of a service.

mod alerts;
mod api_keys;
mod audit_logs;
mod csv;
mod deliveries;
mod docs;
mod execution_views;
mod executions;
mod expectations;
mod health;
mod heartbeats;
mod maintenance;
mod masks;
mod metrics;
mod notifications;
mod pages;
mod ping_keys;
mod playbooks;
mod runs;
mod schedules;
mod scripts;
mod secrets;
mod services;
mod slack;
mod targets;
mod teams;
mod triggers;
mod version_1;
mod webhooks;

use std::io::Read as _;

use axum::Router;
use flate2::read::GzDecoder;
use runtime::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use api_keys::create_directly;
pub use docs::{docs, document};
pub use notifications::router as notifications;
pub use slack::read as read_interaction;

/// The routes of this function, with their descriptions.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(version_1::router())
        .nest("/v1", version_1::router())
        .routes(routes!(services::create, services::list))
        .routes(routes!(services::get, services::update, services::delete))
        .routes(routes!(heartbeats::list))
        .routes(routes!(heartbeats::body))
        .routes(routes!(expectations::list))
        .routes(routes!(runs::list))
        .routes(routes!(runs::statistics))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::get))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alerts::notifications))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::get, api_keys::revoke))
        .routes(routes!(api_keys::rotate))
        .routes(routes!(ping_keys::create, ping_keys::list))
        .routes(routes!(ping_keys::get, ping_keys::revoke))
        .routes(routes!(teams::create, teams::list))
        .routes(routes!(teams::get, teams::update, teams::delete))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::get, schedules::update, schedules::delete))
        .routes(routes!(schedules::period))
        .routes(routes!(schedules::service_period))
        .routes(routes!(maintenance::create, maintenance::list))
        .routes(routes!(maintenance::get, maintenance::update, maintenance::delete))
        .routes(routes!(maintenance::of_service))
        .routes(routes!(targets::create, targets::list))
        .routes(routes!(targets::get, targets::update, targets::delete))
        .routes(routes!(targets::test))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::get, webhooks::update, webhooks::delete))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(playbooks::create, playbooks::list))
        .routes(routes!(playbooks::validate))
        .routes(routes!(playbooks::get, playbooks::update, playbooks::delete))
        .routes(routes!(executions::execute))
        .routes(routes!(executions::trigger))
        .routes(routes!(executions::effectiveness))
        .routes(routes!(executions::list))
        .routes(routes!(executions::get))
        .routes(routes!(executions::approve))
        .routes(routes!(executions::reject))
        .routes(routes!(executions::cancel))
        .routes(routes!(triggers::create, triggers::list))
        .routes(routes!(triggers::get, triggers::update, triggers::delete))
        .routes(routes!(scripts::create, scripts::list))
        .routes(routes!(scripts::get, scripts::update, scripts::delete))
        .routes(routes!(secrets::create, secrets::list))
        .routes(routes!(secrets::get, secrets::update, secrets::delete))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::redeliver))
        .routes(routes!(audit_logs::list))
        .routes(routes!(slack::interactions))
        .routes(routes!(health::network))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::health))
        .routes(routes!(metrics::metrics))
}

/// The document of the whole API, which `make openapi` writes from the code of all functions.
const DOCUMENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz"));

/// The function as Lambda runs it.
pub fn on_lambda(app: &App) -> Router<App> {
    let (routes, _) = router().split_for_parts();
    // Unpacked for each that asks: that is seldom, and a start has no time for it.
    let unpacked = || {
        let mut text = Vec::new();
        GzDecoder::new(DOCUMENT).read_to_end(&mut text).map(|_| text).unwrap_or_default()
    };
    runtime::serve(routes, app).merge(docs(unpacked))
}
