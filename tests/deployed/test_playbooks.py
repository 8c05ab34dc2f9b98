"""Playbooks, from the silence of a service to its verified repair; and an approval in Slack."""

import hashlib
import hmac
import json
import time
import urllib.parse
import urllib.request

import pytest

import receivers
from conftest import SECRETS
from waiting import wait_for

REPAIR = """
name: restart-worker
description: Restart the worker and verify that it reports again
trigger: {{ service_pattern: "silent-*", consecutive_failures: 1 }}
approval: none
steps:
  - {{ name: restart, type: webhook, url: "{hook}", method: POST, headers: {{ X-Auth: "${{secrets.OPS}}" }}, body: {{ service: "${{SERVICE_NAME}}" }}, success_codes: [200, 202], timeout: 10s }}
  - {{ name: settle, type: wait, duration: 2s }}
  - {{ name: clear-cache, type: script, script: clear-cache, parameters: {{ REGION: eu }}, timeout: 20s }}
  - {{ name: verify, type: condition, check: heartbeat_received, parameters: {{ min_count: 1, status: UP }}, timeout: 60s, on_failure: escalate }}
"""

REQUIRING_APPROVAL = """
name: asks-first
approval: required
steps:
  - { name: long, type: wait, duration: 16m }
"""

SCRIPT = """
echo "cleared in $REGION for $SERVICE_NAME"
env | grep -c -e AWS_ -e SLACK -e PAGERDUTY || :
"""


def shown(stack, execution_id):
    return stack.json("GET", f"/v2/executions/{execution_id}")["results"]


def log(stack, execution_id):
    """Returns the audit log of an execution, oldest first: what was done to which step."""
    entries = stack.json("GET", f"/v2/audit-logs?execution_id={execution_id}")["results"]["items"]
    return [(entry["action_type"], entry["details"].get("step_name")) for entry in reversed(entries)]


@pytest.fixture
def ops():
    """The receiver that a playbook calls."""
    receiver = receivers.Receiver(200, {"restarted": True})
    yield receiver
    receiver.stop()


def test_a_silent_service_is_repaired_and_verified(stack, slack, ops):
    secret = {"name": "OPS", "value": "open sesame", "allowed_hosts": ["127.0.0.1"]}
    stack.json("POST", "/v2/secrets", secret, expect=201)
    script = {"name": "clear-cache", "interpreter": "bash", "content": SCRIPT}
    stack.json("POST", "/v2/scripts", script, expect=201)
    playbook = stack.json("POST", "/v2/playbooks", {"yaml": REPAIR.format(hook=ops.url)}, expect=201)["results"]
    team = stack.json("POST", "/v2/teams", {"name": "repairs", "slack_channel_id": "C0ALERTS"}, expect=201)["results"]
    hours = {"name": "repair-hours", "timezone": "UTC", "hours": {}}
    schedule = stack.json("POST", "/v2/schedules", hours, expect=201)["results"]
    of = {"team_id": team["team_id"], "schedule_id": schedule["schedule_id"]}
    service_id = stack.register("silent-1", seconds=6, **of)
    target = {"type": "slack", "config": {"channel_id": "C0ALERTS"}}
    stack.json("POST", f"/v2/services/{service_id}/notification-targets", target, expect=201)
    webhook = {"url": ops.url, "service_id": service_id}
    webhook_id = stack.json("POST", "/v2/webhooks", webhook, expect=201)["results"]["webhook_id"]
    stack.heartbeat("silent-1")
    slack.received(lambda body: "silent-1 is down" in body["text"])
    slack.received(lambda body: ":robot_face: Playbook restart-worker started" in body["text"])
    called = ops.received(lambda body: body.get("service") == "silent-1")
    [execution] = stack.json("GET", f"/v2/executions?service_id={service_id}")["results"]["items"]
    execution_id = execution["execution_id"]
    at_verify = lambda: shown(stack, execution_id)["current_step"] == 3
    wait_for("the last step", at_verify)
    # So that it does not fall silent a second time.
    stack.json("PATCH", f"/v2/services/{service_id}", {"alert_interval": 60})
    stack.heartbeat("silent-1")
    done = lambda: shown(stack, execution_id) if shown(stack, execution_id)["status"] == "completed" else None
    execution = wait_for("the end", done)
    stack.heartbeat("silent-1")
    assert [step["status"] for step in execution["steps"]] == ["completed"] * 4
    assert execution["steps"][2]["output"] == "cleared in eu for silent-1\n0\n"
    assert called["headers"]["x-auth"] == "open sesame" and "open sesame" not in json.dumps(execution)
    assert called["headers"]["idempotency-key"] == f"{execution_id}-0"
    slack.received(lambda body: "Playbook restart-worker completed" in body["text"])
    wait_for("its verification", lambda: shown(stack, execution_id)["verification"] == "verified")
    assert log(stack, execution_id) == [
        ("execution_started", None),
        ("step_completed", "restart"),
        ("step_completed", "settle"),
        ("step_completed", "clear-cache"),
        ("step_completed", "verify"),
        ("execution_completed", None),
    ]
    effect = stack.json("GET", f"/v2/playbooks/{playbook['playbook_id']}/effectiveness")["results"]
    assert (effect["runs"], effect["verified"]) == (1, 1)
    for event in ("playbook.started", "playbook.finished"):
        of_it = lambda body: body.get("type") == event and body["data"]["execution_id"] == execution_id
        ops.received(of_it)
    stack.json("DELETE", f"/v2/webhooks/{webhook_id}")
    stack.json("DELETE", f"/v2/services/{service_id}")
    stack.json("DELETE", f"/v2/playbooks/{playbook['playbook_id']}")
    stack.json("DELETE", f"/v2/teams/{team['team_id']}")
    stack.json("DELETE", f"/v2/schedules/{schedule['schedule_id']}")


