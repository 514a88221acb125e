"""The servers that all paths share: PostgreSQL with `wal_level=logical` and one Kafka broker, started by the test harness."""

import os
import pathlib
import subprocess
from urllib.parse import urlsplit

from .measure import children, command_of

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = pathlib.Path(os.environ.get("INLET_CACHE", pathlib.Path.home() / ".cache/inlet"))
BIN = pathlib.Path(os.environ.get("INLET_BIN") or pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release")
# A stopped Debezium must be able to hold back the WAL: PostgreSQL's own default keeps it without a limit.
SETTINGS = ["postgres:wal_level=logical", "postgres:max_wal_size=4GB", "postgres:checkpoint_timeout=15min"]
STATEMENT_SECONDS_MAX = 600
INLET = """pipeline: {name}
postgres:
  url: {url}
  table: {table}
{kafka}datalake:
  path: {lake}
"""


class Servers:
    """PostgreSQL and Kafka, from `__enter__` to `__exit__`."""

    def __enter__(self):
        self.process = subprocess.Popen([os.environ.get("INLET_SERVERS", BIN / "servers"), *SETTINGS], stdout=subprocess.PIPE, text=True)
        addresses = [self.process.stdout.readline().split() for _ in range(2)]
        if [address[0] for address in addresses if address] != ["postgres", "kafka"]:
            raise RuntimeError(f"the servers did not start: {addresses}")
        self.url, self.kafka = (address[1] for address in addresses)
        parts = urlsplit(self.url)
        self.host, self.port, self.user, self.password = parts.hostname, parts.port, parts.username, parts.password
        self.database = parts.path.strip("/")
        servers = {command_of(pid): pid for pid in children(self.process.pid)}
        self.postgres_pid = next(pid for name, pid in servers.items() if name.startswith("postgres"))
        self.kafka_pid = next(pid for name, pid in servers.items() if name.startswith("java"))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def inlet_config(self, name, table, lake, topic=None, form="json"):
        """A configuration of Inlet that copies a table of this server to a lake, through a topic of a format if it is given."""
        kafka = f"kafka:\n  brokers: {self.kafka}\n  topic: {topic}\n  format: {form}\n" if topic else ""
        return INLET.format(name=name, url=self.url, table=table, kafka=kafka, lake=lake)

    def sql(self, text):
        """Runs statements, each its own transaction, and answers the output's lines, fields separated by `|`."""
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", self.url]
        done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=STATEMENT_SECONDS_MAX)
        if done.returncode:
            raise RuntimeError(f"psql: {done.stderr.strip()}\n{text}")
        return done.stdout.splitlines()

    def value(self, query):
        """The only value of a query, as a whole number; 0 for null."""
        return int(float(self.sql(query)[0] or 0))
