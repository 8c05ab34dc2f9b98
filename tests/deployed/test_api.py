"""The API at its address: every route reaches the function that serves it."""

import json
import re
import time
import urllib.error
import urllib.request

from stack import ROOT
from waiting import wait_for


def document():
    return json.loads((ROOT / "docs/openapi.json").read_text())


def test_every_route_of_the_document_is_served(stack):
    refused = []
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            address = stack.url + path.replace("{heartbeat_name}", "worker")
            address = re.sub(r"{\w+_id}|{ping_key}|{slug}|{action}", "1", address)
            request = urllib.request.Request(address, method=method.upper())
            try:
                status = urllib.request.urlopen(request, timeout=20).status
            except urllib.error.HTTPError as refusal:
                status = refusal.code
            # These require a secret instead of a key.
            by_secret = path in ("/v2/slack/interactions", "/v2/webhooks/playbooks/{playbook_id}/trigger")
            is_public = operation["security"] == [{}] and not by_secret
            # A ping with a wrong key is not found.
            expected = (404,) if path.startswith("/ping/") else (200, 204) if is_public else (401,)
            if status not in expected:
                # Notifications that are printed can only be read locally.
                if path != "/v2/notifications":
                    refused.append((method, path, status))
    assert refused == []


def test_the_document_is_served_with_a_page_over_it(stack):
    assert stack.json("GET", "/docs/openapi.json") == document()
    status, headers, _ = stack.request("GET", "/docs")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/html")


def test_unknown_routes_are_refused_in_the_envelope(stack):
    for method, path, status in [
        ("GET", "/nothing", 404),
        ("GET", "/service/no job/at all?#", 404),
        ("POST", "/heartbeat/", 404),
        ("POST", "/v2/heartbeat/1/nonsense", 404),
        ("PUT", "/heartbeat", 405),
        ("GET", "/v2/heartbeats", 405),
    ]:
        path = urllib.request.quote(path)
        assert stack.json(method, path, expect=status)["success"] is False


def test_a_name_may_hold_what_an_address_must_encode(stack):
    name = 'nächtlich "100%" <a b>?#'
    service_id = stack.register(name, seconds=3_600)
    stack.heartbeat(name)
    found = stack.json("GET", f"/service/{urllib.request.quote(name)}")["results"]
    assert [service["heartbeat_name"] for service in found] == [name]
    query = urllib.request.quote(name)
    history = stack.json("GET", f"/heartbeat?heartbeat_name={query}")["results"]
    assert [heartbeat["status"] for heartbeat in history] == ["UP"]
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_keys_are_created_rotated_and_revoked(stack):
    created = stack.json("POST", "/v2/api-keys", {"name": "reader", "scopes": ["read"]}, expect=201)["results"]
    path = f"/v2/api-keys/{created['api_key_id']}"
    assert stack.request("GET", "/v2/services", key=created["key"])[0] == 200
    assert stack.request("POST", "/heartbeat", {"heartbeat_name": "x", "status": "UP"}, key=created["key"])[0] == 403
    rotated = stack.json("POST", f"{path}/rotate")["results"]["key"]
    assert stack.request("GET", "/v2/services", key=rotated)[0] == 200
    names = [key["name"] for key in stack.json("GET", "/v2/api-keys")["results"]["items"]]
    assert names == ["reader", "admin"]
    # It may go while there is another admin key that does not expire.
    assert stack.json("PATCH", path, {"name": "second", "scopes": ["admin"]})["results"]["name"] == "second"
    stack.json("DELETE", path)
    stack.json("GET", path, expect=404)
    stack.json("DELETE", "/v2/api-keys/1", expect=409)


def create_and_update(stack, collection, id_name, new, change):
    """Creates an entity, and lists, reads and updates it. Returns its path, to delete it."""
    created = stack.json("POST", collection, new, expect=201)["results"]
    path = f"{collection}/{created[id_name]}"
    assert created[id_name] in [item[id_name] for item in stack.json("GET", collection)["results"]["items"]]
    updated = stack.json("PATCH", path, change)["results"]
    assert {field: updated[field] for field in change} == change
    assert stack.json("GET", path)["results"] == updated
    return path


def delete(stack, path):
    stack.json("DELETE", path)
    stack.json("GET", path, expect=404)


