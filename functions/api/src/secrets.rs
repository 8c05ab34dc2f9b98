//! `/v2/secrets`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Invalid, Label, Revision, Secret, SecretId, SecretUses, format_time};
use operations::{Actor, NewSecret, SecretUpdate};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, present, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::PageView;

/// A secret of playbooks. Its value is never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    secret_id: i64,
    /// The `NAME` in `${secrets.NAME}`.
    name: String,
    description: Option<String>,
    /// Hosts that webhook steps may send it to.
    allowed_hosts: Vec<String>,
    /// The scripts that may receive it.
    allowed_scripts: Vec<String>,
    date_added: String,
    date_modified: Option<String>,
}

impl SecretView {
    fn of(secret: Secret) -> Self {
        let Secret { id, name, description, uses: SecretUses { hosts, scripts }, sealed: _, revision } = secret;
        let Revision { version: _, date_added, date_modified } = revision;
        Self {
            secret_id: id.get(),
            name: name.into_string(),
            description,
            allowed_hosts: hosts,
            allowed_scripts: scripts.into_iter().map(Label::into_string).collect(),
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

/// A secret to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecretBody {
    /// Unique whatever the case: 1 to 128 letters, digits and `_`, with no digit first.
    #[schema(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
    name: String,
    /// 1 to 8192 bytes.
    #[schema(min_length = 1, max_length = 8192, pattern = r"^[^\x00]*$")]
    value: String,
    #[serde(default)]
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Hosts that webhook steps may send it to, such as `example.com` or `*.example.com`, without ports: at most 20.
    /// Without these and `allowed_scripts` nobody can use it.
    #[serde(default)]
    #[schema(max_items = 20)]
    allowed_hosts: Vec<String>,
    /// The scripts that may receive it, by name: at most 20.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Label>, max_items = 20)]
    allowed_scripts: Vec<String>,
}

impl NewSecretBody {
    fn parse(self) -> Result<NewSecret, Invalid> {
        let Self { name, value, description, allowed_hosts, allowed_scripts } = self;
        Ok(NewSecret {
            name: Secret::parse_name(name)?,
            value: Secret::parse_value(value)?,
            description: read_description(description)?,
            uses: SecretUses { hosts: allowed_hosts, scripts: SecretUses::parse_scripts(allowed_scripts)? },
        })
    }
}

fn read_description(text: Option<String>) -> Result<Option<String>, Invalid> {
    text.map(Secret::parse_description).transpose().map(Option::flatten)
}

/// Changes to a secret; fields that are left out stay as they are.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecretPatchBody {
    #[schema(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 8192, pattern = r"^[^\x00]*$")]
    value: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 500)]
    description: Option<Option<String>>,
    #[schema(max_items = 20)]
    allowed_hosts: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<schema::Label>>, max_items = 20)]
    allowed_scripts: Option<Vec<String>>,
}

impl SecretPatchBody {
    fn parse(self) -> Result<SecretUpdate, Invalid> {
        let Self { name, value, description, allowed_hosts, allowed_scripts } = self;
        Ok(SecretUpdate {
            name: name.map(Secret::parse_name).transpose()?,
            value: value.map(Secret::parse_value).transpose()?,
            description: description.map(read_description).transpose()?,
            allowed_hosts,
            allowed_scripts: allowed_scripts.map(SecretUses::parse_scripts).transpose()?,
        })
    }
}

/// Creates a secret. It is stored sealed, and steps refer to it as `${secrets.NAME}`.
///
/// Outputs show `[secret NAME]` or `***` in its place, also where it is in hexadecimal, base64, or escaped. That keeps it out
/// of logs by mistake. What keeps it from whoever writes playbooks is `allowed_hosts` and `allowed_scripts`: list only those
/// that do not hand it on.
#[utoipa::path(
    post,
    path = "/v2/secrets",
    operation_id = "v2_create_secret",
    tag = "secrets",
    request_body = NewSecretBody,
    responses(
        (status = 201, description = "The secret", body = Envelope<SecretView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewSecretBody>,
) -> Result<Response, ApiError> {
    let secret = app.medic.create_secret(body.parse()?, &actor).await?;
    Ok(created("Secret created.", SecretView::of(secret)))
}

/// Lists secrets, newest first.
#[utoipa::path(
    get,
    path = "/v2/secrets",
    operation_id = "v2_list_secrets",
    tag = "secrets",
    params(Listing),
    responses((status = 200, description = "Secrets", body = Envelope<PageView<SecretView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.secrets(listing.cursor::<SecretId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, SecretView::of)))
}

/// Returns a secret.
#[utoipa::path(
    get,
    path = "/v2/secrets/{secret_id}",
    operation_id = "v2_get_secret",
    tag = "secrets",
    params(("secret_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The secret", body = Envelope<SecretView>),
        (status = 404, description = "There is no such secret", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<SecretId>) -> Result<Response, ApiError> {
    Ok(ok(SecretView::of(app.medic.find(id).await?)))
}

/// Updates a secret.
#[utoipa::path(
    patch,
    path = "/v2/secrets/{secret_id}",
    operation_id = "v2_update_secret",
    tag = "secrets",
    params(("secret_id" = i64, Path, minimum = 1)),
    request_body = SecretPatchBody,
    responses(
        (status = 200, description = "The secret as it is now", body = Envelope<SecretView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such secret", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<SecretId>,
    Body(body): Body<SecretPatchBody>,
) -> Result<Response, ApiError> {
    Ok(ok(SecretView::of(app.medic.update_secret(id, &body.parse()?, &actor).await?)))
}

/// Deletes a secret. Steps that refer to it fail from then on.
#[utoipa::path(
    delete,
    path = "/v2/secrets/{secret_id}",
    operation_id = "v2_delete_secret",
    tag = "secrets",
    params(("secret_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such secret", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<SecretId>,
) -> Result<Response, ApiError> {
    app.medic.delete::<Secret>(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Secret deleted.", ""))
}
