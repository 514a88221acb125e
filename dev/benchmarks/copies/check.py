"""What a copy holds, by DuckDB: as many rows as PostgreSQL, the same sum, and which types the columns became."""

import json
import subprocess

from compare.lake import Lake


def check(bench, shape, out):
    """The types of the money and the moment; raises where rows or their sum differ."""
    files = sorted(str(file.path) for file in Lake(out).files()) if out.is_dir() else [str(out)]
    source = f"read_parquet({json.dumps(files)}, union_by_name = true, hive_partitioning = false)".replace('"', "'")
    query = (
        f"SELECT count(*) AS rows, sum({shape.money}::DECIMAL(18,2))::VARCHAR AS total, "
        f"any_value(typeof({shape.money})) AS money, any_value(typeof({shape.moment})) AS moment FROM {source}"
    )
    done = subprocess.run([bench.duckdb, "-no-init", "-batch", "-bail", "-json", "-c", query], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"DuckDB: {done.stderr.strip()[-400:]}")
    found = json.loads(done.stdout)[0]
    rows, total = bench.servers.sql(f"SELECT count(*), sum({shape.money}) FROM {shape.name}")[0].split("|")
    if (str(found["rows"]), found["total"]) != (rows, total):
        raise RuntimeError(f"wrote {found['rows']} rows with the sum {found['total']}, PostgreSQL has {rows} with {total}")
    return {"money": found["money"], "moment": found["moment"]}
