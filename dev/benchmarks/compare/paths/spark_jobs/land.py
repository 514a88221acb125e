"""Structured Streaming from the topic to Parquet files by date."""

from pyspark.sql import functions
from session import ORDERS, TIMESTAMP, configuration, session

config = configuration()
spark = session("land", config)
messages = spark.readStream.format("kafka").option("kafka.bootstrap.servers", config["brokers"])
messages = messages.option("subscribe", config["topic"]).option("startingOffsets", "earliest").load()
value = functions.from_json(functions.col("value").cast("string"), ORDERS, {"timestampFormat": TIMESTAMP})
# The offset tells which version of a row is the latest.
rows = messages.select(value.alias("row"), functions.col("offset").alias("_offset")).select("row.*", "_offset")
rows = rows.withColumn("date", functions.to_date("created_at"))
files = rows.writeStream.format("parquet").partitionBy("date").option("path", config["path"])
files = files.option("checkpointLocation", config["checkpoint_location"])
files.trigger(processingTime=f"{int(config['batch_interval'] * 1000)} milliseconds").start().awaitTermination()
