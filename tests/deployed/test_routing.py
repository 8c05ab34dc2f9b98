"""Who is notified: teams, targets in their hours, the next one when one fails, webhooks, and of maintenance."""

from datetime import UTC, datetime, timedelta

from waiting import wait_for


def test_a_team_a_schedule_and_the_next_target(stack, slack, hook):
    team = stack.json("POST", "/v2/teams", {"name": "on call", "slack_channel_id": "C0ONCALL"}, expect=201)["results"]
    always = {day: [{"start": "00:00", "end": "24:00"}] for day in (
        "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")}
    new = {"name": "always", "timezone": "UTC", "hours": always}
    schedule = stack.json("POST", "/v2/schedules", new, expect=201)["results"]
    settings = {"team_id": team["team_id"], "schedule_id": schedule["schedule_id"]}
    teamed = stack.register("teamed", seconds=3_600, **settings)
    stack.heartbeat("teamed", "FAILED")
    message = slack.received(lambda body: "teamed is down" in body["text"])
    assert message["channel"] == "C0ONCALL"

    chained = stack.register("chained", seconds=3_600, notification_mode="notify_until_success", **settings)
    targets = f"/v2/services/{chained}/notification-targets"
    for target in [
        {"type": "slack", "config": {"channel_id": "C0GONE"}, "period": "during_hours", "priority": 1},
        {"type": "webhook", "config": {"url": hook.url}, "period": "during_hours", "priority": 2},
        {"type": "slack", "config": {"channel_id": "C0NIGHT"}, "period": "after_hours", "priority": 3},
    ]:
        stack.json("POST", targets, target, expect=201)
    slack.respond_once(lambda body: body["channel"] == "C0GONE", 404)
    stack.heartbeat("chained", "FAILED")
    hook.received(lambda body: body["type"] == "alert.opened" and body["data"]["heartbeat_name"] == "chained")
    [alert] = [one for one in stack.json("GET", "/v2/alerts?active=true")["results"]["items"]
               if one["heartbeat_name"] == "chained"]
    path = f"/v2/alerts/{alert['alert_id']}/notifications"
    outcomes = lambda: [one["success"] for one in stack.json("GET", path)["results"]["items"]] or 0
    assert wait_for("both outcomes", outcomes) == [False, True]
    stack.heartbeat("chained")
    hook.received(lambda body: body["type"] == "alert.resolved" and body["data"]["heartbeat_name"] == "chained")
    tested = stack.json("POST", f"{targets}/{stack.json('GET', targets)['results']['items'][1]['target_id']}/test")
    assert tested["results"]["success"] is True
    for service in (teamed, chained):
        stack.json("DELETE", f"/v2/services/{service}")


def test_the_default_channel_hears_that_nobody_was_notified(stack, slack):
    service_id = stack.register("unheard", seconds=3_600)
    target = {"type": "slack", "config": {"channel_id": "C0VANISHED"}}
    stack.json("POST", f"/v2/services/{service_id}/notification-targets", target, expect=201)
    slack.respond_once(lambda body: body["channel"] == "C0VANISHED", 404)
    stack.heartbeat("unheard", "FAILED")
    message = slack.received(lambda body: "Nobody was notified" in body["text"] and "unheard" in body["text"])
    assert message["channel"] != "C0VANISHED"
    stack.heartbeat("unheard")
    slack.received(lambda body: "unheard has recovered" in body["text"] and body["channel"] == message["channel"])
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_a_webhook_is_notified_and_one_that_is_gone_is_disabled(stack, hook):
    service_id = stack.register("hooked", seconds=3_600)
    new = {"url": hook.url, "service_id": service_id}
    webhook = stack.json("POST", "/v2/webhooks", new, expect=201)["results"]
    hook.respond_once(lambda body: body["data"]["heartbeat_name"] == "hooked", 500)
    stack.heartbeat("hooked", "FAILED")
    hook.received(lambda body: body["type"] == "alert.opened" and body["data"]["heartbeat_name"] == "hooked")

    def listed(query, status):
        items = stack.json("GET", f"/v2/webhook-deliveries?{query}")["results"]["items"]
        return [one for one in items if (one["webhook_id"], one["status"]) == (webhook["webhook_id"], status)]

    [delivery] = wait_for("the delivery", lambda: listed(f"webhook_id={webhook['webhook_id']}", "success"))
    assert (delivery["attempts"], delivery["response_status"]) == (2, 200)
    assert wait_for("the list of all", lambda: listed("status=success", "success"))
    path = f"/v2/webhook-deliveries/{delivery['delivery_id']}"
    assert stack.json("GET", path)["results"] == delivery
    hook.respond_once(lambda body: body["data"]["heartbeat_name"] == "hooked", 410)
    stack.json("POST", f"{path}/redeliver")
    shown = f"/v2/webhooks/{webhook['webhook_id']}"
    wait_for("its end", lambda: stack.json("GET", shown)["results"]["enabled"] is False)
    wait_for("the failure", lambda: listed("status=failed", "failed"))
    for path in (shown, f"/v2/services/{service_id}"):
        stack.json("DELETE", path)


def test_maintenance_is_announced_and_holds_alerts(stack, slack):
    team = stack.json("POST", "/v2/teams", {"name": "builders", "slack_channel_id": "C0BUILD"}, expect=201)["results"]
    service_id = stack.register("rebuilt", seconds=6, team_id=team["team_id"])
    now = datetime.now(UTC)
    times = {"start_time": now.isoformat(), "end_time": (now + timedelta(seconds=25)).isoformat(), "timezone": "UTC"}
    new = {"name": "rebuilding", "service_ids": [service_id], **times}
    window = stack.json("POST", "/v2/maintenance-windows", new, expect=201)["results"]
    message = slack.received(lambda body: "Maintenance has begun: rebuilding" in body["text"])
    assert message["channel"] == "C0BUILD"
    slack.received(lambda body: "Maintenance has ended: rebuilding" in body["text"])
    slack.received(lambda body: "rebuilt is down" in body["text"])
    alert = [one for one in stack.json("GET", "/v2/alerts?active=true")["results"]["items"]
             if one["heartbeat_name"] == "rebuilt"][0]
    assert datetime.fromisoformat(alert["created_date"]) >= now + timedelta(seconds=24)
    stack.json("DELETE", f"/v2/maintenance-windows/{window['window_id']}")
    times["end_time"] = (now + timedelta(hours=1)).isoformat()
    window = stack.json("POST", "/v2/maintenance-windows", new | {"name": "repainting"} | times, expect=201)["results"]
    slack.received(lambda body: "Maintenance has begun: repainting" in body["text"])
    stack.json("DELETE", f"/v2/maintenance-windows/{window['window_id']}")
    slack.received(lambda body: "Maintenance has ended: repainting" in body["text"])
    stack.json("DELETE", f"/v2/services/{service_id}")
