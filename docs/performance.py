#!/usr/bin/env python3
"""Writes the tables of docs/PERFORMANCE.md from target/bench.json."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs/PERFORMANCE.md"
# The parts of the document, and how the names of their figures read; the first that fits takes a figure. What is counted in
# capacity units is of `units`, where it is not of growth.
PARTS = {
    "growth": r".*, (100|1,?000|10,?000|100,?000) services$|sweep with nothing due.*",
    "flood": r"10,000 services silent",
    "load": r"load, ",
    "start": r"bootstrap|start|SIGTERM|medic-local|.*bootstrap.*",
    "time": r".*",
    "units": r"(?!)",
}


def number(value):
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def row(figure):
    budget = "" if figure["budget"] is None else number(figure["budget"])
    kept = {None: "", True: "yes", False: "**no**"}[figure["within"]]
    return f"| {figure['name']} | {number(figure['value'])} {figure['unit']} | {budget} | {kept} |"


def main():
    figures = json.loads((ROOT / "target/bench.json").read_text())
    parts = {part: [] for part in PARTS}
    for figure in figures:
        part = next(part for part, pattern in PARTS.items() if re.match(pattern, figure["name"]))
        if part != "growth" and figure["unit"].endswith(" units"):
            part = "units"
        parts[part].append(row(figure))
    text = DOCUMENT.read_text()
    for part, rows in parts.items():
        if not rows:
            continue
        table = "\n".join(["| what | measured | budget | kept |", "| --- | ---: | ---: | --- |", *rows])
        mark = rf"(<!-- {part} -->\n).*?(\n<!-- end -->)"
        text = re.sub(mark, lambda found, table=table: found[1] + table + found[2], text, flags=re.DOTALL)
    DOCUMENT.write_text(text)


main()
