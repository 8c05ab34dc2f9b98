//! Takes heartbeats and the signals of jobs. It writes services, heartbeats and runs, and makes no transition.

mod heartbeats;
mod signals;

use axum::Router;
use runtime::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    let version_1 = || OpenApiRouter::new().routes(routes!(heartbeats::post_heartbeat));
    OpenApiRouter::new()
        .merge(version_1())
        .nest("/v1", version_1())
        .routes(routes!(heartbeats::post_heartbeats))
        .routes(routes!(signals::start))
        .routes(routes!(signals::complete))
        .routes(routes!(signals::fail))
}

/// The function as Lambda runs it.
pub fn on_lambda(app: &App) -> Router<App> {
    let (routes, _) = router().split_for_parts();
    runtime::serve(routes, app)
}
