#!/usr/bin/env python3
"""Runs the statements on standard input with the DuckDB of the folder `package` beside this file.

It prints the rows of every statement that has some, as `duckdb -csv -noheader -nullvalue NULL` does.
The first statement that fails ends it with code 1 and the reason on standard error.
"""

import csv
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "package"))

import duckdb  # noqa: E402

ROWS_AT_ONCE = 10_000


def run(connection, statement):
    if statement.type != duckdb.StatementType.SELECT:
        connection.execute(statement)
        return
    # DuckDB's own text of each value. Python's objects lose the years before 1 and after 9999.
    text = statement.query.strip().rstrip(";")
    rows = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM (\n{text}\n)")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    while found := rows.fetchmany(ROWS_AT_ONCE):
        writer.writerows(["NULL" if value is None else value for value in row] for row in found)


def main():
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    connection = duckdb.connect()
    try:
        for statement in connection.extract_statements(sys.stdin.read()):
            run(connection, statement)
    except duckdb.Error as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
