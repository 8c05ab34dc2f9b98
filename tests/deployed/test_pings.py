"""Pings through API Gateway: keys, bodies of any bytes, and services that a ping registers."""

import base64
import urllib.error
import urllib.request

from waiting import wait_for

RID = "0b3b9d3a-8f4f-4c0e-9a68-6f2f9f3f7b11"


def ping(stack, path, method="GET", body=None):
    request = urllib.request.Request(f"{stack.url}/ping/{path}", method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read().decode()


def status_and_text(response):
    status, _, text = response
    return status, text


def test_pings_reach_their_service_and_its_runs(stack):
    # A service that a ping registers joins the default team, where it exists.
    team = stack.json("POST", "/v2/teams", {"name": "site-reliability"}, expect=201)["results"]
    created = stack.json("POST", "/v2/ping-keys", {"name": "cron"}, expect=201)["results"]
    key = created["key"]
    assert status_and_text(ping(stack, f"{key}/pinged?create=1")) == (201, "Created")
    assert status_and_text(ping(stack, f"{key}/pinged/start?rid={RID}")) == (200, "OK")
    binary = bytes(range(256)) * 50
    status, headers, text = ping(stack, f"{key}/pinged/3?rid={RID}", "POST", binary)
    assert (status, text, headers["ping-body-limit"]) == (200, "OK", "10000")
    # The same ping again is a repetition, whose heartbeat is looked up.
    assert status_and_text(ping(stack, f"{key}/pinged/3?rid={RID}", "POST", binary)) == (200, "OK")
    assert status_and_text(ping(stack, f"{key}/pinged")) == (200, "OK")
    assert status_and_text(ping(stack, f"{key}/pinged/log", "POST", b"a note")) == (200, "OK")
    [service] = stack.json("GET", "/service/pinged")["results"]
    path = f"/v2/services/{service['service_id']}"
    heartbeats = stack.json("GET", f"{path}/heartbeats")["results"]["items"]
    assert [heartbeat["status"] for heartbeat in heartbeats] == ["LOG", "COMPLETED", "FAILED", "STARTED", "COMPLETED"]
    kept = stack.json("GET", f"{path}/heartbeats/{heartbeats[2]['heartbeat_id']}/body")["results"]
    assert base64.b64decode(kept["body_base64"]) == binary[:10_000]
    assert service["alert_interval"] == 1_440

    # Of runs that nobody named only the newest stays open.
    for _ in range(2):
        assert status_and_text(ping(stack, f"{key}/pinged/start")) == (200, "OK")
    shown = lambda: [run["status"] for run in stack.json("GET", f"{path}/runs")["results"]["items"]]
    wait_for("both runs", lambda: shown() == ["STARTED", "SUPERSEDED", "FAILED"])

    assert status_and_text(ping(stack, f"{key}/Pinged")) == (400, "invalid url format")
    assert status_and_text(ping(stack, f"{key}/pinged/256")) == (400, "invalid url format")
    assert status_and_text(ping(stack, f"{key}/pinged?rid=1")) == (400, "invalid uuid format")
    assert status_and_text(ping(stack, f"{key}/nobody")) == (404, "not found")
    assert status_and_text(ping(stack, "0123456789ABCDEFGHIJKL/pinged")) == (404, "not found")
    # The emulator responds to OPTIONS itself, as API Gateway does only where CORS is configured.

    listed = stack.json("GET", "/v2/ping-keys")["results"]["items"]
    assert [one["name"] for one in listed] == ["cron"]
    stack.json("DELETE", f"/v2/services/{service['service_id']}")
    stack.json("DELETE", f"/v2/teams/{team['team_id']}")
    stack.json("DELETE", f"/v2/ping-keys/{created['ping_key_id']}")
