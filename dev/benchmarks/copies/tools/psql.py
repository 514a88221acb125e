"""psql, which reads and throws away: what the server and one connection can give."""

TITLE, WRITES = "limit: one `psql -c 'COPY .. BINARY'` to `/dev/null`", False


def copy(bench, shape):
    return bench.program(["psql", "-X", "-q", "-d", bench.servers.url, "-c", f"\\copy {shape.name} TO '/dev/null' (FORMAT BINARY)"])
