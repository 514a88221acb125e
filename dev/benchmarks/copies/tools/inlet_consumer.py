"""`inlet consumer` over the topic that the last `inlet producer` filled, until every row is in the lake."""

from . import inlet_producer

TITLE, WRITES = "Inlet: Kafka -> lake, json", True


def copy(bench, shape):
    config, lake = bench.config(bench.fresh("landed"), shape, inlet_producer.TOPICS[shape.name])
    return bench.inlet("consumer", config, bench.arrived(lake, shape), lake)
