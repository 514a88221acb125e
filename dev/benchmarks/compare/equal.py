"""The lake against PostgreSQL, value for value: DuckDB reads both, and none of it is Inlet's code."""

import json
import subprocess

from .servers import CACHE

DUCKDB_SECONDS_MAX = 600
# Moments are compared as microseconds since 1970: some writers store them with a zone, others without.
MICROS = "(extract(epoch FROM {0}) * 1000000)::bigint AS {0}"
EXPORT = (
    "COPY (SELECT order_id, customer_name, restaurant_name, item, amount, order_status, "
    f"{MICROS.format('created_at')}, {MICROS.format('updated_at')} FROM {{table}}) TO STDOUT (FORMAT csv)"
)
QUERY = """
CREATE TABLE expected AS SELECT * FROM read_csv('{csv}', header = false, columns = {{
  'order_id': 'BIGINT', 'customer_name': 'VARCHAR', 'restaurant_name': 'VARCHAR', 'item': 'VARCHAR', 'amount': 'DECIMAL(10,2)',
  'order_status': 'VARCHAR', 'created_at': 'BIGINT', 'updated_at': 'BIGINT'}});
CREATE TABLE versions AS SELECT order_id, customer_name, restaurant_name, item, amount::DECIMAL(10,2) AS amount, order_status,
  epoch_us(created_at) AS created_at, epoch_us(updated_at) AS updated_at, _offset
  FROM read_parquet({files}, union_by_name = true, hive_partitioning = false);
CREATE TABLE latest AS SELECT * EXCLUDE (_offset) FROM versions QUALIFY row_number() OVER (PARTITION BY order_id ORDER BY _offset DESC) = 1;
SELECT (SELECT count(*) FROM expected) AS rows_in_postgres,
  (SELECT count(*) FROM latest) AS keys_in_lake,
  (SELECT count(*) FROM expected ANTI JOIN latest USING (order_id)) AS missing,
  (SELECT count(*) FROM latest ANTI JOIN expected USING (order_id)) AS unknown,
  (SELECT count(*) FROM (SELECT * FROM expected EXCEPT SELECT * FROM latest) AS differing SEMI JOIN latest USING (order_id)) AS differing,
  (SELECT count(*) FROM versions) - (SELECT count(*) FROM (SELECT DISTINCT order_id, item, updated_at FROM versions) AS once) AS duplicates;
"""


def compare(servers, table, lake, folder):
    """Counts of rows that are missing, unknown, different from PostgreSQL, or in the lake more than once."""
    csv = folder / "postgres.csv"
    with open(csv, "w") as out:
        subprocess.run(["psql", "-X", "-q", "-d", servers.url, "-c", EXPORT.format(table=table)], stdout=out, check=True)
    files = sorted(str(file.path) for file in lake.files())
    query = QUERY.format(csv=csv, files=json.dumps(files).replace('"', "'"))
    command = [CACHE / "duckdb/duckdb", "-no-init", "-batch", "-bail", "-json"]
    done = subprocess.run(command, input=query, text=True, capture_output=True, timeout=DUCKDB_SECONDS_MAX)
    if done.returncode:
        raise RuntimeError(f"DuckDB: {done.stderr.strip()}")
    return json.loads(done.stdout)[0] | {"files": len(files)}
