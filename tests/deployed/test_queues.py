"""Bad messages and events: each comes back alone, and ends as a dead letter."""

import json

from stack import NAME
from waiting import wait_for


def read(stack, queue):
    """Returns the bodies of a queue's messages, and leaves them there."""
    response = stack.emulator.client("sqs").receive_message(
        QueueUrl=stack.outputs[queue], MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return [message["Body"] for message in response.get("Messages", [])]


def test_of_a_batch_only_the_poisoned_message_comes_again_and_is_dead_lettered(stack, poisoned_batch):
    poisoned, good = poisoned_batch
    wait_for("the dead letter", lambda: poisoned["Body"] in read(stack, "SweepDeadLettersUrl"), seconds=180)
    lines = [json.loads(line) for line in stack.logs("sweep") if "a message was not handled" in line]
    # Twice, as the parameter MaxReceives says; and no other message.
    assert [line["message.id"] for line in lines] == [poisoned["Id"]] * 2
    handled = [line for line in stack.logs("sweep") if "service#9999999" in line]
    assert len(handled) == len(good), "the rows that the good messages name were looked for, once each"


def test_with_every_message_lost_the_next_tick_finds_it(stack, slack):
    service_id = stack.register("lonely", seconds=6)
    stack.emulator.client("sqs").purge_queue(QueueUrl=stack.outputs["SweepQueueUrl"])
    slack.received(lambda body: "lonely is down" in body["text"])
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_an_event_of_the_wrong_shape_is_logged_and_dead_lettered(stack):
    client = stack.emulator.client("lambda")
    event = {"neither": "a tick nor messages"}
    client.invoke(FunctionName=f"{NAME}-sweep", InvocationType="Event", Payload=json.dumps(event))

    def kept():
        letters = [body for body in read(stack, "SweepDeadLettersUrl") if "neither" in body]
        return letters if letters else None

    [letter] = wait_for("the dead letter", kept)
    assert json.loads(letter)["requestPayload"] == event
    lines = [line for line in stack.logs("sweep") if "an event was not handled" in line]
    assert len(lines) == 1, "it was handled once"


def test_a_request_of_the_wrong_shape_is_refused(stack):
    client = stack.emulator.client("lambda")
    for function, event in [
        ("ingest", {"no": "request"}),
        ("api", {"create_api_key": {"name": "x", "scopes": ["root"]}}),
        ("notify", {"Records": [{"body": 1}]}),
    ]:
        response = client.invoke(FunctionName=f"{NAME}-{function}", Payload=json.dumps(event))
        assert response["FunctionError"], function
        assert any("an event was not handled" in line for line in stack.logs(function))
