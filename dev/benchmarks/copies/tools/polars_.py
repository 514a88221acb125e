"""polars over ADBC, as its documentation shows it."""

import sys

TITLE, WRITES = "peer: polars over ADBC", True


def copy(bench, shape):
    return bench.python("polars_", shape, bench.out("polars"))


def main(url, table, _key, _rows, out):
    import polars

    polars.read_database_uri(f"SELECT * FROM {table}", url, engine="adbc").write_parquet(out, compression="zstd")


if __name__ == "__main__":
    main(*sys.argv[1:])
