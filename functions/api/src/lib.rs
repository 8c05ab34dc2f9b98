//! Management, queries and documents over HTTP. Changes make rows due; this function makes no transition of a service.

mod alerts;
mod api_keys;
mod audit_logs;
mod csv;
mod deliveries;
mod docs;
mod document;
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
use runtime::{App, Routes};
use utoipa_axum::routes;

pub use api_keys::create_directly;
pub use docs::docs;
pub use document::document;
pub use notifications::router as notifications;
pub use slack::read as read_interaction;

/// Returns the routes of this function, with their descriptions.
pub fn router() -> Routes {
    Routes::new()
        .merge(version_1::router())
        .nest("/v1", version_1::router())
        .merge(monitoring())
        .merge(settings())
        .merge(playbooks_and_executions())
        .merge(keys_and_audit())
        .merge(health_and_metrics())
}

/// Returns the routes of services, and of what becomes of them.
fn monitoring() -> Routes {
    Routes::new()
        .read(routes!(services::list))
        .write(routes!(services::create))
        .read(routes!(services::get))
        .write(routes!(services::update, services::delete))
        .read(routes!(heartbeats::list))
        .read(routes!(heartbeats::body))
        .read(routes!(expectations::list))
        .read(routes!(runs::list))
        .read(routes!(runs::statistics))
        .read(routes!(alerts::list))
        .read(routes!(alerts::get))
        .write(routes!(alerts::acknowledge))
        .write(routes!(alerts::resolve))
        .read(routes!(alerts::notifications))
}

/// Returns the routes of what people set up around services.
fn settings() -> Routes {
    Routes::new()
        .read(routes!(teams::list))
        .write(routes!(teams::create))
        .read(routes!(teams::get))
        .write(routes!(teams::update, teams::delete))
        .read(routes!(schedules::list))
        .write(routes!(schedules::create))
        .read(routes!(schedules::get))
        .write(routes!(schedules::update, schedules::delete))
        .read(routes!(schedules::period))
        .read(routes!(schedules::service_period))
        .read(routes!(maintenance::list))
        .write(routes!(maintenance::create))
        .read(routes!(maintenance::get))
        .write(routes!(maintenance::update, maintenance::delete))
        .read(routes!(maintenance::of_service))
        .read(routes!(targets::list))
        .write(routes!(targets::create))
        .read(routes!(targets::get))
        .write(routes!(targets::update, targets::delete))
        .write(routes!(targets::test))
        .read(routes!(webhooks::list))
        .write(routes!(webhooks::create))
        .read(routes!(webhooks::get))
        .write(routes!(webhooks::update, webhooks::delete))
        .write(routes!(webhooks::rotate_secret))
        .read(routes!(deliveries::list))
        .read(routes!(deliveries::get))
        .write(routes!(deliveries::redeliver))
}

/// Returns the routes of playbooks and their executions.
fn playbooks_and_executions() -> Routes {
    Routes::new()
        .read(routes!(playbooks::list))
        .write(routes!(playbooks::create))
        .write(routes!(playbooks::validate))
        .read(routes!(playbooks::get))
        .write(routes!(playbooks::update, playbooks::delete))
        .execution(routes!(executions::execute))
        .webhook_secret(routes!(executions::trigger))
        .read(routes!(executions::effectiveness))
        .read(routes!(executions::list))
        .read(routes!(executions::get))
        .write(routes!(executions::approve))
        .write(routes!(executions::reject))
        .write(routes!(executions::cancel))
        .read(routes!(triggers::list))
        .write(routes!(triggers::create))
        .read(routes!(triggers::get))
        .write(routes!(triggers::update, triggers::delete))
        .read(routes!(scripts::list))
        .admin(routes!(scripts::create))
        .read(routes!(scripts::get))
        .admin(routes!(scripts::update, scripts::delete))
        .admin(routes!(secrets::create, secrets::list))
        .admin(routes!(secrets::get, secrets::update, secrets::delete))
        .slack(routes!(slack::interactions))
}

/// Returns the routes of keys, and of the audit log.
fn keys_and_audit() -> Routes {
    Routes::new()
        .admin(routes!(api_keys::create, api_keys::list))
        .admin(routes!(api_keys::get, api_keys::update, api_keys::revoke))
        .admin(routes!(api_keys::rotate))
        .admin(routes!(ping_keys::create, ping_keys::list))
        .admin(routes!(ping_keys::get, ping_keys::revoke))
        .read(routes!(audit_logs::list))
}

/// Returns the routes of health and metrics.
fn health_and_metrics() -> Routes {
    Routes::new()
        .public(routes!(health::network))
        .public(routes!(health::live))
        .public(routes!(health::ready))
        .public(routes!(health::health))
        .public(routes!(metrics::metrics))
}

/// The document of the whole API, which `make openapi` writes from the code of all functions.
const DOCUMENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz"));

/// Returns the function as Lambda runs it.
pub fn on_lambda(app: &App) -> Router<App> {
    // Unpacked for each request: those are rare, and a start has no time for it.
    let unpacked = || {
        let mut text = Vec::new();
        GzDecoder::new(DOCUMENT).read_to_end(&mut text).map(|_| text).unwrap_or_default()
    };
    runtime::serve(router(), app).merge(docs(unpacked))
}
