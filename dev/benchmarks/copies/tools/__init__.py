"""The programs, in the order of the report. Each file has a TITLE, and `copy(bench, shape)`, which answers what it took.

`WRITES` is true for a program that writes Parquet files: they are checked. A program in Python is also what its file
does as a script: `python3 -m copies.tools.NAME URL TABLE KEY ROWS OUT`.
"""

from . import (
    adbc,
    chdb_,
    connectorx_,
    consumer_perf,
    dlt_,
    duckdb_,
    inlet_both,
    inlet_both_arrow,
    inlet_consumer,
    inlet_consumer_arrow,
    inlet_direct,
    inlet_producer,
    inlet_producer_arrow,
    polars_,
    producer_perf,
    psql,
    spark,
)

ALL = {
    "psql": psql,
    "inlet-direct": inlet_direct,
    "connectorx": connectorx_,
    "adbc": adbc,
    "polars": polars_,
    "dlt": dlt_,
    "chdb": chdb_,
    "spark": spark,
    "duckdb": duckdb_,
    "producer-perf": producer_perf,
    "inlet-producer": inlet_producer,
    "inlet-producer-arrow": inlet_producer_arrow,
    "consumer-perf": consumer_perf,
    "inlet-consumer": inlet_consumer,
    "inlet-consumer-arrow": inlet_consumer_arrow,
    "inlet-both": inlet_both,
    "inlet-both-arrow": inlet_both_arrow,
}
