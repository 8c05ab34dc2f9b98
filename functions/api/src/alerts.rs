//! `/v2/alerts`.

use axum::extract::State;
use axum::response::Response;
use domain::{Alert, AlertId, Invalid, Notification, NotificationId, ServiceId, TargetId, format_time};
use operations::Actor;
use runtime::{ApiError, App, Envelope, IdPath, Listing, OptionalBody, Params, ok};
use serde::{Deserialize, Serialize};
use store::AlertFilter;
use utoipa::{IntoParams, ToSchema};

use crate::executions::DecisionBody;
use crate::pages::PageView;

/// An alert. `active` is a boolean under `/v2`, and 0 or 1 in version 1.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertView<Flag> {
    alert_id: i64,
    alert_name: String,
    /// Null when the service is deleted.
    service_id: Option<i64>,
    heartbeat_name: String,
    active: Flag,
    /// 1 when it opens, and 1 more for each further interval.
    alert_cycle: u32,
    reason: String,
    /// The dedup key in PagerDuty.
    external_reference_id: String,
    created_date: String,
    closed_date: Option<String>,
    acknowledged_date: Option<String>,
    acknowledged_by: Option<String>,
    /// Who closed it by hand; null where nobody did.
    resolved_by: Option<String>,
    /// Why it closed, where neither its service nor its run reported so: what somebody said who closed it by hand, or that a
    /// later run superseded its own.
    resolution: Option<String>,
    /// The job run that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
}

impl<Flag: From<bool>> AlertView<Flag> {
    fn of(alert: &Alert, existing: &[ServiceId]) -> Self {
        let Alert {
            id,
            service_id,
            service,
            kind: _,
            cycle,
            reason,
            created_at,
            closed_at,
            closing: _,
            acknowledged_at,
            acknowledged_by,
            passed_on: _,
            due_in_gap: _,
            is_unnotified: _,
            triggered: _,
        } = alert;
        Self {
            alert_id: id.get(),
            alert_name: alert.name(),
            service_id: existing.contains(service_id).then_some(service_id.get()),
            heartbeat_name: service.heartbeat_name.clone(),
            active: alert.is_open().into(),
            alert_cycle: *cycle,
            reason: reason.clone(),
            external_reference_id: alert.dedup_key(),
            created_date: format_time(*created_at),
            closed_date: closed_at.map(format_time),
            acknowledged_date: acknowledged_at.map(format_time),
            acknowledged_by: acknowledged_by.clone(),
            resolved_by: alert.resolved_by().map(ToOwned::to_owned),
            resolution: alert.resolution().map(ToOwned::to_owned),
            run_id: alert.job().map(|job| job.run_id.to_string()),
        }
    }

    pub(crate) async fn of_all(app: &App, alerts: &[Alert]) -> Result<Vec<Self>, ApiError> {
        let existing = app.medic.existing_services(alerts.iter().map(|alert| alert.service_id)).await?;
        Ok(alerts.iter().map(|alert| Self::of(alert, &existing)).collect())
    }

