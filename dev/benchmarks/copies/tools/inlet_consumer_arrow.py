"""`inlet consumer` over the topic that the last `inlet producer` filled with many rows a message."""

from . import inlet_consumer, inlet_producer_arrow

TITLE, WRITES = "Inlet: Kafka -> lake, arrow", True


def copy(bench, shape):
    return inlet_consumer.land(bench, shape, inlet_producer_arrow.TOPICS)
