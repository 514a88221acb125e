"""Polls the orders by `updated_at`, and publishes what is new: the way in which such a job is usually written.

It reads each batch once and keeps it, so that what it publishes and the timestamp that it remembers belong together.
What it loses are rows whose transaction committed after a newer row had been read.
"""

import pathlib
import time

from pyspark.sql import functions
from session import TIMESTAMP, configuration, session

config = configuration()
spark = session("poll", config)
last_processed = pathlib.Path(config["last_processed_location"])
reader = spark.read.format("jdbc").option("url", config["jdbc_url"]).option("driver", "org.postgresql.Driver")
reader = reader.option("user", config["user"]).option("password", config["password"]).option("fetchsize", 10_000)

while True:
    started = time.monotonic()
    last = last_processed.read_text() if last_processed.exists() else "1970-01-01"
    query = f"SELECT * FROM {config['table']} WHERE updated_at > '{last}'"
    rows = reader.option("query", query).load().persist()
    newest = rows.agg(functions.date_format(functions.max("updated_at"), TIMESTAMP)).first()[0]
    if newest:
        value = functions.to_json(functions.struct("*"), {"timestampFormat": TIMESTAMP})
        messages = rows.select(functions.col("order_id").cast("string").alias("key"), value.alias("value"))
        kafka = messages.write.format("kafka").option("kafka.bootstrap.servers", config["brokers"])
        kafka.option("kafka.compression.type", "lz4").option("topic", config["topic"]).save()
        last_processed.write_text(newest)
    rows.unpersist()
    time.sleep(max(0, config["batch_interval"] - (time.monotonic() - started)))