    async fn of_one(app: &App, alert: &Alert) -> Result<Self, ApiError> {
        Ok(Self::of(alert, &app.medic.existing_services([alert.service_id]).await?))
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActiveFilter {
    /// `1` or `true`: only open ones; `0` or `false`: only closed ones.
    #[param(pattern = "^(0|1|true|false|)$")]
    active: Option<String>,
}

impl ActiveFilter {
    pub(crate) fn alerts(&self) -> Result<AlertFilter, Invalid> {
        Ok(read_active(self.active.as_deref())?
            .map_or(AlertFilter::All, |open| if open { AlertFilter::Open } else { AlertFilter::Closed }))
    }
}

/// Reads the parameter `active`.
pub(crate) fn read_active(active: Option<&str>) -> Result<Option<bool>, Invalid> {
    match active {
        None | Some("") => Ok(None),
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false") => Ok(Some(false)),
        Some(_) => Err(Invalid::new("active", "must be 0, 1, true or false")),
    }
}

/// Lists alerts, newest first.
#[utoipa::path(
    get,
    path = "/v2/alerts",
    operation_id = "v2_list_alerts",
    tag = "alerts",
    params(ActiveFilter, Listing),
    responses((status = 200, description = "Alerts", body = Envelope<PageView<AlertView<bool>>>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Params(filter): Params<ActiveFilter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let page = app.medic.alerts(filter.alerts()?, listing.cursor::<AlertId>()?, listing.limit()?).await?;
    let items = AlertView::<bool>::of_all(&app, &page.items).await?;
    Ok(ok(PageView { items, next_cursor: page.next }))
}

/// Returns an alert.
#[utoipa::path(
    get,
    path = "/v2/alerts/{alert_id}",
    operation_id = "v2_get_alert",
    tag = "alerts",
    params(("alert_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The alert", body = Envelope<AlertView<bool>>),
        (status = 404, description = "There is no such alert", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<AlertId>) -> Result<Response, ApiError> {
    let alert = app.medic.alert(id).await?;
    Ok(ok(AlertView::<bool>::of_one(&app, &alert).await?))
}

/// Acknowledges an alert: there are no more reminders, and PagerDuty shows it as acknowledged.
#[utoipa::path(
    post,
    path = "/v2/alerts/{alert_id}/acknowledge",
    operation_id = "v2_acknowledge_alert",
    tag = "alerts",
    params(("alert_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The alert", body = Envelope<AlertView<bool>>),
        (status = 404, description = "There is no such alert", body = Envelope<String>),
        (status = 409, description = "The alert is closed", body = Envelope<String>),
    )
)]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<AlertId>,
) -> Result<Response, ApiError> {
    let alert = app.medic.acknowledge(id, &actor).await?;
    Ok(ok(AlertView::<bool>::of_one(&app, &alert).await?))
}

/// Closes an alert by hand, within moments.
///
/// Whoever was notified of it is notified by whom, and why. A service counts from then, as if it had just reported; a run
/// raises no other alert.
#[utoipa::path(
    post,
    path = "/v2/alerts/{alert_id}/resolve",
    operation_id = "v2_resolve_alert",
    tag = "alerts",
    params(("alert_id" = i64, Path, minimum = 1)),
    request_body = Option<DecisionBody>,
    responses(
        (status = 200, description = "The alert, which is about to close", body = Envelope<AlertView<bool>>),
        (status = 404, description = "There is no such alert", body = Envelope<String>),
        (status = 409, description = "The alert is closed", body = Envelope<String>),
    )
)]
pub(crate) async fn resolve(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<AlertId>,
    OptionalBody(body): OptionalBody<DecisionBody>,
) -> Result<Response, ApiError> {
    let alert = app.medic.resolve_alert(id, body.reason()?, &actor).await?;
    Ok(ok(AlertView::<bool>::of_one(&app, &alert).await?))
}

/// The outcome of one notification at one receiver.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationView {
    /// Null where the service has no targets, and its team's channel or PagerDuty was notified.
    target_id: Option<i64>,
    target_type: &'static str,
    /// `opened`, `reminder`, `acknowledged` or `resolved`.
    kind: &'static str,
    /// Null while it is being sent.
    success: Option<bool>,
    error_message: Option<String>,
    at: Option<String>,
}

impl NotificationView {
    fn of(notification: &Notification) -> impl Iterator<Item = Self> {
        let kind = notification.alert().map_or("", |(kind, _)| kind.as_str());
        // A receiver whose turn never came was not notified, and nothing failed.
        notification.outcomes.iter().filter(|outcome| !outcome.waits).map(move |outcome| Self {
            target_id: outcome.target_id.map(TargetId::get),
            target_type: outcome.receiver.kind().as_str(),
            kind,
            success: outcome.at.map(|_| outcome.error.is_none()),
            error_message: outcome.error.clone(),
            at: outcome.at.map(format_time),
        })
    }
}

/// Lists the notifications of an alert, oldest first.
///
/// `limit` counts notifications, and there is an item for each receiver of one.
#[utoipa::path(
    get,
    path = "/v2/alerts/{alert_id}/notifications",
    operation_id = "v2_list_alert_notifications",
    tag = "alerts",
    params(("alert_id" = i64, Path, minimum = 1), Listing),
    responses(
        (status = 200, description = "Outcomes", body = Envelope<PageView<NotificationView>>),
        (status = 404, description = "There is no such alert", body = Envelope<String>),
    )
)]
pub(crate) async fn notifications(
    State(app): State<App>,
    IdPath(id): IdPath<AlertId>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let page = app.medic.notifications(id, listing.cursor::<NotificationId>()?, listing.limit()?).await?;
    let items = page.items.iter().flat_map(NotificationView::of).collect();
    Ok(ok(PageView::<NotificationView> { items, next_cursor: page.next }))
}
