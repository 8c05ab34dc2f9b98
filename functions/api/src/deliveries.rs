//! `/v2/webhook-deliveries`.

use axum::extract::State;
use axum::response::Response;
use domain::{Delivery, DeliveryId, DeliveryStatus, WebhookId, format_time};
use operations::Actor;
use runtime::{ApiError, App, Envelope, IdPath, Listing, Params, ok};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::pages::PageView;

/// The delivery of one event to one webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// The `webhook-id` of every attempt.
    delivery_id: String,
    webhook_id: i64,
    /// Such as `alert.opened`.
    event_type: String,
    /// `pending`, `retrying`, `success` (2xx) or `failed`.
    status: &'static str,
    /// Attempts since the delivery was created, or was last redelivered by hand.
    attempts: u32,
    /// Of the last attempt; null when there was no response.
    response_status: Option<u16>,
    /// The response to the last attempt: at most 4,096 bytes, then `[truncated]`; or why there was none.
    response_body: Option<String>,
    created_at: String,
    next_attempt_at: Option<String>,
}

impl DeliveryView {
    fn of(delivery: Delivery) -> Self {
        let Delivery {
            id,
            webhook_id,
            service_id: _,
            event_type,
            data: _,
            status,
            attempts,
            response_status,
            response_body,
            created_at,
            next_attempt_at,
        } = delivery;
        Self {
            delivery_id: id.to_string(),
            webhook_id: webhook_id.get(),
            event_type,
            status: status.as_str(),
            attempts,
            response_status,
            response_body,
            created_at: format_time(created_at),
            next_attempt_at: next_attempt_at.map(format_time),
        }
    }
}

/// Which deliveries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only deliveries of this webhook.
    #[param(value_type = Option<i64>, minimum = 1)]
    webhook_id: Option<String>,
    /// `pending`, `retrying`, `success` or `failed`. A page may then hold fewer than there are; its cursor leads on.
    #[param(value_type = Option<String>, pattern = "^(pending|retrying|success|failed)$")]
    status: Option<String>,
}

/// Lists deliveries, newest first. They are kept for 30 days.
#[utoipa::path(
    get,
    path = "/v2/webhook-deliveries",
    operation_id = "v2_list_webhook_deliveries",
    tag = "webhooks",
    params(Filter, Listing),
    responses((status = 200, description = "Deliveries", body = Envelope<PageView<DeliveryView>>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Params(Filter { webhook_id, status }): Params<Filter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let webhook = webhook_id.map(|id| id.parse::<WebhookId>()).transpose()?;
    let status = status.map(|status| status.parse::<DeliveryStatus>()).transpose()?;
    let (after, limit) = (listing.cursor()?, listing.limit()?);
    let page = app.medic.deliveries(webhook, status, after, limit, app.now()).await?;
    Ok(ok(PageView::fitting(page, DeliveryView::of, |delivery| delivery.delivery_id.clone())))
}

/// Returns a delivery.
#[utoipa::path(
    get,
    path = "/v2/webhook-deliveries/{delivery_id}",
    operation_id = "v2_get_webhook_delivery",
    tag = "webhooks",
    params(("delivery_id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The delivery", body = Envelope<DeliveryView>),
        (status = 404, description = "There is no such delivery", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<DeliveryId>) -> Result<Response, ApiError> {
    Ok(ok(DeliveryView::of(app.medic.delivery(id, app.now()).await?)))
}

/// Sends a delivery again, with all its attempts and under the same id.
#[utoipa::path(
    post,
    path = "/v2/webhook-deliveries/{delivery_id}/redeliver",
    operation_id = "v2_redeliver_webhook_delivery",
    tag = "webhooks",
    params(("delivery_id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The delivery as it is now", body = Envelope<DeliveryView>),
        (status = 404, description = "There is no such delivery", body = Envelope<String>),
        (status = 409, description = "It is still being attempted", body = Envelope<String>),
    )
)]
pub(crate) async fn redeliver(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<DeliveryId>,
) -> Result<Response, ApiError> {
    Ok(ok(DeliveryView::of(app.medic.redeliver(id, &actor).await?)))
}
