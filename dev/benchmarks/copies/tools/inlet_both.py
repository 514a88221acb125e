"""`inlet run` with a broker: both services in one process, from the start until every row is in the lake."""

TITLE, WRITES = "Inlet: PostgreSQL -> Kafka -> lake, at once, json", True


def copy(bench, shape):
    return run(bench, shape, "json")


def run(bench, shape, form):
    config, lake = bench.config(bench.fresh("both"), shape, bench.fresh("both-topic"), form)
    return bench.inlet("run", config, bench.arrived(lake, shape), lake)
