//! `/v2/services/{id}/heartbeats`.

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use domain::{HeartbeatId, ServiceId, format_time};
use runtime::{ApiError, App, Envelope, IdPath, IdPaths, Listing, Params, ok};
use serde::{Deserialize, Serialize};
use store::{Heartbeat, ServiceRecord};
use utoipa::{IntoParams, ToSchema};

use crate::pages::PageView;

/// A heartbeat that was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeartbeatView {
    heartbeat_id: String,
    heartbeat_name: String,
    service_name: String,
    time: String,
    status: &'static str,
    run_id: Option<String>,
    team: String,
    priority: &'static str,
}

impl HeartbeatView {
    pub(crate) fn of(heartbeat: Heartbeat, service: &ServiceRecord) -> Self {
        let Heartbeat { id, service_id: _, at, status, run_id, expires_at: _ } = heartbeat;
        let profile = &service.profile;
        Self {
            heartbeat_id: id.to_string(),
            heartbeat_name: profile.heartbeat_name.as_str().to_owned(),
            service_name: profile.service_name.as_str().to_owned(),
            time: format_time(at),
            status: status.as_str(),
            run_id,
            team: profile.team.as_str().to_owned(),
            priority: profile.priority.as_str(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HeartbeatFilter {
    /// Only heartbeats of this run.
    run_id: Option<String>,
}

/// Lists a service's heartbeats, newest first.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/heartbeats",
    operation_id = "v2_list_heartbeats",
    tag = "heartbeats",
    params(("service_id" = i64, Path, minimum = 1), HeartbeatFilter, Listing),
    responses(
        (status = 200, description = "Heartbeats", body = Envelope<PageView<HeartbeatView>>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    Params(filter): Params<HeartbeatFilter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let (after, limit) = (listing.cursor::<HeartbeatId>()?, listing.limit()?);
    let (service, page) = app.medic.heartbeats(id, filter.run_id.as_deref(), after, limit, app.now()).await?;
    Ok(ok(PageView::of(page, |heartbeat| HeartbeatView::of(heartbeat, &service))))
}

/// The body of a ping.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BodyView {
    heartbeat_id: String,
    /// Bytes that were kept: at most 10,000.
    size: usize,
    /// As text; null where it is not UTF-8.
    body: Option<String>,
    body_base64: String,
}

/// Returns the body of a ping.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/heartbeats/{heartbeat_id}/body",
    operation_id = "v2_get_heartbeat_body",
    tag = "heartbeats",
    params(("service_id" = i64, Path, minimum = 1), ("heartbeat_id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The body", body = Envelope<BodyView>),
        (status = 404, description = "There is no such service, or the heartbeat has no body", body = Envelope<String>),
    )
)]
pub(crate) async fn body(
    State(app): State<App>,
    IdPaths(service, id): IdPaths<ServiceId, HeartbeatId>,
) -> Result<Response, ApiError> {
    let bytes = app.medic.ping_body(service, id, app.now()).await?;
    Ok(ok(BodyView {
        heartbeat_id: id.to_string(),
        size: bytes.len(),
        body_base64: BASE64_STANDARD.encode(&bytes),
        body: String::from_utf8(bytes).ok(),
    }))
}
