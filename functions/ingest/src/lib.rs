//! Takes heartbeats, the signals of jobs, and pings. It writes services, heartbeats and runs, and makes no transition.

mod heartbeats;
mod pings;
mod signals;

use axum::Router;
use axum::routing::options;
use runtime::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use heartbeats::read_heartbeat;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    let version_1 = || OpenApiRouter::new().routes(routes!(heartbeats::post_heartbeat));
    OpenApiRouter::new()
        .merge(version_1())
        .nest("/v1", version_1())
        .routes(routes!(heartbeats::post_heartbeats))
        .routes(routes!(pings::get_ping, pings::post_ping))
        .routes(routes!(pings::get_ping_action, pings::post_ping_action))
        .route("/ping/{ping_key}/{slug}", options(pings::preflight))
        .route("/ping/{ping_key}/{slug}/{action}", options(pings::preflight))
        .routes(routes!(signals::start))
        .routes(routes!(signals::complete))
        .routes(routes!(signals::fail))
}

/// The function as Lambda runs it.
pub fn on_lambda(app: &App) -> Router<App> {
    let (routes, _) = router().split_for_parts();
    runtime::serve(routes, app)
}
