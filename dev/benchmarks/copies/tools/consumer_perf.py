"""Kafka's own consumer-perf tool over the topic that `inlet producer` filled, by its own count of the fetching time."""

import dataclasses

from . import inlet_producer

TITLE, WRITES = "peer: Kafka's consumer-perf tool", False


def copy(bench, shape):
    name, rows = inlet_producer.TOPICS[shape.name], bench.rows[shape.name]
    tool = ["org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", bench.servers.kafka, "--topic", name]
    tool += ["--num-records", rows]
    copied = bench.program([*bench.java, *tool])
    lines = [line for line in bench.output().splitlines() if line.count(",") >= 7]
    names, values = ([field.strip() for field in line.split(",")] for line in lines[-2:])
    return dataclasses.replace(copied, seconds=rows / float(values[names.index("fetch.nMsg.sec")].replace(",", "")))
