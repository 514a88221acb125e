"""First figures on this machine: what a row costs on each way, beside the peer's own tool in the same run.

Everything runs on the same cores: PostgreSQL, Kafka, Inlet. Rows are the orders table, 8 columns. Prints a Markdown table.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time

ROWS = int(sys.argv[1])
TARGET = os.environ.get("CARGO_TARGET_DIR", "target") + "/release/"
CACHE = os.environ.get("INLET_CACHE", os.path.expanduser("~/.cache/inlet"))
LATENCY_ROWS = 10_000
LATENCY_RATE = 1_000
DEADLINE = 120

TABLE = """
CREATE TABLE orders (order_id serial PRIMARY KEY, customer_name varchar(255), restaurant_name varchar(255), item varchar(255),
  amount numeric(10,2), order_status varchar(50), created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT clock_timestamp());
CREATE INDEX ON orders (updated_at);
INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)
SELECT 'Customer ' || i %% 9000, 'Restaurant ' || i %% 300, 'Item number ' || i %% 5000, (i::bigint * 7919 %% 1000000) / 100.0, 'PLACED'
FROM generate_series(1, %d) i;
VACUUM ANALYZE orders;
"""


def sql(url, text):
    """Runs statements with psql, each its own transaction."""
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url], input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def usage(pid):
    """Peak RSS in MB and CPU seconds of a process."""
    with open(f"/proc/{pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return peak / 1024, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def committed(lake):
    """Rows that the lake's log has committed."""
    rows = 0
    for path in glob.glob(f"{lake}/_log/0*.json"):
        with open(path) as entry:
            rows += json.load(entry)["rows"]
    return rows


