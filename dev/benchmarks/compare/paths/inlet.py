"""Inlet: two services with Kafka between them, or one process without a broker."""

import pathlib

from .. import topic
from ..servers import BIN
from .program import Program, Programs

STREAMING = """streaming:
  flush_interval: 500ms
"""


class Inlet(Programs):
    """What both ways share."""

    settings = "`flush_interval: 500ms`, else defaults"
    slot = None
    patience = 10

    def __init__(self, servers, folder, table):
        super().__init__()
        self.servers, self.folder = servers, pathlib.Path(folder)
        self.topic = table if self.kafka else None
        self.lake = self.folder / "lake"
        self.config = self.folder / "inlet.yml"
        self.config.write_text(servers.inlet_config(table, table, self.lake, self.topic) + STREAMING)

    def start(self):
        for verb in self.verbs:
            self.running.append(Program(verb, [BIN / "inlet", verb, "--config", self.config], self.folder))

    def remove(self):
        if self.topic:
            topic.delete(self.servers.kafka, self.topic)


class InletKafka(Inlet):
    name, title = "inlet-kafka", "Inlet, through Kafka"
    kafka, verbs = True, ("producer", "consumer")
    steps = (
        "put the binary on the machine",
        "grant SELECT and pg_read_all_stats to a role",
        "write inlet.yml",
        "start inlet producer",
        "start inlet consumer",
    )


class InletDirect(Inlet):
    name, title = "inlet-direct", "Inlet, without a broker"
    kafka, verbs = False, ("run",)
    steps = (
        "put the binary on the machine",
        "grant SELECT and pg_read_all_stats to a role",
        "write inlet.yml",
        "start inlet run",
    )
