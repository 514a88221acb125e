"""`inlet consumer` over the topic that the last `inlet producer` filled, until every row is in the lake."""

from . import inlet_producer

TITLE, WRITES = "Inlet: Kafka -> lake, json", True


def copy(bench, shape):
    return land(bench, shape, inlet_producer.TOPICS)


def land(bench, shape, topics):
    config, lake = bench.config(bench.fresh("landed"), shape, topics[shape.name])
    return bench.inlet("consumer", config, bench.arrived(lake, shape), lake)
