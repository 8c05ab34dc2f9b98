"""Metrics as CloudWatch gets them, and the alarms and the dashboard over them."""

import json
import re

import template
from stack import FUNCTIONS, ROOT, TEMPLATE
from waiting import wait_for

# Each metric, with its labels.
METRICS = {
    "medic_heartbeats_total": ["status"],
    "medic_alerts_total": ["priority", "team"],
    "medic_alerts_resolved_total": [],
    "medic_duration_alerts_total": ["alert_type"],
    "medic_worker_services_checked_total": [],
    "medic_worker_failures_total": [],
    "medic_notifications_failed_total": [],
    "medic_alerts_unnotified_total": [],
    "medic_webhook_deliveries_total": ["status"],
    "medic_rate_limited_total": ["class"],
    "medic_auth_failures_total": ["reason"],
    "medic_worker_cycle_duration_seconds": [],
    "medic_detection_lag_seconds": [],
    "medic_slack_requests_total": ["status"],
    "medic_pagerduty_requests_total": ["status"],
    "medic_playbook_executions_total": ["playbook", "status"],
    "medic_playbook_execution_duration_seconds": ["playbook"],
    "medic_circuit_breaker_trips_total": [],
    "medic_registered_services": [],
    "medic_active_services": [],
    "medic_alerts_active": [],
    "medic_stale_jobs_current": [],
    "medic_playbook_executions_pending_approval": [],
    "medic_circuit_breaker_open": [],
}


def written(stack):
    """Returns every metric that was written, with its dimensions."""
    found = {}
    for function in FUNCTIONS:
        for line in stack.logs(function):
            if line.startswith('{"_aws"'):
                [directive] = json.loads(line)["_aws"]["CloudWatchMetrics"]
                assert directive["Namespace"] == "Medic"
                for metric in directive["Metrics"]:
                    found[metric["Name"]] = sorted(directive["Dimensions"][0])
    return found


def test_metrics_are_written_in_the_embedded_metric_format(stack):
    stack.request("GET", "/v2/services", key="mdk_1_wrong")
    wait_for("a tick", lambda: "medic_worker_cycle_duration_seconds" in written(stack))
    found = written(stack)
    # What the other tests count is written within ten seconds of activity.
    assert found == {name: METRICS[name] for name in found}
    assert {"medic_heartbeats_total", "medic_detection_lag_seconds", "medic_alerts_active"} <= set(found)


def test_metrics_shows_the_gauges_of_the_table(stack):
    def gauges():
        status, _, text = stack.request("GET", "/metrics")
        assert status == 200
        return dict(re.findall(r"^(medic_\w+) (\d+)$", text.decode(), re.MULTILINE))

    assert set(gauges()) == {name for name in METRICS if name.endswith(("_services", "_active", "_current", "_approval", "_open"))}
    service_id = stack.register("counted", seconds=6)

    def is_shown():
        active = [one["heartbeat_name"] for one in stack.json("GET", "/v2/alerts?active=true")["results"]["items"]]
        return "counted" in active and gauges()["medic_alerts_active"] == str(len(active))

    wait_for("a tick that counts the alert", is_shown)
    stack.json("DELETE", f"/v2/services/{service_id}")


def test_alarms_and_the_dashboard_use_metrics_that_exist(stack):
    cloudwatch = stack.emulator.client("cloudwatch")
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    assert len(alarms) == len(template.resources("AWS::CloudWatch::Alarm"))
    named = set(re.findall(r"\bmedic_[a-z_]+_(?:total|seconds)", TEMPLATE.read_text()))
    assert named <= set(METRICS)
    missing = {alarm["MetricName"] for alarm in alarms if alarm.get("TreatMissingData") == "breaching"}
    assert missing == {"medic_worker_cycle_duration_seconds"}, "who watches the watcher"
    dashboard = json.loads(cloudwatch.get_dashboard(DashboardName="medic")["DashboardBody"])
    shown = set(re.findall(r"medic_[a-z_]+", json.dumps(dashboard)))
    assert shown <= set(METRICS)


def test_logs_are_json(stack):
    for function in FUNCTIONS:
        platform = ("START ", "END ", "REPORT ")
        for line in stack.logs(function):
            for part in line.splitlines():
                assert part.startswith(platform) or isinstance(json.loads(part), dict), line
    assert (ROOT / "docs/OPERATIONS.md").exists()
