//! `/v2/services`.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{
    Expectation, HeartbeatName, Invalid, NotificationMode, Priority, Profile, Rule, ScheduleId, ServiceId, TeamId,
    format_time, minutes_of, parse_time,
};
use operations::{Actor, Error, Registered, Registration, ServiceUpdate, TeamChoice};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, present, schema};
use serde::{Deserialize, Serialize};
use store::ServiceRecord;
use utoipa::{IntoParams, ToSchema};

use crate::pages::{PageView, number};

/// A service. Flags are booleans under `/v2`, and 0 or 1 in version 1.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceView<Flag> {
    service_id: i64,
    heartbeat_name: String,
    service_name: String,
    active: Flag,
    /// Minutes. Null with `schedule_cron`.
    #[schema(value_type = Option<f64>)]
    alert_interval: Option<serde_json::Number>,
    /// When it must report: a cron expression of five fields. Null with `alert_interval`.
    schedule_cron: Option<String>,
    /// The zone by whose clock `schedule_cron` is read.
    timezone: Option<&'static str>,
    threshold: u32,
    grace_period_seconds: i64,
    max_duration_ms: Option<u64>,
    /// The team's name as it is now.
    team: String,
    /// Null where no such team exists.
    team_id: Option<i64>,
    priority: &'static str,
    runbook: Option<String>,
    schedule_id: Option<i64>,
    notification_mode: &'static str,
    muted: Flag,
    muted_until: Option<String>,
    date_muted: Option<String>,
    down: Flag,
    consecutive_failures: u32,
    last_heartbeat_at: Option<String>,
    last_status: Option<&'static str>,
    circuit_open: Flag,
    date_added: String,
    date_modified: Option<String>,
}

impl<Flag: From<bool>> ServiceView<Flag> {
    pub(crate) fn of(record: &ServiceRecord, open_circuits: &[ServiceId], now: DateTime<Utc>) -> Self {
        let service = &record.snapshot.service;
        let Profile {
            heartbeat_name,
            service_name,
            team,
            team_id,
            priority,
            runbook,
            schedule_id,
            notification_mode,
            max_duration_ms,
            date_added,
            is_unedited: _,
            date_modified,
        } = &record.profile;
        let Rule { expectation, grace, threshold } = &service.rule;
        let mute = service.mute.filter(|_| service.is_muted(now));
        Self {
            service_id: service.id.get(),
            heartbeat_name: heartbeat_name.as_str().to_owned(),
            service_name: service_name.as_str().to_owned(),
            active: service.active.into(),
            alert_interval: expectation.interval().map(minutes_of).map(number),
            schedule_cron: expectation.timetable().map(|timetable| timetable.cron.to_string()),
            timezone: expectation.timetable().map(|timetable| timetable.zone.as_str()),
            threshold: *threshold,
            grace_period_seconds: grace.num_seconds(),
            max_duration_ms: *max_duration_ms,
            team: team.as_str().to_owned(),
            team_id: team_id.map(TeamId::get),
            priority: priority.as_str(),
            runbook: runbook.clone(),
            schedule_id: schedule_id.map(ScheduleId::get),
            notification_mode: notification_mode.as_str(),
            muted: mute.is_some().into(),
            muted_until: mute.map(|mute| format_time(mute.until)),
            date_muted: mute.map(|mute| format_time(mute.since)),
            down: service.is_down().into(),
            consecutive_failures: service.consecutive_failures(),
            last_heartbeat_at: service.recent.newest().time().map(format_time),
            last_status: service.recent.last_status.map(domain::Status::as_str),
            circuit_open: open_circuits.contains(&service.id).into(),
            date_added: format_time(*date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

/// A service to register.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewService {
    /// Unique whatever the case: 1 to 128 characters, no `/`, no control characters.
    #[schema(value_type = schema::HeartbeatName)]
    heartbeat_name: String,
    #[schema(value_type = schema::Label)]
    service_name: String,
    /// Minutes, above 0, fractions allowed, at most a year. This or `schedule_cron` must be given.
    #[serde(default)]
    #[schema(minimum = 0.00001, maximum = 527_040)]
    alert_interval: Option<f64>,
    /// A cron expression of five fields, with croniter's meaning: it must report for each time that this gives.
    #[serde(default)]
    schedule_cron: Option<String>,
    /// The zone by whose clock `schedule_cron` is read: `UTC`, the default, or an IANA name with a `/`.
    #[serde(default)]
    timezone: Option<String>,
    /// Heartbeats needed within an interval: 1 to 20.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 20)]
    threshold: i64,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 31_622_400)]
    grace_period_seconds: i64,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 31_622_400_000_i64)]
    max_duration_ms: Option<i64>,
    /// A team's name. Where there is such a team, this sets `team_id` as well.
    #[serde(default)]
    #[schema(value_type = Option<schema::Label>)]
    team: Option<String>,
    /// A team's id. Sets `team` as well, and must not contradict it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    team_id: Option<Option<i64>>,
    #[serde(default)]
    #[schema(value_type = Option<schema::Priority>)]
    priority: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<schema::Runbook>)]
    runbook: Option<String>,
    #[serde(default)]
    #[schema(minimum = 1)]
    schedule_id: Option<i64>,
    #[serde(default)]
    #[schema(pattern = "^(notify_all|notify_until_success)$")]
    notification_mode: Option<String>,
    #[serde(default = "yes")]
    active: bool,
    #[serde(default)]
    muted: bool,
    #[serde(default)]
    #[schema(format = DateTime)]
    muted_until: Option<String>,
}

