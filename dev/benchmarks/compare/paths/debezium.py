"""Debezium's PostgreSQL connector in Kafka Connect (one standalone worker); its topic is landed by `inlet consumer`.

Kafka Connect brings no sink that writes Parquet, so both the topic's latency, which is Debezium's own, and the lake's
are reported. The worker runs with the options of Kafka's own start script. One setting differs from the defaults in every
variant: values carry no schema, which makes them several times smaller.
"""

import json
import pathlib
import socket
import urllib.error
import urllib.request

from .. import topic
from ..measure import until
from ..servers import CACHE
from . import landing
from .program import Program, Programs

JAVA = [
    "java", "-Xms256M", "-Xmx2G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent", "-XX:-UsePerfData", "-Djava.awt.headless=true",
]
WORKER = {
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter.schemas.enable": "false",
    "offset.storage.file.filename": "connect.offsets",
}
CONNECTOR = {
    "name": "pg",
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "plugin.name": "pgoutput",
    "publication.autocreate.mode": "filtered",
    "topic.creation.default.partitions": "1",
    "topic.creation.default.replication.factor": "1",
}
ASK_SECONDS = 2
SLOT_SECONDS = 60


class Debezium(Programs):
    name, title = "debezium", "Debezium, defaults"
    settings = "defaults (`poll.interval.ms=500`), values without schema"
    tuning = {}
    patience = 20
    steps = (
        "set wal_level=logical and restart PostgreSQL",
        "grant a role REPLICATION and the right to create a publication",
        "install Kafka Connect",
        "install Debezium's connector into its plugin path",
        "write the worker's properties",
        "start the worker",
        "write the connector's settings, and create it",
        "install a program that writes the topic to files",
        "configure and start that program",
    )

    def __init__(self, servers, folder, table):
        super().__init__()
        self.servers, self.folder, self.table = servers, pathlib.Path(folder), table
        self.slot = f"slot_{table}"
        self.topic = f"{table}.public.{table}"
        self.land = landing.Landing(servers, self.folder, table, self.topic)
        self.lake = self.land.lake
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        worker = WORKER | {
            "bootstrap.servers": servers.kafka,
            "listeners": f"HTTP://127.0.0.1:{self.port}",
            "plugin.path": f"{CACHE}/debezium/plugins",
        }
        connector = CONNECTOR | self.tuning | {
            "database.hostname": servers.host, "database.port": servers.port, "database.dbname": servers.database,
            "database.user": servers.user, "database.password": servers.password,
            "table.include.list": f"public.{table}", "topic.prefix": table,
            "slot.name": self.slot, "publication.name": f"publication_{table}",
        }
        for name, properties in (("worker", worker), ("connector", connector)):
            lines = [f"{key}={value}\n" for key, value in properties.items()]
            (self.folder / f"{name}.properties").write_text("".join(lines))

    def start(self):
        command = [*JAVA, "-cp", f"{CACHE}/kafka/libs/*", "org.apache.kafka.connect.cli.ConnectStandalone"]
        self.running = [Program("connect", [*command, "worker.properties", "connector.properties"], self.folder)]
        self.running += self.land.start()

    def check(self):
        super().check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/connectors/pg/status", timeout=ASK_SECONDS) as answer:
                status = json.load(answer)
        # The worker is starting, or too busy to answer.
        except (urllib.error.URLError, OSError, ValueError):
            return
        for task in [status["connector"], *status["tasks"]]:
            if task["state"] == "FAILED":
                raise RuntimeError(f"Debezium failed: {task.get('trace', '')[:1500]}")

    def remove(self):
        slot = f"FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        # The server notices a little later that the worker has ended.
        until(lambda: self.servers.value(f"SELECT count(*) {slot} AND active") == 0, "the slot's release", SLOT_SECONDS)
        self.servers.sql(f"SELECT pg_drop_replication_slot(slot_name) {slot}; DROP PUBLICATION IF EXISTS publication_{self.table};")
        topic.delete(self.servers.kafka, self.topic)


class DebeziumTuned(Debezium):
    name, title = "debezium-tuned", "Debezium, tuned"
    settings = "`poll.interval.ms=10`, batches of 8,192, queue of 32,768, lz4, snapshot fetch size 20,000, values without schema"
    tuning = {
        "poll.interval.ms": "10",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "snapshot.fetch.size": "20000",
        "producer.override.compression.type": "lz4",
        "producer.override.batch.size": "262144",
        "producer.override.linger.ms": "0",
    }
