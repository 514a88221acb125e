"""`inlet run` with a broker and many rows a message, from the start until every row is in the lake."""

from . import inlet_both

TITLE, WRITES = "Inlet: PostgreSQL -> Kafka -> lake, at once, arrow", True


def copy(bench, shape):
    return inlet_both.run(bench, shape, "arrow")
