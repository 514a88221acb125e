"""Kafka's own producer-perf tool: messages as large as the rows in JSON, by its own count, which leaves out the start of Java."""

import dataclasses

from compare import topic

TITLE, WRITES = "peer: Kafka's producer-perf tool, messages of the same size, lz4", False
SIZE = "SELECT avg(octet_length(row_to_json(part)::text)) FROM (SELECT * FROM {} LIMIT 1000) AS part"


def copy(bench, shape):
    name = bench.fresh("perf")
    topic.create(bench.servers.kafka, name)
    rows = bench.rows[shape.name]
    size = bench.servers.value(SIZE.format(shape.name))
    tool = ["org.apache.kafka.tools.ProducerPerformance", "--topic", name, "--num-records", rows, "--record-size", size]
    tool += ["--throughput", "-1", "--producer-props", f"bootstrap.servers={bench.servers.kafka}", "acks=all", "compression.type=lz4"]
    copied = bench.program([*bench.java, *tool])
    last = next(line for line in reversed(bench.output().splitlines()) if "records sent" in line)
    return dataclasses.replace(copied, seconds=rows / float(last.split("records sent, ")[1].split()[0]))