def test_the_circuit_opens_and_is_notified_once(stack, slack, ops):
    """It opens at the third start in an hour, by the parameters of this run."""
    yaml = 'name: flaps\ntrigger: { service_pattern: flapping }\nsteps:\n  - { name: s, type: wait, duration: 1s }\n'
    playbook_id = stack.json("POST", "/v2/playbooks", {"yaml": yaml}, expect=201)["results"]["playbook_id"]
    service_id = stack.register("flapping", seconds=3_600)
    for n in range(1, 4):
        stack.heartbeat("flapping", "DOWN")
        is_down = lambda: stack.json("GET", f"/v2/services/{service_id}")["results"]["down"]
        wait_for("an alert", is_down)
        stack.heartbeat("flapping", "UP")
        wait_for("its end", lambda: not is_down())
    # One message may hold several notifications, a line each.
    slack.received(lambda body: ":electric_plug: Alerts of flapping start no playbooks for now" in body["text"])
    assert len(stack.json("GET", f"/v2/executions?service_id={service_id}")["results"]["items"]) == 2
    assert stack.json("GET", f"/v2/services/{service_id}")["results"]["circuit_open"] is True
    # A person still can, and webhooks are notified.
    webhook = {"url": ops.url, "service_id": service_id}
    webhook_id = stack.json("POST", "/v2/webhooks", webhook, expect=201)["results"]["webhook_id"]
    run = {"service_id": service_id}
    started = stack.json("POST", f"/v2/playbooks/{playbook_id}/execute", run, expect=201)["results"]
    of_it = lambda body: body["type"] == "playbook.started" and body["data"]["execution_id"] == started["execution_id"]
    ops.received(of_it)
    stack.json("DELETE", f"/v2/webhooks/{webhook_id}")
    stack.json("DELETE", f"/v2/playbooks/{playbook_id}")
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_playbooks_triggers_scripts_and_secrets_are_configured(stack):
    """Each is created, shown, listed, updated and deleted."""
    yaml = "name: configured\nsteps:\n  - { name: s, type: wait, duration: 1s }\n"
    playbook_id = stack.json("POST", "/v2/playbooks", {"yaml": yaml}, expect=201)["results"]["playbook_id"]
    of_playbook = f"/v2/playbooks/{playbook_id}"
    for path, id_name, new, change in [
        (f"{of_playbook}/triggers", "trigger_id", {"service_pattern": "x-*"}, {"enabled": False}),
        ("/v2/scripts", "script_id", {"name": "one", "content": "true", "interpreter": "bash"}, {"content": "false"}),
        ("/v2/secrets", "secret_id", {"name": "ONE", "value": "first"}, {"value": "second"}),
    ]:
        created = stack.json("POST", path, new, expect=201)["results"]
        one = f"{path}/{created[id_name]}"
        assert stack.json("GET", one)["results"][id_name] == created[id_name]
        assert stack.json("GET", path)["results"]["items"]
        stack.json("PATCH", one, change)
        stack.json("DELETE", one)
    stack.json("PATCH", of_playbook, {"yaml": yaml.replace("1s", "2s")})
    assert stack.json("GET", "/v2/playbooks")["results"]["items"][0]["version"] == 2
    assert stack.json("GET", of_playbook)["results"]["version"] == 2
    stack.json("DELETE", of_playbook)


