"""`years`: a lake after as many commits as a service makes in years, and what a reader sees while its files are merged."""

import json
import os
import subprocess
import threading
import time

from compare.servers import BIN, CACHE

LOOK_SECONDS = 0.2
HOURS_SHOWN = (1, 6, 12, 18, 24)
GLOB = "read_parquet('{lake}/date=*/*.parquet')"


class Reader:
    """Counts the rows of the lake by a plain pattern, again and again, while files are merged."""

    def __init__(self, lake):
        self.lake, self.looks, self.failed, self.wrong, self.last = lake, 0, 0, [], 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended.wait(LOOK_SECONDS):
            self.look()

    def look(self):
        sql = f"SELECT count(*), count(DISTINCT _offset), max(_offset) + 1 FROM {GLOB.format(lake=self.lake)};"
        try:
            rows, positions, next_offset = map(int, duckdb(sql).split(","))
        except subprocess.CalledProcessError as error:
            # A file was replaced between the listing and its opening: the query fails, and has no wrong answer.
            self.failed += "No such file" in error.stderr or "No files found" in error.stderr
            self.wrong += [] if "No such file" in error.stderr or "No files found" in error.stderr else [error.stderr]
            return
        self.looks += 1
        if not rows == positions == next_offset or rows < self.last:
            self.wrong.append(f"{rows} rows, {positions} positions, the last one {next_offset - 1}, {self.last} rows before")
        self.last = rows

    def stop(self):
        self.ended.set()
        self.thread.join()


def years(world):
    """Commits of five rows, each for five seconds of a service."""
    folder = world.fresh("years")
    config = world.config(folder, "orders")
    marks = world.wanted["COMMITS"].split(",")
    program = os.environ.get("INLET_YEARS", BIN / "examples" / "years")
    rows, hours = [], []
    process = subprocess.Popen([program, folder / "lake", *marks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    reader = None
    try:
        for mark in map(int, marks):
            # The reader works beside the first commits; it would slow down those that are timed later.
            if reader is None:
                (folder / "lake").mkdir(exist_ok=True)
                reader = Reader(folder / "lake")
            found = json.loads(process.stdout.readline())
            reader.stop()
            if reader.wrong:
                raise RuntimeError(f"a reader saw: {reader.wrong[:3]}")
            hours = hours or found["hours"][:]
            latest = timed(BIN / "inlet", "query", "--config", config, "SELECT count(*) FROM orders")
            glob = timed_duckdb(f"SELECT count(*), sum(amount) FROM {GLOB.format(lake=folder / 'lake')};")
            rows.append([
                f"{mark:,}", f"{found['dates']:,}", f"{found['rows']:,}", f"{found['files']:,} ({megabytes(found['bytes'])})",
                f"{found['files_max']}", f"{found['log_files']:,} ({megabytes(found['log_bytes'])})", f"{found['open_ms']:.0f} ms",
                f"{found['commit_ms']:.1f} / {found['commit_ms_p99']:.1f} ms", f"{1000 * found['merging_s'] / mark:.2f} ms",
                f"{latest:.2f} s", f"{glob:.2f} s",
            ])
            world.say(f"years: {rows[-1]}; looks {reader.looks}, failed {reader.failed}")
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    day = "; ".join(f"{hour} h: {hours[hour - 1][0]} files, {hours[hour - 1][1] // 1024} KiB" for hour in HOURS_SHOWN if hour <= len(hours))
    return {
        "title": "A lake over the years",
        "note": "A commit of five rows for every five seconds, one row of them a new version of an older one, and merging for every minute; "
        "17,280 commits are a day. "
        f"Until the first of these numbers of commits, a reader counted the rows by a plain pattern every {LOOK_SECONDS} s: "
        f"{reader.looks} answers, each row once in all of them, and {reader.failed} queries that failed because a file was replaced meanwhile. "
        f"The first day: {day or 'shorter'}.",
        "headers": ["commits", "dates", "rows", "data files", "most files of a date", "files of the log", "open", "commit, p50 / p99",
                    "merging, a commit", "latest state, count", "pattern, sum"],
        "rows": rows,
    }


def duckdb(sql):
    command = [CACHE / "duckdb/duckdb", "-no-init", "-batch", "-bail", "-csv", "-noheader"]
    return subprocess.run(command, input=sql, capture_output=True, text=True, check=True).stdout


def megabytes(count):
    return f"{count / 1e6:,.1f} MB"


def timed(*command):
    began = time.monotonic()
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return time.monotonic() - began


def timed_duckdb(sql):
    began = time.monotonic()
    duckdb(sql)
    return time.monotonic() - began
