"""The main job, through the API's address: a service falls silent and recovers, and people are notified of both."""

from waiting import wait_for


def test_people_are_notified_of_a_silent_service_and_of_its_recovery(stack, slack, pagerduty):
    service_id = stack.register("worker", seconds=6, priority="p1")
    stack.heartbeat("worker")
    message = slack.received(lambda body: "worker is down" in body["text"])
    assert message["channel"] == "C0ALERTS"
    event = pagerduty.received(lambda body: body["event_action"] == "trigger" and body["dedup_key"].endswith("-worker"))
    assert event["payload"]["severity"] == "critical"
    alert = stack.json("GET", f"/v2/alerts?active=true")["results"]["items"][0]
    assert alert["alert_name"] == "Medic - Heartbeat failure for worker"

    stack.json("POST", f"/v2/alerts/{alert['alert_id']}/acknowledge")
    pagerduty.received(lambda body: body["event_action"] == "acknowledge" and body["dedup_key"] == event["dedup_key"])

    stack.heartbeat("worker")
    slack.received(lambda body: "worker has recovered" in body["text"])
    pagerduty.received(lambda body: body["event_action"] == "resolve" and body["dedup_key"] == event["dedup_key"])

    path = f"/v2/alerts/{alert['alert_id']}"
    closed = wait_for("the alert's end", lambda: stack.json("GET", path)["results"]["closed_date"])
    assert closed > alert["created_date"]
    outcomes = stack.json("GET", f"{path}/notifications")["results"]["items"]
    assert {outcome["success"] for outcome in outcomes} == {True}
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_people_are_notified_at_once_of_a_job_that_reports_its_failure(stack, slack):
    service_id = stack.register("backup", seconds=3_600)
    stack.heartbeat("backup", "FAILED")
    slack.received(lambda body: "backup is down" in body["text"])
    stack.heartbeat("backup", "COMPLETED")
    slack.received(lambda body: "backup has recovered" in body["text"])
    history = stack.json("GET", f"/v2/services/{service_id}/heartbeats")["results"]["items"]
    assert [heartbeat["status"] for heartbeat in history] == ["COMPLETED", "FAILED"]
    stack.json("DELETE", f"/v2/services/{service_id}")
