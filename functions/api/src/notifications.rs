//! `GET /v2/notifications`: what was printed because Slack is not configured. Only the local system has it.

use axum::extract::State;
use axum::response::Response;
use domain::NotificationId;
use runtime::{ApiError, App, Envelope, Listing, Params, Routes, ok};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::pages::PageView;

/// A notification that was printed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PrintedNotification {
    notification_id: String,
    text: String,
}

/// Returns the local system's own route.
pub fn router() -> Routes {
    Routes::new().read(routes!(list))
}

/// Lists the notifications that were printed because Slack is not configured, newest first. Local only.
#[utoipa::path(
    get,
    path = "/v2/notifications",
    operation_id = "v2_list_notifications",
    tag = "alerts",
    params(Listing),
    responses((status = 200, description = "Notifications", body = Envelope<PageView<PrintedNotification>>))
)]
async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let limit = listing.limit()?;
    let page = app.medic.printed(listing.cursor::<NotificationId>()?, limit).await?;
    Ok(ok(PageView::of(page, |(id, text)| PrintedNotification { notification_id: id.to_string(), text })))
}
