#!/usr/bin/env python3
"""Computes what Medic costs a month on AWS, and writes the tables of docs/COST.md.

python3 docs/cost.py                            writes them
python3 docs/cost.py --check                    fails unless docs/COST.md holds what would be written
python3 docs/cost.py --bench target/bench.json  fails if `make bench` has measured other figures than MEASURED
"""

import difflib
import json
import math
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

DOCS = Path(__file__).resolve().parent
DOCUMENT = DOCS / "COST.md"
PRICES = json.loads((DOCS / "prices.json").read_text())

# Each figure: its value, its unit, what it is, and where it comes from. Measured ones may name the figure of
# `make bench` that they must equal, by its name and unit.

MEASURED = {
    "heartbeat_writes": (2, "write units", "a heartbeat of a service that is up",
                    "`tests/medic/costs.rs`, `make bench`", "heartbeat, service up, without the limiter"),
    "limit_writes": (1, "write units", "the rate limit of a request", "`tests/medic/costs.rs`, `make bench`",
                     "the limiter, for a request"),
    "limit_reads": (0.5, "read units", "the rate limit, once a minute for each key and instance",
                    "`tests/medic/costs.rs`, `make bench`", "the limiter, once a minute, key and process"),
    "heartbeat_reads": (0, "read units", "the same, key record and name in memory",
                   "`tests/medic/costs.rs`, `make bench`", "heartbeat, key record and name cached"),
    "name_reads": (0.5, "read units", "a name that is not in memory", "`make bench`", "heartbeat, name not cached"),
    "key_reads": (0.5, "read units", "a key record that is not in memory", "`make bench`",
                  "heartbeat, key record not cached"),
    "rearm_writes": (3, "write units", "a re-arm: 1 of the table and 2 of the index `due`",
                     "`tests/medic/costs.rs`, `make bench`", "re-arm"),
    "rearm_reads": (1, "read units", "a re-arm", "`make bench`", "re-arm"),
    "tick_reads": (8, "read units", "a tick with nothing due: 16 queries",
                   "`tests/medic/costs.rs`, `make bench`", "sweep with nothing due, 100000 services"),
    "outage_writes": (50, "write units", "an alert and its recovery, two receivers",
                      "`docs/DATA.md`; `make bench` measures the halves", None),
    "heartbeat_cpu_ms": (1.4, "ms", "CPU of a heartbeat over HTTP, embedded database included, on a two-core machine",
                    "`make bench`: 1.27 to 1.53", None),
}

ASSUMED = {
    "interval_minutes": (5, "min", "`alert_interval` of every service; no grace, threshold 1"),
    "write_ms": (4, "ms", "a write to DynamoDB, as ingest waits for it; the rate limit's and the two of a heartbeat "
                 "follow each other"),
    "read_ms": (3, "ms", "a read or a query of DynamoDB"),
    "mb_of_a_core": (1769, "MB", "memory with which Lambda gives a whole core; CPU time is stretched in proportion"),
    "busy": (0.8, "", "share of the time that an instance of ingest is at work"),
    "instance_hours": (2, "h", "life of an instance; then it learns names and keys anew"),
    "start_ms": (300, "ms", "start of an instance with its first connections"),
    "argon2_ms": (50, "ms", "first sight of a key by an instance"),
    "services_a_key": (1000, "", "services that share an API key, with a `rate_limit_heartbeats` of its own"),
    "wakeups_sent": (2.5, "", "wake-ups for a shard and second: ticks that look 150 s ahead once a minute, as if each tick ran "
             "on another instance, which does not know what the one before it sent"),
    "repeated_reads": (1.5, "read units", "more for each re-arm, where the looks of such wake-ups overlap"),
    "conflict_writes": (0.5, "write units", "more for each re-arm, for the same reason"),
    "messages_a_batch": (2, "", "wake-ups handed to sweep at once; they arrive within the same second"),
    "outages": (1, "", "outages of a service in a month"),
    "notification_ms": (300, "ms", "a request to Slack or PagerDuty"),
    "expiry_days": (2, "days", "from an item's expiry until it is gone"),
    "service_bytes": (2000, "bytes", "a service's items and index entries"),
    "response_bytes": (400, "bytes", "a response with its headers, to a client outside AWS"),
    "outcome_bytes": (135, "bytes", "one outcome in the response to a batch"),
    "log_compression": (0.15, "", "what is kept of a byte of logs"),
    "metrics": (60, "", "custom metrics: names with their dimensions"),
}


