//! Health: whether the process lives, and whether it can work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use runtime::App;
use serde::Serialize;
use utoipa::ToSchema;

/// How Medic is.
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

/// Whether the network reaches Medic.
#[utoipa::path(
    get,
    path = "/v1/healthcheck/network",
    tag = "health",
    responses((status = 204, description = "It does"))
)]
pub(crate) async fn network() -> StatusCode {
    StatusCode::NO_CONTENT
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Liveness {
    status: &'static str,
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses((status = 200, description = "It does", body = Liveness))
)]
pub(crate) async fn live() -> Json<Liveness> {
    Json(Liveness { status: "alive" })
}

/// Whether requests can be served.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "They can", body = Liveness),
        (status = 503, description = "Storage is out of reach", body = Liveness),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Liveness>) {
    if table_answers(&app).await {
        (StatusCode::OK, Json(Liveness { status: "ready" }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Liveness { status: "not ready" }))
    }
}

/// How each part is.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses(
        (status = 200, description = "All is well", body = Health),
        (status = 503, description = "A part is down", body = Health),
    )
)]
pub(crate) async fn health(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let up = table_answers(&app).await;
    let (code, status, database) =
        if up { (StatusCode::OK, "healthy", "up") } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "down") };
    (code, Json(Health { status, version: env!("CARGO_PKG_VERSION"), components: Components { database } }))
}

async fn table_answers(app: &App) -> bool {
    match app.medic.table.ping().await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "the table does not answer a health check");
            false
        }
    }
}
