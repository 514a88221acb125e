"""`make bench [ROWS=..] [QUICK=1]`: every program in turn, round after round; the best round of each counts."""

import datetime
import json
import shutil
import sys
import tempfile
import time

from compare import options
from compare.__main__ import machine, versions
from compare.servers import ROOT, Servers

from . import report, shapes, tools
from .bench import Bench
from .check import check

RECORDED = options.RECORDS / "bench.json"


DEFAULTS = {
    # Rows of the orders; the taxi trips, which are wider, have fewer. A quick run has as many: with fewer
    # rows the time in which a consumer joins its group would change the ratios to the recorded ones.
    "ROWS": 1_000_000,
    # How often each program runs. 0: 3, or 2 when quick.
    "ROUNDS": 0,
    "QUICK": 0,
    "TOOLS": ",".join(tools.ALL),
    "SHAPES": ",".join(shape.name for shape in shapes.ALL),
    # 1: keep the results as the recorded run of the repository.
    "RECORD": 0,
}


class Results:
    """The best round of each program on each shape, and why others failed."""

    def __init__(self):
        self.best, self.failed = {}, {}

    def add(self, shape, name, bench):
        tool = tools.ALL[name]
        try:
            copied = tool.copy(bench, shape)
            types = check(bench, shape, copied.out) if tool.WRITES else {}
        # A peer that fails is reported, and the others go on.
        except Exception as error:
            self.failed[f"{shape.name}/{name}"] = f"{type(error).__name__}: {error}"
            return f"FAILED: {error}"
        if name == "inlet-direct":
            bench.lakes[shape.name] = copied.out
        elif copied.out:
            remove(copied.out)
        rows = bench.rows[shape.name]
        found = {
            "rows_per_s": round(rows / copied.seconds), "values_per_s": round(rows * shape.columns / copied.seconds),
            "cpu_s": round(copied.cpu_s, 2), "peak_mb": round(copied.peak_mb), **types,
        }
        best = self.best.setdefault(shape.name, {}).get(name)
        if not best or found["rows_per_s"] > best["rows_per_s"]:
            self.best[shape.name][name] = found
        return f"{found['rows_per_s']:,} rows/s"


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main():
    wanted = options.read(DEFAULTS, __doc__)
    options.end_in_order()
    rounds = wanted["ROUNDS"] or (2 if wanted["QUICK"] else 3)
    kinds = [shape for shape in shapes.ALL if shape.name in wanted["SHAPES"].split(",")]
    names, results, began = wanted["TOOLS"].split(","), Results(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="inlet-bench-") as folder, Servers() as servers:
        found = versions(servers)
        bench = Bench(servers, folder, {shape.name: int(wanted["ROWS"] * shape.part) for shape in kinds})
        for shape in kinds:
            servers.sql(shape.create(bench.rows[shape.name]))
            for turn in range(rounds):
                for name in names:
                    said = results.add(shape, name, bench)
                    print(f"{time.monotonic() - began:6.0f} s  {shape.name}, round {turn + 1}, {name}: {said}", file=sys.stderr, flush=True)
    page = {
        "command": options.command("bench", DEFAULTS, wanted), "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began), "machine": machine(), "versions": found | python_versions(),
        "rows": bench.rows, "rounds": rounds, "shapes": results.best, "failed": results.failed,
        "titles": {name: tools.ALL[name].TITLE for name in names}, "ratios": report.ratios(results.best),
    }
    print(report.page(page))
    fallen = []
    if RECORDED.exists():
        recorded = json.loads(RECORDED.read_text())
        fallen = report.fallen(page["ratios"], recorded["ratios"])
        print(report.comparison(fallen, recorded))
    if wanted["RECORD"]:
        options.record("bench", page)
    return 1 if results.failed or fallen else 0


def python_versions():
    """What the list of the installed packages pins."""
    lines = (ROOT / "dev/scripts/peers/copy.txt").read_text().split()
    pins = dict(line.split("==") for line in lines if "==" in line)
    return {name: pins[name] for name in ("connectorx", "adbc-driver-postgresql", "polars", "dlt", "chdb", "pyarrow") if name in pins}


if __name__ == "__main__":
    sys.exit(main())