def measured(name):
    return MEASURED[name][0]


def assumed(name):
    return ASSUMED[name][0]


# What Lambda logs of each invocation at the system log level INFO, in its JSON format.
REQUEST = "6f7f0961-f834-4211-8a75-6fb40e90de97"
SYSTEM_LOG = (
    '{"time":"2026-06-01T12:00:00.123Z","type":"platform.start","record":{"requestId":"%s","version":"$LATEST"}}'
    '{"time":"2026-06-01T12:00:00.134Z","type":"platform.report","record":{"requestId":"%s","metrics":{"durationMs":'
    '10.512,"billedDurationMs":11,"memorySizeMB":704,"maxMemoryUsedMB":38},"status":"success"}}'
) % (REQUEST, REQUEST)
# What an instance logs of its metrics every ten seconds at most (shared/runtime/src/emf.rs).
METRICS_LOG_BYTES, METRICS_LOG_SECONDS = 500, 10

HOURS = 730
MINUTES = HOURS * 60
SECONDS = MINUTES * 60
GB = 2**30
SIZES = (10_000, 100_000, 1_000_000)
# What a partition of an index takes (AWS: best practices for partition keys), and what a re-arm writes to it.
PARTITION_WRITES = 1_000
REARM_INDEX_WRITES = 2


def must(condition, text):
    if not condition:
        sys.exit(f"docs/cost.py: {text}")


def found(pattern, text, what):
    match = re.search(pattern, text, re.MULTILINE)
    must(match, f"{what} is not found")
    return match.group(1)


def constant(path, name):
    """A number in the code."""
    text = (DOCS.parent / path).read_text()
    pattern = rf"\bconst {name}: \w+ = (?:TimeDelta::seconds\()?([\d_]+)\)?;"
    return int(found(pattern, text, f"{name} in {path}").replace("_", ""))


class Deployment:
    """What template.yaml and the code decide."""

    def __init__(self):
        text = (DOCS.parent / "template.yaml").read_text()

        def block(name):
            return found(rf"^  {name}:\n((?:(?:   .*)?\n)+)", text, f"{name} in template.yaml")

        def function(name):
            return block(f"{name}Function")

        self.memory_mb = {
            name: int(found(r"MemorySize: (\d+)", function(name.capitalize()), f"the memory of {name}"))
            for name in ("ingest", "sweep", "notify")
        }
        level = re.search(r"SystemLogLevel: (\w+)", function("Ingest")) or re.search(
            r"SystemLogLevel: (\w+)", text.partition("\nResources:")[0]
        )
        self.system_logs = (level.group(1) if level else "INFO") != "WARN"
        self.architecture = found(r"Default: (\w+)", block("Architecture"), "the default architecture")
        self.retention_days = int(found(r"Default: (\d+)", block("HeartbeatRetentionDays"), "the default retention"))
        self.alarms = len(re.findall(r"Type: AWS::CloudWatch::Alarm\b", text))
        self.shards = constant("shared/store/src/keys.rs", "SHARDS")
        self.look_ahead = constant("shared/operations/src/wakeups.rs", "LOOK_AHEAD")
        self.max_names = constant("shared/operations/src/service_names.rs", "MAX_REMEMBERED")


DEPLOYED = Deployment()


@dataclass(frozen=True)
class Use:
    """How Medic is used and deployed, where that changes the cost."""

    services: int
    interval_minutes: float = assumed("interval_minutes")
    exact_minutes: bool = False
    batch: int = 1
    by_name: bool = True
    repeat_keys: bool = False
    limiter_writes: int = measured("limit_writes")
    function_url: bool = False
    architecture: str = DEPLOYED.architecture
    system_logs: bool = DEPLOYED.system_logs
    log_bytes: int = 0
    retention_days: int = DEPLOYED.retention_days
    shards: int = DEPLOYED.shards
    wakeups_sent: float = assumed("wakeups_sent")
    provisioned: float = 0

    @property
    def heartbeats(self):
        """Heartbeats in a month: one a minute."""
        return self.services * MINUTES

    @property
    def rearm_seconds(self):
        """A re-arm moves the row to the newest heartbeat's deadline. A client's minute is a little longer than that,
        so at an old deadline the newest heartbeat is the one before it, unless the client keeps the minute exactly."""
        if self.exact_minutes:
            return 60 * math.floor(self.interval_minutes)
        return 60 * (math.ceil(self.interval_minutes) - 1)

    @property
    def rearms_a_second(self):
        return self.services / self.rearm_seconds


