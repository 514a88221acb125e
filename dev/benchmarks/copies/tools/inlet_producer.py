"""`inlet producer`, from its start until every row is in the topic."""

from compare.topic import Published

TITLE, WRITES = "Inlet: PostgreSQL -> Kafka, json", False
# By the name of the shape: the consumers read what was published last.
TOPICS = {}


def copy(bench, shape):
    return publish(bench, shape, "json", TOPICS)


def publish(bench, shape, form, topics):
    topic = bench.fresh("topic")
    config, _ = bench.config(topic, shape, topic, form)
    published = Published(bench.servers.kafka, topic)
    try:
        copied = bench.inlet("producer", config, lambda: published.rows() >= bench.rows[shape.name])
    finally:
        published.close()
    topics[shape.name] = topic
    return copied
