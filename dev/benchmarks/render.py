#!/usr/bin/env python3
"""Puts the recorded figures into the documents, between `<!-- figures: NAME -->` and `<!-- end of figures -->`.

`dev/benchmarks/render.py` writes; with `--check` it only reports documents that disagree with the records, as
`make check` does. The records are dev/benchmarks/results/{compare,bench,growth}.json.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dev/benchmarks"))
sys.dont_write_bytecode = True

import budgets  # noqa: E402
from compare import report as compare  # noqa: E402
from copies import report as copies  # noqa: E402
from growth import report as growth  # noqa: E402

DOCUMENTS = ["README.md", "docs/comparison.md", "docs/scaling.md", "dev/benchmarks/README.md"]
RECORDS = ROOT / "dev/benchmarks/results"
BLOCK = re.compile(r"(<!-- figures: ([a-z -]+) -->\n).*?(<!-- end of figures -->)", re.S)
# The pictures that `make compare` keeps beside its record.
PICTURES = {
    "latency-topic": "latency to the topic",
    "latency-lake": "latency to the lake",
    "throughput": "throughput",
    "memory": "memory over time",
}


def record(name):
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def compare_short(found):
    return [*compare.caption(found), "", *compare.table(found, compare.SHORT), *problems(found)]


def compare_full(found):
    lines = [*compare.caption(found), "The raw results are [compare.json](../dev/benchmarks/results/compare.json).", *problems(found)]
    for title, figures in compare.SECTIONS:
        lines += ["", f"### {title}", "", *compare.table(found, figures)]
    pictures = [f"![{text}](../dev/benchmarks/results/{name}.svg)" for name, text in PICTURES.items()]
    return [*lines, "", "### Settings and steps", "", *compare.settings(found), "", "### Pictures", "", *pictures]


def problems(found):
    notes = [f"* {line}" for line in compare.failures(found)]
    return ["", *notes] if notes else []


def bench(shape):
    def lines(found):
        failed = [f"* `{name}` failed." for name in found["failed"] if name.startswith(f"{shape}/")]
        return [*copies.caption(found), f"{found['rows'][shape]:,} rows.", "", *copies.table(found, shape), *([""] + failed if failed else [])]

    return lines


# Of each block: the records that it needs, and its lines.
FIGURES = {
    "comparison in short": (["compare"], compare_short),
    "comparison": (["compare"], compare_full),
    "copies of the orders": (["bench"], bench("orders")),
    "copies of the taxi trips": (["bench"], bench("taxi")),
    "budgets": (["bench", "compare"], budgets.table),
    "growth": (["growth"], growth.lines),
}


def rendered(text):
    def block(found):
        names, lines = FIGURES[found[2]]
        results = [record(name) for name in names]
        # Without a record, what was written by hand stays.
        return found[1] + "\n".join(["", *lines(*results), "", found[3]]) if all(results) else found[0]

    return BLOCK.sub(block, text)


def main():
    check, stale = "--check" in sys.argv[1:], []
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text()
        after = rendered(before)
        if before != after:
            stale.append(name)
            if not check:
                path.write_text(after)
    if check and stale:
        print(f"{', '.join(stale)}: the figures differ from the recorded ones; dev/benchmarks/render.py writes them again", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
