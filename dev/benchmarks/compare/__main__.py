"""`make compare [ROWS=..] [RATE=..]`: every path in turn, several times, in an order that moves on by one each time."""

import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

from . import options, paths, pictures, report, topic
from .measure import read
from .run import Run, Sizes
from .servers import BIN, CACHE, ROOT, Servers


DEFAULTS = {
    # Rows of the initial load.
    "ROWS": 200_000,
    # Single-row transactions a second, the seconds of it that count, and the seconds before them.
    "RATE": 1_000,
    "SECONDS": 10,
    "WARM_UP": 4,
    # Single-row transactions while a path is stopped.
    "BACKLOG": 100_000,
    "REPETITIONS": 1,
    # The paths, in the order of the first repetition.
    "PATHS": ",".join(paths.ALL),
    # The folder of the results; by default a new one below the user's cache.
    "OUT": "",
    # 1: keep the results as the recorded run of the repository.
    "RECORD": 0,
}

# The options that are the first fields of Sizes.
SIZES = ["ROWS", "RATE", "SECONDS", "WARM_UP", "BACKLOG"]


def machine():
    model = next((line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")), "unknown")
    memory = int(read("/proc/meminfo").split()[1]) / 1e6
    return {"cores": os.cpu_count(), "processor": model, "memory_gb": round(memory, 1), "kernel": platform.release()}


def output(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, check=False)
    return (done.stdout or done.stderr).strip()


def commit():
    """The commit that was measured; recorded figures and the documents that show them make no other program."""
    figures = [f":!{path}" for path in ("README.md", "docs", "dev/benchmarks/README.md", "dev/benchmarks/results")]
    changed = output("git", "status", "--porcelain", "--", ".", *figures)
    return output("git", "rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def versions(servers):
    link = lambda name: os.path.basename(os.path.realpath(CACHE / name))
    return {
        "inlet": output(BIN / "inlet", "--version"),
        "commit": commit(),
        "postgresql": servers.sql("SHOW server_version")[0],
        "kafka": link("kafka"), "debezium": link("debezium"), "spark": link("spark-jars"), "duckdb": link("duckdb"),
        "java": output("java", "-version").splitlines()[0],
    }


def main():
    wanted = options.read(DEFAULTS, __doc__)
    options.end_in_order()
    sizes = Sizes(*(wanted[name] for name in SIZES))
    kinds = [paths.ALL[name] for name in wanted["PATHS"].split(",")]
    began = time.monotonic()
    say = lambda text: print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    out = pathlib.Path(wanted["OUT"] or cache / "inlet-compare" / datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S"))
    out.mkdir(parents=True, exist_ok=True)
    runs = []
    with tempfile.TemporaryDirectory(prefix="inlet-compare-") as folder, Servers() as servers:
        found = versions(servers)
        topic.warm_up(servers.kafka)
        for repetition in range(wanted["REPETITIONS"]):
            # Who runs first finds cold caches and an empty disk: each repetition starts with another path.
            turn = repetition % len(kinds)
            for kind in kinds[turn:] + kinds[:turn]:
                run = Run(kind, servers, folder, repetition + 1, sizes, say)
                runs.append(run.all())
                keep_logs(run, out)
    results = {
        "command": options.command("compare", DEFAULTS, wanted),
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
        "machine": machine(),
        "versions": found,
        "sizes": {name: wanted[name] for name in (*SIZES, "REPETITIONS")},
        # CPU time of programs that have no part in this, of what the machine has.
        "others_cpu_share": others_share(runs),
        "runs": runs,
    }
    results["paths"] = report.summaries(results, kinds)
    (out / "compare.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "report.md").write_text(report.page(results))
    pictures.draw(results, out)
    print(report.page(results))
    print(f"Results, pictures and the programs' logs: {out}")
    if wanted["RECORD"]:
        options.record("compare", report.short(results))
        for picture in out.glob("*.svg"):
            shutil.copy(picture, options.RECORDS)
    return 1 if any("failed" in run for run in runs) else 0


def others_share(runs):
    """How much of the machine other programs used while something was measured."""
    phases = [phase for run in runs for phase in run["phases"].values() if phase and "others_cpu_s" in phase]
    seconds = sum(phase["seconds"] for phase in phases)
    return round(max(0, sum(phase["others_cpu_s"] for phase in phases)) / seconds / os.cpu_count(), 3) if phases else None


def keep_logs(run, out):
    """The logs of the path's programs, and nothing of what it wrote."""
    logs = out / "logs" / run.table
    logs.mkdir(parents=True, exist_ok=True)
    for log in run.folder.glob("*.log"):
        log.rename(logs / log.name)


if __name__ == "__main__":
    sys.exit(main())