def until(condition, what):
    """Waits for a condition, and fails by name."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"not within {DEADLINE} s: {what}")
        time.sleep(0.02)


def high_watermark(kafka, topic):
    """The end of a topic of one kafka_partition."""
    query = subprocess.run(["kcat", "-b", kafka, "-Q", "-t", f"{topic}:0:-1"], capture_output=True, text=True)
    return int(query.stdout.rsplit("offset", 1)[1].split()[0]) if "offset" in query.stdout else 0


def config(folder, name, url, kafka):
    """A configuration without broker, or with one."""
    path = f"{folder}/{name}.yml"
    section = f"kafka:\n  brokers: {kafka}\n  topic: {name}\n" if kafka else ""
    with open(path, "w") as out:
        out.write(f"pipeline: {name}\npostgres:\n  url: {url}\n  table: orders\n{section}datalake:\n  path: {folder}/{name}\nstreaming:\n  flush_interval: 500ms\n")
    return path


def start(verb, path):
    return subprocess.Popen([TARGET + "inlet", verb, "--config", path], stderr=open(path + f".{verb}.log", "w"))


def stop(process):
    peak, cpu = usage(process.pid)
    process.terminate()
    process.wait(20)
    return peak, cpu


def timed(act):
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def latency_to_lake(url, folder, path):
    """Commit -> committed in the lake, at a steady rate of single-row transactions: both ends by the server's clock."""
    process = start("run", path)
    until(lambda: committed(f"{folder}/latency") >= ROWS, "the load before the latency run")
    script = f"{folder}/insert.sql"
    with open(script, "w") as out:
        out.write("INSERT INTO orders (customer_name, amount) VALUES ('late', 1);")
    bench = ["pgbench", "-n", "-c", "2", "-R", str(LATENCY_RATE), "-t", str(LATENCY_ROWS // 2), "-f", script, url]
    subprocess.run(bench, check=True, capture_output=True)
    until(lambda: committed(f"{folder}/latency") >= ROWS + LATENCY_ROWS, "the rows of the latency run")
    peak, _ = stop(process)
    duckdb = glob.glob(f"{CACHE}/duckdb-*/duckdb")[0]
    commits = []
    for entry in glob.glob(f"{folder}/latency/_log/0*.json"):
        with open(entry) as text:
            log = json.load(text)
            commits += [(file["path"], log["committed_at"]) for file in log["files"]]
    values = []
    for file, at in commits:
        query = f"SELECT epoch('{at}'::timestamptz) - epoch(updated_at) FROM read_parquet('{folder}/latency/{file}') WHERE customer_name = 'late'"
        rows = subprocess.run([duckdb, "-csv", "-noheader", "-c", query], capture_output=True, text=True, check=True).stdout.split()
        values += [float(row) for row in rows]
    return values, peak


def main():
    folder = tempfile.mkdtemp(prefix="inlet-bench-")
    servers = subprocess.Popen([TARGET + "servers"], stdout=subprocess.PIPE, text=True)
    url, kafka = (servers.stdout.readline().split()[1] for _ in range(2))
    try:
        sql(url, TABLE % ROWS)
        lines = []

        def line(what, seconds, peak="", cpu=""):
            lines.append(f"| {what} | {ROWS / seconds / 1000:,.0f} k | {peak} | {cpu} |")

        copy = ["psql", "-X", "-q", "-d", url, "-c", "COPY orders TO STDOUT (FORMAT BINARY)"]
        line("peer: one `psql COPY .. BINARY` to nothing", timed(lambda: subprocess.run(copy, check=True, stdout=subprocess.DEVNULL)))

        path = config(folder, "direct", url, None)
        begin, process = time.monotonic(), start("run", path)
        until(lambda: committed(f"{folder}/direct") >= ROWS, "PostgreSQL -> lake")
        seconds = time.monotonic() - begin
        peak, cpu = stop(process)
        line("PostgreSQL -> lake, from start to the last commit", seconds, f"{peak:.0f} MB", f"{cpu:.1f} s")

        java = ["java", "-cp", f"{CACHE}/kafka-4.3.0/libs/*"]
        create = ["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", kafka, "--create", "--topic", "peer"]
        subprocess.run(java + create, check=True, capture_output=True)
        tool = java + ["org.apache.kafka.tools.ProducerPerformance", "--topic", "peer", "--num-records", str(ROWS)]
        tool += ["--record-size", "210", "--throughput", "-1", "--producer-props", f"bootstrap.servers={kafka}", "acks=all", "compression.type=lz4"]
        output = subprocess.run(tool, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1]
        rate = float(output.split("records sent, ")[1].split()[0])
        lines.append(f"| peer: Kafka's producer-perf tool, 210 bytes, lz4 | {rate / 1000:,.0f} k | | |")

        path = config(folder, "topic", url, kafka)
        begin, process = time.monotonic(), start("producer", path)
        until(lambda: high_watermark(kafka, "topic") >= ROWS, "PostgreSQL -> Kafka")
        seconds = time.monotonic() - begin
        peak, cpu = stop(process)
        line("PostgreSQL -> Kafka (json), from start to the last record", seconds, f"{peak:.0f} MB", f"{cpu:.1f} s")

        begin, process = time.monotonic(), start("consumer", path)
        until(lambda: committed(f"{folder}/topic") >= ROWS, "Kafka -> lake")
        seconds = time.monotonic() - begin
        peak, cpu = stop(process)
        line("Kafka -> lake (json), from start to the last commit", seconds, f"{peak:.0f} MB", f"{cpu:.1f} s")

        values, peak = latency_to_lake(url, folder, config(folder, "latency", url, None))
        print(f"{ROWS:,} rows, {os.cpu_count()} cores, everything on this machine\n\n| way | rows/s | peak RSS | CPU |\n|---|---|---|---|")
        print("\n".join(lines))
        p50, p99 = (percentile(values, share) * 1000 for share in (0.5, 0.99))
        print(f"\nCommit -> lake without broker, {LATENCY_RATE} single-row transactions/s, `flush_interval: 500ms`: p50 {p50:.0f} ms, p99 {p99:.0f} ms, RSS {peak:.0f} MB")
    finally:
        servers.terminate()
        servers.wait(20)
        subprocess.run(["rm", "-rf", folder], check=False)


main()
