//! Version 1, byte-compatible with the fields that clients in the field rely on: `/service`, `/heartbeat`, `/alerts`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use domain::{Expectation, Invalid, Profile, Rule};
use operations::{Actor, Error, Registered, Registration, ServiceUpdate};
use runtime::{ApiError, App, Body, Envelope, NamePath, Params, Routes, ok, reply, schema};
use serde::{Deserialize, Deserializer};
use store::{AlertFilter, ServiceRecord};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::alerts::{ActiveFilter, AlertView, read_active};
use crate::heartbeats::HeartbeatView;
use crate::services::{ProfileFields, ServiceView, new_team, one, team_choice};

/// The routes of version 1, which are served at the bare path and under `/v1`.
pub(crate) fn router() -> Routes {
    Routes::new()
        .read(routes!(list_services))
        .write(routes!(register))
        .read(routes!(get_service))
        .write(routes!(update_service))
        .read(routes!(list_heartbeats))
        .read(routes!(list_alerts))
}

/// A flag, which old clients write as 0 or 1.
#[derive(Debug, Clone, Copy)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "must be 0, 1, true or false")]
        enum Written {
            Number(u8),
            Word(bool),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(0) | Written::Word(false) => Ok(Self(false)),
            Written::Number(1) | Written::Word(true) => Ok(Self(true)),
            Written::Number(_) => Err(serde::de::Error::custom("must be 0, 1, true or false")),
        }
    }
}

/// A service to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    #[schema(value_type = schema::HeartbeatName)]
    heartbeat_name: String,
    #[schema(value_type = schema::Label)]
    service_name: String,
    /// Minutes.
    #[schema(minimum = 0.00001, maximum = 527_040)]
    alert_interval: f64,
    /// Prefix for the name: `prod` gives `prod-` and the name.
    #[serde(default)]
    #[schema(max_length = 126, pattern = r"^[^/\x00-\x1f\x7f-\x9f]*$")]
    environment: Option<String>,
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 20)]
    threshold: i64,
    #[serde(default)]
    #[schema(value_type = Option<schema::Label>)]
    team: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<schema::Priority>)]
    priority: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<schema::Runbook>)]
    runbook: Option<String>,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 31_622_400)]
    grace_period_seconds: i64,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 31_622_400_000_i64)]
    max_duration_ms: Option<i64>,
}

