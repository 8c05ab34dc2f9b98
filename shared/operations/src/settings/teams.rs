//! Teams, and which of them a service belongs to.

use domain::{Invalid, Label, Profile, Revision, Team, TeamId, TeamName};
use store::Page;

use crate::{Actor, Error, Medic};

/// A team to be created.
#[derive(Debug, Clone)]
pub struct NewTeam {
    pub name: TeamName,
    pub slack_channel_id: Option<String>,
}

/// An update: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct TeamUpdate {
    pub name: Option<TeamName>,
    pub slack_channel_id: Option<Option<String>>,
}

/// The team that a request names for a service: by name, by id, or by both.
#[derive(Debug, Clone, Default)]
pub struct TeamChoice {
    pub name: Option<TeamName>,
    pub id: Option<Option<TeamId>>,
}

/// A service's team: its name, and its id where there is such a team.
pub(super) type TeamMembership = (TeamName, Option<TeamId>);

impl Medic {
    pub async fn create_team(&self, new: NewTeam, actor: &Actor) -> Result<Team, Error> {
        let NewTeam { name, slack_channel_id } = new;
        let id = self.table.next_team_id().await?;
        self.create(Team { id, name, slack_channel_id, revision: Revision::beginning(actor.at) }, actor).await
    }

    /// Returns teams, newest first.
    pub async fn teams(&self, after: Option<TeamId>, limit: usize) -> Result<Page<Team>, Error> {
        Ok(self.table.teams(after, limit).await?)
    }

    pub async fn update_team(&self, id: TeamId, update: &TeamUpdate, actor: &Actor) -> Result<Team, Error> {
        let TeamUpdate { name, slack_channel_id } = update;
        let decide = |team: Team| {
            Ok(Team {
                name: name.clone().unwrap_or(team.name),
                slack_channel_id: slack_channel_id.clone().unwrap_or(team.slack_channel_id),
                ..team
            })
        };
        self.update(id, actor, decide).await
    }

    /// Finds the team that a request names. A name and an id must belong to the same team.
    pub(super) async fn resolve_team(&self, choice: &TeamChoice) -> Result<Option<TeamMembership>, Error> {
        let TeamChoice { name, id } = choice;
        match (name, id) {
            (None, None) => Ok(None),
            (None, Some(None)) => Ok(Some((Profile::parse_team(Profile::DEFAULT_TEAM)?, None))),
            (Some(name), None) => Ok(Some(match self.table.team_named(name).await? {
                Some(team) => (team.name, Some(team.id)),
                None => (name.clone(), None),
            })),
            (Some(name), Some(None)) => match self.table.team_named(name).await? {
                Some(team) => {
                    Err(Invalid::new("team_id", format!("must not be null: team names team {}", team.id)).into())
                }
                None => Ok(Some((name.clone(), None))),
            },
            (name, Some(Some(id))) => {
                let team = self.table.team(*id).await?;
                let team =
                    team.ok_or_else(|| Invalid::new("team_id", format!("must be a team's: there is no team {id}")))?;
                if name.as_ref().is_some_and(|name| !is_same_name(name, &team.name)) {
                    return Err(
                        Invalid::new("team", format!("must be left out or name team {id}: {}", team.name)).into()
                    );
                }
                Ok(Some((team.name, Some(team.id))))
            }
        }
    }
}

fn is_same_name(one: &Label, other: &Label) -> bool {
    one.as_str().to_lowercase() == other.as_str().to_lowercase()
}
