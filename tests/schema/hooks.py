"""What schemathesis must know of Medic beside the document."""

import hashlib
import hmac
import os
import re
import time

import schemathesis

ADMIN_KEY_ID = os.environ["MEDIC_ADMIN_KEY"].split("_")[1]

# What a document cannot say, because it depends on what there is, on the time, on other fields of the body, or on a
# language of its own. Valid by the document, these requests may still be refused.
RULES = [
    # What exists.
    r"there is no (team|schedule|service|script) ",
    r"^team(_id)? must ",
    r"has 20 (triggers|targets)",
    r"is not active: ",
    # The time.
    r"must be in the future$",
    r"must not be before 1970",
    # Other fields.
    r"^(end_time|to) must be (after|at most 366 days after) ",
    r"^end_date must not be before start_date$",
    r"^heartbeat_name must be at most 128 characters long$",  # with `environment` before it
    r"^alert_interval or schedule_cron must be given$",
    r"^heartbeat_name or service_id must be given",
    r"goes (with|instead of) ",
    r"^muted_until ",
    r"^config(\.\w+)? (must be given with|does not go with)",
    r"^retry_delays_seconds ",
    # What lists hold, and that 1.0 is no whole number here.
    r"^(scopes may hold|service_ids must be whole numbers) ",
    r"expected a whole number$",
    r"must be 0, 1, true or false$",
    # Languages: cron, time zones, addresses and headers, host names, playbooks, days that are in the calendar.
    r"^(recurrence|schedule_cron|timezone|cursor) ",
    r"^allowed_hosts must list host names ",
    r"(url|headers\S*) (must|is|does|leads|names|cannot|may|holds|has)",
    r"\(line \d+\)",
    r" must be (an RFC 3339 time|a day)",
    r"^hours\.",
    r"^variables",
    r"^invalid uuid format$",
    r"^The path is not UTF-8$",
]


def is_about_more_than_the_schema(message: str) -> bool:
    return any(re.search(rule, message) for rule in RULES)


@schemathesis.hook
def filter_case(context, case):
    """Leaves the key alone that the requests are sent with."""
    return str((case.path_parameters or {}).get("api_key_id")) != ADMIN_KEY_ID


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if failure.code == "ST202":
        is_json = response.headers.get("content-type", ["application/json"])[0].startswith("application/json")
        return not is_about_more_than_the_schema(response.json()["message"] if is_json else response.text)
    return True


@schemathesis.hook
def before_call(context, case, kwargs):
    """Gives pings a key that exists, and signs what is sent in Slack's name, two times of three."""
    if case.operation.path.startswith("/ping/") and case.meta.generation.mode.is_positive:
        case.path_parameters["ping_key"] = os.environ["MEDIC_PING_KEY"]
    if case.operation.path == "/v2/slack/interactions" and isinstance(case.body, str):
        case.body = f"payload={case.body}" if len(case.body) % 2 else case.body
        now = str(int(time.time()))
        base = f"v0:{now}:{case.body}".encode()
        signature = hmac.new(os.environ["SLACK_SIGNING_SECRET"].encode(), base, hashlib.sha256).hexdigest()
        if len(case.body) % 3:
            case.headers.update({"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={signature}"})