def number_bytes(digits):
    """A number of so many digits (AWS: DynamoDB item sizes and formats)."""
    return math.ceil(digits / 2) + 1


def heartbeat_bytes(services):
    """A heartbeat's item without a run: shared/store/src/heartbeats.rs and keys.rs. Names and values count."""
    pk = len("pk") + len(f"heartbeat#{services}")
    sk = len("sk") + 36
    at = len("at") + number_bytes(13)
    expires_at = len("expires_at") + number_bytes(10)
    return pk + sk + len("status") + len("UP") + at + expires_at


# Each stored item counts for so many bytes more.
ITEM_OVERHEAD = 100


def due_entry_bytes(services):
    """An entry of the index `due`."""
    key = len("pk") + len(f"service#{services}") + len("sk" "state")
    return key + len("due_shard" "15") + len("due_at") + number_bytes(13)


def heartbeat_ms():
    """A heartbeat's time in ingest, name and key in memory."""
    core = DEPLOYED.memory_mb["ingest"] / assumed("mb_of_a_core")
    return measured("heartbeat_writes") * assumed("write_ms") + measured("heartbeat_cpu_ms") / core


def unknown_names(services, requests):
    """The share of `requests`, each for any of the services, whose name an instance has to read: it remembers up to
    `max_names`, and then starts anew."""
    if services > DEPLOYED.max_names:
        until_full = -services * math.log(1 - DEPLOYED.max_names / services)
        if requests > until_full:
            return DEPLOYED.max_names / until_full
    return services * (1 - math.exp(-requests / services)) / requests


