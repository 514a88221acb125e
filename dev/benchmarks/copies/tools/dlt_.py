"""dlt with its connectorx backend, to Parquet files in a folder."""

import os
import sys

TITLE, WRITES = "peer: dlt, connectorx backend", True


def copy(bench, shape):
    return bench.python("dlt_", shape, bench.out("dlt"))


def main(url, table, _key, _rows, out):
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.sql_database import sql_table

    os.environ["DLT_DATA_DIR"] = f"{out}/_dlt"
    # SQLAlchemy knows PostgreSQL by its long name only, and the driver that is installed has to be named.
    address = url.replace("postgres://", "postgresql+psycopg2://", 1)
    source = sql_table(credentials=address, table=table, backend="connectorx", backend_kwargs={"return_type": "arrow_stream", "batch_size": 65_536})
    pipeline = dlt.pipeline("copy", destination=dlt.destinations.filesystem(f"file://{out}"), dataset_name="copied", pipelines_dir=f"{out}/_pipelines")
    pipeline.run(source, loader_file_format="parquet", write_disposition="replace")


if __name__ == "__main__":
    main(*sys.argv[1:])