pub(crate) const fn one() -> i64 {
    1
}

pub(crate) const fn yes() -> bool {
    true
}

/// The fields of a registration that both versions share.
pub(crate) struct ProfileFields {
    pub(crate) heartbeat_name: String,
    pub(crate) service_name: String,
    pub(crate) priority: Option<String>,
    pub(crate) runbook: Option<String>,
    pub(crate) schedule_id: Option<i64>,
    pub(crate) notification_mode: Option<String>,
    pub(crate) max_duration_ms: Option<i64>,
}

impl ProfileFields {
    pub(crate) fn parse(self, now: DateTime<Utc>) -> Result<Profile, Invalid> {
        let Self { heartbeat_name, service_name, priority, runbook, schedule_id, notification_mode, max_duration_ms } =
            self;
        let mode = notification_mode.map(|text| text.parse()).transpose()?;
        Ok(Profile {
            heartbeat_name: HeartbeatName::parse(heartbeat_name)?,
            service_name: Profile::parse_service_name(service_name)?,
            team: Profile::parse_team(Profile::DEFAULT_TEAM)?,
            team_id: None,
            priority: priority.map(|text| text.parse()).transpose()?.unwrap_or(Priority::P3),
            runbook: runbook.map(Profile::parse_runbook).transpose()?.flatten(),
            schedule_id: schedule_id.map(ScheduleId::read).transpose()?,
            notification_mode: mode.unwrap_or(NotificationMode::NotifyAll),
            max_duration_ms: max_duration_ms.map(Profile::parse_max_duration_ms).transpose()?,
            is_unedited: false,
            date_added: now,
            date_modified: None,
        })
    }
}

/// Reads the team of a registration, which without one is the default's.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
pub(crate) fn new_team(team: Option<String>, team_id: Option<Option<i64>>) -> Result<TeamChoice, Invalid> {
    let choice = team_choice(team, team_id)?;
    let is_left_out = choice.name.is_none() && choice.id.is_none();
    if is_left_out { team_choice(Some(Profile::DEFAULT_TEAM.to_owned()), None) } else { Ok(choice) }
}

/// Reads the team that a request names.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
pub(crate) fn team_choice(team: Option<String>, team_id: Option<Option<i64>>) -> Result<TeamChoice, Invalid> {
    Ok(TeamChoice {
        name: team.map(Profile::parse_team).transpose()?,
        id: team_id.map(|id| id.map(TeamId::read).transpose()).transpose()?,
    })
}