def press(stack, request, action_id, user="U0ANN"):
    """Presses a button of an approval request, as Slack reports it."""
    [value] = [
        element["value"]
        for block in request["blocks"]
        for element in block.get("elements", [])
        if element.get("action_id") == action_id
    ]
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "ann"},
        "channel": {"id": "C0ALERTS"},
        "message": {"ts": "1700000000.000100"},
        "actions": [{"action_id": action_id, "value": value}],
    }
    body = urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()
    timestamp = str(int(time.time()))
    secret = SECRETS["SLACK_SIGNING_SECRET"].encode()
    signature = hmac.new(secret, b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    interaction = urllib.request.Request(
        stack.url + "/v2/slack/interactions",
        method="POST",
        data=body,
        headers={
            "content-type": "application/x-www-form-urlencoded",
            "x-slack-request-timestamp": timestamp,
            "x-slack-signature": f"v0={signature}",
        },
    )
    with urllib.request.urlopen(interaction, timeout=20) as response:
        assert response.status == 200


def test_an_approval_in_slack_lets_it_run_and_a_long_wait_is_a_schedule(stack, slack):
    playbook_id = stack.json("POST", "/v2/playbooks", {"yaml": REQUIRING_APPROVAL}, expect=201)["results"]["playbook_id"]
    started = stack.json("POST", f"/v2/playbooks/{playbook_id}/execute", {}, expect=201)["results"]
    execution_id = started["execution_id"]
    assert started["status"] == "pending_approval"
    request = slack.received(lambda body: body["text"].startswith(":hourglass:") and "asks-first" in body["text"])
    press(stack, request, "approve_playbook")
    wait_for("the wait", lambda: shown(stack, execution_id)["status"] == "waiting")
    slack.received(lambda body: body["path"] == "/chat.update" and "ann" in json.dumps(body).lower())
    scheduler = stack.emulator.client("scheduler")
    [schedule] = scheduler.list_schedules(NamePrefix="medic-wake-")["Schedules"]
    kept = scheduler.get_schedule(Name=schedule["Name"])
    assert execution_id in kept["Target"]["Input"], "the end of a wait over 15 minutes is a one-time schedule"
    assert kept["ActionAfterCompletion"] == "DELETE"
    scheduler.delete_schedule(Name=schedule["Name"])
    # Pressed again, by somebody else: they get a message, and nothing changes.
    press(stack, request, "reject_playbook", user="U0BOB")
    slack.received(lambda body: body["path"] == "/chat.postEphemeral" and body["user"] == "U0BOB")
    stack.json("POST", f"/v2/executions/{execution_id}/cancel", {})
    assert shown(stack, execution_id)["status"] == "cancelled"
    stack.json("DELETE", f"/v2/playbooks/{playbook_id}")


def test_a_playbook_is_triggered_with_the_secret(stack):
    yaml = "name: triggered\nsteps:\n  - { name: s, type: wait, duration: 1s }\n"
    playbook_id = stack.json("POST", "/v2/playbooks", {"yaml": yaml}, expect=201)["results"]["playbook_id"]
    request = urllib.request.Request(
        f"{stack.url}/v2/webhooks/playbooks/{playbook_id}/trigger",
        method="POST",
        data=b"{}",
        headers={"x-webhook-secret": SECRETS["MEDIC_WEBHOOK_SECRET"]},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        execution_id = json.loads(response.read())["results"]["execution_id"]
        assert response.headers["x-ratelimit-limit"] == "10"
    wait_for("the end", lambda: shown(stack, execution_id)["status"] == "completed")
    stack.json("DELETE", f"/v2/playbooks/{playbook_id}")


def test_a_report_of_an_unknown_script_is_ignored(stack):
    report = {"execution_id": "01a0c450-6c7b-7000-8000-000000000000", "step_index": 0, "attempt": 1, "nonce": "guessed",
              "exit": 0, "output": "", "error": None, "duration_ms": 1}
    sqs = stack.emulator.client("sqs")
    sqs.send_message(QueueUrl=stack.outputs["ScriptResultsQueueUrl"], MessageBody=json.dumps(report))
    refusals = lambda: [line for line in stack.logs("playbook") if "nobody asked for" in line]
    wait_for("the report's refusal", refusals)
