//! Health: whether the process is alive, and whether it can serve requests.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use runtime::App;
use serde::Serialize;
use utoipa::ToSchema;

/// The state of Medic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    version: &'static str,
    components: Components,
}

#[derive(Debug, Serialize, ToSchema)]
struct Components {
    /// `up` or `down`.
    database: &'static str,
}

/// Shows that the network reaches Medic.
#[utoipa::path(
    get,
    path = "/v1/healthcheck/network",
    tag = "health",
    responses((status = 204, description = "The network reaches Medic"))
)]
pub(crate) async fn network() -> StatusCode {
    StatusCode::NO_CONTENT
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Liveness {
    status: &'static str,
}

/// Shows that the process is alive.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses((status = 200, description = "The process is alive", body = Liveness))
)]
pub(crate) async fn live() -> Json<Liveness> {
    Json(Liveness { status: "alive" })
}

/// Returns whether requests can be served.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "Requests can be served", body = Liveness),
        (status = 503, description = "Storage is out of reach", body = Liveness),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Liveness>) {
    if is_table_reachable(&app).await {
        (StatusCode::OK, Json(Liveness { status: "ready" }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Liveness { status: "not ready" }))
    }
}

/// Returns the state of each component.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses(
        (status = 200, description = "All components are up", body = Health),
        (status = 503, description = "A component is down", body = Health),
    )
)]
pub(crate) async fn health(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let up = is_table_reachable(&app).await;
    let (code, status, database) =
        if up { (StatusCode::OK, "healthy", "up") } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "down") };
    (code, Json(Health { status, version: env!("CARGO_PKG_VERSION"), components: Components { database } }))
}

async fn is_table_reachable(app: &App) -> bool {
    match app.medic.table.ping().await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "the table is out of reach of a health check");
            false
        }
    }
}