def test_configuration_entities_are_created_listed_updated_and_deleted(stack):
    team = create_and_update(stack, "/v2/teams", "team_id", {"name": "platform"}, {"name": "foundations"})
    hours = {"monday": [{"start": "09:00", "end": "17:00"}]}
    new = {"name": "office", "timezone": "Europe/Berlin", "hours": hours}
    schedule = create_and_update(stack, "/v2/schedules", "schedule_id", new, {"name": "desk"})
    of_both = {"team": "foundations", "schedule_id": int(schedule.rsplit("/", 1)[1])}
    service_id = stack.register("configured", seconds=3_600, **of_both)
    service = f"/v2/services/{service_id}"
    assert stack.json("GET", service)["results"]["team_id"] == int(team.rsplit("/", 1)[1])
    evening = "?at=2026-01-05T20:00:00Z"
    for entity in (schedule, service):
        assert stack.json("GET", f"{entity}/period{evening}")["results"] == {"period": "after_hours"}

    times = {"start_time": "2026-01-05T19:00:00Z", "end_time": "2026-01-05T21:00:00Z"}
    new = {"name": "upgrade", "service_ids": [service_id], **times}
    window = create_and_update(stack, "/v2/maintenance-windows", "window_id", new, {"name": "upgrades"})
    assert stack.json("GET", f"{service}/maintenance{evening}")["results"]["window_name"] == "upgrades"

    targets = f"{service}/notification-targets"
    # It notifies nobody: the service does not fall silent while the tests run.
    new = {"type": "slack", "config": {"channel_id": "C0TARGET"}}
    target = create_and_update(stack, targets, "target_id", new, {"enabled": False})
    new = {"url": "https://1.1.1.1/hook", "service_id": service_id}
    webhook = create_and_update(stack, "/v2/webhooks", "webhook_id", new, {"enabled": False})
    rotated = stack.json("POST", f"{webhook}/rotate-secret")["results"]
    assert rotated["secret"].startswith("whsec_")

    for path in (target, webhook, window, schedule, team):
        delete(stack, path)
    shown = stack.json("GET", service)["results"]
    assert (shown["team_id"], shown["schedule_id"]) == (None, None)
    # With one target left, so that the sweep deletes it.
    stack.json("POST", targets, {"type": "slack", "config": {"channel_id": "C0TARGET"}}, expect=201)
    stack.json("DELETE", service)
    stack.json("GET", targets, expect=404)


def test_who_configured_what_is_in_the_audit_log(stack):
    service_id = stack.register("audited", seconds=3_600)
    stack.json("PATCH", f"/v2/services/{service_id}", {"priority": "p1"})
    stack.json("DELETE", f"/v2/services/{service_id}")
    of_service = stack.json("GET", f"/v2/audit-logs?service_id={service_id}")["results"]["items"]
    assert [(entry["action_type"], entry["actor"]) for entry in of_service] == [
        ("deleted", "admin"),
        ("updated", "admin"),
        ("created", "admin"),
    ]
    changes = of_service[1]["details"]["changes"]
    assert changes == [{"field": "priority", "old": "p3", "new": "p1"}]
    of_all = stack.json("GET", "/v2/audit-logs?limit=250")["results"]["items"]
    assert [entry for entry in of_all if entry["service_id"] == service_id] == of_service


def test_names_and_numbers_have_their_bounds(stack):
    stack.json("POST", "/v2/teams", {"name": "twice"}, expect=201)
    assert "name is taken" in stack.json("POST", "/v2/teams", {"name": "TWICE"}, expect=409)["message"]
    service_id = stack.register("bounded", seconds=3_600)
    new = {"url": "https://1.1.1.1/hook", "service_id": service_id, "enabled": False}
    for _ in range(10):
        stack.json("POST", "/v2/webhooks", new, expect=201)
    assert "at most 10" in stack.json("POST", "/v2/webhooks", new, expect=409)["message"]
    for webhook in stack.json("GET", "/v2/webhooks")["results"]["items"]:
        stack.json("DELETE", f"/v2/webhooks/{webhook['webhook_id']}")
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_a_key_is_limited(stack):
    stack.register("limited", seconds=3_600)
    new = {"name": "limited", "scopes": ["heartbeat"], "rate_limit_heartbeats": 2}
    created = stack.json("POST", "/v2/api-keys", new, expect=201)["results"]
    body = {"heartbeat_name": "limited", "status": "UP"}
    # The minute does not end between the first and the last.
    wait_for("the first half of a minute", lambda: time.time() % 60 < 30, seconds=40)
    responses = [stack.request("POST", "/heartbeat", body, created["key"]) for _ in range(3)]
    assert [status for status, _, _ in responses] == [201, 201, 429]
    headers = [headers for _, headers, _ in responses]
    assert [one["x-ratelimit-limit"] for one in headers] == ["2", "2", "2"]
    assert [one["x-ratelimit-remaining"] for one in headers] == ["1", "0", "0"]
    assert int(headers[2]["x-ratelimit-reset"]) > time.time()
    refusal = json.loads(responses[2][2])
    assert int(headers[2]["retry-after"]) == refusal["retry_after"] == refusal["results"]["retry_after"] > 0
    stack.json("DELETE", f"/v2/api-keys/{created['api_key_id']}")


def test_a_body_over_256_kib_is_refused(stack):
    body = {"heartbeat_name": "x" * 300_000, "status": "UP"}
    assert stack.json("POST", "/heartbeat", body, expect=413)["message"] == "The body is over 256 KiB"
