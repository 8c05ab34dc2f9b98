//! `/v2/playbooks`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Playbook, PlaybookId, Revision, format_time};
use operations::{Actor, Document, Problem};
use runtime::{ApiError, App, Envelope, IdPath, Listing, Params, TextBody, created, ok, reply};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::PageView;

/// A playbook at its newest version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlaybookView {
    playbook_id: i64,
    name: String,
    description: Option<String>,
    /// 1 at first, and 1 more with each change.
    version: u64,
    /// The document. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    yaml: Option<String>,
    /// The trigger that the document declares.
    trigger_id: Option<i64>,
    date_added: String,
    date_modified: Option<String>,
}

impl PlaybookView {
    fn of(playbook: Playbook) -> Self {
        let Playbook { id, name, description, yaml, trigger, revision } = playbook;
        let Revision { version, date_added, date_modified } = revision;
        Self {
            playbook_id: id.get(),
            name: name.into_string(),
            description,
            version,
            yaml: Some(yaml),
            trigger_id: trigger.map(|(id, _)| id.get()),
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }

    /// As lists show it.
    fn listed(playbook: Playbook) -> Self {
        Self { yaml: None, ..Self::of(playbook) }
    }
}

/// A playbook's document. The body may also be the document itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaybookBody {
    /// At most 65536 bytes.
    #[schema(min_length = 1, max_length = 65536)]
    yaml: String,
}

/// Returns the document in a body: what `yaml` holds when the body is such a JSON object, else the body itself.
fn document(body: String) -> Result<String, ApiError> {
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&body);
    if !object.is_ok_and(|object| object.contains_key("yaml")) {
        return Ok(body);
    }
    let PlaybookBody { yaml } = runtime::read_body(body.as_bytes())?;
    Ok(yaml)
}

/// What is wrong with a document, or odd about it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemView {
    /// With its path, such as `steps[1].url`; `yaml` for the document as a whole.
    field: String,
    message: String,
    line: u64,
}

impl ProblemView {
    fn of(problem: Problem) -> Self {
        let Problem { field, message, line } = problem;
        Self { message: format!("{field} {message}"), field, line }
    }
}

/// Whether a document is a playbook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationView {
    valid: bool,
    errors: Vec<ProblemView>,
    warnings: Vec<ProblemView>,
}

/// Validates a document, and lists everything that is wrong with it. Host names are not resolved.
#[utoipa::path(
    post,
    path = "/v2/playbooks/validate",
    operation_id = "v2_validate_playbook",
    tag = "playbooks",
    request_body = PlaybookBody,
    responses((status = 200, description = "What is wrong with it", body = Envelope<ValidationView>))
)]
pub(crate) async fn validate(State(app): State<App>, TextBody(body): TextBody) -> Result<Response, ApiError> {
    let Document { definition, warnings } = app.medic.validate_playbook(&document(body)?);
    let errors: Vec<_> = definition.err().unwrap_or_default().into_iter().map(ProblemView::of).collect();
    let warnings = warnings.into_iter().map(ProblemView::of).collect();
    Ok(ok(ValidationView { valid: errors.is_empty(), errors, warnings }))
}

/// Creates a playbook. The trigger that it declares is created with it.
#[utoipa::path(
    post,
    path = "/v2/playbooks",
    operation_id = "v2_create_playbook",
    tag = "playbooks",
    request_body = PlaybookBody,
    responses(
        (status = 201, description = "The playbook", body = Envelope<PlaybookView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    TextBody(body): TextBody,
) -> Result<Response, ApiError> {
    let playbook = app.medic.create_playbook(document(body)?, &actor).await?;
    Ok(created("Playbook created.", PlaybookView::of(playbook)))
}

/// Lists playbooks, newest first.
#[utoipa::path(
    get,
    path = "/v2/playbooks",
    operation_id = "v2_list_playbooks",
    tag = "playbooks",
    params(Listing),
    responses((status = 200, description = "Playbooks", body = Envelope<PageView<PlaybookView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.playbooks(listing.cursor::<PlaybookId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, PlaybookView::listed)))
}

/// Returns a playbook.
#[utoipa::path(
    get,
    path = "/v2/playbooks/{playbook_id}",
    operation_id = "v2_get_playbook",
    tag = "playbooks",
    params(("playbook_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The playbook", body = Envelope<PlaybookView>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<PlaybookId>) -> Result<Response, ApiError> {
    Ok(ok(PlaybookView::of(app.medic.find(id).await?)))
}

/// Gives a playbook a new document, which is its next version.
#[utoipa::path(
    patch,
    path = "/v2/playbooks/{playbook_id}",
    operation_id = "v2_update_playbook",
    tag = "playbooks",
    params(("playbook_id" = i64, Path, minimum = 1)),
    request_body = PlaybookBody,
    responses(
        (status = 200, description = "The playbook as it is now", body = Envelope<PlaybookView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<PlaybookId>,
    TextBody(body): TextBody,
) -> Result<Response, ApiError> {
    Ok(ok(PlaybookView::of(app.medic.update_playbook(id, &document(body)?, &actor).await?)))
}

/// Deletes a playbook. Its triggers go with it; its versions stay.
#[utoipa::path(
    delete,
    path = "/v2/playbooks/{playbook_id}",
    operation_id = "v2_delete_playbook",
    tag = "playbooks",
    params(("playbook_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such playbook", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<PlaybookId>,
) -> Result<Response, ApiError> {
    app.medic.delete_playbook(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Playbook deleted.", ""))
}