/// Registers a service.
#[utoipa::path(
    post,
    path = "/v2/services",
    operation_id = "v2_create_service",
    tag = "services",
    request_body = NewService,
    responses(
        (status = 201, description = "The service", body = Envelope<ServiceView<bool>>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewService>,
) -> Result<Response, ApiError> {
    let now = actor.at;
    let NewService {
        heartbeat_name,
        service_name,
        alert_interval,
        schedule_cron,
        timezone,
        threshold,
        grace_period_seconds,
        max_duration_ms,
        team,
        team_id,
        priority,
        runbook,
        schedule_id,
        notification_mode,
        active,
        muted,
        muted_until,
    } = body;
    let fields = ProfileFields {
        heartbeat_name,
        service_name,
        priority,
        runbook,
        schedule_id,
        notification_mode,
        max_duration_ms,
    };
    let until = muted_until.map(|text| parse_time("muted_until", &text)).transpose()?;
    let expectation = Expectation::parse(alert_interval, schedule_cron.as_deref(), timezone.as_deref())?;
    let registration = Registration {
        profile: fields.parse(now)?,
        team: new_team(team, team_id)?,
        rule: Rule::parse(expectation, grace_period_seconds, threshold)?,
        active,
        muted: Registration::mute(muted, until, now)?,
    };
    let name = registration.profile.heartbeat_name.to_string();
    match app.medic.register(registration, &actor).await? {
        Registered::New(record) => Ok(created("Service created.", ServiceView::<bool>::of(&record, &[], now))),
        Registered::Existing => {
            Err(Error::Conflict(format!("heartbeat_name is taken: there is a service named {name}")).into())
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ServiceFilter {
    /// Only services of this `service_name`.
    service_name: Option<String>,
}

/// Lists services, newest first.
#[utoipa::path(
    get,
    path = "/v2/services",
    operation_id = "v2_list_services",
    tag = "services",
    params(ServiceFilter, Listing),
    responses((status = 200, description = "Services", body = Envelope<PageView<ServiceView<bool>>>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Params(filter): Params<ServiceFilter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let name = filter.service_name.as_deref();
    let page = app.medic.services(name, listing.cursor::<ServiceId>()?, listing.limit()?).await?;
    let now = app.now();
    let open_circuits = app.medic.open_circuits(now).await?;
    Ok(ok(PageView::of(page, |record| ServiceView::<bool>::of(&record, &open_circuits, now))))
}

/// Returns a service.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}",
    operation_id = "v2_get_service",
    tag = "services",
    params(("service_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The service", body = Envelope<ServiceView<bool>>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<ServiceId>) -> Result<Response, ApiError> {
    let record = app.medic.service(id).await?;
    let now = app.now();
    Ok(ok(ServiceView::<bool>::of(&record, &app.medic.open_circuits(now).await?, now)))
}

/// Changes to a service; fields that are left out stay as they are.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServicePatchBody {
    #[schema(value_type = Option<schema::Label>)]
    service_name: Option<String>,
    /// Minutes. Replaces `schedule_cron`.
    #[schema(minimum = 0.00001, maximum = 527_040)]
    alert_interval: Option<f64>,
    /// A cron expression of five fields. Replaces `alert_interval`, and counts from now.
    schedule_cron: Option<String>,
    timezone: Option<String>,
    #[schema(minimum = 1, maximum = 20)]
    threshold: Option<i64>,
    #[schema(minimum = 0, maximum = 31_622_400)]
    grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 31_622_400_000_i64)]
    max_duration_ms: Option<Option<i64>>,
    /// A team's name. Sets `team_id` as well: null where there is no such team.
    #[schema(value_type = Option<schema::Label>)]
    team: Option<String>,
    /// A team's id. Sets `team` as well, and must not contradict it; null sets the default team's name.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    team_id: Option<Option<i64>>,
    #[schema(value_type = Option<schema::Priority>)]
    priority: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<schema::Runbook>)]
    runbook: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    schedule_id: Option<Option<i64>>,
    #[schema(pattern = "^(notify_all|notify_until_success)$")]
    notification_mode: Option<String>,
    active: Option<bool>,
    muted: Option<bool>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    muted_until: Option<Option<String>>,
    /// True opens an alert at once; false closes the open one, and counting starts anew.
    down: Option<bool>,
}

impl ServicePatchBody {
    fn parse(self) -> Result<ServiceUpdate, Invalid> {
        let Self {
            service_name,
            alert_interval,
            schedule_cron,
            timezone,
            threshold,
            grace_period_seconds,
            max_duration_ms,
            team,
            team_id,
            priority,
            runbook,
            schedule_id,
            notification_mode,
            active,
            muted,
            muted_until,
            down,
        } = self;
        let until = |text: Option<String>| text.map(|text| parse_time("muted_until", &text)).transpose();
        Ok(ServiceUpdate {
            service_name: service_name.map(Profile::parse_service_name).transpose()?,
            team: team_choice(team, team_id)?,
            schedule_id: schedule_id.map(|id| id.map(ScheduleId::read).transpose()).transpose()?,
            priority: priority.map(|text| text.parse()).transpose()?,
            runbook: runbook
                .map(|text| text.map(Profile::parse_runbook).transpose().map(Option::flatten))
                .transpose()?,
            notification_mode: notification_mode.map(|text| text.parse()).transpose()?,
            max_duration_ms: max_duration_ms
                .map(|millis| millis.map(Profile::parse_max_duration_ms).transpose())
                .transpose()?,
            alert_interval,
            schedule_cron,
            timezone,
            grace_period_seconds,
            threshold,
            active,
            muted,
            muted_until: muted_until.map(until).transpose()?,
            down,
        })
    }
}

/// Updates a service.
#[utoipa::path(
    patch,
    path = "/v2/services/{service_id}",
    operation_id = "v2_update_service",
    tag = "services",
    params(("service_id" = i64, Path, minimum = 1)),
    request_body = ServicePatchBody,
    responses(
        (status = 200, description = "The service as it is now", body = Envelope<ServiceView<bool>>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ServiceId>,
    Body(body): Body<ServicePatchBody>,
) -> Result<Response, ApiError> {
    let now = actor.at;
    let record = app.medic.update_service(id, &body.parse()?, &actor).await?;
    Ok(ok(ServiceView::<bool>::of(&record, &app.medic.open_circuits(now).await?, now)))
}

/// Deletes a service. Its alerts stay; an open one closes, and nobody is notified.
#[utoipa::path(
    delete,
    path = "/v2/services/{service_id}",
    operation_id = "v2_delete_service",
    tag = "services",
    params(("service_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ServiceId>,
) -> Result<Response, ApiError> {
    app.medic.delete_service(id, &actor).await?;
    Ok(runtime::reply(axum::http::StatusCode::OK, "Service deleted.", ""))
}
