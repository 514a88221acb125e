"""`inlet producer`, from its start until every row is in the topic."""

from compare.topic import Watermark

TITLE, WRITES = "Inlet: PostgreSQL -> Kafka, json", False
TOPICS = {}


def copy(bench, shape):
    topic = bench.fresh("topic")
    config, _ = bench.config(topic, shape, topic)
    watermark = Watermark(bench.servers.kafka, topic)
    try:
        copied = bench.inlet("producer", config, lambda: watermark.rows() >= bench.rows[shape.name])
    finally:
        watermark.close()
    # The consumers read what was published last.
    TOPICS[shape.name] = topic
    return copied
