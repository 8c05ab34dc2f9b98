"""The bootstraps as files: what they need of the system they run on, and of their environment."""

import re
import subprocess

import pytest

from stack import FUNCTIONS, bootstrap

# What Amazon Linux 2023 has, on which `provided.al2023` is built.
GLIBC = (2, 34)
SETTINGS = {
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
    "MEDIC_TABLE": "table",
    "MEDIC_SWEEP_QUEUE_URL": "url",
    "MEDIC_SWEEP_QUEUE_ARN": "arn",
    "MEDIC_NOTIFY_QUEUE_URL": "url",
    "MEDIC_NOTIFY_QUEUE_ARN": "arn",
    "MEDIC_PLAYBOOK_QUEUE_URL": "url",
    "MEDIC_PLAYBOOK_QUEUE_ARN": "arn",
    "MEDIC_SCHEDULER_ROLE_ARN": "arn",
    "MEDIC_SCRIPT_QUEUE_URL": "url",
    "MEDIC_SCRIPT_RESULTS_QUEUE_URL": "url",
}
OF_SCRIPT = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1", "MEDIC_SCRIPT_RESULTS_QUEUE_URL": "url"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_bootstrap_runs_on_amazon_linux_2023(function):
    command = ["readelf", "--version-info", "--wide", bootstrap(function)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", shown)}
    assert versions, "it is linked with glibc"
    assert max(versions) <= GLIBC


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_setting_that_is_missing_or_unreadable_ends_the_start_with_a_line_that_names_it(function):
    def start(environment):
        ended = subprocess.run([bootstrap(function)], env=environment, capture_output=True, text=True, timeout=20)
        assert (ended.returncode, ended.stdout) == (1, "")
        return ended.stderr

    settings = OF_SCRIPT if function == "script" else SETTINGS
    for missing in settings:
        others = {name: value for name, value in settings.items() if name != missing}
        assert start(others) == f"{function}: {missing} is not set\n"
    unreadable = {**settings, "MEDIC_RATE_LIMIT_HEARTBEATS": "many"}
    assert start(unreadable) == f"{function}: MEDIC_RATE_LIMIT_HEARTBEATS must be a whole number from 1 to 1000000\n"
