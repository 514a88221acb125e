"""A reader of a topic that belongs to no path: librdkafka in a process of its own, `read_committed`."""

import pathlib
import struct
import subprocess
import sys
import time

import confluent_kafka
import confluent_kafka.admin

from . import load

RECORD = struct.Struct("<dq")
# librdkafka logs errors only: it also warns about what it will try again.
LOG_LEVEL = 3
ASK_SECONDS = 0.3
# Offsets before the end at which the last record is looked for, and how far before the end it is.
LOOK_BACK, LAST = 3, 2
READY_SECONDS = 60
WARM_UP_TRANSACTIONS, WARM_UP_RECORDS = 20, 5_000


def client(kafka, name):
    return confluent_kafka.Consumer(
        {
            "bootstrap.servers": kafka,
            "log_level": LOG_LEVEL,
            "group.id": f"reader-{name}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            # A broker answers a waiting reader at once; this bounds only how long it waits for more bytes.
            "fetch.wait.max.ms": 10,
            "allow.auto.create.topics": False,
        }
    )


class Watermark:
    """How many records of committed transactions a topic holds; the few markers of transactions count as records."""

    def __init__(self, kafka, topic, partitions=1):
        self.topic = topic
        self.last = {confluent_kafka.TopicPartition(topic, number): 0 for number in range(partitions)}
        self.consumer = client(kafka, f"watermark-{topic}")

    def rows(self):
        for partition in self.last:
            # A topic that does not exist yet, or a busy broker, lets the question run into its deadline.
            try:
                self.last[partition] = self.consumer.get_watermark_offsets(partition, timeout=ASK_SECONDS)[1]
            except confluent_kafka.KafkaException:
                pass
        return sum(self.last.values())

    def close(self):
        self.consumer.close()


class Published(Watermark):
    """How many rows of committed transactions a topic of Inlet holds, by the header of its last record."""

    def __init__(self, kafka, topic):
        super().__init__(kafka, topic)
        self.known, self.at = 0, 0

    def rows(self):
        end = super().rows()
        if end != self.at:
            self.at, self.known = end, max(self.known, self.counted(end))
        return self.known

    def counted(self, end):
        """The last offsets of a transaction are those of a record and of a marker."""
        start = confluent_kafka.TopicPartition(self.topic, 0, max(0, end - LOOK_BACK))
        self.consumer.assign([start])
        count = 0
        while message := self.consumer.poll(ASK_SECONDS):
            if message.error():
                break
            count = max(count, rows_until(dict(message.headers() or [])["inlet"]))
            if message.offset() >= end - LAST:
                break
        return count


def rows_until(header):
    """The rows of the kafka_partition up to the end of this record: its sequence, and its own rows if it counts them."""
    return int.from_bytes(header[10:18], "big") + (int.from_bytes(header[34:38], "big") if len(header) > 34 else 1)


class Reader:
    """Reads from the topic's end until it is stopped; answers when each event was first seen."""

    def __init__(self, kafka, topic, folder):
        self.file = pathlib.Path(folder) / f"{topic}.{time.monotonic_ns()}.seen"
        command = [sys.executable, "-m", "compare.topic", kafka, topic, str(self.file)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the reader of topic {topic} did not start")

    def seen(self):
        found = {}
        data = self.file.read_bytes()
        for at, event in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]):
            found.setdefault(event, at)
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def admin_client(kafka):
    return confluent_kafka.admin.AdminClient({"bootstrap.servers": kafka, "log_level": LOG_LEVEL})


def create(kafka, topic):
    new = confluent_kafka.admin.NewTopic(topic, num_partitions=1, replication_factor=1)
    # The client has to live until the answer has arrived.
    admin = admin_client(kafka)
    admin.create_topics([new])[topic].result(READY_SECONDS)


def warm_up(kafka):
    """One transaction and one consumer group: the broker creates its own topics, and its code is loaded and compiled."""
    create(kafka, "warm-up")
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka, "log_level": LOG_LEVEL, "transactional.id": "warm-up"})
    producer.init_transactions(READY_SECONDS)
    for _ in range(WARM_UP_TRANSACTIONS):
        producer.begin_transaction()
        for _ in range(WARM_UP_RECORDS):
            producer.produce("warm-up", b"x" * 200)
        producer.commit_transaction(READY_SECONDS)
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka, "log_level": LOG_LEVEL, "group.id": "warm-up", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["warm-up"])
    # The first record of a group can take seconds, while the broker creates the topic of the groups' offsets.
    if consumer.poll(READY_SECONDS) is None:
        raise RuntimeError("Kafka did not answer while it was warmed up")
    consumer.close()
    delete(kafka, "warm-up")


def delete(kafka, topic):
    admin = admin_client(kafka)
    try:
        admin.delete_topics([topic])[topic].result(READY_SECONDS)
    except confluent_kafka.KafkaException as error:
        # A path that failed early has no topic.
        if error.args[0].code() != confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise


def read(kafka, topic, path):
    """Writes the moment and the event of each record, as soon as librdkafka hands it on."""
    consumer = client(kafka, f"live-{topic}")
    end = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), timeout=READY_SECONDS)[1]
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, end)])
    consumer.poll(0.1)
    print("ready", flush=True)
    with open(path, "ab", buffering=0) as out:
        while True:
            message = consumer.poll(1)
            if message is None or message.error():
                continue
            at = time.time()
            # The last tag is the row as it is now: an envelope has the row as it was before in front of it.
            events = load.EVENT.findall(message.value() or b"")
            if events:
                out.write(RECORD.pack(at, int(events[-1])))


if __name__ == "__main__":
    read(*sys.argv[1:])
