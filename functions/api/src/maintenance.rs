//! `/v2/maintenance-windows`, and whether a service is in maintenance.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{
    Invalid, MaintenanceTimes, MaintenanceWindow, Occurrence, Recurrence, Revision, ServiceId, WindowId, Zone,
    format_time, parse_time,
};
use operations::{Actor, NewWindow, WindowUpdate};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, present, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::PageView;
use crate::schedules::Instant;

/// A period, once or recurring, in which some services open no alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowView {
    window_id: i64,
    name: String,
    start_time: String,
    end_time: String,
    timezone: &'static str,
    recurrence: Option<String>,
    /// Empty: every service. Ids of deleted services stay.
    service_ids: Vec<i64>,
    date_added: String,
    date_modified: Option<String>,
}

impl WindowView {
    fn of(window: MaintenanceWindow) -> Self {
        let MaintenanceWindow { id, name, times, service_ids, is_announced: _, due_at: _, revision } = window;
        let Revision { version: _, date_added, date_modified } = revision;
        Self {
            window_id: id.get(),
            name: name.into_string(),
            start_time: format_time(times.start()),
            end_time: format_time(times.end()),
            timezone: times.zone().as_str(),
            recurrence: times.recurrence().map(ToString::to_string),
            service_ids: service_ids.into_iter().map(ServiceId::get).collect(),
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

fn read_service_ids(ids: Vec<i64>) -> Result<Vec<ServiceId>, Invalid> {
    let read = |id: i64| match id {
        1.. => Ok(ServiceId::new(id)),
        _ => Err(Invalid::new("service_ids", "must be whole numbers from 1")),
    };
    MaintenanceWindow::parse_service_ids(ids.into_iter().map(read).collect::<Result<_, _>>()?)
}

/// A window to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWindowBody {
    /// Unique whatever the case: 1 to 128 characters.
    #[schema(value_type = schema::Label)]
    name: String,
    #[schema(format = DateTime)]
    start_time: String,
    /// After `start_time`, and exclusive. A window that recurs lasts `end_time - start_time` from each occurrence.
    #[schema(format = DateTime)]
    end_time: String,
    /// In which `recurrence` is read: `UTC` unless given, or an IANA name with a `/`.
    #[serde(default)]
    timezone: Option<String>,
    /// A cron expression of five fields; null: once.
    #[serde(default)]
    recurrence: Option<String>,
    /// At most 1000; none: every service.
    #[serde(default)]
    #[schema(max_items = 1000)]
    service_ids: Vec<i64>,
}

impl NewWindowBody {
    fn parse(self) -> Result<NewWindow, Invalid> {
        let Self { name, start_time, end_time, timezone, recurrence, service_ids } = self;
        let (start, end) = (parse_time("start_time", &start_time)?, parse_time("end_time", &end_time)?);
        let zone = timezone.map_or(Ok(Zone::UTC), |text| Zone::parse(&text))?;
        let recurrence = recurrence.map(Recurrence::parse).transpose()?;
        Ok(NewWindow {
            name: MaintenanceWindow::parse_name(name)?,
            times: MaintenanceTimes::parse(start, end, zone, recurrence)?,
            service_ids: read_service_ids(service_ids)?,
        })
    }
}

/// Creates a maintenance window.
#[utoipa::path(
    post,
    path = "/v2/maintenance-windows",
    operation_id = "v2_create_maintenance_window",
    tag = "maintenance",
    request_body = NewWindowBody,
    responses(
        (status = 201, description = "The window", body = Envelope<WindowView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewWindowBody>,
) -> Result<Response, ApiError> {
    let window = app.medic.create_window(body.parse()?, &actor).await?;
    Ok(created("Maintenance window created.", WindowView::of(window)))
}

/// Lists maintenance windows, newest first.
#[utoipa::path(
    get,
    path = "/v2/maintenance-windows",
    operation_id = "v2_list_maintenance_windows",
    tag = "maintenance",
    params(Listing),
    responses((status = 200, description = "Windows", body = Envelope<PageView<WindowView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.windows(listing.cursor::<WindowId>()?, listing.limit()?).await?;
    Ok(ok(PageView::fitting(page, WindowView::of, |window| window.window_id.to_string())))
}

/// Returns a maintenance window.
#[utoipa::path(
    get,
    path = "/v2/maintenance-windows/{window_id}",
    operation_id = "v2_get_maintenance_window",
    tag = "maintenance",
    params(("window_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The window", body = Envelope<WindowView>),
        (status = 404, description = "There is no such window", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<WindowId>) -> Result<Response, ApiError> {
    Ok(ok(WindowView::of(app.medic.find(id).await?)))
}

/// Changes to a window; fields that are left out stay as they are. `service_ids` are replaced whole.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WindowPatchBody {
    #[schema(value_type = Option<schema::Label>)]
    name: Option<String>,
    #[schema(format = DateTime)]
    start_time: Option<String>,
    #[schema(format = DateTime)]
    end_time: Option<String>,
    timezone: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    recurrence: Option<Option<String>>,
    #[schema(max_items = 1000)]
    service_ids: Option<Vec<i64>>,
}

impl WindowPatchBody {
    fn parse(self) -> Result<WindowUpdate, Invalid> {
        let Self { name, start_time, end_time, timezone, recurrence, service_ids } = self;
        Ok(WindowUpdate {
            name: name.map(MaintenanceWindow::parse_name).transpose()?,
            start: start_time.map(|text| parse_time("start_time", &text)).transpose()?,
            end: end_time.map(|text| parse_time("end_time", &text)).transpose()?,
            zone: timezone.map(|text| Zone::parse(&text)).transpose()?,
            recurrence: recurrence.map(|text| text.map(Recurrence::parse).transpose()).transpose()?,
            service_ids: service_ids.map(read_service_ids).transpose()?,
        })
    }
}

/// Updates a maintenance window.
#[utoipa::path(
    patch,
    path = "/v2/maintenance-windows/{window_id}",
    operation_id = "v2_update_maintenance_window",
    tag = "maintenance",
    params(("window_id" = i64, Path, minimum = 1)),
    request_body = WindowPatchBody,
    responses(
        (status = 200, description = "The window as it is now", body = Envelope<WindowView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such window", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<WindowId>,
    Body(body): Body<WindowPatchBody>,
) -> Result<Response, ApiError> {
    Ok(ok(WindowView::of(app.medic.update_window(id, &body.parse()?, &actor).await?)))
}

/// Deletes a maintenance window.
#[utoipa::path(
    delete,
    path = "/v2/maintenance-windows/{window_id}",
    operation_id = "v2_delete_maintenance_window",
    tag = "maintenance",
    params(("window_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such window", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<WindowId>,
) -> Result<Response, ApiError> {
    app.medic.delete_window(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Maintenance window deleted.", ""))
}

/// Whether a service is in maintenance.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct MaintenanceView {
    in_maintenance: bool,
    /// Of several windows, the one whose maintenance ends last.
    window_id: Option<i64>,
    window_name: Option<String>,
    /// When its maintenance ends, counting occurrences that follow each other without a pause as one; null when no end was
    /// found.
    maintenance_end: Option<String>,
}

impl MaintenanceView {
    fn of(found: Option<(MaintenanceWindow, Occurrence)>) -> Self {
        let Some((window, occurrence)) = found else {
            return Self::default();
        };
        Self {
            in_maintenance: true,
            window_id: Some(window.id.get()),
            window_name: Some(window.name.into_string()),
            maintenance_end: occurrence.end.map(format_time),
        }
    }
}

/// Returns whether a service is in maintenance at an instant.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/maintenance",
    operation_id = "v2_get_service_maintenance",
    tag = "services",
    params(("service_id" = i64, Path, minimum = 1), Instant),
    responses(
        (status = 200, description = "Whether it is, and in which window", body = Envelope<MaintenanceView>),
        (status = 400, description = "A time is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn of_service(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    Params(instant): Params<Instant>,
) -> Result<Response, ApiError> {
    let at = instant.or(app.now())?;
    Ok(ok(MaintenanceView::of(app.medic.maintenance(id, at).await?)))
}
