//! `/v2/services/{service_id}/notification-targets`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{
    Destination, Endpoint, Invalid, Revision, ServiceId, ServiceKey, Target, TargetId, TargetKind, TargetPeriod,
    format_time, parse_slack_channel,
};
use operations::{Actor, NewTarget, TargetUpdate, read_headers};
use runtime::{ApiError, App, Body, Envelope, IdPath, IdPaths, Listing, Params, created, ok, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::masks::{masked, masked_headers};
use crate::pages::PageView;
use crate::services::yes;

/// A receiver of one service's alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TargetView {
    target_id: i64,
    service_id: i64,
    /// `slack`, `pagerduty` or `webhook`.
    #[serde(rename = "type")]
    kind: &'static str,
    config: ConfigView,
    /// Targets with a lower number are notified first.
    priority: i32,
    enabled: bool,
    /// `always`, `during_hours` or `after_hours`.
    period: &'static str,
    date_added: String,
    date_modified: Option<String>,
}

/// Where a target is, by its type. Secrets are masked: `…` and the last four characters, or `…` alone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ConfigView {
    Slack(SlackConfigView),
    PagerDuty(PagerDutyConfigView),
    Webhook(WebhookConfigView),
}

/// Configuration of a `slack` target.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SlackConfigView {
    channel_id: String,
}

/// Configuration of a `pagerduty` target.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PagerDutyConfigView {
    /// Masked.
    service_key: String,
}

/// Configuration of a `webhook` target.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookConfigView {
    url: String,
    /// By name in lower case; the values are masked.
    headers: BTreeMap<String, String>,
}

impl ConfigView {
    fn of(destination: Destination) -> Self {
        match destination {
            Destination::Slack { channel_id } => Self::Slack(SlackConfigView { channel_id }),
            Destination::PagerDuty { service_key } => {
                Self::PagerDuty(PagerDutyConfigView { service_key: masked(service_key.reveal()) })
            }
            Destination::Webhook(Endpoint { url, headers }) => {
                Self::Webhook(WebhookConfigView { url, headers: masked_headers(&headers) })
            }
        }
    }
}

