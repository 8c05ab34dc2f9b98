//! `/v2/scripts`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Invalid, Revision, Script, ScriptId, format_time};
use operations::{Actor, NewScript, ScriptUpdate};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::PageView;

/// A script that playbooks may run by its name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptView {
    script_id: i64,
    name: String,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// `bash` or `python`.
    interpreter: &'static str,
    timeout_seconds: u32,
    date_added: String,
    date_modified: Option<String>,
}

impl ScriptView {
    fn of(script: Script) -> Self {
        let Script { id, name, content, interpreter, timeout_seconds, revision } = script;
        let Revision { version: _, date_added, date_modified } = revision;
        Self {
            script_id: id.get(),
            name: name.into_string(),
            content: Some(content),
            interpreter: interpreter.as_str(),
            timeout_seconds,
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }

    /// As lists show it.
    fn listed(script: Script) -> Self {
        Self { content: None, ..Self::of(script) }
    }
}

/// A script to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewScriptBody {
    /// Unique whatever the case: 1 to 128 characters.
    #[schema(value_type = schema::Label)]
    name: String,
    /// At most 65536 bytes.
    #[schema(min_length = 1, max_length = 65_536, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    content: String,
    /// `bash` (with `-e`) or `python` (with `-u`).
    #[schema(pattern = "^(bash|python)$")]
    interpreter: String,
    /// 1 to 600; 30 unless given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 600)]
    timeout_seconds: Option<i64>,
}

impl NewScriptBody {
    fn parse(self) -> Result<NewScript, Invalid> {
        let Self { name, content, interpreter, timeout_seconds } = self;
        Ok(NewScript {
            name: Script::parse_name(name)?,
            content: Script::parse_content(content)?,
            interpreter: interpreter.parse()?,
            timeout_seconds: timeout_seconds.map_or(Ok(Script::USUAL_TIMEOUT_SECONDS), Script::parse_timeout)?,
        })
    }
}

/// Changes to a script; fields that are left out stay as they are.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScriptPatchBody {
    #[schema(value_type = Option<schema::Label>)]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 65_536, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    content: Option<String>,
    #[schema(pattern = "^(bash|python)$")]
    interpreter: Option<String>,
    #[schema(minimum = 1, maximum = 600)]
    timeout_seconds: Option<i64>,
}

impl ScriptPatchBody {
    fn parse(self) -> Result<ScriptUpdate, Invalid> {
        let Self { name, content, interpreter, timeout_seconds } = self;
        Ok(ScriptUpdate {
            name: name.map(Script::parse_name).transpose()?,
            content: content.map(Script::parse_content).transpose()?,
            interpreter: interpreter.map(|text| text.parse()).transpose()?,
            timeout_seconds: timeout_seconds.map(Script::parse_timeout).transpose()?,
        })
    }
}

/// Registers a script.
#[utoipa::path(
    post,
    path = "/v2/scripts",
    operation_id = "v2_create_script",
    tag = "scripts",
    request_body = NewScriptBody,
    responses(
        (status = 201, description = "The script", body = Envelope<ScriptView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewScriptBody>,
) -> Result<Response, ApiError> {
    let script = app.medic.create_script(body.parse()?, &actor).await?;
    Ok(created("Script created.", ScriptView::of(script)))
}

/// Lists scripts, newest first.
#[utoipa::path(
    get,
    path = "/v2/scripts",
    operation_id = "v2_list_scripts",
    tag = "scripts",
    params(Listing),
    responses((status = 200, description = "Scripts", body = Envelope<PageView<ScriptView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.scripts(listing.cursor::<ScriptId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, ScriptView::listed)))
}

/// Returns a script.
#[utoipa::path(
    get,
    path = "/v2/scripts/{script_id}",
    operation_id = "v2_get_script",
    tag = "scripts",
    params(("script_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The script", body = Envelope<ScriptView>),
        (status = 404, description = "There is no such script", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<ScriptId>) -> Result<Response, ApiError> {
    Ok(ok(ScriptView::of(app.medic.find(id).await?)))
}

/// Updates a script.
#[utoipa::path(
    patch,
    path = "/v2/scripts/{script_id}",
    operation_id = "v2_update_script",
    tag = "scripts",
    params(("script_id" = i64, Path, minimum = 1)),
    request_body = ScriptPatchBody,
    responses(
        (status = 200, description = "The script as it is now", body = Envelope<ScriptView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such script", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ScriptId>,
    Body(body): Body<ScriptPatchBody>,
) -> Result<Response, ApiError> {
    Ok(ok(ScriptView::of(app.medic.update_script(id, &body.parse()?, &actor).await?)))
}

/// Deletes a script. Steps that refer to it fail from then on.
#[utoipa::path(
    delete,
    path = "/v2/scripts/{script_id}",
    operation_id = "v2_delete_script",
    tag = "scripts",
    params(("script_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such script", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<ScriptId>,
) -> Result<Response, ApiError> {
    app.medic.delete::<Script>(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Script deleted.", ""))
}
