//! `/v2/teams`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::{Invalid, Revision, Team, TeamId, format_time};
use operations::{Actor, NewTeam, TeamUpdate};
use runtime::{ApiError, App, Body, Envelope, IdPath, Listing, Params, created, ok, present, reply, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pages::PageView;

/// A team, which owns services, and where it is notified about them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TeamView {
    team_id: i64,
    name: String,
    /// Where notifications about the team's services go; null for `SLACK_CHANNEL_ID`.
    slack_channel_id: Option<String>,
    date_added: String,
    date_modified: Option<String>,
}

impl TeamView {
    fn of(team: Team) -> Self {
        let Team { id, name, slack_channel_id, revision } = team;
        let Revision { version: _, date_added, date_modified } = revision;
        Self {
            team_id: id.get(),
            name: name.into_string(),
            slack_channel_id,
            date_added: format_time(date_added),
            date_modified: date_modified.map(format_time),
        }
    }
}

/// A team to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTeamBody {
    /// Unique whatever the case: 1 to 128 characters.
    #[schema(value_type = schema::Label)]
    name: String,
    /// Empty counts as none.
    #[serde(default)]
    #[schema(value_type = Option<schema::SlackChannel>)]
    slack_channel_id: Option<String>,
}

impl NewTeamBody {
    fn parse(self) -> Result<NewTeam, Invalid> {
        let Self { name, slack_channel_id } = self;
        Ok(NewTeam { name: Team::parse_name(name)?, slack_channel_id: channel(slack_channel_id)? })
    }
}

fn channel(text: Option<String>) -> Result<Option<String>, Invalid> {
    text.map(Team::parse_channel).transpose().map(Option::flatten)
}

/// Creates a team. Services that already name it by `team` join it when that is set again.
#[utoipa::path(
    post,
    path = "/v2/teams",
    operation_id = "v2_create_team",
    tag = "teams",
    request_body = NewTeamBody,
    responses(
        (status = 201, description = "The team", body = Envelope<TeamView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    actor: Actor,
    Body(body): Body<NewTeamBody>,
) -> Result<Response, ApiError> {
    let team = app.medic.create_team(body.parse()?, &actor).await?;
    Ok(created("Team created.", TeamView::of(team)))
}

/// Lists teams, newest first.
#[utoipa::path(
    get,
    path = "/v2/teams",
    operation_id = "v2_list_teams",
    tag = "teams",
    params(Listing),
    responses((status = 200, description = "Teams", body = Envelope<PageView<TeamView>>))
)]
pub(crate) async fn list(State(app): State<App>, Params(listing): Params<Listing>) -> Result<Response, ApiError> {
    let page = app.medic.teams(listing.cursor::<TeamId>()?, listing.limit()?).await?;
    Ok(ok(PageView::of(page, TeamView::of)))
}

/// Returns a team.
#[utoipa::path(
    get,
    path = "/v2/teams/{team_id}",
    operation_id = "v2_get_team",
    tag = "teams",
    params(("team_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The team", body = Envelope<TeamView>),
        (status = 404, description = "There is no such team", body = Envelope<String>),
    )
)]
pub(crate) async fn get(State(app): State<App>, IdPath(id): IdPath<TeamId>) -> Result<Response, ApiError> {
    Ok(ok(TeamView::of(app.medic.find(id).await?)))
}

/// Changes to a team; fields that are left out stay as they are.
#[expect(clippy::option_option, reason = "a field that is left out, null, or set")]
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TeamPatchBody {
    #[schema(value_type = Option<schema::Label>)]
    name: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<schema::SlackChannel>)]
    slack_channel_id: Option<Option<String>>,
}

impl TeamPatchBody {
    fn parse(self) -> Result<TeamUpdate, Invalid> {
        let Self { name, slack_channel_id } = self;
        Ok(TeamUpdate {
            name: name.map(Team::parse_name).transpose()?,
            slack_channel_id: slack_channel_id.map(channel).transpose()?,
        })
    }
}

/// Updates a team. Its services show its new name at once.
#[utoipa::path(
    patch,
    path = "/v2/teams/{team_id}",
    operation_id = "v2_update_team",
    tag = "teams",
    params(("team_id" = i64, Path, minimum = 1)),
    request_body = TeamPatchBody,
    responses(
        (status = 200, description = "The team as it is now", body = Envelope<TeamView>),
        (status = 400, description = "A field is not valid", body = Envelope<String>),
        (status = 404, description = "There is no such team", body = Envelope<String>),
        (status = 409, description = "The name is taken", body = Envelope<String>),
    )
)]
pub(crate) async fn update(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<TeamId>,
    Body(body): Body<TeamPatchBody>,
) -> Result<Response, ApiError> {
    Ok(ok(TeamView::of(app.medic.update_team(id, &body.parse()?, &actor).await?)))
}

/// Deletes a team. Its services have no `team_id` from then on, and keep the name in `team`.
#[utoipa::path(
    delete,
    path = "/v2/teams/{team_id}",
    operation_id = "v2_delete_team",
    tag = "teams",
    params(("team_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "Deleted", body = Envelope<String>),
        (status = 404, description = "There is no such team", body = Envelope<String>),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    actor: Actor,
    IdPath(id): IdPath<TeamId>,
) -> Result<Response, ApiError> {
    app.medic.delete::<Team>(id, &actor).await?;
    Ok(reply(StatusCode::OK, "Team deleted.", ""))
}
