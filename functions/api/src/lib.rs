//! Management, queries and documents over HTTP. Changes make rows due; this function makes no transition of a service.

mod alerts;
mod api_keys;
mod docs;
mod health;
mod heartbeats;
mod metrics;
mod notices;
mod pages;
mod services;
mod version_1;

use runtime::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use docs::{docs, document};
pub use notices::router as notices;

/// The routes of this function, with their descriptions.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(version_1::router())
        .nest("/v1", version_1::router())
        .routes(routes!(services::create, services::list))
        .routes(routes!(services::get, services::update, services::delete))
        .routes(routes!(heartbeats::list))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::get))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alerts::notifications))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::get, api_keys::revoke))
        .routes(routes!(api_keys::rotate))
        .routes(routes!(health::network))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::health))
        .routes(routes!(metrics::metrics))
}
