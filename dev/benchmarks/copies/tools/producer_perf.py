"""Kafka's own producer-perf tool: messages of 210 bytes, lz4, by its own count, which leaves out the start of Java."""

import dataclasses

from compare import topic

TITLE, WRITES = "peer: Kafka's producer-perf tool, 210 bytes, lz4", False
TOPICS = {}


def copy(bench, shape):
    name = bench.fresh("perf")
    topic.create(bench.servers.kafka, name)
    rows = bench.rows[shape.name]
    tool = ["org.apache.kafka.tools.ProducerPerformance", "--topic", name, "--num-records", rows, "--record-size", "210"]
    tool += ["--throughput", "-1", "--producer-props", f"bootstrap.servers={bench.servers.kafka}", "acks=all", "compression.type=lz4"]
    copied = bench.program([*bench.java, *tool])
    last = next(line for line in reversed(bench.output().splitlines()) if "records sent" in line)
    TOPICS[shape.name] = name
    return dataclasses.replace(copied, seconds=rows / float(last.split("records sent, ")[1].split()[0]))