def usage(use):
    """Every quantity that is charged for: (part of the bill, meter, quantity)."""
    lines = []

    def add(part, meter, quantity):
        lines.append((part, meter, quantity))

    def run(part, function, invocations, ms):
        add(part, "lambda.requests", invocations)
        seconds = (ms * invocations + 0.5 * invocations) / 1_000  # billed by the whole millisecond
        add(part, f"lambda.{use.architecture}", seconds * DEPLOYED.memory_mb[function] / 1_024)
        log(invocations * len(SYSTEM_LOG) if use.system_logs else 0)

    def log(size):
        add("logs", "logs.ingested", size / GB)
        add("logs", "logs.kept", size / GB * assumed("log_compression"))

    calls = use.heartbeats / use.batch
    limit_ms = use.limiter_writes * assumed("write_ms") / use.batch
    heartbeats_an_instance = assumed("busy") * 1_000 / (heartbeat_ms() + limit_ms)
    life = assumed("instance_hours") * 3_600
    instances = max(1, use.heartbeats / SECONDS / heartbeats_an_instance)
    keys = max(1, use.services / assumed("services_a_key"))

    # Heartbeats
    repeat_writes, limit_writes = use.repeat_keys * use.heartbeats, use.limiter_writes * calls
    add("heartbeats: writes", "dynamodb.write", use.heartbeats * measured("heartbeat_writes") + repeat_writes)
    add("rate limit", "dynamodb.write", limit_writes)
    # An instance reads what the minute before held for each key that it sees in a minute.
    calls_a_minute = heartbeats_an_instance * 60 / use.batch
    limit_reads = instances * MINUTES * keys * (1 - math.exp(-calls_a_minute / keys)) * bool(use.limiter_writes)
    add("rate limit", "dynamodb.read", limit_reads * measured("limit_reads"))
    names = use.heartbeats * (unknown_names(use.services, heartbeats_an_instance * life) if use.by_name else 0)
    # A key's record is trusted for 20 s (shared/operations/src/access/keyring.rs), and read at its next use.
    key_records = calls / (1 + 20 * heartbeats_an_instance / use.batch / keys)
    reads = use.heartbeats * measured("heartbeat_reads") + names * measured("name_reads") + key_records * measured("key_reads")
    add("heartbeats: reads of names and keys", "dynamodb.read", reads)
    if not use.function_url:
        add("HTTP API", "http_api.requests", calls)
    waits = (repeat_writes + limit_writes) * assumed("write_ms")
    waits += (names + key_records + limit_reads) * assumed("read_ms")
    starts = instances * SECONDS / life * (assumed("start_ms") + keys * assumed("argon2_ms"))
    run("Lambda: ingest", "ingest", calls, use.batch * heartbeat_ms() + (waits + starts) / calls)
    response = assumed("response_bytes") + (use.batch * assumed("outcome_bytes") if use.batch > 1 else 0)
    add("responses over the internet", "transfer.out", calls * response / GB)
    log(instances * SECONDS / METRICS_LOG_SECONDS * METRICS_LOG_BYTES + use.heartbeats * use.log_bytes)

    # Re-arms
    overlap = use.wakeups_sent > 1
    rearms = use.rearms_a_second * SECONDS
    writes = measured("rearm_writes") + (assumed("conflict_writes") if overlap else 0)
    reads = measured("rearm_reads") + (assumed("repeated_reads") if overlap else 0)
    add("re-arms", "dynamodb.write", rearms * writes)
    add("re-arms", "dynamodb.read", rearms * reads)

    # Ticks, which read what comes due in their look-ahead, and wake-ups: some for each shard and second in which rows do
    due = use.rearms_a_second / use.shards
    seconds_with_rows = use.shards * (1 - math.exp(-due)) * SECONDS
    messages = seconds_with_rows * use.wakeups_sent

    def query_reads(rows):
        return max(1, rows * due_entry_bytes(use.services) / 4_096) * measured("tick_reads") / DEPLOYED.shards

    ticks = MINUTES * use.shards * query_reads(due * DEPLOYED.look_ahead)
    add("ticks and wake-ups", "dynamodb.read", ticks + messages * query_reads(due))
    add("ticks and wake-ups", "scheduler.invocations", MINUTES)
    batches = messages / assumed("messages_a_batch")
    # A send for each message, a receive and a delete for each batch, and five pollers of two queues that wait 20 s.
    add("ticks and wake-ups", "sqs.requests", messages + 2 * batches + 2 * 5 * SECONDS / 20)
    look_ms = 2 * assumed("read_ms") + assumed("write_ms")
    rows_ms = math.ceil(due / 8) * (assumed("read_ms") + assumed("write_ms"))  # eight rows at a time
    work = messages * look_ms + seconds_with_rows * rows_ms + MINUTES * 10 * look_ms
    run("ticks and wake-ups", "sweep", batches + MINUTES, work / (batches + MINUTES))

    # Outages: an alert and a recovery, two receivers each
    outages = use.services * assumed("outages")
    add("outages", "dynamodb.write", outages * measured("outage_writes"))
    add("outages", "dynamodb.read", outages * 20)
    add("outages", "sqs.requests", outages * 5 * 3)
    run("outages", "notify", outages * 4, assumed("notification_ms"))

    # What is there all the time
    kept = use.services * 1_440 * (use.retention_days + assumed("expiry_days"))
    size = kept * (heartbeat_bytes(use.services) + ITEM_OVERHEAD) + use.services * assumed("service_bytes")
    add("storage and point-in-time recovery", "dynamodb.storage", size / GB)
    add("storage and point-in-time recovery", "dynamodb.recovery", size / GB)
    add("alarms, dashboard, metrics, secret", "cloudwatch.alarms", DEPLOYED.alarms)
    add("alarms, dashboard, metrics, secret", "cloudwatch.dashboards", 1)
    add("alarms, dashboard, metrics, secret", "cloudwatch.metrics", assumed("metrics"))
    add("alarms, dashboard, metrics, secret", "secrets", 1)

    if use.provisioned:
        # A unit that is provisioned serves one request unit a second; so much of it is used.
        lines = [
            (part, f"{meter}_hour", quantity / SECONDS / use.provisioned * HOURS)
            if meter in ("dynamodb.write", "dynamodb.read") else (part, meter, quantity)
            for part, meter, quantity in lines
        ]
    return lines


