"""The configuration and the Spark session of both jobs."""

import json
import sys

from pyspark.sql import SparkSession
from pyspark.sql.types import DecimalType, LongType, StringType, StructField, StructType, TimestampType

# With fewer digits Spark's JSON cuts timestamps to milliseconds.
TIMESTAMP = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
ORDERS = StructType(
    [
        StructField("order_id", LongType()),
        StructField("customer_name", StringType()),
        StructField("restaurant_name", StringType()),
        StructField("item", StringType()),
        StructField("amount", DecimalType(10, 2)),
        StructField("order_status", StringType()),
        StructField("created_at", TimestampType()),
        StructField("updated_at", TimestampType()),
    ]
)


def configuration():
    with open(sys.argv[1]) as file:
        return json.load(file)


def session(name, config):
    builder = SparkSession.builder.appName(name).master("local[*]").config("spark.jars", config["jars"])
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    return builder.getOrCreate()
