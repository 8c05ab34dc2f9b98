"""No request makes Medic fail, and every response is one that the OpenAPI document of the running system describes.

`make test-schema EXAMPLES=200 SEED=7` sends more requests, and others.
"""

import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
BINARY = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "medic-local"

SECRETS = {"SLACK_SIGNING_SECRET": "8f742231b10e8888abcd99yyyzzz85a5", "MEDIC_WEBHOOK_SECRET": "let-me-in-0123456"}
EXAMPLES = os.environ.get("EXAMPLES") or "2"
SEED = os.environ.get("SEED") or "1"
# A public address that needs no name server.
RECEIVER = "https://192.88.99.1/hook"

YAML = """name: repair-{n}
approval: required
steps:
  - {{ name: settle, type: wait, duration: 1s }}
  - {{ name: verify, type: condition, check: heartbeat_received, timeout: 30s }}
"""


class Medic:
    """A running medic-local."""

    def __init__(self, url: str, key: str):
        self.url, self.key = url, key

    def ask(self, method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.key}", "X-Webhook-Secret": SECRETS["MEDIC_WEBHOOK_SECRET"]}
        request = urllib.request.Request(self.url + path, method=method, headers=headers, data=data)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def create(self, path: str, body: dict):
        status, answer = self.ask("POST", path, json.dumps(body).encode())
        assert status == 201, answer
        return json.loads(answer)["results"]

    def fill(self):
        """Creates some of everything, so that ids are found."""
        for n in range(3):
            self.create("/v2/teams", {"name": f"team {n}"})
            hours = {"monday": [{"start": "09:00", "end": "17:00"}]}
            self.create("/v2/schedules", {"name": f"schedule {n}", "timezone": "Europe/Berlin", "hours": hours})
            new = {"heartbeat_name": f"service-{n}", "service_name": "worker", "alert_interval": 60}
            service = self.create("/v2/services", new)["service_id"]
            target = {"type": "pagerduty", "config": {"service_key": "R0UT1NGK3Y"}}
            self.create(f"/v2/services/{service}/notification-targets", target)
            self.create(f"/v2/heartbeat/{service}/start", {"run_id": "a"})
            self.create(f"/v2/heartbeat/{service}/fail", {"run_id": "a"})
            window = {"name": f"window {n}", "start_time": "2031-01-01T00:00:00Z", "end_time": "2031-01-01T01:00:00Z"}
            self.create("/v2/maintenance-windows", window)
            self.create("/v2/scripts", {"name": f"script-{n}", "content": "true", "interpreter": "bash"})
            self.create("/v2/secrets", {"name": f"SECRET_{n}", "value": "hidden"})
            playbook = self.create("/v2/playbooks", {"yaml": YAML.format(n=n)})["playbook_id"]
            self.create(f"/v2/playbooks/{playbook}/triggers", {"service_pattern": "nobody-*"})
            self.create(f"/v2/playbooks/{playbook}/execute", {"service_id": service})


@pytest.fixture(scope="session")
def medic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("medic")
    limits = {f"MEDIC_RATE_LIMIT_{kind}": "1000000" for kind in ("HEARTBEATS", "MANAGEMENT", "EXECUTIONS")}
    environment = {name: value for name, value in os.environ.items() if name != "MEDIC_ALLOW_PRIVATE_HOSTS"}
    environment |= limits | SECRETS | {"RUST_LOG": "error,operations::notify=off"}
    # What is sent stays on this machine, where nobody listens.
    environment["MEDIC_PAGERDUTY_URL"] = "http://127.0.0.1:9/"
    command = [BINARY, "--listen", "127.0.0.1:0", "--data-dir", folder]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        ready = "medic ready on "
        url = next(line for line in process.stdout if line.startswith(ready)).removeprefix(ready).strip()
        medic = Medic(url, (folder / "admin.key").read_text().strip())
        medic.fill()
        yield medic
        assert process.poll() is None, "medic-local has ended"
    finally:
        process.terminate()
        process.wait(timeout=20)
    log = (folder / "log").read_text()
    assert "panicked" not in log, log
    assert "a request failed" not in log, log


def test_every_response_is_in_the_document(medic, tmp_path):
    ping_key = medic.create("/v2/ping-keys", {"name": "schema"})["key"]
    known = {"MEDIC_ADMIN_KEY": medic.key, "MEDIC_PING_KEY": ping_key}
    environment = os.environ | SECRETS | known | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    command = [
        pathlib.Path(sys.executable).with_name("schemathesis"),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{medic.url}/docs/openapi.json",
        f"--header=Authorization: Bearer {medic.key}",
        f"--header=X-Webhook-Secret: {SECRETS['MEDIC_WEBHOOK_SECRET']}",
        "--phases=examples,coverage,fuzzing,stateful",
        "--mode=all",
        f"--max-examples={EXAMPLES}",
        f"--seed={SEED}",
        "--workers=1",
        "--continue-on-failure",
        "--generation-database=none",
        "--suppress-health-check=all",
        "--warnings=off",
        "--no-color",
    ]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, "the failures are above, each with a request that shows it"
    assert "Tested: " in run.stdout


def test_what_is_too_large_is_refused_as_the_document_says(medic):
    paths = json.loads(medic.ask("GET", "/docs/openapi.json")[1])["paths"]
    large, wrong = b" " * (256 * 1024 + 1), []
    for path, item in paths.items():
        for method, operation in item.items():
            if "requestBody" not in operation or path == "/v2/slack/interactions":
                continue
            status, _ = medic.ask(method.upper(), path.replace("{", "").replace("}", "").replace("_id", ""), large)
            if status not in (400, 413, 429) or "413" not in operation["responses"]:
                wrong.append((method, path, status))
    assert wrong == []
