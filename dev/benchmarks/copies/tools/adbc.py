"""ADBC's driver, streamed into pyarrow's Parquet writer, with its numerics cast from text to what the table has."""

import sys

TITLE, WRITES = "peer: ADBC, streamed to pyarrow, numerics cast by hand", True
DECIMALS = """SELECT column_name, numeric_precision, numeric_scale FROM information_schema.columns
WHERE table_name = '{}' AND data_type = 'numeric'"""


def copy(bench, shape):
    return bench.python("adbc", shape, bench.out("adbc"))


def main(url, table, _key, _rows, out):
    import adbc_driver_postgresql.dbapi
    import pyarrow
    import pyarrow.parquet

    with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(DECIMALS.format(table))
        decimals = {name: pyarrow.decimal128(precision, scale) for name, precision, scale in cursor.fetchall()}
        cursor.execute(f"SELECT * FROM {table}")
        reader = cursor.fetch_record_batch()
        # A numeric arrives as text, in a type of ADBC's own.
        schema = pyarrow.schema([(field.name, decimals.get(field.name, field.type)) for field in reader.schema])

        def cast(field, column):
            if field.name not in decimals:
                return column
            return getattr(column, "storage", column).cast(decimals[field.name])

        with pyarrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
            for batch in reader:
                columns = [cast(field, column) for field, column in zip(reader.schema, batch.columns)]
                writer.write_batch(pyarrow.record_batch(columns, schema=schema))


if __name__ == "__main__":
    main(*sys.argv[1:])
