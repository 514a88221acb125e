"""Spark over JDBC in four partitions along the key."""

import sys
from urllib.parse import urlsplit

TITLE, WRITES = "peer: Spark over JDBC, 4 partitions", True
PARTITIONS = 4


def copy(bench, shape):
    return bench.python("spark", shape, bench.out("spark"))


def main(url, table, key, rows, out):
    from compare.servers import CACHE
    from pyspark.sql import SparkSession

    jars = ",".join(str(jar) for jar in sorted((CACHE / "spark-jars").resolve().glob("*.jar")))
    builder = SparkSession.builder.master("local[*]").config("spark.jars", jars).config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
    parts = urlsplit(url)
    reader = spark.read.format("jdbc").option("url", f"jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}")
    reader = reader.option("driver", "org.postgresql.Driver").option("user", parts.username).option("password", parts.password)
    reader = reader.option("dbtable", table).option("fetchsize", 10_000).option("partitionColumn", key)
    reader = reader.option("lowerBound", 1).option("upperBound", rows).option("numPartitions", PARTITIONS)
    reader.load().write.option("compression", "zstd").parquet(out)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
