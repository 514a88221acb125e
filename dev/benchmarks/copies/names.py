"""Against whom a ratio is kept: copies to files, to the topic, from the topic, and all the way."""

RATIOS = {
    "inlet-direct": ["psql", "connectorx", "adbc", "polars", "dlt", "chdb", "spark", "duckdb"],
    "inlet-producer": ["producer-perf"],
    "inlet-consumer": ["consumer-perf"],
    "inlet-both": ["producer-perf"],
    "inlet-producer-arrow": ["psql"],
    "inlet-consumer-arrow": ["consumer-perf"],
    "inlet-both-arrow": ["psql"],
}
