//! `/v2/schedules`, and a service's period.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{Hours, Invalid, Period, Revision, Schedule, ScheduleId, ServiceId, Zone, format_time, parse_time};
use operations::{Actor, NewSchedule, ScheduleUpdate};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::pages::PageView;

/// A range of a day's hours.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoursRange {
    /// `09:00`: from 00:00 to 23:59.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    start: String,
    /// Exclusive, up to 24:00. If it is not after `start`, it is on the next day.
    #[schema(pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
    end: String,
}

/// By day, `monday` to `sunday`; a day that is left out has no hours.
type Week = BTreeMap<String, Vec<HoursRange>>;

/// A week of hours, by the wall clock of a zone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    schedule_id: i64,
    name: String,
    timezone: &'static str,
    #[schema(inline)]
    hours: Week,
    date_added: String,
    date_modified: Option<String>,
}

impl ScheduleView {
    fn of(schedule: Schedule) -> Self {
        let Schedule { id, name, zone, hours, revision } = schedule;
        let Revision { version: _, date_added, date_modified } = revision;
        let range = |(start, end)| HoursRange { start, end };
        Self {
            schedule_id: id.get(),
            name: name.into_string(),
            timezone: zone.as_str(),
            hours: hours
                .days()
                .map(|(day, ranges)| (day.to_owned(), ranges.into_iter().map(range).collect()))
                .collect(),
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

fn read_hours(week: Week) -> Result<Hours, Invalid> {
    let range = |HoursRange { start, end }| (start, end);
    let week = week.into_iter().map(|(day, ranges)| (day, ranges.into_iter().map(range).collect())).collect();
    Hours::parse(&week)
}

/// A schedule to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewScheduleBody {
    /// Unique whatever the case: 1 to 128 characters.
    #[schema(value_type = schema::Label)]
    name: String,
    /// `UTC`, or an IANA name with a `/`.
    timezone: String,
    /// By day, `monday` to `sunday`, at most 24 ranges each; a day that is left out has no hours.
    #[schema(inline)]
    hours: Week,
}

impl NewScheduleBody {
    fn parse(self) -> Result<NewSchedule, Invalid> {
        let Self { name, timezone, hours } = self;
        Ok(NewSchedule { name: Schedule::parse_name(name)?, zone: Zone::parse(&timezone)?, hours: read_hours(hours)? })
    }
}

/// Creates a schedule.
#[utoipa::path(
    post,
    path = "/v2/schedules",
    operation_id = "v2_create_schedule",
    tag = "schedules",
    request_body = NewScheduleBody,
    responses(
        (status = 201, description = "The schedule", body = Envelope<ScheduleView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewScheduleBody>,
) -> Result<Response, ApiError> {
    let schedule = app.medic.create_schedule(body.parse()?, &actor).await?;
    Ok(created("Schedule created.", ScheduleView::of(schedule)))
}

/// Lists schedules, newest first.
#[utoipa::path(
    get,
    path = "/v2/schedules",
    operation_id = "v2_list_schedules",
    tag = "schedules",
    params(Listing),
    responses((status = 200, description = "Schedules", body = Envelope<PageView<ScheduleView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.schedules(listing.cursor::<ScheduleId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, ScheduleView::of)))
}

/// Returns a schedule.
#[utoipa::path(
    get,
    path = "/v2/schedules/{schedule_id}",
    operation_id = "v2_get_schedule",
    tag = "schedules",
    params(("schedule_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The schedule", body = Envelope<ScheduleView>),
        (status = 404, description = "There is no such schedule", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<ScheduleId>) -> Result<Response, ApiError> {
    Ok(ok(ScheduleView::of(app.medic.find(id).await?)))
}

/// Changes to a schedule; fields that are left out stay as they are. `hours` are replaced whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchedulePatchBody {
    #[schema(value_type = Option<schema::Label>)]
    name: Option<String>,
    timezone: Option<String>,
    #[schema(inline)]
    hours: Option<Week>,
}

impl SchedulePatchBody {
    fn parse(self) -> Result<ScheduleUpdate, Invalid> {
        let Self { name, timezone, hours } = self;
        Ok(ScheduleUpdate {
            name: name.map(Schedule::parse_name).transpose()?,
            zone: timezone.map(|text| Zone::parse(&text)).transpose()?,
            hours: hours.map(read_hours).transpose()?,
        })
    }
}

/// Updates a schedule.
#[utoipa::path(
    patch,
    path = "/v2/schedules/{schedule_id}",
    operation_id = "v2_update_schedule",
    tag = "schedules",
    params(("schedule_id" = i64, Path, minimum = 1)),
    request_body = SchedulePatchBody,
    responses(
        (status = 200, description = "The schedule as it is now", body = Envelope<ScheduleView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such schedule", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ScheduleId>,
    Body(body): Body<SchedulePatchBody>,
) -> Result<Response, ApiError> {
    Ok(ok(ScheduleView::of(app.medic.update_schedule(id, &body.parse()?, &actor).await?)))
}

/// Deletes a schedule. Its services have no `schedule_id` from then on, and are always in hours.
#[utoipa::path(
    delete,
    path = "/v2/schedules/{schedule_id}",
    operation_id = "v2_delete_schedule",
    tag = "schedules",
    params(("schedule_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such schedule", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ScheduleId>,
) -> Result<Response, ApiError> {
    app.medic.delete::<Schedule>(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Schedule deleted.", ""))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Instant {
    /// The instant to look at, in RFC 3339; now unless given.
    #[param(format = DateTime)]
    at: Option<String>,
}

impl Instant {
    pub(crate) fn or(self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Invalid> {
        self.at.map_or(Ok(now), |text| parse_time("at", &text))
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PeriodView {
    /// `during_hours` or `after_hours`.
    period: &'static str,
}

impl PeriodView {
    fn of(period: Period) -> Self {
        Self { period: period.as_str() }
    }
}

/// Returns whether an instant lies in a schedule's hours.
#[utoipa::path(
    get,
    path = "/v2/schedules/{schedule_id}/period",
    operation_id = "v2_get_schedule_period",
    tag = "schedules",
    params(("schedule_id" = i64, Path, minimum = 1), Instant),
    responses(
        (status = 200, description = "The period", body = Envelope<PeriodView>),
        (status = 400, description = "A time is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such schedule", body = Envelope<String>),
    )
)]
pub(crate) async fn period(
    State(app): State<App>,
    IdPath(id): IdPath<ScheduleId>,
    Params(instant): Params<Instant>,
) -> Result<Response, ApiError> {
    let at = instant.or(app.now())?;
    let schedule: Schedule = app.medic.find(id).await?;
    Ok(ok(PeriodView::of(schedule.period(at))))
}

/// Returns whether an instant lies in a service's hours. A service with no schedule is always in hours.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/period",
    operation_id = "v2_get_service_period",
    tag = "services",
    params(("service_id" = i64, Path, minimum = 1), Instant),
    responses(
        (status = 200, description = "The period", body = Envelope<PeriodView>),
        (status = 400, description = "A time is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn service_period(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    Params(instant): Params<Instant>,
) -> Result<Response, ApiError> {
    let at = instant.or(app.now())?;
    Ok(ok(PeriodView::of(app.medic.period(id, at).await?)))
}
