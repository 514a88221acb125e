"""The PySpark pipeline that Inlet replaces: a JDBC poll into Kafka, and Structured Streaming from Kafka to Parquet."""

import json
import pathlib
import sys

from .. import topic
from ..servers import CACHE
from .program import Program, Programs

JOBS = pathlib.Path(__file__).parent / "spark_jobs"


class Spark(Programs):
    name, title = "spark", "PySpark pipeline"
    settings = "`batch_interval: 5`, as its configuration has it"
    batch_interval = 5
    slot = None
    steps = (
        "install Java and PySpark",
        "collect five jars of matching versions",
        "grant SELECT to a role",
        "create the topic",
        "write the job that polls",
        "write the job that lands",
        "start the first job",
        "start the second job",
    )

    def __init__(self, servers, folder, table):
        super().__init__()
        self.servers, self.folder, self.topic = servers, pathlib.Path(folder), table
        self.lake = self.folder / "lake"
        # A row goes through two intervals; a busy machine takes longer than one for each.
        self.patience = 3 * self.batch_interval + 15
        self.config = self.folder / "pipeline.json"
        self.config.write_text(
            json.dumps(
                {
                    "jdbc_url": f"jdbc:postgresql://{servers.host}:{servers.port}/{servers.database}",
                    "user": servers.user, "password": servers.password, "table": table,
                    "brokers": servers.kafka, "topic": table, "path": str(self.lake),
                    "checkpoint_location": str(self.folder / "checkpoint"),
                    "last_processed_location": str(self.folder / "last_processed"),
                    "batch_interval": self.batch_interval,
                    "jars": ",".join(str(jar) for jar in sorted((CACHE / "spark-jars").resolve().glob("*.jar"))),
                }
            )
        )
        topic.create(servers.kafka, table)

    def start(self):
        for job in ("poll", "land"):
            self.running.append(Program(job, [sys.executable, JOBS / f"{job}.py", self.config], self.folder))

    def remove(self):
        topic.delete(self.servers.kafka, self.topic)


class SparkTuned(Spark):
    name, title = "spark-tuned", "PySpark pipeline, tuned"
    settings = "`batch_interval: 0.5`"
    batch_interval = 0.5
