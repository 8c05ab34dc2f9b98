"""Jobs: a run from its start to its end, one that does not end in time, and how long they took."""

from waiting import wait_for


def signal(stack, service_id, what, run):
    return stack.json("POST", f"/v2/heartbeat/{service_id}/{what}", {"run_id": run}, expect=201)


def runs(stack, service_id):
    items = stack.json("GET", f"/v2/services/{service_id}/runs")["results"]["items"]
    return {run["run_id"]: run["status"] for run in items}


def test_runs_are_recorded_listed_and_measured(stack):
    service_id = stack.register("etl", seconds=3_600)
    for n in range(5):
        signal(stack, service_id, "start", f"run-{n}")
        ended = signal(stack, service_id, "complete", f"run-{n}")["results"]
        assert signal(stack, service_id, "complete", f"run-{n}")["results"] == ended
    signal(stack, service_id, "start", "failed")
    signal(stack, service_id, "fail", "failed")
    every = {f"run-{n}": "COMPLETED" for n in range(5)} | {"failed": "FAILED"}
    wait_for("every run", lambda: runs(stack, service_id) == every)
    path = f"/v2/services/{service_id}/stats"
    statistics = wait_for("statistics", lambda: stack.json("GET", path)["results"])
    assert statistics["run_count"] == 5
    assert statistics["min_duration_ms"] <= statistics["p50_duration_ms"] <= statistics["max_duration_ms"]
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_a_stale_run_is_notified_acknowledged_and_its_end_notified_too(stack, slack, pagerduty):
    service_id = stack.register("report", seconds=3_600, max_duration_ms=3_000)
    signal(stack, service_id, "start", "night")
    slack.received(lambda body: "Stale job detected for report" in body["text"])
    event = pagerduty.received(lambda body: body["event_action"] == "trigger" and body["dedup_key"].endswith("-report"))
    wait_for("the run's state", lambda: runs(stack, service_id) == {"night": "STALE_ALERTED"})
    [alert] = [one for one in stack.json("GET", "/v2/alerts?active=true")["results"]["items"]
               if one["heartbeat_name"] == "report"]
    assert event["dedup_key"] == f"medic-{alert['alert_id']}-report"
    stack.json("POST", f"/v2/alerts/{alert['alert_id']}/acknowledge")

    ended = signal(stack, service_id, "complete", "night")["results"]
    assert ended["duration_alert"]["exceeded_by_ms"] > 0
    slack.received(lambda body: "report has recovered" in body["text"])
    resolved = pagerduty.received(
        lambda body: body["event_action"] == "resolve" and body["dedup_key"] == event["dedup_key"])
    assert resolved
    path = f"/v2/alerts/{alert['alert_id']}"
    wait_for("the alert's end", lambda: stack.json("GET", path)["results"]["closed_date"])
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_an_alert_that_somebody_closes_by_hand_is_closed_for_everybody(stack, slack, pagerduty):
    service_id = stack.register("import", seconds=3_600, max_duration_ms=3_000)
    stack.heartbeat("import", "FAILED")
    signal(stack, service_id, "start", "night")
    slack.received(lambda body: "import is down" in body["text"])
    slack.received(lambda body: "Stale job detected for import" in body["text"])
    alerts = [one for one in stack.json("GET", "/v2/alerts?active=true")["results"]["items"]
              if one["heartbeat_name"] == "import"]
    assert len(alerts) == 2
    for alert in alerts:
        stack.json("POST", f"/v2/alerts/{alert['alert_id']}/resolve", {"reason": "Known"})
        key = alert["external_reference_id"]
        pagerduty.received(lambda body: body["event_action"] == "resolve" and body["dedup_key"] == key)
        path = f"/v2/alerts/{alert['alert_id']}"
        wait_for("the alert's end", lambda: stack.json("GET", path)["results"]["closed_date"])
    slack.received(lambda body: "import was resolved by" in body["text"] and "Known" in body["text"])
    stack.json("DELETE", f"/v2/services/{service_id}")
