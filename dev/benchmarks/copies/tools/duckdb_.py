"""DuckDB, which writes the rows that Inlet wrote: what encoding the same Parquet files takes alone."""

from . import inlet_direct

TITLE, WRITES = "limit: DuckDB, from Inlet's files to a file like them", False


def copy(bench, shape):
    if not bench.lakes.get(shape.name):
        bench.lakes[shape.name] = inlet_direct.copy(bench, shape).out
    out = bench.out("duckdb")
    sql = f"COPY (SELECT * FROM read_parquet('{bench.lakes[shape.name]}/date=*/*.parquet')) TO '{out}' (COMPRESSION zstd)"
    return bench.program([bench.duckdb, "-no-init", "-batch", "-bail", "-c", sql], out)