def price(meter, quantity):
    return tiered(PRICES["prices"][meter], quantity)


def tiered(entry, quantity):
    """What a month's quantity costs, tier by tier."""
    cost, below = 0.0, 0
    for up_to, usd in entry["tiers"]:
        upper = quantity if up_to is None else min(quantity, up_to)
        cost += max(0, upper - below) / entry["per"] * usd
        below = upper
    return cost


def bill(use):
    """The parts of a month's bill in USD. Parts that share a meter share its tiers."""
    totals = defaultdict(float)
    for _, meter, quantity in usage(use):
        totals[meter] += quantity
    costs = {meter: price(meter, quantity) for meter, quantity in totals.items()}
    parts = defaultdict(float)
    for part, meter, quantity in usage(use):
        parts[part] += costs[meter] * quantity / totals[meter] if totals[meter] else 0
    difference = sum(parts.values()) - sum(costs.values())
    must(abs(difference) < 0.01, f"the parts of {use} differ from the sum of the meters by {difference}")
    return dict(parts)


def total(use):
    return sum(bill(use).values())


def floor(use):
    """The two writes of each heartbeat, and nothing else."""
    return price("dynamodb.write", use.heartbeats * measured("heartbeat_writes"))


def check_the_sums():
    """Figures that follow from the prices by hand, and relations that must hold."""
    base = [Use(services) for services in SIZES]
    units = 10_000 * MINUTES * 2
    must(sum(q for part, _, q in usage(base[0]) if part == "heartbeats: writes") == units, "a heartbeat is two units")
    must(abs(floor(base[0]) - units / 1e6 * price("dynamodb.write", 1e6)) < 0.01, "the floor is its units' price")
    must(tiered({"per": 10, "tiers": [[100, 2], [None, 1]]}, 250) == 35, "100 at 2 for ten, and 150 at 1 for ten")
    must(max(heartbeat_bytes(s) for s in SIZES) < 1_024, "a heartbeat's item is under 1 KB")
    for use in base:
        must(total(use) > floor(use), "all of it costs more than a part")
        batched = replace(use, batch=100)
        writes = [sum(q for part, meter, q in usage(u) if (part, meter) == ("heartbeats: writes", "dynamodb.write"))
                  for u in (use, batched)]
        must(writes[0] == writes[1], "a batch saves no write unit of its heartbeats")
        limits = [sum(q for part, meter, q in usage(u) if (part, meter) == ("rate limit", "dynamodb.write"))
                  for u in (use, batched)]
        must(abs(limits[0] - 100 * limits[1]) < 1, "a batch counts once for the rate limit")
        calls = [sum(q for _, meter, q in usage(u) if meter == "http_api.requests") for u in (use, batched)]
        must(abs(calls[0] - 100 * calls[1]) < 1, "a batch of 100 is one call")
        url = replace(use, function_url=True)
        must(abs(total(use) - total(url) - bill(use)["HTTP API"]) < 0.01, "a function URL saves the HTTP API alone")
        must(total(replace(use, wakeups_sent=1)) < total(use), "one wake-up is cheaper than several")
        must(total(replace(use, interval_minutes=15)) < total(use), "longer intervals are cheaper")
    must(total(base[-1]) / SIZES[-1] < total(base[0]) / SIZES[0], "a service among many is no dearer")


# The tables

def usd(amount):
    return f"{amount:,.0f}" if abs(amount) >= 100 else f"{amount:,.2f}"


def percent(part):
    return f"{part:+.0%}" if abs(part) >= 0.095 else f"{part:+.1%}"


