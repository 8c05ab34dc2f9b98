"""Uses the generated client as a caller would: its types must be right."""

from medic_client import AuthenticatedClient
from medic_client.api.heartbeats import post_heartbeat
from medic_client.api.teams import v2_create_team
from medic_client.models import EnvelopeTeamView, HeartbeatBody, NewTeamBody, TeamView

medic = AuthenticatedClient(base_url="http://127.0.0.1:8080", token="mdk_1_secret")


def team(name: str) -> TeamView:
    created = v2_create_team.sync(client=medic, body=NewTeamBody(name=name))
    assert isinstance(created, EnvelopeTeamView)
    return created.results


def heartbeat(name: str) -> int:
    sent = post_heartbeat.sync_detailed(client=medic, body=HeartbeatBody(heartbeat_name=name, status="UP"))
    return sent.status_code
