"""First figures on this machine: what a row costs on each way, beside the peer's own tool in the same run.

Everything runs on the same cores: PostgreSQL, Kafka, Inlet. Rows are the orders table, 8 columns. Prints two Markdown tables.
"""

import datetime
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
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
CREATE TABLE late_topic (LIKE orders INCLUDING ALL);
CREATE TABLE late_direct (LIKE orders INCLUDING ALL);
INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)
SELECT 'Customer ' || i %% 9000, 'Restaurant ' || i %% 300, 'Item number ' || i %% 5000, (i::bigint * 7919 %% 1000000) / 100.0, 'PLACED'
FROM generate_series(1, %d) i;
VACUUM ANALYZE orders;
"""
INSERT = "INSERT INTO %s (customer_name, restaurant_name, item, amount, order_status) VALUES ('Asha', 'Blue Door', 'Dosa', 120.5, 'PLACED');"


def sql(url, text):
    """Runs statements with psql, each its own transaction."""
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url], input=text, text=True, check=True, stdout=subprocess.DEVNULL)


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


class Service:
    """A process of ours, and what it has used until it is stopped: peak RSS in MB, CPU seconds."""

    def __init__(self, verb, config):
        self.log = f"{config}.{verb}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([TARGET + "inlet", verb, "--config", config], stderr=log)

    def stop(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            self.peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        self.cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        self.process.terminate()
        if self.process.wait(20):
            with open(self.log) as log:
                sys.exit(f"{self.process.args} failed:\n{log.read()}")


class Bench:
    """The servers, and a folder for what is written."""

    def __init__(self, folder, url, kafka):
        self.folder, self.url, self.kafka = folder, url, kafka
        self.java = ["java", "-cp", f"{CACHE}/kafka/libs/*"]
        self.duckdb = f"{CACHE}/duckdb/duckdb"

    def config(self, name, table, topic=None):
        """A configuration without broker, or with one; the lake is the folder of that name."""
        section = f"kafka:\n  brokers: {self.kafka}\n  topic: {topic}\n" if topic else ""
        path = f"{self.folder}/{name}.yml"
        with open(path, "w") as out:
            out.write(
                f"pipeline: {topic or name}\npostgres:\n  url: {self.url}\n  table: {table}\n{section}"
                f"datalake:\n  path: {self.folder}/{name}\nstreaming:\n  flush_interval: 500ms\n"
            )
        return path

    def timed(self, what, verbs, config, done):
        """A table's line: services from their start until everything has arrived."""
        begin = time.monotonic()
        services = [Service(verb, config) for verb in verbs]
        until(done, what)
        seconds = time.monotonic() - begin
        for service in services:
            service.stop()
        peak = " + ".join(f"{service.peak:.0f}" for service in services)
        cpu = " + ".join(f"{service.cpu:.1f}" for service in services)
        return f"| {what} | {ROWS / seconds / 1000:,.0f} k | {peak} MB | {cpu} s |"

    def copy(self):
        begin = time.monotonic()
        command = ["psql", "-X", "-q", "-d", self.url, "-c", "COPY orders TO STDOUT (FORMAT BINARY)"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return f"| peer: one `psql -c 'COPY .. BINARY'` to `/dev/null` | {ROWS / (time.monotonic() - begin) / 1000:,.0f} k | | |"

    def producer_perf(self):
        create = ["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.kafka, "--create", "--topic", "peer"]
        subprocess.run(self.java + create, check=True, capture_output=True)
        tool = ["org.apache.kafka.tools.ProducerPerformance", "--topic", "peer", "--num-records", str(ROWS), "--record-size", "210"]
        tool += ["--throughput", "-1", "--producer-props", f"bootstrap.servers={self.kafka}", "acks=all", "compression.type=lz4"]
        output = subprocess.run(self.java + tool, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1]
        rate = float(output.split("records sent, ")[1].split()[0])
        return f"| peer: Kafka's producer-perf tool, 210 bytes, lz4, its own count | {rate / 1000:,.0f} k | | |"

    def throughput(self):
        lake = lambda name: lambda: committed(f"{self.folder}/{name}") >= ROWS
        topic = lambda: high_watermark(self.kafka, "topic") >= ROWS
        yield self.copy()
        yield self.timed("PostgreSQL -> lake", ["run"], self.config("direct", "orders"), lake("direct"))
        yield self.producer_perf()
        yield self.timed("PostgreSQL -> Kafka, json", ["producer"], self.config("topic", "orders", "topic"), topic)
        yield self.timed("Kafka -> lake, json", ["consumer"], self.config("topic", "orders", "topic"), lake("topic"))
        both = self.config("both", "orders", "both")
        yield self.timed("PostgreSQL -> Kafka -> lake, both services at once", ["producer", "consumer"], both, lake("both"))

    def load(self, table):
        """Single-row transactions at a steady rate; answers the rate that was reached."""
        script = f"{self.folder}/insert.sql"
        with open(script, "w") as out:
            out.write(INSERT % table)
        clients = 4
        bench = ["pgbench", "-n", "-c", str(clients), "-R", str(LATENCY_RATE), "-t", str(LATENCY_ROWS // clients), "-f", script, self.url]
        output = subprocess.run(bench, check=True, capture_output=True, text=True).stdout
        return float(re.search(r"tps = ([\d.]+)", output)[1])

    def seconds_to_lake(self, name):
        """For each row: from its INSERT to its file's name in the lake, both by this machine's clock."""
        query = f"SELECT filename, epoch_us(updated_at) FROM read_parquet('{self.folder}/{name}/**/*.parquet', filename = true)"
        rows = subprocess.run([self.duckdb, "-csv", "-noheader", "-c", query], capture_output=True, text=True, check=True).stdout.splitlines()
        values, named = [], {}
        for file, inserted in (row.rsplit(",", 1) for row in rows):
            if file not in named:
                named[file] = os.stat(file).st_ctime
            values.append(named[file] - int(inserted) / 1e6)
        return values[1:]

    def latency(self, name, verbs, topic):
        """Lines of the second table: a warm start, then the load."""
        config = self.config(name, name, topic)
        services = [Service(verb, config) for verb in verbs]
        sql(self.url, INSERT % name)
        until(lambda: committed(f"{self.folder}/{name}") >= 1, f"the first row of {name}")
        reader = Reader(self.kafka, topic) if topic else None
        rate = self.load(name)
        until(lambda: committed(f"{self.folder}/{name}") > LATENCY_ROWS, f"all rows of {name}")
        for service in services:
            service.stop()
        used = " + ".join(f"{service.peak:.0f}" for service in services)
        cpu = " + ".join(f"{service.cpu:.1f}" for service in services)
        way = "PostgreSQL -> Kafka -> lake" if topic else "PostgreSQL -> lake"
        if reader:
            yield latency_line("PostgreSQL -> Kafka, read_committed by kcat", rate, reader.stop()[1:], "", "")
        yield latency_line(way, rate, self.seconds_to_lake(name), f"{used} MB", f"{cpu} s")


class Reader:
    """kcat as a foreign reader of committed records, and the moment at which each came out of it."""

    def __init__(self, kafka, topic):
        command = ["kcat", "-b", kafka, "-C", "-t", topic, "-o", "beginning", "-u", "-q", "-X", "isolation.level=read_committed"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.values = []
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            now = time.time()
            inserted = datetime.datetime.fromisoformat(json.loads(line)["updated_at"])
            self.values.append(now - inserted.timestamp())

    def stop(self):
        until(lambda: len(self.values) > LATENCY_ROWS, "all records in the topic")
        self.process.terminate()
        self.thread.join()
        return self.values


def latency_line(way, rate, values, peak, cpu):
    values = sorted(values)
    assert len(values) == LATENCY_ROWS, f"{way}: {len(values)} rows"
    p50, p99 = (values[int(len(values) * share)] * 1000 for share in (0.5, 0.99))
    return f"| {way} | {rate:,.0f} | {p50:.0f} ms | {p99:.0f} ms | {peak} | {cpu} |"


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} cores ({model})"


def main():
    folder = tempfile.mkdtemp(prefix="inlet-bench-")
    servers = subprocess.Popen([TARGET + "servers"], stdout=subprocess.PIPE, text=True)
    try:
        url, kafka = (servers.stdout.readline().split()[1] for _ in range(2))
        bench = Bench(folder, url, kafka)
        sql(url, TABLE % ROWS)
        print(f"{ROWS:,} rows, {machine()}, PostgreSQL, Kafka and Inlet together on them.\n")
        print("| path | rows/s | peak RSS | CPU |\n|---|---:|---:|---:|")
        for line in bench.throughput():
            print(line, flush=True)
        print(f"\nA row a transaction at {LATENCY_RATE} rows/s, `flush_interval: 500ms`, from INSERT to readable:\n")
        print("| path | rows/s | p50 | p99 | peak RSS | CPU |\n|---|---:|---:|---:|---:|---:|")
        for name, verbs, topic in (("late_topic", ["producer", "consumer"], "late"), ("late_direct", ["run"], None)):
            for line in bench.latency(name, verbs, topic):
                print(line, flush=True)
    finally:
        servers.terminate()
        servers.wait(20)
        subprocess.run(["rm", "-rf", folder], check=False)


main()
