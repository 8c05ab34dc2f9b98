"""What the tests share: one emulator, one deployed stack, and the receivers that it notifies."""

import json

import pytest

import receivers
from emulator import Emulator
from stack import ROOT, Stack

SECRETS = {
    "SLACK_API_TOKEN": "xoxb-of-slack",
    "SLACK_SIGNING_SECRET": "signing-secret-of-slack",
    "PAGERDUTY_ROUTING_KEY": "key-of-pagerduty",
    "MEDIC_WEBHOOK_SECRET": "secret-of-triggers",
    "MEDIC_SECRETS_KEY": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
}


@pytest.fixture(scope="session")
def slack():
    receiver = receivers.slack()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="session")
def pagerduty():
    receiver = receivers.pagerduty()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="session")
def hook():
    """A user's webhook."""
    receiver = receivers.Receiver(200, {"accepted": True})
    yield receiver
    receiver.stop()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    emulator = Emulator(tmp_path_factory.mktemp("emulator"))
    try:
        emulator.wait()
        yield emulator
    finally:
        emulator.stop()


@pytest.fixture(scope="session")
def stack(emulator, slack, pagerduty):
    parameters = {
        # The emulator hands no messages to functions with a concurrency of their own.
        "SweepConcurrency": "0",
        "NotifyConcurrency": "0",
        "SlackChannelId": "C0ALERTS",
        "SlackApiUrl": slack.url,
        "PagerDutyUrl": f"{pagerduty.url}/v2/enqueue",
        # The webhooks of the tests are on this machine.
        "AllowPrivateHosts": "true",
        # The tests send many requests with one key; those about limits create keys with their own.
        "RateLimitHeartbeats": "1000000",
        "RateLimitManagement": "1000000",
        # A poisoned message is given up within two minutes instead of fifteen.
        "WorkerTimeoutSeconds": "10",
        "VisibilityTimeoutSeconds": "60",
        "PlaybookTimeoutSeconds": "20",
        "PlaybookVisibilityTimeoutSeconds": "120",
        "CircuitMaxExecutions": "2",
        "MaxReceives": "2",
        # The emulator supports no wrapper; it starts the bootstrap itself.
        "ScriptRuntime": "provided.al2023",
    }
    stack = Stack(emulator, SECRETS, parameters)
    yield stack
    stack.keep_logs(ROOT / "target/deployed")


@pytest.fixture(scope="session", autouse=True)
def poisoned_batch(request):
    """A batch with one message that no function can read. Sent first, because giving it up takes two minutes."""
    if not any("stack" in item.fixturenames for item in request.session.items):
        return None
    stack = request.getfixturevalue("stack")
    poison = '{"wake": "nonsense"}'
    good = [json.dumps({"wake": "row", "pk": "service#9999999", "sk": str(n)}) for n in range(3)]
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate([poison, *good])]
    sqs = stack.emulator.client("sqs")
    sent = sqs.send_message_batch(QueueUrl=stack.outputs["SweepQueueUrl"], Entries=entries)["Successful"]
    [poisoned] = [message["MessageId"] for message in sent if message["Id"] == "0"]
    return {"Id": poisoned, "Body": poison}, good


def pytest_collection_modifyitems(items):
    """Moves the tests that look at the whole run to the end."""
    items.sort(key=lambda item: item.path.stem in ("test_queues", "test_metrics", "test_permissions"))
