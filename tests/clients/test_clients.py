"""Clients of Healthchecks, with nothing but their base URL changed."""

import subprocess
import sys

import pytest
from healthchecks_decorator import healthcheck
from healthchecks_io import CheckNotFoundError, Client
from healthchecks_io.client.exceptions import BadAPIRequestError

from conftest import ROOT

TASK_MON = ROOT / "target/tools/bin/task-mon"


def test_healthchecks_io_pings_by_slug(medic):
    service = medic.register("Client-IO")
    with Client(api_key="unused", ping_key=medic.ping_key, ping_url=medic.ping_url) as client:
        assert client.start_ping(slug="client-io") == (True, "OK")
        assert client.success_ping(slug="client-io", data="all 12 files") == (True, "OK")
        assert client.fail_ping(slug="client-io", data="disk full") == (True, "OK")
        assert client.exit_code_ping(0, slug="client-io") == (True, "OK")
        assert client.exit_code_ping(3, slug="client-io", data="exit 3") == (True, "OK")
        with pytest.raises(CheckNotFoundError):
            client.success_ping(slug="nobody")
        with pytest.raises(BadAPIRequestError):
            client.exit_code_ping(256, slug="client-io")
        with pytest.raises(BadAPIRequestError):
            client.success_ping(slug="Client-IO")
    assert service.statuses() == ["STARTED", "COMPLETED", "FAILED", "COMPLETED", "FAILED"]
    heartbeats = service.heartbeats()
    assert [service.body(heartbeats[n]) for n in (1, 2, 4)] == ["all 12 files", "disk full", "exit 3"]
    assert [run["status"] for run in service.runs()] == ["COMPLETED"]


def test_healthchecks_io_logs(medic):
    service = medic.register("logged")
    with Client(api_key="unused", ping_key=medic.ping_key, ping_url=medic.ping_url) as client:
        # The client has no method for it; the address is the one that it builds.
        address = client._get_ping_url("", "logged", "/log")
        response = client.check_ping_response(client._client.post(address, content="half done"))
        assert (response.status_code, response.text) == (200, "OK")
    assert service.statuses() == ["LOG"]
    assert service.body(service.heartbeats()[0]) == "half done"


def test_healthchecks_decorator(medic):
    service = medic.register("decorated")

    @healthcheck(url=f"{medic.ping_url}/{medic.ping_key}/decorated", send_start=True, send_diagnostics=True)
    def job(works):
        if not works:
            raise ValueError("no backup today")
        return {"files": 12}

    assert job(True) == {"files": 12}
    with pytest.raises(ValueError, match="no backup today"):
        job(False)
    assert service.statuses() == ["STARTED", "COMPLETED", "STARTED", "FAILED"]
    assert service.body(service.heartbeats()[1]) == "files=12"
    assert sorted(run["status"] for run in service.runs()) == ["COMPLETED", "FAILED"]


def task_mon(medic, *arguments):
    base = [TASK_MON, "--base-url", medic.ping_url, "--ping-key", medic.ping_key]
    return subprocess.run([*base, *arguments], capture_output=True, text=True, timeout=60)


def python(code):
    return ["--", sys.executable, "-c", code]


def test_task_mon_reports_how_a_command_ended(medic):
    service = medic.register("task")
    assert task_mon(medic, "--slug", "task", *python("print('copied')")).returncode == 0
    task_mon(medic, "--slug", "task", *python("import sys; print('no room'); sys.exit(5)"))
    assert service.statuses() == ["COMPLETED", "FAILED"]
    assert ["copied" in service.body(service.heartbeats()[0]), "no room" in service.body(service.heartbeats()[1])] == [
        True,
        True,
    ]


def test_task_mon_reports_when_a_command_starts(medic):
    service = medic.register("timed")
    task_mon(medic, "--slug", "timed", "--time", *python("print('timed')"))
    task_mon(medic, "--slug", "timed", "--time", *python("raise SystemExit(1)"))
    assert service.statuses() == ["STARTED", "COMPLETED", "STARTED", "FAILED"]
    of_run = [heartbeat["run_id"] for heartbeat in service.heartbeats()]
    assert of_run[0] == of_run[1] != of_run[2] == of_run[3]
    assert sorted(run["status"] for run in service.runs()) == ["COMPLETED", "FAILED"]
    assert all(run["duration_ms"] >= 0 for run in service.runs())


def test_task_mon_logs(medic):
    service = medic.register("noted")
    task_mon(medic, "--slug", "noted", "--log", *python("print('a note')"))
    assert service.statuses() == ["LOG"]
    assert "a note" in service.body(service.heartbeats()[0])
