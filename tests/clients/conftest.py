"""A medic-local on a free port, with services and a ping key."""

import json
import os
import pathlib
import subprocess
import urllib.request

import pytest

# Slack signs with it, and Medic checks it.
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"

ROOT = pathlib.Path(__file__).parents[2]
BINARY = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "medic-local"


class Medic:
    """A running medic-local, as a client sees it."""

    def __init__(self, url: str, key: str):
        self.url, self.key = url, key
        self.ping_key = self.api("POST", "/v2/ping-keys", {"name": "clients"})["key"]

    @property
    def ping_url(self) -> str:
        return f"{self.url}/ping"

    def api(self, method: str, path: str, body: dict | None = None):
        headers = {"Authorization": f"Bearer {self.key}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, headers=headers, data=data)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)["results"]

    def register(self, name: str) -> "Service":
        new = {"heartbeat_name": name, "service_name": "cron", "alert_interval": 60}
        return Service(self, self.api("POST", "/v2/services", new)["service_id"])


class Service:
    """One of its services, as the API shows it."""

    def __init__(self, medic: Medic, service_id: int):
        self.medic, self.path = medic, f"/v2/services/{service_id}"

    def heartbeats(self) -> list[dict]:
        """Oldest first."""
        return self.medic.api("GET", f"{self.path}/heartbeats")["items"][::-1]

    def statuses(self) -> list[str]:
        return [heartbeat["status"] for heartbeat in self.heartbeats()]

    def body(self, heartbeat: dict) -> str:
        return self.medic.api("GET", f"{self.path}/heartbeats/{heartbeat['heartbeat_id']}/body")["body"]

    def runs(self) -> list[dict]:
        return self.medic.api("GET", f"{self.path}/runs")["items"]


@pytest.fixture(scope="session")
def medic(tmp_path_factory):
    assert BINARY.is_file(), f"{BINARY} is missing: run `cargo build -p local`"
    folder = tmp_path_factory.mktemp("medic")
    command = [BINARY, "--listen", "127.0.0.1:0", "--data-dir", folder]
    environment = os.environ | {
        "RUST_LOG": "error",
        "MEDIC_RATE_LIMIT_HEARTBEATS": "100000",
        "MEDIC_RATE_LIMIT_MANAGEMENT": "100000",
        "MEDIC_RATE_LIMIT_EXECUTIONS": "100000",
        "SLACK_SIGNING_SECRET": SIGNING_SECRET,
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        ready = "medic ready on "
        url = next(line for line in process.stdout if line.startswith(ready)).removeprefix(ready).strip()
        yield Medic(url, (folder / "admin.key").read_text().strip())
    finally:
        process.terminate()
        process.wait(timeout=20)