/// Registers a service; repeating it changes nothing.
#[utoipa::path(
    post,
    path = "/service",
    tag = "version 1",
    request_body = RegisterBody,
    responses(
        (status = 201, description = "Registered", body = Envelope<String>),
        (status = 200, description = "It is registered already", body = Envelope<String>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
    )
)]
async fn register(State(app): State<App>, actor: Actor, Body(body): Body<RegisterBody>) -> Result<Response, ApiError> {
    let now = actor.at;
    let RegisterBody {
        heartbeat_name,
        service_name,
        alert_interval,
        environment,
        threshold,
        team,
        priority,
        runbook,
        grace_period_seconds,
        max_duration_ms,
    } = body;
    let heartbeat_name = match environment.filter(|environment| !environment.is_empty()) {
        Some(environment) => format!("{environment}-{heartbeat_name}"),
        None => heartbeat_name,
    };
    let fields = ProfileFields {
        heartbeat_name,
        service_name,
        priority,
        runbook,
        schedule_id: None,
        notification_mode: None,
        max_duration_ms,
    };
    let registration = Registration {
        profile: fields.parse(now)?,
        team: new_team(team, None)?,
        rule: Rule::parse(Expectation::parse(Some(alert_interval), None, None)?, grace_period_seconds, threshold)?,
        active: true,
        muted: None,
    };
    Ok(match app.medic.register(registration, &actor).await? {
        Registered::New(_) => reply(StatusCode::CREATED, "Heartbeat successfully registered.", ""),
        Registered::Existing => reply(StatusCode::OK, "Heartbeat is already registered.", ""),
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NameFilter {
    service_name: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ServiceActiveFilter {
    /// `1` or `true`: only active services; `0` or `false`: only inactive ones.
    #[param(pattern = "^(0|1|true|false|)$")]
    active: Option<String>,
}

/// Lists services, newest first. Of more than 1,000 a `service_name` must be given.
#[utoipa::path(
    get,
    path = "/service",
    tag = "version 1",
    params(NameFilter, ServiceActiveFilter),
    responses(
        (status = 200, description = "Services", body = Envelope<Vec<ServiceView<u8>>>),
        (status = 400, description = "With more than 1,000 services a name must be given", body = Envelope<String>),
    )
)]
async fn list_services(
    State(app): State<App>,
    Params(names): Params<NameFilter>,
    Params(filter): Params<ServiceActiveFilter>,
) -> Result<Response, ApiError> {
    let active = read_active(filter.active.as_deref())?;
    let name = names.service_name.as_deref().filter(|name| !name.is_empty());
    let too_many = || match name {
        None => Invalid::new("service_name", format!("must be given: there are more than {MAX_SERVICES} services")),
        Some(_) => Invalid::new(
            "service_name",
            format!("is that of more than {MAX_SERVICES} services: get one by GET /service/{{heartbeat_name}}"),
        ),
    };
    let mut services = app.medic.services_up_to(MAX_SERVICES, name).await?.ok_or_else(too_many)?;
    services.retain(|record| active.is_none_or(|active| record.snapshot.service.active == active));
    Ok(ok(views(&app, &services).await?))
}

async fn views(app: &App, services: &[ServiceRecord]) -> Result<Vec<ServiceView<u8>>, ApiError> {
    let now = app.now();
    let open_circuits = app.medic.open_circuits(now).await?;
    Ok(services.iter().map(|record| ServiceView::of(record, &open_circuits, now)).collect())
}

/// Returns a service: a list of none or one.
#[utoipa::path(
    get,
    path = "/service/{heartbeat_name}",
    tag = "version 1",
    params(("heartbeat_name" = String, Path)),
    responses((status = 200, description = "None or one", body = Envelope<Vec<ServiceView<u8>>>))
)]
async fn get_service(State(app): State<App>, NamePath(name): NamePath) -> Result<Response, ApiError> {
    let found = app.medic.service_by_name(&name).await?;
    Ok(ok(views(&app, found.as_slice()).await?))
}

/// 0 or 1, as version 1 writes flags; true and false are accepted as well.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "read by `Flag`")]
enum FlagBody {
    Number(u8),
    Truth(bool),
}

/// Changes to a service; fields that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    #[schema(value_type = Option<schema::Label>)]
    service_name: Option<String>,
    #[schema(value_type = Option<FlagBody>)]
    muted: Option<Flag>,
    #[schema(value_type = Option<FlagBody>)]
    active: Option<Flag>,
    #[schema(minimum = 0.00001, maximum = 527_040)]
    alert_interval: Option<f64>,
    #[schema(minimum = 1, maximum = 20)]
    threshold: Option<i64>,
    #[schema(value_type = Option<schema::Label>)]
    team: Option<String>,
    #[schema(value_type = Option<schema::Priority>)]
    priority: Option<String>,
    #[schema(value_type = Option<schema::Runbook>)]
    runbook: Option<String>,
    #[schema(value_type = Option<FlagBody>)]
    down: Option<Flag>,
    #[schema(minimum = 0, maximum = 31_622_400)]
    grace_period_seconds: Option<i64>,
    #[schema(minimum = 1, maximum = 31_622_400_000_i64)]
    max_duration_ms: Option<i64>,
}

impl UpdateBody {
    fn parse(self) -> Result<ServiceUpdate, Invalid> {
        let Self {
            service_name,
            muted,
            active,
            alert_interval,
            threshold,
            team,
            priority,
            runbook,
            down,
            grace_period_seconds,
            max_duration_ms,
        } = self;
        Ok(ServiceUpdate {
            service_name: service_name.map(Profile::parse_service_name).transpose()?,
            team: team_choice(team, None)?,
            priority: priority.map(|text| text.parse()).transpose()?,
            runbook: runbook.map(Profile::parse_runbook).transpose()?,
            max_duration_ms: max_duration_ms.map(Profile::parse_max_duration_ms).transpose()?.map(Some),
            alert_interval,
            grace_period_seconds,
            threshold,
            active: active.map(|Flag(flag)| flag),
            muted: muted.map(|Flag(flag)| flag),
            down: down.map(|Flag(flag)| flag),
            ..ServiceUpdate::default()
        })
    }
}

