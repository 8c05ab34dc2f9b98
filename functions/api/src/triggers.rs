//! `/v2/playbooks/{playbook_id}/triggers`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Invalid, PlaybookId, Revision, Trigger, TriggerId, TriggerTerms, format_time};
use operations::{Actor, NewTrigger, TriggerUpdate};
use runtime::{ApiError, App, Body, Envelope, IdPath, IdPaths, Listing, Params, created, ok, reply};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::PageView;
use crate::services::yes;

/// A rule that starts a playbook when services fail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TriggerView {
    trigger_id: i64,
    playbook_id: i64,
    service_pattern: String,
    consecutive_failures: u32,
    enabled: bool,
    date_added: String,
    date_modified: Option<String>,
}

impl TriggerView {
    fn of(trigger: Trigger) -> Self {
        let Trigger { id, playbook_id, terms, enabled, revision } = trigger;
        let TriggerTerms { service_pattern, consecutive_failures } = terms;
        let Revision { version: _, date_added, date_modified } = revision;
        Self {
            trigger_id: id.get(),
            playbook_id: playbook_id.get(),
            service_pattern,
            consecutive_failures,
            enabled,
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

/// A trigger to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTriggerBody {
    /// `*`, `?`, `[seq]` and `[!seq]`, in any case, against the service's two names.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    service_pattern: String,
    /// From how many missed intervals on: 1 to 1000; 1 unless given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    consecutive_failures: Option<i64>,
    #[serde(default = "yes")]
    enabled: bool,
}

impl NewTriggerBody {
    fn parse(self) -> Result<NewTrigger, Invalid> {
        let Self { service_pattern, consecutive_failures, enabled } = self;
        let terms = TriggerTerms {
            service_pattern: TriggerTerms::parse_pattern(service_pattern)?,
            consecutive_failures: consecutive_failures.map_or(Ok(1), TriggerTerms::parse_failures)?,
        };
        Ok(NewTrigger { terms, enabled })
    }
}

/// Changes to a trigger; fields that are left out stay as they are.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TriggerPatchBody {
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    service_pattern: Option<String>,
    #[schema(minimum = 1, maximum = 1000)]
    consecutive_failures: Option<i64>,
    enabled: Option<bool>,
}

impl TriggerPatchBody {
    fn parse(self) -> Result<TriggerUpdate, Invalid> {
        let Self { service_pattern, consecutive_failures, enabled } = self;
        Ok(TriggerUpdate {
            service_pattern: service_pattern.map(TriggerTerms::parse_pattern).transpose()?,
            consecutive_failures: consecutive_failures.map(TriggerTerms::parse_failures).transpose()?,
            enabled,
        })
    }
}

/// Creates a trigger: at most 20 for one playbook.
#[utoipa::path(
    post,
    path = "/v2/playbooks/{playbook_id}/triggers",
    operation_id = "v2_create_trigger",
    tag = "triggers",
    params(("playbook_id" = i64, Path, minimum = 1)),
    request_body = NewTriggerBody,
    responses(
        (status = 201, description = "The trigger", body = Envelope<TriggerView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
        (status = 409, description = "The playbook has 20 triggers", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    IdPath(playbook): IdPath<PlaybookId>,
    Body(body): Body<NewTriggerBody>,
) -> Result<Response, ApiError> {
    let trigger = app.medic.create_trigger(playbook, body.parse()?, &actor).await?;
    Ok(created("Trigger created.", TriggerView::of(trigger)))
}

/// Lists triggers, newest first.
#[utoipa::path(
    get,
    path = "/v2/playbooks/{playbook_id}/triggers",
    operation_id = "v2_list_triggers",
    tag = "triggers",
    params(("playbook_id" = i64, Path, minimum = 1), Listing),
    responses(
        (status = 200, description = "Triggers", body = Envelope<PageView<TriggerView>>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    IdPath(playbook): IdPath<PlaybookId>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let page = app.medic.triggers(playbook, listing.cursor::<TriggerId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, TriggerView::of)))
}

/// Returns a trigger.
#[utoipa::path(
    get,
    path = "/v2/playbooks/{playbook_id}/triggers/{trigger_id}",
    operation_id = "v2_get_trigger",
    tag = "triggers",
    params(("playbook_id" = i64, Path, minimum = 1), ("trigger_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The trigger", body = Envelope<TriggerView>),
        (status = 404, description = "There is no such playbook or trigger", body = Envelope<String>),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    IdPaths(playbook, id): IdPaths<PlaybookId, TriggerId>,
) -> Result<Response, ApiError> {
    Ok(ok(TriggerView::of(app.medic.trigger(playbook, id).await?)))
}

/// Updates a trigger.
#[utoipa::path(
    patch,
    path = "/v2/playbooks/{playbook_id}/triggers/{trigger_id}",
    operation_id = "v2_update_trigger",
    tag = "triggers",
    params(("playbook_id" = i64, Path, minimum = 1), ("trigger_id" = i64, Path, minimum = 1)),
    request_body = TriggerPatchBody,
    responses(
        (status = 200, description = "The trigger as it is now", body = Envelope<TriggerView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such playbook or trigger", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPaths(playbook, id): IdPaths<PlaybookId, TriggerId>,
    Body(body): Body<TriggerPatchBody>,
) -> Result<Response, ApiError> {
    Ok(ok(TriggerView::of(app.medic.update_trigger(playbook, id, &body.parse()?, &actor).await?)))
}

/// Deletes a trigger.
#[utoipa::path(
    delete,
    path = "/v2/playbooks/{playbook_id}/triggers/{trigger_id}",
    operation_id = "v2_delete_trigger",
    tag = "triggers",
    params(("playbook_id" = i64, Path, minimum = 1), ("trigger_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such playbook or trigger", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPaths(playbook, id): IdPaths<PlaybookId, TriggerId>,
) -> Result<Response, ApiError> {
    app.medic.delete_trigger(playbook, id, &actor).await?;
    Ok(reply(StatusCode::OK, "Trigger deleted.", ""))
}
