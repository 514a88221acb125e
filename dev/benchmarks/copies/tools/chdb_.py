"""chDB: ClickHouse in the process, with its PostgreSQL table function."""

import sys
from urllib.parse import urlsplit

TITLE, WRITES = "peer: chDB", True


def copy(bench, shape):
    return bench.python("chdb_", shape, bench.out("chdb"))


def main(url, table, _key, _rows, out):
    import chdb

    parts = urlsplit(url)
    source = f"postgresql('{parts.hostname}:{parts.port}', '{parts.path.strip('/')}', '{table}', '{parts.username}', '{parts.password}')"
    chdb.query(f"SELECT * FROM {source} INTO OUTFILE '{out}' FORMAT Parquet SETTINGS output_format_parquet_compression_method = 'zstd'")


if __name__ == "__main__":
    main(*sys.argv[1:])
