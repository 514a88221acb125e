"""`inlet producer` with many rows a message, from its start until every row is in the topic."""

from . import inlet_producer

TITLE, WRITES = "Inlet: PostgreSQL -> Kafka, arrow", False
TOPICS = {}


def copy(bench, shape):
    return inlet_producer.publish(bench, shape, "arrow", TOPICS)
