"""connectorx, streamed into pyarrow's Parquet writer."""

import sys

TITLE, WRITES = "peer: connectorx, streamed to pyarrow", True


def copy(bench, shape):
    return bench.python("connectorx_", shape, bench.out("connectorx"))


def main(url, table, _key, _rows, out):
    import connectorx
    import pyarrow.parquet

    reader = connectorx.read_sql(url, f"SELECT * FROM {table}", return_type="arrow_stream", batch_size=65_536)
    with pyarrow.parquet.ParquetWriter(out, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


if __name__ == "__main__":
    main(*sys.argv[1:])