/// Updates a service.
#[utoipa::path(
    post,
    path = "/service/{heartbeat_name}",
    tag = "version 1",
    params(("heartbeat_name" = String, Path)),
    request_body = UpdateBody,
    responses(
        (status = 200, description = "Updated", body = Envelope<String>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "No service has this name", body = Envelope<String>),
    )
)]
async fn update_service(
    State(app): State<App>,
    actor: Actor,
    NamePath(name): NamePath,
    Body(body): Body<UpdateBody>,
) -> Result<Response, ApiError> {
    let changes = body.parse()?;
    let found = app.medic.service_by_name(&name).await?;
    let found = found.ok_or_else(|| Error::NotFound(format!("Heartbeat is not registered: {name}")))?;
    app.medic.update_service(found.snapshot.service.id, &changes, &actor).await?;
    Ok(reply(StatusCode::OK, "Heartbeat successfully updated.", ""))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HeartbeatQuery {
    heartbeat_name: Option<String>,
    service_name: Option<String>,
    /// Maximum number of heartbeats to return: 1 to 250, which is the default.
    #[serde(rename = "maxCount")]
    #[param(value_type = Option<i64>, minimum = 1)]
    max_count: Option<String>,
}

/// Lists heartbeats, newest first.
#[utoipa::path(
    get,
    path = "/heartbeat",
    tag = "version 1",
    params(HeartbeatQuery),
    responses(
        (status = 200, description = "Heartbeats", body = Envelope<Vec<HeartbeatView>>),
        (status = 400, description = "With more than 200 services a name must be given", body = Envelope<String>),
    )
)]
async fn list_heartbeats(State(app): State<App>, Params(query): Params<HeartbeatQuery>) -> Result<Response, ApiError> {
    let HeartbeatQuery { heartbeat_name, service_name, max_count } = query;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let limit = match given(&max_count).map(|text| text.parse::<i64>()) {
        None => MAX_HEARTBEATS,
        Some(Ok(count)) if count >= 1 => usize::try_from(count).unwrap_or(MAX_HEARTBEATS).min(MAX_HEARTBEATS),
        Some(_) => return Err(Invalid::new("maxCount", "must be a whole number from 1").into()),
    };
    let (name, service) = (given(&heartbeat_name), given(&service_name));
    let found = app.medic.heartbeats_named(name.as_deref(), service.as_deref(), limit, app.now()).await?;
    let views: Vec<_> = found.into_iter().map(|(heartbeat, record)| HeartbeatView::of(heartbeat, &record)).collect();
    Ok(ok(views))
}

const MAX_HEARTBEATS: usize = 250;
/// The most services that `GET /service` looks through.
const MAX_SERVICES: usize = 1_000;
/// Without `active`, alerts are the newest so many; with it, all there are up to `MAX_ALERTS`.
const NEWEST_ALERTS: usize = 100;
const MAX_ALERTS: usize = 1_000;

/// Lists alerts, newest first: the newest 100, or with `active` the newest 1,000 that are open or closed.
#[utoipa::path(
    get,
    path = "/alerts",
    tag = "version 1",
    params(ActiveFilter),
    responses((status = 200, description = "Alerts", body = Envelope<Vec<AlertView<u8>>>))
)]
async fn list_alerts(State(app): State<App>, Params(filter): Params<ActiveFilter>) -> Result<Response, ApiError> {
    let filter = filter.alerts()?;
    let limit = if filter == AlertFilter::All { NEWEST_ALERTS } else { MAX_ALERTS };
    let page = app.medic.alerts(filter, None, limit).await?;
    Ok(ok(AlertView::<u8>::of_all(&app, &page.items).await?))
}
