"""Slack's own SDK signs what Slack sends: Medic accepts what it signs, and nothing else."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from slack_sdk.signature import SignatureVerifier

from conftest import SIGNING_SECRET


def interact(medic, payload: dict, headers: dict) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{medic.url}/v2/slack/interactions", data=body(payload), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def body(payload: dict) -> bytes:
    return urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()


def signed(payload: dict, secret: str = SIGNING_SECRET, late: int = 0) -> dict:
    timestamp = str(int(time.time()) - late)
    signature = SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body(payload))
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}


PAYLOAD = {"type": "block_actions", "user": {"id": "U1", "name": "Zoë & <b>"}, "actions": []}


def test_what_the_sdk_signs_is_accepted(medic):
    assert interact(medic, PAYLOAD, signed(PAYLOAD)) == (200, b"")
    assert interact(medic, PAYLOAD, signed(PAYLOAD, late=240)) == (200, b"")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(PAYLOAD, secret=SIGNING_SECRET + "0"),
        signed(PAYLOAD, late=360),
        signed(PAYLOAD, late=-360),
        signed(PAYLOAD | {"type": "view_closed"}),
        signed(PAYLOAD) | {"X-Slack-Request-Timestamp": str(int(time.time()) + 7)},
        {"X-Slack-Signature": signed(PAYLOAD)["X-Slack-Signature"]},
    ],
    ids=["unsigned", "another secret", "old", "of the future", "another body", "another time", "no time"],
)
def test_nothing_else_is_accepted(medic, headers):
    status, text = interact(medic, PAYLOAD, headers)
    assert (status, json.loads(text)["success"]) == (401, False)


def test_pressing_a_button_of_an_approval_request_decides_it(medic):
    yaml = "name: patience\napproval: required\nsteps:\n  - { name: settle, type: wait, duration: 1s }\n"
    playbook = medic.api("POST", "/v2/playbooks", {"yaml": yaml})["playbook_id"]
    started = medic.api("POST", f"/v2/playbooks/{playbook}/execute", {})
    value = f"{started['execution_id']} {started['plan']['digest']}"
    action = {"action_id": "reject_playbook", "value": value, "type": "button"}
    payload = PAYLOAD | {"actions": [action], "channel": {"id": "C1"}, "message": {"ts": "1.2"}}
    assert interact(medic, payload, signed(payload)) == (200, b"")
    deadline = time.monotonic() + 20
    while (execution := medic.api("GET", f"/v2/executions/{started['execution_id']}"))["status"] == "pending_approval":
        assert time.monotonic() < deadline
    assert (execution["status"], execution["decision"]["actor"]) == ("cancelled", "slack:Zoë & <b> (U1)")
