"""Scripts: from the FIFO queue through the sandbox to the results queue."""

import json
import time

from waiting import wait_for

SCRIPT = """
echo "$REGION $MEDIC_EXECUTION_ID $MEDIC_PLAYBOOK_ID $MEDIC_SERVICE_ID"
env | grep -c -e AWS_ -e SLACK -e PAGERDUTY || :
echo warned >&2
"""


def send(stack, attempt, **fields):
    job = {
        "execution_id": "execution",
        "step_index": 0,
        "attempt": attempt,
        "nonce": f"nonce-{attempt}",
        "playbook_id": 3,
        "service_id": 7,
        "interpreter": "bash",
        "content": SCRIPT,
        "environment": {"REGION": "eu"},
        "timeout_seconds": 5,
        "start_by_ms": int(time.time() * 1000) + 60_000,
        **fields,
    }
    stack.emulator.client("sqs").send_message(
        QueueUrl=stack.outputs["ScriptQueueUrl"],
        MessageBody=json.dumps(job),
        MessageGroupId=job["execution_id"],
        MessageDeduplicationId=f"execution-0-{attempt}",
    )


def reports(stack, count):
    """What the script function told, oldest first."""
    sqs, url, found = stack.emulator.client("sqs"), stack.outputs["ScriptResultsQueueUrl"], []

    def told():
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found if len(found) >= count else None

    return sorted(wait_for("reports", told, seconds=60), key=lambda report: report["attempt"])


def test_a_script_is_run_once_for_each_attempt_and_its_end_is_told(stack):
    send(stack, 1)
    send(stack, 1)
    send(stack, 2, content="trap '' TERM\nsleep 1000", timeout_seconds=1)
    send(stack, 3, environment={"BASH_ENV": "/tmp/x"})
    send(stack, 4, start_by_ms=0)
    send(stack, 5, interpreter="python", content="import sys\nprint('python')\nsys.exit(3)")
    first, second, third, fifth = reports(stack, 4)
    assert (first["nonce"], first["exit"], first["error"]) == ("nonce-1", 0, None)
    assert first["output"] == "eu execution 3 7\n0\n[STDERR]\nwarned\n"
    assert (second["exit"], second["error"]) == (None, "Script timed out after 1 seconds")
    assert "must not be set" in third["error"]
    assert (fifth["attempt"], fifth["exit"], fifth["output"]) == (5, 3, "python\n")