def plain(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def headline():
    rows = []
    for services in SIZES:
        use = Use(services)
        cost = total(use)
        rows.append([
            f"{services:,}", f"{use.heartbeats / 1e6:,.0f} million", f"**${usd(cost)}**", f"${cost / services:.3f}",
            f"${cost / use.heartbeats * 1e6:.2f}", f"{cost / floor(use):.1f} times",
        ])
    head = ["services", "heartbeats a month", "cost a month", "a service", "a million heartbeats", "DynamoDB's floor"]
    least = price("dynamodb.write", 1e6 * measured("heartbeat_writes"))
    return table(head, rows) + f"\n\nThe floor is the two write units of each heartbeat: ${least:.2f} a million."


def parts():
    bills = [bill(Use(services)) for services in SIZES]
    names = sorted(bills[-1], key=lambda part: -bills[-1][part])
    largest = sum(bills[-1].values())
    rows = [[part, *(usd(each[part]) for each in bills), f"{bills[-1][part] / largest:.1%}"] for part in names]
    rows.append(["**sum**", *(f"**{usd(sum(each.values()))}**" for each in bills), ""])
    return table(["USD a month", *(f"{s:,} services" for s in SIZES), f"share at {SIZES[-1]:,}"], rows)


def changes():
    off = dict(system_logs=False)
    logs = ("`SystemLogLevel: WARN` for the functions", off) if DEPLOYED.system_logs else (
        "`SystemLogLevel: INFO` instead of WARN", dict(system_logs=True))
    other = "arm64" if DEPLOYED.architecture == "x86_64" else "x86_64"
    rows = []
    for name, change in [
        ("batches of 100 (`POST /v2/heartbeats`)", dict(batch=100)),
        ("batches of 100, by `service_id`", dict(batch=100, by_name=False)),
        ("function URL for ingest", dict(function_url=True)),
        logs,
        (f"{other} instead of {DEPLOYED.architecture}", dict(architecture=other)),
        ("batches of 100 by id, no system logs, arm64",
         dict(batch=100, by_name=False, architecture="arm64", **off)),
        ("provisioned capacity, 70% of it used", dict(provisioned=0.7)),
        ("`alert_interval` of 15 minutes", dict(interval_minutes=15)),
        ("clients that keep the minute exactly", dict(exact_minutes=True)),
        ("32 shards", dict(shards=32)),
        ("64 shards", dict(shards=64)),
        ("each wake-up sent once", dict(wakeups_sent=1)),
        ("retention of 7 days", dict(retention_days=7)),
        ("each KB that is logged of a heartbeat", dict(log_bytes=1_024)),
        ("an `Idempotency-Key` with each heartbeat", dict(repeat_keys=True)),
    ]:
        row = [name]
        for services in SIZES:
            use = Use(services)
            old, new = total(use), total(replace(use, **change))
            row.append(f"{usd(new)} ({percent(new / old - 1)})")
        rows.append(row)
    return table(["USD a month with", *(f"{s:,} services" for s in SIZES)], rows)


def intervals():
    rows = []
    for minutes in (2, 3, 5, 10, 15, 60):
        uses = [replace(Use(services), interval_minutes=minutes) for services in SIZES]
        load = uses[-1].rearms_a_second * REARM_INDEX_WRITES / uses[-1].shards / PARTITION_WRITES
        rows.append([
            f"{minutes} min", f"{uses[0].rearm_seconds // 60} min", *(usd(total(use)) for use in uses),
            f"{uses[-1].rearms_a_second:,.0f}", f"{load:.0%}",
        ])
    head = ["`alert_interval`", "re-armed every", *(f"{s:,} services" for s in SIZES),
            f"re-arms a second at {SIZES[-1]:,}", "of what a shard takes"]
    return table(head, rows)


def shards():
    rows = []
    for count in (8, 16, 32, 64):
        uses = [replace(Use(services), shards=count) for services in SIZES]
        max_rearms = count * PARTITION_WRITES / REARM_INDEX_WRITES
        rows.append([
            f"{count}", *(usd(bill(use)["ticks and wake-ups"]) for use in uses), f"{max_rearms:,.0f}",
            f"{SIZES[-1] / max_rearms / 60:.1f} min",
        ])
    head = ["shards", *(f"{s:,} services" for s in SIZES), "re-arms a second at most",
            f"shortest time between re-arms at {SIZES[-1]:,}"]
    return table(head, rows)


def figures():
    rows = [[what, f"{plain(value)} {unit}", where] for value, unit, what, where, _ in MEASURED.values()]
    return table(["measured", "is", "by"], rows)


def assumptions():
    rows = [[what, f"{plain(value)} {unit}".strip()] for value, unit, what in ASSUMED.values()]
    return table(["assumed", "is"], rows)


def derived():
    rows = [
        ["a heartbeat's item", " / ".join(str(heartbeat_bytes(s)) for s in SIZES) + " bytes",
         "names and values of `HeartbeatItem` and its key, without `run_id`, by AWS's rules for sizes; "
         f"storage counts {ITEM_OVERHEAD} more"],
        ["memory of " + ", ".join(DEPLOYED.memory_mb), ", ".join(map(str, DEPLOYED.memory_mb.values())) + " MB",
         "`template.yaml`"],
        ["a heartbeat's time in ingest", f"{heartbeat_ms() + assumed('write_ms'):.1f} ms",
         "three writes, one after the other, and its CPU at that memory's share of a core; in a batch the write of "
         "the rate limit is shared"],
        ["heartbeats whose name is read", " / ".join(f"{share_of_names(s):.0%}" for s in SIZES),
         f"an instance remembers {DEPLOYED.max_names:,} names (`MAX_REMEMBERED`) and sees any of the services"],
        ["wake-ups a second", " / ".join(f"{wake_ups(s):.0f}" for s in SIZES),
         f"{DEPLOYED.shards} shards (`SHARDS`), the share of seconds in which rows fall due, each tick for itself"],
        ["Lambda's own log of an invocation", f"{len(SYSTEM_LOG)} bytes", "`platform.start` and `platform.report`"],
        ["alarms; retention", f"{DEPLOYED.alarms}; {DEPLOYED.retention_days} days", "`template.yaml`"],
    ]
    return table(["follows", "is", "from"], rows)


def share_of_names(services):
    use = Use(services)
    reads = {named: sum(q for part, _, q in usage(replace(use, by_name=named)) if part.endswith("names and keys"))
             for named in (True, False)}
    return (reads[True] - reads[False]) / measured("name_reads") / use.heartbeats


def wake_ups(services):
    use = Use(services)
    return use.shards * (1 - math.exp(-use.rearms_a_second / use.shards)) * use.wakeups_sent


def price_list():
    rows = []
    for entry in PRICES["prices"].values():
        per = "" if entry["per"] == 1 else f" a {'million' if entry['per'] == 1_000_000 else entry['per']}"
        tiers = [f"{usd_:.10f}".rstrip("0").ljust(4, "0") + (f" up to {up_to:,}" if up_to else "")
                 for up_to, usd_ in entry["tiers"]]
        rows.append([f"[{entry['name']}]({entry['page']})", ", then ".join(tiers) + per, entry["seen"] or "nowhere"])
    return table([f"price in {PRICES['currency']}, {PRICES['region']}, as of {PRICES['as_of']}", "is", "seen"], rows)


TABLES = dict(headline=headline, parts=parts, changes=changes, intervals=intervals, shards=shards, measured=figures,
              derived=derived, assumed=assumptions, prices=price_list)


def filled(text):
    """The document with every table as it should be."""
    for name, compute in TABLES.items():
        start, end = f"<!-- cost.py: {name} -->\n", "\n<!-- end -->"
        must(text.count(start) == 1, f"docs/COST.md needs the line {start.strip()} once")
        before, rest = text.split(start)
        must(end in rest, f"{start.strip()} has no end")
        text = before + start + compute() + end + rest.split(end, 1)[1]
    return text


def compare_with_bench(path):
    bench = {(figure["name"], figure["unit"]): figure["value"] for figure in json.loads(Path(path).read_text())}
    for name, (value, unit, _, _, figure) in MEASURED.items():
        if figure:
            must((figure, unit) in bench, f"{path} has no figure '{figure}' in {unit}")
            now = bench[figure, unit]
            must(abs(now - value) < 1e-9, f"{name} is {value} {unit}, and {path} has {now} for '{figure}'")


def main(arguments):
    check_the_sums()
    match arguments:
        case []:
            DOCUMENT.write_text(filled(DOCUMENT.read_text()))
        case ["--check"]:
            now = DOCUMENT.read_text()
            lines = [text.splitlines(keepends=True) for text in (now, filled(now))]
            difference = list(difflib.unified_diff(*lines, "docs/COST.md", "what docs/cost.py computes", n=0))
            sys.stdout.writelines(difference)
            must(not difference, "docs/COST.md is not up to date; run: python3 docs/cost.py")
        case ["--bench", path]:
            compare_with_bench(path)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
