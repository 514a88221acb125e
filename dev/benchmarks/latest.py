#!/usr/bin/env python3
"""Compares ways to ask for the latest state of a table with reading a table that was never changed, in both versions of DuckDB.

`dev/benchmarks/latest.py [keys] [versions of each]`, by default 1,000,000 and 4: half of the files hold the first
version of every key, the others later ones. Prints seconds (the best of three) and the peak of memory.
"""

import os
import subprocess
import sys
import tempfile
import time

KEYS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
VERSIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 4
CACHE = os.environ.get("INLET_CACHE", os.path.expanduser("~/.cache/inlet"))
PROGRAMS = {
    "1.5": [f"{CACHE}/duckdb/duckdb", "-no-init", "-batch", "-bail", "-csv", "-noheader"],
    "2.0": [f"{CACHE}/duckdb2/duckdb2"],
}
COLUMNS = ["order_id", "customer", "item", "amount", "status", "created_at", "updated_at"]
ROWS = f"""
SELECT (range * 7919) % {KEYS} AS order_id, 'customer ' || range % 5000 AS customer,
       'item ' || range % 300 AS item, (range % 100000 / 100)::DECIMAL(10, 2) AS amount,
       ['placed', 'paid', 'sent', 'done'][1 + $version % 4] AS status,
       TIMESTAMPTZ '2026-11-01 00:00:00+00' + INTERVAL (range) SECOND AS created_at,
       TIMESTAMPTZ '2026-11-01 00:00:00+00' + INTERVAL (range) SECOND AS updated_at,
       'u' AS _op, range AS _xid, 0 AS _kafka_partition, $version * {KEYS} + range AS _offset,
       now() AS _detected_at
FROM range($from, $to)"""


def ask(version, sql):
    """Seconds and peak memory in MiB of a run."""
    before = time.monotonic()
    process = subprocess.Popen(PROGRAMS[version], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(sql + "\n")
    assert process.returncode == 0, sql
    return time.monotonic() - before, out


def memory(version, sql):
    command = ["/usr/bin/env", "python3", "-c", (
        "import resource, subprocess, sys; p = subprocess.run(sys.argv[1:], stdin=sys.stdin, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)")] + PROGRAMS[version]
    return int(subprocess.run(command, input=sql + "\n", stdout=subprocess.PIPE, text=True, check=True).stdout)


def fill(lake):
    parts = 5
    for version in range(VERSIONS):
        for part in range(parts):
            folder = f"{lake}/date=2026-11-{1 + part:02}"
            os.makedirs(folder, exist_ok=True)
            bounds = [KEYS * part // parts, KEYS * (part + 1) // parts]
            rows = ROWS.replace("$version", str(version)).replace("$from", str(bounds[0])).replace("$to", str(bounds[1]))
            ask("1.5", f"COPY ({rows}) TO '{folder}/0-{version}{part}.parquet' (COMPRESSION zstd);")


def fill_plainly(folder):
    """The rows of the latest state alone, as a table that was never changed."""
    rows = ROWS.replace("$version", str(VERSIONS - 1)).replace("$from", "0").replace("$to", str(KEYS))
    ask("1.5", f"COPY (SELECT {', '.join(COLUMNS)} FROM ({rows})) TO '{folder}/0.parquet' (COMPRESSION zstd);")


def forms(lake, plain):
    files = (f"read_parquet('{lake}/**/*.parquet', union_by_name = true, hive_partitioning = true, "
             "hive_types = {'date': 'DATE'}) AS files")
    names = ", ".join(COLUMNS)
    qualified = ", ".join(f"files.{name} AS {name}" for name in COLUMNS)
    packed = ", ".join(f"{name} := files.{name}" for name in COLUMNS[1:])
    unpacked = ", ".join(f"last.{name} AS {name}" for name in COLUMNS[1:])
    where = "WHERE files.order_id IS NOT NULL"
    return {
        "a plain table": f"SELECT {names} FROM read_parquet('{plain}/*.parquet')",
        "row_number": f"SELECT {names} FROM (SELECT {qualified}, files._op FROM {files} {where} QUALIFY row_number() "
                      "OVER (PARTITION BY files.order_id ORDER BY files._offset DESC) = 1) WHERE _op <> 'd'",
        "arg_max": f"SELECT order_id, {unpacked} FROM (SELECT files.order_id AS order_id, arg_max(struct_pack({packed}, "
                   f"_op := files._op), files._offset) AS last FROM {files} {where} GROUP BY files.order_id) "
                   "WHERE last._op <> 'd'",
        "two steps": f"SELECT {names} FROM (SELECT {qualified}, files._op FROM {files} SEMI JOIN (SELECT files.order_id "
                     f"AS k0, max(files._offset) AS place FROM {files} {where} GROUP BY files.order_id) AS newest ON "
                     "files.order_id = newest.k0 AND files._offset = newest.place) WHERE _op <> 'd'",
    }


QUESTIONS = {
    "count": "SELECT count(*) FROM latest",
    "one sum": "SELECT status, sum(amount) FROM latest GROUP BY status",
    "all columns": "SELECT count(*), sum(hash(latest)) FROM latest",
    "one key": "SELECT * FROM latest WHERE order_id = 4711",
}


def main():
    with tempfile.TemporaryDirectory() as lake, tempfile.TemporaryDirectory() as plain:
        fill(lake)
        fill_plainly(plain)
        print(f"{KEYS:,} keys, {KEYS * VERSIONS:,} versions\n")
        print("| DuckDB | form | " + " | ".join(QUESTIONS) + " | MiB, all columns |")
        print("|---|---|" + "---:|" * (len(QUESTIONS) + 1))
        for version in PROGRAMS:
            idle = min(ask(version, "SELECT 1;")[0] for _ in range(3))
            answers = {}
            for form, select in forms(lake, plain).items():
                view = f"CREATE VIEW latest AS {select};\n"
                cells = []
                for question, sql in QUESTIONS.items():
                    runs = [ask(version, view + sql + ";") for _ in range(3)]
                    found = "\n".join(sorted(runs[0][1].split()))
                    assert answers.setdefault(question, found) == found, (form, question)
                    cells.append(f"{min(run[0] for run in runs) - idle:.2f} s")
                cells.append(str(memory(version, view + QUESTIONS["all columns"] + ";")))
                print(f"| {version} | {form} | " + " | ".join(cells) + " |", flush=True)


main()
