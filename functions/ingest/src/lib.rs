//! Records heartbeats, job signals and pings. It writes services, heartbeats and runs, and makes no transition.

mod heartbeats;
mod pings;
mod signals;

use axum::Router;
use axum::routing::options;
use runtime::{App, Routes};
use utoipa_axum::routes;

pub use heartbeats::read_heartbeat;

/// Returns the routes of this function.
pub fn router() -> Routes {
    let version_1 = || Routes::new().heartbeat(routes!(heartbeats::post_heartbeat));
    Routes::new()
        .merge(version_1())
        .nest("/v1", version_1())
        .heartbeat(routes!(heartbeats::post_heartbeats))
        .ping(routes!(pings::get_ping, pings::post_ping))
        .ping(routes!(pings::get_ping_action, pings::post_ping_action))
        .preflight("/ping/{ping_key}/{slug}", options(pings::preflight))
        .preflight("/ping/{ping_key}/{slug}/{action}", options(pings::preflight))
        .heartbeat(routes!(signals::start))
        .heartbeat(routes!(signals::complete))
        .heartbeat(routes!(signals::fail))
}

/// Returns the function as Lambda runs it.
pub fn on_lambda(app: &App) -> Router<App> {
    runtime::serve(router(), app)
}
