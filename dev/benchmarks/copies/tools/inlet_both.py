"""`inlet run` with a broker: both services in one process, from the start until every row is in the lake."""

TITLE, WRITES = "Inlet: PostgreSQL -> Kafka -> lake, at once", True


def copy(bench, shape):
    config, lake = bench.config(bench.fresh("both"), shape, bench.fresh("both-topic"))
    return bench.inlet("run", config, bench.arrived(lake, shape), lake)
