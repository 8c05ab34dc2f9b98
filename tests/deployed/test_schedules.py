"""One-time schedules: how a wake-up is sent that is later than a message can be delayed."""

from datetime import UTC, datetime, timedelta

from waiting import wait_for


def test_a_retry_later_than_a_message_can_be_delayed_is_a_schedule(stack, slack):
    scheduler = stack.emulator.client("scheduler")
    before = datetime.now(UTC)
    slack.respond_once(lambda body: "patient is down" in body["text"], 429, {"retry-after": "1000"})
    service_id = stack.register("patient", seconds=6)

    def schedules():
        return scheduler.list_schedules(NamePrefix="medic-wake-")["Schedules"]

    [listed] = wait_for("the schedule", schedules)
    name = listed["Name"]
    schedule = scheduler.get_schedule(Name=name)
    at = datetime.strptime(schedule["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
    assert timedelta(seconds=1_000) <= at - before <= timedelta(seconds=1_060)
    assert schedule["ActionAfterCompletion"] == "DELETE"
    assert not any("patient" in body["text"] for body in slack.bodies)

    # The clock moves: the lane's hold has ended, and the schedule's time has come.
    table = stack.emulator.client("dynamodb")
    lane = {":pk": {"S": "lane#slack#C0ALERTS"}}
    entries = table.query(TableName=stack.outputs["TableName"], KeyConditionExpression="pk = :pk",
                          ExpressionAttributeValues=lane)["Items"]
    for entry in entries:
        table.update_item(
            TableName=stack.outputs["TableName"],
            Key={"pk": entry["pk"], "sk": entry["sk"]},
            UpdateExpression="REMOVE held_until, holder",
        )
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    scheduler.update_schedule(
        Name=name,
        ScheduleExpression=f"at({now})",
        FlexibleTimeWindow=schedule["FlexibleTimeWindow"],
        Target=schedule["Target"],
        ActionAfterCompletion="DELETE",
    )
    slack.received(lambda body: "patient is down" in body["text"])
    wait_for("the schedule's end", lambda: name not in [one["Name"] for one in schedules()])
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_a_receiver_that_fails_is_retried_by_a_message(stack, slack):
    slack.respond_once(lambda body: "retried is down" in body["text"], 500)
    service_id = stack.register("retried", seconds=6)
    slack.received(lambda body: "retried is down" in body["text"])
    assert slack.responses_once == []
    stack.json("DELETE", f"/v2/services/{service_id}")