impl TargetView {
    fn of(target: Target) -> Self {
        let Target { id, service_id, destination, priority, enabled, period, revision } = target;
        let Revision { version: _, date_added, date_modified } = revision;
        Self {
            target_id: id.get(),
            service_id: service_id.get(),
            kind: destination.kind().as_str(),
            config: ConfigView::of(destination),
            priority,
            enabled,
            period: period.as_str(),
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

/// Where a target is: the fields of its type, and no others.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigBody {
    /// For `slack`: the channel id.
    #[schema(min_length = 1, pattern = r"^[^\s\x00-\x1f\x7f-\x9f]{0,80}$")]
    channel_id: Option<String>,
    /// For `pagerduty`: the integration key.
    service_key: Option<String>,
    /// For `webhook`: an http or https URL that leads to no internal address.
    #[schema(value_type = Option<schema::HttpUrl>)]
    url: Option<String>,
    /// For `webhook`: at most 20 headers.
    headers: Option<BTreeMap<String, String>>,
}

impl ConfigBody {
    /// Reads the fields of one type, and checks an address.
    async fn parse(self, kind: TargetKind, app: &App) -> Result<Destination, ApiError> {
        let Self { channel_id, service_key, url, headers } = self;
        let needed = |field: &str| Invalid::new(field, format!("must be given with the type {}", kind.as_str()));
        let given = [
            ("config.channel_id", channel_id.is_some(), TargetKind::Slack),
            ("config.service_key", service_key.is_some(), TargetKind::PagerDuty),
            ("config.url", url.is_some(), TargetKind::Webhook),
            ("config.headers", headers.is_some(), TargetKind::Webhook),
        ];
        if let Some((field, ..)) = given.into_iter().find(|(_, is_given, of)| *is_given && *of != kind) {
            return Err(Invalid::new(field, format!("does not go with the type {}", kind.as_str())).into());
        }
        Ok(match kind {
            TargetKind::Slack => {
                let channel_id = channel_id.ok_or_else(|| needed("config.channel_id"))?;
                Destination::Slack { channel_id: parse_slack_channel("config.channel_id", channel_id)? }
            }
            TargetKind::PagerDuty => {
                let service_key = service_key.ok_or_else(|| needed("config.service_key"))?;
                Destination::PagerDuty { service_key: ServiceKey::parse(service_key)? }
            }
            TargetKind::Webhook => {
                let url = url.ok_or_else(|| needed("config.url"))?;
                let headers = read_headers("config.headers", &headers.unwrap_or_default())?;
                app.medic.check_url("config.url", &url).await?;
                Destination::Webhook(Endpoint { url, headers })
            }
        })
    }
}

/// A target to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTargetBody {
    /// `slack`, `pagerduty` or `webhook`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(slack|pagerduty|webhook)$")]
    kind: String,
    config: ConfigBody,
    /// Targets with a lower number are notified first, and of two with the same number the older one: -1000 to 1000.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i64,
    #[serde(default = "yes")]
    enabled: bool,
    /// `always` unless given, `during_hours` or `after_hours`, by the service's schedule.
    #[serde(default)]
    #[schema(pattern = "^(always|during_hours|after_hours)$")]
    period: Option<String>,
}

impl NewTargetBody {
    async fn parse(self, app: &App) -> Result<NewTarget, ApiError> {
        let Self { kind, config, priority, enabled, period } = self;
        Ok(NewTarget {
            priority: Target::parse_priority(priority)?,
            enabled,
            period: period.map_or(Ok(TargetPeriod::Always), |text| text.parse())?,
            destination: config.parse(kind.parse()?, app).await?,
        })
    }
}

/// Creates a target: at most 20 for one service.
#[utoipa::path(
    post,
    path = "/v2/services/{service_id}/notification-targets",
    operation_id = "v2_create_target",
    tag = "notification targets",
    params(("service_id" = i64, Path, minimum = 1)),
    request_body = NewTargetBody,
    responses(
        (status = 201, description = "The target", body = Envelope<TargetView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
        (status = 409, description = "The service has 20 targets", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    IdPath(service): IdPath<ServiceId>,
    Body(body): Body<NewTargetBody>,
) -> Result<Response, ApiError> {
    let target = app.medic.create_target(service, body.parse(&app).await?, &actor).await?;
    Ok(created("Notification target created.", TargetView::of(target)))
}

/// Lists a service's targets, newest first.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/notification-targets",
    operation_id = "v2_list_targets",
    tag = "notification targets",
    params(("service_id" = i64, Path, minimum = 1), Listing),
    responses(
        (status = 200, description = "Targets", body = Envelope<PageView<TargetView>>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    IdPath(service): IdPath<ServiceId>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let page = app.medic.targets(service, listing.cursor::<TargetId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, TargetView::of)))
}

/// Returns a target.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/notification-targets/{target_id}",
    operation_id = "v2_get_target",
    tag = "notification targets",
    params(("service_id" = i64, Path, minimum = 1), ("target_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The target", body = Envelope<TargetView>),
        (status = 404, description = "There is no such service or target", body = Envelope<String>),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    IdPaths(service, id): IdPaths<ServiceId, TargetId>,
) -> Result<Response, ApiError> {
    Ok(ok(TargetView::of(app.medic.target(service, id).await?)))
}

/// Changes to a target; fields that are left out stay as they are. `config` is replaced whole, and goes with a new `type`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetPatchBody {
    #[serde(rename = "type")]
    #[schema(pattern = "^(slack|pagerduty|webhook)$")]
    kind: Option<String>,
    config: Option<ConfigBody>,
    #[schema(minimum = -1000, maximum = 1000)]
    priority: Option<i64>,
    enabled: Option<bool>,
    #[schema(pattern = "^(always|during_hours|after_hours)$")]
    period: Option<String>,
}

impl TargetPatchBody {
    async fn parse(self, present: TargetKind, app: &App) -> Result<TargetUpdate, ApiError> {
        let Self { kind, config, priority, enabled, period } = self;
        let kind = kind.map_or(Ok(present), |text| text.parse())?;
        if config.is_none() && kind != present {
            return Err(Invalid::new("config", "must be given with another type").into());
        }
        let changes = TargetUpdate {
            priority: priority.map(Target::parse_priority).transpose()?,
            enabled,
            period: period.map(|text| text.parse()).transpose()?,
            destination: None,
        };
        let Some(config) = config else { return Ok(changes) };
        Ok(TargetUpdate { destination: Some(config.parse(kind, app).await?), ..changes })
    }
}

/// Updates a target.
#[utoipa::path(
    patch,
    path = "/v2/services/{service_id}/notification-targets/{target_id}",
    operation_id = "v2_update_target",
    tag = "notification targets",
    params(("service_id" = i64, Path, minimum = 1), ("target_id" = i64, Path, minimum = 1)),
    request_body = TargetPatchBody,
    responses(
        (status = 200, description = "The target as it is now", body = Envelope<TargetView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such service or target", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPaths(service, id): IdPaths<ServiceId, TargetId>,
    Body(body): Body<TargetPatchBody>,
) -> Result<Response, ApiError> {
    let present = app.medic.target(service, id).await?.destination.kind();
    let changes = body.parse(present, &app).await?;
    Ok(ok(TargetView::of(app.medic.update_target(service, id, &changes, &actor).await?)))
}

/// Deletes a target.
#[utoipa::path(
    delete,
    path = "/v2/services/{service_id}/notification-targets/{target_id}",
    operation_id = "v2_delete_target",
    tag = "notification targets",
    params(("service_id" = i64, Path, minimum = 1), ("target_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such service or target", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPaths(service, id): IdPaths<ServiceId, TargetId>,
) -> Result<Response, ApiError> {
    app.medic.delete_target(service, id, &actor).await?;
    Ok(reply(StatusCode::OK, "Notification target deleted.", ""))
}

/// What a receiver returned to a test.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestView {
    target_id: i64,
    target_type: &'static str,
    /// Whether the receiver accepted it.
    success: bool,
    error_message: Option<String>,
}

/// Sends a test notification to a target, enabled or not and whatever its period, and returns what the receiver said.
#[utoipa::path(
    post,
    path = "/v2/services/{service_id}/notification-targets/{target_id}/test",
    operation_id = "v2_test_notification_target",
    tag = "notification targets",
    params(("service_id" = i64, Path, minimum = 1), ("target_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "What the receiver said", body = Envelope<TestView>),
        (status = 404, description = "There is no such target", body = Envelope<String>),
    )
)]
pub(crate) async fn test(
    State(app): State<App>,
    actor: Actor,
    IdPaths(service, id): IdPaths<ServiceId, TargetId>,
) -> Result<Response, ApiError> {
    let (target, error_message) = app.medic.test_target(service, id, &actor).await?;
    let (target_id, target_type) = (id.get(), target.destination.kind().as_str());
    Ok(ok(TestView { target_id, target_type, success: error_message.is_none(), error_message }))
}
